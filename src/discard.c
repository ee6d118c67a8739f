/*
 * discard.c
 *		mdbatch_discard(): throw away what is pending.
 *
 * Model: what waits goes at once.  What is in flight goes when the flush
 * aborts, and a flush that has not yet got its table gives up; so a TRUNCATE
 * in the same transaction, which keeps the flush waiting, is followed by
 * nothing from before.
 *
 * Locking: none of the table; waits for the worker's transaction where the
 * deadlock detector sees it.
 *
 * Limits: what a flush is writing at this moment is written; then it is in the
 * table before the call returns.
 */
#include "postgres.h"

#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "flight.h"
#include "note.h"
#include "rights.h"
#include "target.h"
#include "wait.h"

PG_FUNCTION_INFO_V1(mdbatch_discard);

/* Throw away what is pending for a table; returns how many entries that was. */
Datum
mdbatch_discard(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	int			number;
	const uint64 *discarded;
	uint64		before;
	int64		count;
	bool		writing;

	mdb_batch_require();
	PreventCommandDuringRecovery("mdbatch_discard()");
	PreventCommandIfReadOnly("mdbatch_discard()");
	PreventCommandIfParallelMode("mdbatch_discard()");
	mdb_rights_check_owner(relid);

	number = mdb_note_hold_target(MyDatabaseId, relid);
	if (number < 0)
	{
		(void) mdb_target_resolve(relid);	/* it must be attached */
		PG_RETURN_INT64(0);
	}
	discarded = &mdb_batch(number)->flight_discarded;
	before = mdb_batch_count(number, discarded);
	count = mdb_flight_discard(number, &writing);
	if (writing)
	{
		/* It has its locks: it does not wait for us. */
		mdb_wait_for_flight(number);
		count += mdb_batch_count(number, discarded) - before;
	}
	PG_RETURN_INT64(count);
}
