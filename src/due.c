/*
 * due.c
 *		When a batch is to be flushed next, and why (R4, R11).
 *
 * Model: a function of what the batch says: how much waits and since when,
 * when it was last flushed, whether that failed, and what was asked for.
 *
 * Locking: the caller has the batch's lock.
 *
 * Limits: a process that sleeps until a batch is due must be woken when an
 * entry comes to an empty batch, when it fills up, and when a flush is asked
 * for.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "define.h"
#include "due.h"
#include "entry.h"

/* A batch's own limits, or those of the settings. */
MdbLimits
mdb_batch_limits(const MdbBatch *batch)
{
	return mdb_settings_limits(batch->own_batch_size, batch->own_interval);
}

static int64
arrival_of(MdbRef ref)
{
	return ref == MDB_NO_REF ? PG_INT64_MAX : mdb_entry(ref)->arrival;
}

/*
 * The arrival of the oldest entry that is in flight or that the next flush may
 * take; PG_INT64_MAX if there is none.  Under the batch's lock.
 */
int64
mdb_batch_oldest_ready(const MdbBatch *batch)
{
	int64		oldest = arrival_of(batch->flight.first);

	for (MdbRef ref = batch->oldest; ref != MDB_NO_REF;
		 ref = mdb_define_head(ref)->newer)
		oldest = Min(oldest, arrival_of(mdb_define_head(ref)->ready.first));
	return oldest;
}

/*
 * The arrival of the oldest pending entry, in flight, ready or deferred;
 * PG_INT64_MAX if there is none.  Under the batch's lock.
 */
int64
mdb_batch_oldest(const MdbBatch *batch)
{
	int64		oldest = mdb_batch_oldest_ready(batch);

	for (MdbRef ref = batch->oldest; ref != MDB_NO_REF;
		 ref = mdb_define_head(ref)->newer)
		oldest = Min(oldest,
					 arrival_of(mdb_define_head(ref)->deferred.first));
	return oldest;
}

/* When the batch is to be flushed, under its lock (R4, R11, R12). */
MdbDue
mdb_batch_due(const MdbBatch *batch, TimestampTz now)
{
	MdbLimits	limits = mdb_batch_limits(batch);
	MdbDue		due = {DT_NOEND, MDB_SCHEDULED};

	if (mdb_batch_waiting(batch) == 0)
		return due;
	if (batch->gone)
		due.at = now;
	else if (mdb_define_next(batch) == MDB_NO_REF)
		due.at = Max(batch->next_retry, batch->retry_at);
	else if (batch->retry_at == 0 &&
			 mdb_batch_ready(batch) >= (uint32) limits.batch_size)
	{
		due.at = now;
		due.reason = MDB_CAPACITY;
	}
	else if (mdb_batch_oldest_ready(batch) < batch->requested)
	{
		due.at = now;
		due.reason = MDB_REQUESTED;
	}
	else if (batch->retry_at != 0)
	{
		due.at = batch->retry_at;
		due.reason = batch->failed_reason;
	}
	else
	{
		due.at = batch->next_retry;
		if (mdb_batch_ready(batch) > 0)
			due.at = Min(due.at,
						 Max(batch->last_flush_end, batch->nonempty_since) +
						 limits.flush_interval);
	}
	return due;
}
