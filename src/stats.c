/*
 * stats.c
 *		The batches' books, as SQL sees them.
 *
 * Model: the books of all batches are copied at one moment, in which nothing
 * is published or flushed, so that they balance (R19); then rows are made of
 * the copies.
 *
 * Locking: all partitions shared, then each batch.
 *
 * Limits: adds wait while the copies are made, some microseconds.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "define.h"
#include "due.h"
#include "note.h"
#include "rights.h"
#include "roster.h"
#include "stats.h"

PG_FUNCTION_INFO_V1(mdbatch_stat_rows);
PG_FUNCTION_INFO_V1(mdbatch_stat_histogram_rows);
PG_FUNCTION_INFO_V1(mdbatch_stat_reset);

static const char *const reason_names[MDB_NREASONS] = {
	[MDB_SCHEDULED] = "scheduled",
	[MDB_CAPACITY] = "capacity",
	[MDB_REQUESTED] = "requested",
	[MDB_SHUTDOWN] = "shutdown"
};

static int64
sum_stripes(MdbBatch *batch, size_t offset)
{
	int64		sum = 0;

	for (int i = 0; i < MDB_NSTRIPES; i++)
		sum += pg_atomic_read_u64((pg_atomic_uint64 *)
								  ((char *) &batch->stripes[i] + offset));
	return sum;
}

/* Copy the books of a batch, its lock held and the partitions too. */
static void
copy_books(MdbBooks *books, MdbBatch *batch)
{
	books->dboid = batch->dboid;
	books->relid = batch->relid;
	books->gone = batch->gone;
	books->detached = batch->detached;
	memcpy(books->target, batch->target, sizeof(books->target));
	books->waiting = mdb_batch_waiting(batch);
	books->in_flight = batch->in_flight;
	books->reserved = mdb_batch_reserved(batch);
	books->memory_used = (int64) pg_atomic_read_u32(&batch->account.used) *
		MDB_CHUNK_SIZE;
	books->oldest = mdb_batch_oldest(batch);
	books->coalesced = sum_stripes(batch, offsetof(MdbStripe, count.coalesced));
	books->stale = sum_stripes(batch, offsetof(MdbStripe, count.stale));
	books->added = sum_stripes(batch, offsetof(MdbStripe, count.linked)) +
		books->coalesced + books->stale;
	books->dropped = pg_atomic_read_u64(&batch->dropped_entries);
	books->limits = mdb_batch_limits(batch);
	books->counters = batch->counters;
	books->last_error = batch->last_error;
}

/*
 * The definition that the rights to a batch are checked by, if it has one.
 * The batch is held to the end of the transaction.
 */
static MdbDefinition *
read_definition(const MdbBooks *books)
{
	if (books->dboid != MyDatabaseId || books->gone ||
		mdb_note_hold_target(books->dboid, books->relid) != books->number ||
		mdb_batch(books->number)->newest == MDB_NO_REF)
		return NULL;
	return mdb_define_read(mdb_batch(books->number)->newest);
}

/* The books of all batches; palloc'd. */
MdbBooks *
mdb_stats_read(int *count)
{
	MdbBooks   *books = palloc0(mdb_max_batches * sizeof(MdbBooks));

	*count = 0;
	LWLockAcquire(mdb_lock_control(), LW_SHARED);
	mdb_lock_partitions_shared();
	for (int i = 0; i < mdb_max_batches; i++)
	{
		MdbBatch   *batch = mdb_batch(i);

		if (!OidIsValid(batch->dboid))
			continue;
		LWLockAcquire(mdb_batch_lock(i), LW_SHARED);
		copy_books(&books[*count], batch);
		LWLockRelease(mdb_batch_lock(i));
		if (books[*count].detached &&
			books[*count].waiting + books[*count].in_flight +
			books[*count].reserved == 0)
			continue;			/* its slot is another's soon */
		books[(*count)++].number = i;
	}
	mdb_unlock_partitions();
	LWLockRelease(mdb_lock_control());

	for (int i = 0; i < *count; i++)
		books[i].definition = read_definition(&books[i]);
	return books;
}

static void
set_text(Datum *value, bool *isnull, const char *string)
{
	*isnull = string == NULL;
	*value = string == NULL ? (Datum) 0 : CStringGetTextDatum(string);
}

static void
set_time(Datum *value, bool *isnull, TimestampTz time)
{
	*isnull = time == 0;
	*value = TimestampTzGetDatum(time);
}

/* The name of the target, if the role may know it. */
static const char *
visible_target(const MdbBooks *books)
{
	if (books->target[0] == '\0' ||
		(books->gone && !mdb_rights_read_all_stats()) ||
		(books->dboid != MyDatabaseId && !mdb_rights_read_all_stats()))
		return NULL;
	return books->target;
}

/*
 * Is it a table of this database that is still there, so that the role's rights
 * on it can be asked for?
 */
static bool
is_known(const MdbBooks *books)
{
	return books->dboid == MyDatabaseId && !books->gone;
}

/* The text of the last error, as far as the role may know it. */
static char *
visible_error(const MdbBooks *books)
{
	const MdbFailure *error = &books->last_error;
	const char *sqlstate = unpack_sql_state(error->sqlstate);
	const char *target = visible_target(books);

	if (books->counters.last_failure == 0)
		return NULL;
	if (is_known(books) && mdb_rights_see_errors(books->relid, error->owner))
		return psprintf("%s: %s", sqlstate, error->message);
	if (target == NULL)
		return pstrdup(sqlstate);
	return error->constraint[0] == '\0' ?
		psprintf("%s: %s", sqlstate, target) :
		psprintf("%s: %s, constraint \"%s\"", sqlstate, target,
				 error->constraint);
}

/*
 * May the role know what became of the entries (R18)?  A role that adds but may
 * not read could learn by that which rows there are, and how new they are.  If
 * not, "flushed", "skipped" and "stale" are hidden, and what they follow from:
 *
 * - While nothing else happens, an add to a pending key is counted as either
 *   coalesced or stale, and memory holds the value of the newer entry.  So
 *   "coalesced" counts stale entries as well, and "memory_used" is hidden.
 * - The sum of batch_utilization is the number of rows written: hidden.  That of
 *   batch_size counts skipped entries too, and so tells nothing that the
 *   equation of R19 does not tell.
 * - "notifications" shows whether a flush wrote any row.  The notifications
 *   themselves do, and any role can listen to them.
 * - "rejected", "flush_failures" and the SQLSTATE tell what an INSERT would.
 *   "pending" and "reserved" show whether a key is pending; so does an add to a
 *   full batch (R9).
 *
 * PostgreSQL's own counters of a table (pg_stat_user_tables) are public anyway.
 * A role that may see the counters sees all that was counted since they began,
 * also before the role got the right, or while the table had another key.
 */
static bool
see_outcome(const MdbBooks *books)
{
	return mdb_rights_see_outcome(is_known(books) ? books->relid : InvalidOid,
								  books->definition);
}

static Datum
duration_datum(int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = us;
	return IntervalPGetDatum(interval);
}

#define STAT_COLUMNS	30

static void
stat_row(const MdbBooks *books, Datum *values, bool *nulls)
{
	const MdbCounters *counters = &books->counters;
	bool		hidden = !see_outcome(books);
	pid_t		pid = mdb_roster_pid(books->dboid);
	int			i = 0;

	values[i++] = ObjectIdGetDatum(books->dboid);
	values[i++] = ObjectIdGetDatum(books->relid);
	set_text(&values[i], &nulls[i], visible_target(books)), i++;
	nulls[i] = pid == 0;
	values[i++] = Int32GetDatum(pid);
	values[i++] = Int64GetDatum(books->waiting + books->in_flight);
	values[i++] = Int64GetDatum(books->in_flight);
	values[i++] = Int64GetDatum(books->reserved);
	values[i++] = Int64GetDatum(books->limits.queue_size);
	nulls[i] = hidden;
	values[i++] = Int64GetDatum(books->memory_used);
	values[i++] = Int64GetDatum(mdb_pool_limit());
	values[i++] = Int64GetDatum(books->added);
	values[i++] = Int64GetDatum(books->coalesced + (hidden ? books->stale : 0));
	nulls[i] = hidden;
	values[i++] = Int64GetDatum(books->stale);
	values[i++] = Int64GetDatum(books->dropped);
	nulls[i] = hidden;
	values[i++] = Int64GetDatum(counters->flushed);
	nulls[i] = hidden;
	values[i++] = Int64GetDatum(counters->skipped);
	values[i++] = Int64GetDatum(counters->rejected);
	values[i++] = Int64GetDatum(counters->discarded);
	for (int reason = 0; reason < MDB_NREASONS; reason++)
		values[i++] = Int64GetDatum(counters->batches[reason]);
	values[i++] = Int64GetDatum(counters->flush_failures);
	values[i++] = Int64GetDatum(counters->notifications);
	set_time(&values[i], &nulls[i],
			 books->oldest == PG_INT64_MAX ? 0 : books->oldest), i++;
	set_time(&values[i], &nulls[i], counters->last_flush), i++;
	nulls[i] = counters->last_flush == 0;
	values[i++] = duration_datum(counters->last_flush_duration);
	set_time(&values[i], &nulls[i], counters->last_failure), i++;
	set_text(&values[i], &nulls[i], visible_error(books)), i++;
	set_time(&values[i], &nulls[i], counters->stats_reset), i++;
	Assert(i <= STAT_COLUMNS);
}

/* The rows of the view mdbatch_stat, but for the name of the database. */
Datum
mdbatch_stat_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbBooks   *books;
	int			count;

	mdb_batch_require();
	InitMaterializedSRF(fcinfo, 0);
	books = mdb_stats_read(&count);
	for (int i = 0; i < count; i++)
	{
		Datum		values[STAT_COLUMNS] = {0};
		bool		nulls[STAT_COLUMNS] = {0};

		stat_row(&books[i], values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The rows of one histogram, its buckets cumulative. */
static void
put_histogram(ReturnSetInfo *rsinfo, const MdbBooks *books, MdbMetric metric,
			  const char *metric_name, const char *reason,
			  const MdbHistogram *histogram)
{
	bool		hidden = metric == MDB_BATCH_UTILIZATION && !see_outcome(books);
	int64		cumulative = 0;

	for (int bucket = 0; bucket < MDB_NBUCKETS; bucket++)
	{
		Datum		values[9];
		bool		nulls[9] = {0};

		nulls[6] = nulls[7] = nulls[8] = hidden;
		cumulative += histogram->buckets[bucket];
		values[0] = ObjectIdGetDatum(books->dboid);
		values[1] = ObjectIdGetDatum(books->relid);
		set_text(&values[2], &nulls[2], visible_target(books));
		values[3] = CStringGetTextDatum(metric_name);
		set_text(&values[4], &nulls[4], reason);
		values[5] = Float8GetDatum(mdb_histogram_bound(metric, bucket));
		values[6] = Int64GetDatum(cumulative);
		values[7] = Float8GetDatum(histogram->sum);
		values[8] = Int64GetDatum(histogram->count);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* The rows of the view mdbatch_stat_histogram. */
Datum
mdbatch_stat_histogram_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbBooks   *books;
	int			count;

	mdb_batch_require();
	InitMaterializedSRF(fcinfo, 0);
	books = mdb_stats_read(&count);
	for (int i = 0; i < count; i++)
	{
		const MdbCounters *counters = &books[i].counters;

		put_histogram(rsinfo, &books[i], MDB_BATCH_SIZE, "batch_size", NULL,
					  &counters->size);
		put_histogram(rsinfo, &books[i], MDB_BATCH_UTILIZATION,
					  "batch_utilization", NULL, &counters->utilization);
		for (int reason = 0; reason < MDB_NREASONS; reason++)
			put_histogram(rsinfo, &books[i], MDB_FLUSH_DURATION,
						  "flush_duration_seconds", reason_names[reason],
						  &counters->duration[reason]);
	}
	return (Datum) 0;
}

/* Zero the counters of the current database's batches. */
Datum
mdbatch_stat_reset(PG_FUNCTION_ARGS)
{
	mdb_batch_require();
	PreventCommandIfParallelMode("mdbatch_stat_reset()");
	LWLockAcquire(mdb_lock_control(), LW_SHARED);
	mdb_lock_partitions_shared();
	for (int i = 0; i < mdb_max_batches; i++)
	{
		MdbBatch   *batch = mdb_batch(i);

		if (batch->dboid != MyDatabaseId)
			continue;
		LWLockAcquire(mdb_batch_lock(i), LW_EXCLUSIVE);
		mdb_batch_reset_books(batch);
		LWLockRelease(mdb_batch_lock(i));
	}
	mdb_unlock_partitions();
	LWLockRelease(mdb_lock_control());
	PG_RETURN_VOID();
}
