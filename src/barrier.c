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
#include "fmgr.h"
#include "miscadmin.h"
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
		may_see[n] = mdb_rights_see_errors(book->relid, number);
		barriers[n++] = mdb_wait_request(number, &pending);
		total += pending;
	}
	if (OidIsValid(relid) && n == 0)
		check_unbatched(relid);

	for (int i = 0; i < n; i++)
		mdb_wait_for_flush(&barriers[i], may_see[i]);
	PG_RETURN_INT64(total);
}

/*
 * Wait until what this session has committed into the batch of a target is
 * durably in the table.  An ERROR says that the entries stay pending.
 */
void
mdb_barrier_sync(Oid relid)
{
	MemoryContext context = CurrentMemoryContext;
	int			number = mdb_note_hold_target(MyDatabaseId, relid);
	int64		pending;

	if (number < 0)
		return;					/* the slot went to another: it was empty */

	PG_TRY();
	{
		MdbBarrier	barrier = mdb_wait_request(number, &pending);

		mdb_wait_for_flush(&barrier, mdb_rights_see_errors(relid, number));
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
}
