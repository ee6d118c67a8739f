/*
 * flight.h
 *		What is pending: detach, finish, put back, discard.
 */
#ifndef MDB_FLIGHT_H
#define MDB_FLIGHT_H

#include "books.h"
#include "entry.h"

/* Entries that a flush has detached. */
typedef struct MdbFlight
{
	int			batch;
	MdbRef		definition;
	int64		until;			/* the last arrival that it could take */
	int			count;
	MdbRef	   *entries;		/* in flush order */
} MdbFlight;

extern void mdb_flight_detach(int number, MdbFlight *flight, int max);
extern bool mdb_flight_was_deferred(const MdbFlight *flight);
extern void mdb_flight_step_over(MdbRef ref, bool locked);
extern void mdb_flight_finish(MdbFlight *flight, const MdbOutcome *outcome);
extern void mdb_flight_put_back(const MdbFlight *flight,
								const MdbFailure *failure);
extern void mdb_flight_wake_all(MdbBatch *batch);
extern int64 mdb_flight_discard(int number, bool *writing);
extern bool mdb_flight_is_wanted(const MdbFlight *flight);

#endif							/* MDB_FLIGHT_H */
