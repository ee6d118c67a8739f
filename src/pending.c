/*
 * pending.c
 *		Looking at what is pending: mdbatch_pending, mdbatch_pending_rows.
 *
 * Model: rows are made of a snapshot of the batch, in flush order.  What is
 * pending may be of an older definition: columns are matched by number.
 *
 * Locking: see snapshot.c.  Where values hold values of row types, the target
 * is locked to the end of the transaction: it keeps these types as they are
 * while the rows are read.
 *
 * Limits: a value that waits for a column that was retyped since is NULL, and
 * so is a sum that will not fit its column.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/tuplestore.h"

#include "batch.h"
#include "compat.h"
#include "define.h"
#include "entry.h"
#include "metadata.h"
#include "note.h"
#include "plan.h"
#include "rights.h"
#include "snapshot.h"
#include "target.h"

PG_FUNCTION_INFO_V1(mdbatch_pending);
PG_FUNCTION_INFO_V1(mdbatch_pending_rows);

/* Makes a row of an entry's values; same: see find_same_types(). */
typedef void (*PutRow) (ReturnSetInfo *rsinfo, const MdbDefinition *definition,
						const bool *same, const Datum *values,
						const bool *isnull, bool in_flight);

static void
check_right_to_see(Oid relid, const MdbDefinition *definition)
{
	if (!mdb_rights_see_pending(definition))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", get_rel_name(relid)),
				 errdetail("Looking at what is pending needs SELECT on the columns of an entry.")));
	if (check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot look at what is pending for table \"%s\"",
						get_rel_name(relid)),
				 errdetail("Row-level security applies to role \"%s\".",
						   GetUserNameFromId(GetUserId(), false))));
}

/*
 * Which columns still have the type that the values were made for?  palloc'd.
 */
static bool *
find_same_types(Oid relid, const MdbDefinition *definition)
{
	bool	   *same = palloc(definition->ncolumns * sizeof(bool));

	if (definition->nrow_types > 0)
		LockRelationOid(relid, AccessShareLock);
	for (int i = 0; i < definition->ncolumns; i++)
	{
		Oid			type = get_atttype(relid, definition->columns[i].attnum);

		same[i] = OidIsValid(type) &&
			mdb_plan_is_same_type(definition, i, getBaseType(type));
	}
	return same;
}

/* Put a row for each pending entry of a target whose batch is held. */
static void
put_entries(ReturnSetInfo *rsinfo, Oid relid, int number, PutRow put)
{
	MdbSnapshot snapshot = mdb_snapshot_take(number);
	MdbDefinition *definition = NULL;
	MdbRef		definition_ref = MDB_NO_REF;
	Datum	   *values = NULL;
	bool	   *isnull = NULL;
	bool	   *same = NULL;
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext,
											  "mdbatch pending row",
											  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < snapshot.count; i++)
	{
		MemoryContext old;
		const MdbSnapshotEntry *entry = &snapshot.entries[i];

		if (entry->definition != definition_ref)
		{
			definition_ref = entry->definition;
			definition = mdb_define_read(definition_ref);
			check_right_to_see(relid, definition);
			values = palloc(definition->ncolumns * sizeof(Datum));
			isnull = palloc(definition->ncolumns * sizeof(bool));
			same = find_same_types(relid, definition);
		}
		Assert(definition != NULL);
		old = MemoryContextSwitchTo(row);
		(void) mdb_entry_decode(entry->contents, entry->version, definition,
								false, values, isnull);
		put(rsinfo, definition, same, values, isnull, entry->in_flight);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row);
	}
	MemoryContextDelete(row);
}

static void
put_metadata(ReturnSetInfo *rsinfo, const MdbDefinition *definition,
			 const bool *same, const Datum *values, const bool *isnull,
			 bool in_flight)
{
	static const int order[] = {MDB_METADATA_AGENT, MDB_METADATA_KEY,
	MDB_METADATA_VALUE, MDB_METADATA_ERROR, MDB_METADATA_TIME};
	Datum		row[lengthof(order) + 1];
	bool		nulls[lengthof(order) + 1];

	if (!definition->metadata)
		return;
	for (int i = 0; i < (int) lengthof(order); i++)
	{
		row[i] = values[order[i]];
		nulls[i] = isnull[order[i]];
	}
	row[lengthof(order)] = BoolGetDatum(in_flight);
	nulls[lengthof(order)] = false;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row, nulls);
}

/* What waits for the metadata target, in flush order. */
Datum
mdbatch_pending(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbTarget  *target;
	Oid			relid;
	int			number;

	mdb_batch_require();
	target = mdb_target_metadata();
	relid = target->relid;
	check_right_to_see(relid, target->definition);
	InitMaterializedSRF(fcinfo, 0);
	number = mdb_note_hold_target(MyDatabaseId, relid);
	if (number >= 0)
		put_entries(rsinfo, relid, number, put_metadata);
	return (Datum) 0;
}

static void
put_target_row(ReturnSetInfo *rsinfo, const MdbDefinition *definition,
			   const bool *same, const Datum *values, const bool *isnull,
			   bool in_flight)
{
	TupleDesc	desc = rsinfo->setDesc;
	Datum	   *row = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));

	memset(nulls, true, desc->natts * sizeof(bool));
	for (int i = 0; i < definition->ncolumns; i++)
	{
		int			at = definition->columns[i].attnum - 1;
		Form_pg_attribute att;

		if (isnull[i] || !same[i] || at >= desc->natts)
			continue;

		/* The rows are described as they were before the table was locked. */
		att = TupleDescAttr(desc, at);
		if (att->attisdropped ||
			getBaseType(att->atttypid) != definition->columns[i].type)
			continue;
		row[at] = values[i];
		nulls[at] = false;
	}
	tuplestore_putvalues(rsinfo->setResult, desc, row, nulls);
	pfree(row);
	pfree(nulls);
}

/* What waits for a target, as rows of it, in flush order. */
Datum
mdbatch_pending_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relid = mdb_target_of_row(type);
	MdbTarget  *target;
	int			number;

	mdb_batch_require();
	if (getBaseType(type) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("argument must not be of a domain over a row type")));
	mdb_rights_check_named(relid);
	InitMaterializedSRF(fcinfo, 0);
	number = mdb_note_hold_target(MyDatabaseId, relid);
	if (number < 0 || mdb_batch(number)->newest == MDB_NO_REF)
	{
		/* Then it must be attached, and what it carries is the question. */
		target = mdb_target_resolve(relid);
		check_right_to_see(relid, target->definition);
	}
	else
		check_right_to_see(relid, mdb_define_read(mdb_batch(number)->newest));
	if (number >= 0)
		put_entries(rsinfo, relid, number, put_target_row);
	return (Datum) 0;
}
