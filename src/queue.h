/*
 * queue.h
 *		What is pending: publish, detach, finish, put back.
 */
#ifndef MDB_QUEUE_H
#define MDB_QUEUE_H

#include "books.h"
#include "entry.h"

/* Entries that a flush has detached. */
typedef struct MdbFlight
{
	int			batch;
	MdbRef		definition;
	int			count;
	MdbRef	   *entries;		/* in flush order */
} MdbFlight;

extern bool mdb_queue_reserve(int number, int queue_size);
extern void mdb_queue_unreserve(int number);
extern bool mdb_queue_is_pending(MdbRef staged);
extern bool mdb_queue_publish(MdbRef staged, bool reserved, uint32 coalesced,
							  uint32 stale, TimestampTz now);
extern void mdb_queue_detach(int number, MdbFlight *flight, int max);
extern void mdb_queue_finish(const MdbFlight *flight,
							 const MdbOutcome *outcome);
extern void mdb_queue_put_back(const MdbFlight *flight,
							   const MdbFailure *failure);
extern int64 mdb_queue_discard(int number);
extern bool mdb_queue_is_wanted(const MdbFlight *flight);

#endif							/* MDB_QUEUE_H */
