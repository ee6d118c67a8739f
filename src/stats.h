/*
 * stats.h
 *		The batches' books, as SQL sees them.
 */
#ifndef MDB_STATS_H
#define MDB_STATS_H

#include "batch.h"

/* The books of a batch at one moment. */
typedef struct MdbBooks
{
	int			number;
	Oid			dboid;
	Oid			relid;
	bool		gone;
	bool		detached;
	char		target[sizeof(((MdbBatch *) 0)->target)];
	int64		waiting;
	int64		in_flight;
	int64		reserved;
	int64		memory_used;	/* bytes */
	int64		oldest;			/* arrival; PG_INT64_MAX: nothing pending */
	int64		added;
	int64		coalesced;
	int64		stale;
	int64		dropped;
	MdbLimits	limits;
	MdbCounters counters;
	MdbFailure	last_error;
	MdbDefinition *definition;	/* the newest; NULL if there is none */
} MdbBooks;

extern MdbBooks *mdb_stats_read(int *count);

#endif							/* MDB_STATS_H */
