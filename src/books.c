/*
 * books.c
 *		What flushes leave in the books of a batch (R19).
 *
 * Model: plain counters, changed in one step with what they count.
 *
 * Locking: the caller has the lock of the batch.
 *
 * Limits: of the entries that were rejected the last few are kept, for those
 * who wait for them.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "books.h"

/* Keep the last of what was rejected, under the batch's lock. */
static void
keep_rejections(MdbBatch *batch, const MdbOutcome *outcome)
{
	for (int i = 0; i < outcome->nrejected; i++)
		batch->rejections[batch->nrejected++ % MDB_KEPT_REJECTIONS] =
			outcome->rejections[i];
}

/* Entries were stepped over: the DBA and sessions that wait must know. */
static void
note_step(MdbBatch *batch, const MdbOutcome *outcome, TimestampTz now)
{
	batch->nsteps++;
	batch->step_sqlstate = outcome->step.sqlstate;
	batch->counters.last_failure = now;
	batch->last_error = outcome->step;
}

/*
 * A flush of so many entries has committed; under the batch's lock.  Cannot
 * fail.
 */
void
mdb_books_count_outcome(MdbBatch *batch, int count,
						const MdbOutcome *outcome, TimestampTz now)
{
	MdbCounters *counters = &batch->counters;

	counters->flushed += outcome->flushed;
	counters->rejected += outcome->nrejected;
	counters->skipped += count - outcome->flushed - outcome->nrejected;
	if (outcome->nstepped > 0)
		note_step(batch, outcome, now);
	if (count == 0)
		return;					/* it stepped over all of them */
	counters->batches[outcome->reason]++;
	counters->notifications += outcome->notifications;
	counters->last_flush = now;
	counters->last_flush_duration = now - outcome->started;
	mdb_histogram_observe(&counters->size, MDB_BATCH_SIZE, count);
	mdb_histogram_add(&counters->utilization, &outcome->utilization);
	mdb_histogram_observe(&counters->duration[outcome->reason],
						  MDB_FLUSH_DURATION,
						  (now - outcome->started) / 1000000.0);
	keep_rejections(batch, outcome);
}

/* From 1 s doubling to 1 min (R11). */
int64
mdb_books_backoff(int failures)
{
	return Min(USECS_PER_SEC << Min(failures - 1, 6), 60 * USECS_PER_SEC);
}

/* A flush has failed; under the batch's lock.  Cannot fail. */
void
mdb_books_count_failure(MdbBatch *batch, const MdbFailure *failure)
{
	MdbCounters *counters = &batch->counters;
	TimestampTz now = GetCurrentTimestamp();

	batch->nfailures++;
	batch->failures_in_row++;
	batch->failed_reason = failure->reason;
	batch->retry_at = now + mdb_books_backoff(batch->failures_in_row);
	batch->requested = 0;
	counters->flush_failures++;
	counters->last_failure = now;
	batch->last_error = *failure;
}
