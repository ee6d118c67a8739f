/*
 * barrier.c
 *		The durability barrier: mdbatch_flush, and the end of the procedures
 *		that acknowledge.
 *
 * Model: first wait for the transactions that others see already but that
 * have not published yet, then note how far the arrivals of each batch have
 * come, ask for flushes, and wait until nothing older is pending.  Callers
 * that ask at the same time share flushes.
 *
 * Locking: none while waiting (wait.c).
 *
 * Limits: ends with the first failure of a batch.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "barrier.h"
#include "note.h"
#include "rights.h"
#include "staging.h"
#include "stats.h"
#include "wait.h"

PG_FUNCTION_INFO_V1(mdbatch_flush);

static void
no_right_to_flush(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", get_rel_name(relid)),
			 errdetail("Flushing needs ownership of the table, or the rights of an add.")));
}

/* A table was named that has no batch: there is nothing to wait for. */
static void
check_unbatched(Oid relid)
{
	MdbTarget  *target;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	target = mdb_target_resolve(relid);
	if (!mdb_rights_flush(relid, target->definition))
		no_right_to_flush(relid);
}

/*
 * Wait until everything that was added by transactions that had committed
 * before is durably in the table, or in all tables of the database.  Returns
 * how many entries were pending.
 */
Datum
mdbatch_flush(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	MdbBooks   *books;
	MdbBarrier *barriers;
	bool	   *may_see;
	int			nbooks;
	int			n = 0;
	int64		total = 0;

	mdb_batch_require();
	mdb_wait_require_workers();
	PreventCommandDuringRecovery("mdbatch_flush()");
	PreventCommandIfParallelMode("mdbatch_flush()");
	if (OidIsValid(relid))
		mdb_rights_check_named(relid);
	mdb_wait_refuse("a flush");
	if (!mdb_staging_is_empty())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot flush in a transaction that has added to a batch"),
				 errdetail("Its own entries become pending only when it commits."),
				 errhint("Commit first.")));

	books = mdb_stats_read(&nbooks);
	barriers = palloc(nbooks * sizeof(MdbBarrier));
	may_see = palloc(nbooks * sizeof(bool));
	for (int i = 0; i < nbooks; i++)
	{
		const MdbBooks *book = &books[i];
		int64		pending;
		int			number;

		if (book->dboid != MyDatabaseId || book->gone ||
			(OidIsValid(relid) && book->relid != relid))
			continue;
		if (!mdb_rights_flush(book->relid, book->definition))
		{
			if (OidIsValid(relid))
				no_right_to_flush(relid);
			continue;
		}
		number = mdb_note_hold_target(book->dboid, book->relid);
		if (number < 0)
			continue;
		mdb_wait_for_committers(number);
		may_see[n] = mdb_rights_see_errors(book->relid, InvalidOid);
		barriers[n++] = mdb_wait_request(number, &pending);
		total += pending;
	}
	if (OidIsValid(relid) && n == 0)
		check_unbatched(relid);

	for (int i = 0; i < n; i++)
	{
		int64		nrejected = mdb_wait_for_flush(&barriers[i], may_see[i]);

		if (nrejected > 0)
			ereport(WARNING,
					(errmsg_plural("table %s refused " INT64_FORMAT " entry for good",
								   "table %s refused " INT64_FORMAT " entries for good",
								   (unsigned long) nrejected,
								   mdb_batch(barriers[i].batch)->target,
								   nrejected),
					 errhint("See the table mdbatch_rejected.")));
	}
	PG_RETURN_INT64(total);
}

/* ERROR unless a procedure that acknowledges may commit and wait here. */
void
mdb_barrier_begin_sync(FunctionCallInfo fcinfo, const char *procedure)
{
	bool		atomic = fcinfo->context == NULL ||
		!IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic;

	if (atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("invalid transaction termination"),
				 errdetail("%s commits, which it cannot do in a transaction block.",
						   procedure)));
	mdb_wait_refuse("a flush");
}

/* What such a procedure does when a batch is full: nothing may be dropped. */
int
mdb_barrier_on_full(void)
{
	return mdb_on_full == MDB_ON_FULL_WAIT ? MDB_ON_FULL_WAIT :
		MDB_ON_FULL_ERROR;
}

/* As wait.c does with a failure. */
static void
raise_rejection(const MdbBatch *batch, const MdbRejection *rejection,
				bool may_see_error)
{
	ereport(ERROR,
			(errcode(rejection->sqlstate),
			 errmsg("table %s refused an entry for good", batch->target),
			 may_see_error ?
			 errdetail("It was refused with: %s", rejection->message) :
			 rejection->constraint[0] != '\0' ?
			 errdetail("Constraint \"%s\" refused it.",
					   rejection->constraint) : 0,
			 rejection->constraint[0] != '\0' ?
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME,
								rejection->constraint) : 0,
			 errdetail_log("See the table mdbatch_rejected.")));
}

/*
 * ERROR if one of these adds was rejected since then: one that was there when
 * the flight of the rejected entry left.
 */
static void
check_rejections(int number, uint64 before, const MdbWatched *watched, int n,
				 bool may_see_error)
{
	MdbBatch   *batch = mdb_batch(number);
	MdbRejection *kept = palloc(sizeof(batch->rejections));
	uint64		nrejected;

	LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
	nrejected = batch->nrejected;
	memcpy(kept, batch->rejections, sizeof(batch->rejections));
	LWLockRelease(mdb_batch_lock(number));

	for (uint64 i = before; i < nrejected; i++)
	{
		const MdbRejection *rejection = &kept[i % MDB_KEPT_REJECTIONS];

		if (nrejected - i > MDB_KEPT_REJECTIONS)
			continue;			/* overwritten since */
		for (int k = 0; k < n; k++)
			if (watched[k].hash == rejection->hash &&
				watched[k].arrival <= rejection->until)
				raise_rejection(batch, rejection, may_see_error);
	}
	if (nrejected - before > MDB_KEPT_REJECTIONS)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("table %s refused entries for good, perhaps of this call",
						batch->target),
				 errdetail("It refused " UINT64_FORMAT " entries meanwhile, too many to tell.",
						   nrejected - before),
				 errhint("See the table mdbatch_rejected.")));
	pfree(kept);
}

/*
 * Wait until these adds, which this session has committed, are
 * durably in the table.  An ERROR says that they stay pending, or which was
 * rejected.
 */
static void
wait_for_adds(Oid relid, uint64 before, const MdbWatched *watched, int n)
{
	MemoryContext context = CurrentMemoryContext;
	int			number = mdb_note_hold_target(MyDatabaseId, relid);
	bool		may_see_error;
	int64		pending;

	if (number < 0)
		return;					/* the slot went to another: it was empty */

	may_see_error = mdb_rights_see_errors(relid, InvalidOid);
	PG_TRY();
	{
		MdbBarrier	barrier = mdb_wait_request(number, &pending);

		barrier.watched = watched;
		barrier.nwatched = n;
		(void) mdb_wait_for_flush(&barrier, may_see_error);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		error->hint = psprintf("%s%s%s", error->hint != NULL ? error->hint : "",
							   error->hint != NULL ? " " : "",
							   _("The entries have been committed into the batch; they stay pending."));
		ReThrowError(error);
	}
	PG_END_TRY();
	check_rejections(number, before, watched, n, may_see_error);
}

/*
 * The end of a procedure that acknowledges: commit its adds, and wait until
 * they are durably in the table, or superseded, or skipped.
 */
void
mdb_barrier_commit_and_wait(Oid relid)
{
	int			number = mdb_note_hold_target(MyDatabaseId, relid);
	uint64		before = 0;
	MdbWatched *watched;
	int			n;

	if (number >= 0)
		before = mdb_batch_count(number, &mdb_batch(number)->nrejected);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	watched = mdb_staging_watch(&n);
	SPI_commit();
	wait_for_adds(relid, before, watched, n);
	SPI_finish();
}
