/*
 * retry.c
 *		mdbatch_retry(): once more what a target refused.
 *
 * Model: the rows of the target, as many as the batch has room for, oldest
 * first, are taken out of mdbatch_rejected with the rights of that table's
 * owner, restricted, and put as the caller: all of these, or none.
 *
 * Locking: what the statement takes.
 *
 * Limits: rows are found by the name that the target has now.  An entry that
 * was kept as its bytes stays where it is.
 */
#include "postgres.h"

#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "as_owner.h"
#include "batch.h"
#include "enqueue.h"
#include "name.h"
#include "note.h"
#include "put.h"
#include "reject.h"
#include "rights.h"

PG_FUNCTION_INFO_V1(mdbatch_retry);

/* Take the rows of a target out of the table, as one JSON array. */
static Jsonb *
take_rejected(Oid relid, int64 room, int64 *count)
{
	MemoryContext context = CurrentMemoryContext;
	const char *target = mdb_name_of_table(relid);
	Oid			types[] = {TEXTOID, INT8OID};
	Datum		values[] = {CStringGetTextDatum(target), Int64GetDatum(room)};
	const char *table;
	MdbAsOwner	before;
	Datum		entries;
	bool		isnull;

	SPI_connect();
	mdb_as_owner_enter(&before, mdb_reject_table_owner());
	table = mdb_reject_table_name();
	if (SPI_execute_with_args(psprintf("WITH taken AS (DELETE FROM %s"
									   " WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
									   "SELECT ctid FROM %s"
									   " WHERE target OPERATOR(pg_catalog.=) $1"
									   " AND NOT entry OPERATOR(pg_catalog.?) '%s'"
									   " ORDER BY rejected_at LIMIT $2 FOR UPDATE))"
									   " RETURNING entry, rejected_at)"
									   " SELECT pg_catalog.jsonb_agg(entry ORDER BY rejected_at),"
									   " pg_catalog.count(*) FROM taken",
									   table, table, MDB_REJECTED_BYTES),
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of a statement");
	*count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 2, &isnull));
	entries = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
							&isnull);
	if (!isnull)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		entries = datumCopy(PointerGetDatum(PG_DETOAST_DATUM(entries)), false,
							-1);
		MemoryContextSwitchTo(old);
	}
	mdb_as_owner_leave(&before);
	SPI_finish();
	return isnull ? NULL : DatumGetJsonbP(entries);
}

/* How many entries may be added, one at least: then the add says why not. */
static int64
room_for(Oid relid)
{
	MdbTarget  *target = mdb_target_resolve(relid);
	int			number = mdb_note_hold_target(MyDatabaseId, relid);
	int64		room = mdb_target_limits(target).queue_size;

	if (number >= 0)
		room -= (int64) mdb_batch_waiting(mdb_batch(number)) +
			mdb_batch_reserved(mdb_batch(number));
	return Max(room, 1);
}

/*
 * Enqueue what a target refused once more, and remove it from
 * mdbatch_rejected; returns how many entries that were.
 */
Datum
mdbatch_retry(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Jsonb	   *entries;
	int64		count;

	mdb_enqueue_begin("mdbatch_retry()");
	mdb_rights_check_owner(relid);
	entries = take_rejected(relid, room_for(relid), &count);
	if (entries != NULL)
		(void) mdb_put(relid, entries, MDB_ON_FULL_ERROR);
	PG_RETURN_INT64(count);
}
