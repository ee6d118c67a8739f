/*
 * wait.h
 *		Waiting for flushes, where the deadlock detector sees it (R13).
 */
#ifndef MDB_WAIT_H
#define MDB_WAIT_H

#include "batch.h"

/* What a waiter waits for; arrivals are stamps of a batch. */
typedef struct MdbBarrier
{
	int			batch;
	int64		arrival;		/* wait for what arrived before */
	uint64		nfailures;		/* of the batch, when asked */
	uint64		nrejected;
	uint64		nsteps;

	/* Wait for these adds only; NULL: for all. */
	const MdbWatched *watched;
	int			nwatched;
} MdbBarrier;

extern void mdb_wait_in_worker(void);
extern void mdb_wait_require_workers(void);
extern void mdb_wait_refuse(const char *what);
extern void mdb_wait_for_room(int number, int queue_size, int needed);
extern bool mdb_wait_for_memory(int number, uint64 flushes);
extern void mdb_wait_for_committers(int number);
extern void mdb_wait_for_flight(int number);
extern MdbBarrier mdb_wait_request(int number, int64 *pending);
extern int64 mdb_wait_for_flush(const MdbBarrier *barrier, bool may_see_error);

#endif							/* MDB_WAIT_H */
