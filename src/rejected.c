/*
 * rejected.c
 *		The table mdbatch_rejected.
 *
 * Model: its rows are read and written here without SQL, as rows of catalogs
 * are.  So no statement exists whose text or parameters a log could show, no
 * trigger, rule or policy can run with the rights of the table's owner, and
 * DROP TABLE can remove rows (rejected_drop.c).
 *
 * A row belongs to the identity of an attachment (labels.c) and to the role
 * that owned the table when it refused the entry.  Labels can be copied by
 * hand: the role keeps apart what then has the same identity.
 *
 * Locking: ROW EXCLUSIVE on the table, and a row is locked before it is
 * changed.  A flush has its target locked before, a retry too, so that no row
 * of a table appears while the table is dropped.
 *
 * Limits: the table must be as the install script has made it; nobody can
 * alter it while the library is loaded.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "extension.h"
#include "rejected.h"

PG_FUNCTION_INFO_V1(mdbatch_not_replicated);

#define TABLE_NAME		"mdbatch_rejected"
#define TRIGGER_FUNCTION "mdbatch_not_replicated"

static const struct
{
	const char *name;
	Oid			type;
	bool		not_null;
}			expected[] = {
	{"target", TEXTOID, true},
	{"key", JSONBOID, true},
	{"entry", JSONBOID, true},
	{"sqlstate", TEXTOID, true},
	{"message", TEXTOID, true},
	{"rejected_at", TIMESTAMPTZOID, true},
	{"removed", BOOLOID, true},
	{"bytes", JSONBOID, false},
	{"identity", UUIDOID, true},
	{"owner", TEXTOID, true},
	{"digest", BYTEAOID, true}
};

StaticAssertDecl(lengthof(expected) == MDB_REJECTED_COLUMNS,
				 "columns of mdbatch_rejected");

static const AttrNumber key_columns[] = {MDB_REJECTED_IDENTITY,
MDB_REJECTED_OWNER, MDB_REJECTED_DIGEST};
static const AttrNumber age_columns[] = {MDB_REJECTED_IDENTITY,
MDB_REJECTED_OWNER, MDB_REJECTED_AT};

static bool
has_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (desc->natts < MDB_REJECTED_COLUMNS)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (i >= MDB_REJECTED_COLUMNS)
		{
			/* It would get no value here. */
			if (!att->attisdropped && (att->attnotnull || att->attgenerated))
				return false;
		}
		else if (att->attisdropped || att->atttypid != expected[i].type ||
				 strcmp(NameStr(att->attname), expected[i].name) != 0 ||
				 att->attnotnull != expected[i].not_null)
			return false;
	}
	return true;
}

static bool
is_on(Form_pg_index form, const AttrNumber *columns)
{
	for (int i = 0; i < 3; i++)
		if (form->indkey.values[i] != columns[i])
			return false;
	return true;
}

static bool
is_btree(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_class) GETSTRUCT(tuple))->relam == BTREE_AM_OID;
	ReleaseSysCache(tuple);
	return result;
}

/* Look at an index; false if it is none that can be kept current here. */
static bool
take_index(MdbRejected *table, Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	bool		is_plain;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	is_plain = heap_attisnull(tuple, Anum_pg_index_indexprs, NULL) &&
		heap_attisnull(tuple, Anum_pg_index_indpred, NULL) &&
		!form->indisexclusion && form->indimmediate &&
		form->indnatts == form->indnkeyatts;
	if (is_plain && form->indisvalid && form->indnatts == 3 &&
		is_btree(index))
	{
		if (form->indisprimary && is_on(form, key_columns))
			table->by_key = index;
		else if (is_on(form, age_columns))
			table->by_age = index;
	}
	ReleaseSysCache(tuple);
	return is_plain;
}

/* Find the indexes; false if they are not what they should be. */
static bool
has_indexes(MdbRejected *table)
{
	List	   *indexes = RelationGetIndexList(table->rel);
	ListCell   *cell;
	bool		all_plain = true;

	table->by_key = table->by_age = InvalidOid;
	foreach(cell, indexes)
		all_plain &= take_index(table, lfirst_oid(cell));
	list_free(indexes);
	return all_plain && OidIsValid(table->by_key) && OidIsValid(table->by_age);
}

/* True if rows of the table can be read and removed here. */
static bool
is_readable(MdbRejected *table)
{
	Form_pg_class form = table->rel->rd_rel;

	return form->relkind == RELKIND_RELATION &&
		form->relam == HEAP_TABLE_AM_OID &&
		has_columns(table->rel) && has_indexes(table);
}

/*
 * True if the table has code that is not ours: it would run in SQL.  Here it
 * would not, but to write past it is not what its author expects.
 */
static bool
has_foreign_code(Relation rel)
{
	TupleConstr *constraints = RelationGetDescr(rel)->constr;
	const TriggerDesc *triggers = rel->trigdesc;
	Oid			ours = mdb_extension_function(TRIGGER_FUNCTION, 0, NULL);

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgfoid != ours)
			return true;
	return rel->rd_rules != NULL || rel->rd_rel->relrowsecurity ||
		(constraints != NULL && constraints->num_check > 0);
}

/*
 * Open the table to read and write it, at the latest until the end of the
 * (sub)transaction.  ERROR if it is not there, or was altered.
 */
void
mdb_rejected_open(MdbRejected *table)
{
	Oid			relid = mdb_extension_relation(TABLE_NAME, false);

	memset(table, 0, sizeof(*table));
	table->rel = try_table_open(relid, RowExclusiveLock);
	if (table->rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" does not exist", TABLE_NAME)));
	if (!is_readable(table) || has_foreign_code(table->rel))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has been altered", TABLE_NAME),
				 errdetail("It must have its own columns and indexes, and no trigger, rule, policy or constraint beside them."),
				 errhint("Take back what was changed.")));
	table->slot = table_slot_create(table->rel, NULL);
	table->indexes = CatalogOpenIndexes(table->rel);
}

/*
 * Open it to remove rows, whatever hangs on it.  False if it is not there, or
 * its rows cannot be read.
 */
bool
mdb_rejected_try_open(MdbRejected *table)
{
	Oid			relid = mdb_extension_relation(TABLE_NAME, true);

	memset(table, 0, sizeof(*table));
	if (OidIsValid(relid))
		table->rel = try_table_open(relid, RowExclusiveLock);
	if (table->rel == NULL)
		return false;
	if (!is_readable(table))
	{
		table_close(table->rel, NoLock);
		return false;
	}
	table->slot = table_slot_create(table->rel, NULL);
	return true;
}

/* Close it; the lock stays. */
void
mdb_rejected_close(MdbRejected *table)
{
	if (table->indexes != NULL)
		CatalogCloseIndexes(table->indexes);
	ExecDropSingleTupleTableSlot(table->slot);
	table_close(table->rel, NoLock);
}

/* A column of a row. */
Datum
mdb_rejected_get(const MdbRejected *table, HeapTuple tuple, int column,
				 bool *isnull)
{
	return heap_getattr(tuple, column, RelationGetDescr(table->rel), isnull);
}

/* A column of the row that is locked. */
Datum
mdb_rejected_locked(const MdbRejected *table, int column, bool *isnull)
{
	return slot_getattr(table->slot, column, isnull);
}

/*
 * Lock a row, or what has become of it.  False if it is gone, or (skip) locked
 * by others.
 */
bool
mdb_rejected_lock(MdbRejected *table, ItemPointer tid, LockWaitPolicy wait)
{
	TM_FailureData failure;
	TM_Result	result;

	PushActiveSnapshot(GetLatestSnapshot());
	result = table_tuple_lock(table->rel, tid, GetActiveSnapshot(),
							  table->slot, GetCurrentCommandId(true),
							  LockTupleExclusive, wait,
							  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	PopActiveSnapshot();
	switch (result)
	{
		case TM_Ok:
			return true;
		case TM_Deleted:
		case TM_SelfModified:
		case TM_WouldBlock:
			return false;
		default:
			elog(ERROR, "unexpected result of a row lock: %d", (int) result);
			return false;
	}
}

static void
identity_key(ScanKey key, const pg_uuid_t *identity)
{
	ScanKeyInit(key, MDB_REJECTED_IDENTITY, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(identity));
}

static void
owner_key(ScanKey key, const char *owner)
{
	/* The column's collation is "C", which is what this compares by. */
	ScanKeyInit(key, MDB_REJECTED_OWNER, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(owner));
}

/* Lock the row of a key; false if there is none.  ERROR if others have it. */
bool
mdb_rejected_lock_key(MdbRejected *table, const pg_uuid_t *identity,
					  const char *owner, Datum digest)
{
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;
	ItemPointerData tid;
	bool		found;

	identity_key(&keys[0], identity);
	owner_key(&keys[1], owner);
	ScanKeyInit(&keys[2], MDB_REJECTED_DIGEST, BTEqualStrategyNumber,
				F_BYTEAEQ, digest);
	PushActiveSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(table->rel, table->by_key, true,
							  GetActiveSnapshot(), lengthof(keys), keys);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
		tid = tuple->t_self;
	systable_endscan(scan);
	PopActiveSnapshot();
	return found && mdb_rejected_lock(table, &tid, LockWaitError);
}

/* Insert a row. */
void
mdb_rejected_insert(MdbRejected *table, Datum *values, bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	Datum	   *all = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTuple	tuple;

	memset(nulls, true, desc->natts * sizeof(bool));
	memcpy(all, values, MDB_REJECTED_COLUMNS * sizeof(Datum));
	memcpy(nulls, isnull, MDB_REJECTED_COLUMNS * sizeof(bool));
	tuple = heap_form_tuple(desc, all, nulls);
	CatalogTupleInsertWithInfo(table->rel, tuple, table->indexes);
	heap_freetuple(tuple);
	CommandCounterIncrement();
}

/* Replace columns of the row that is locked. */
void
mdb_rejected_update(MdbRejected *table, Datum *values, bool *isnull,
					bool *replace)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	Datum	   *all = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc0(desc->natts * sizeof(bool));
	bool	   *replaced = palloc0(desc->natts * sizeof(bool));
	bool		should_free;
	HeapTuple	old = ExecFetchSlotHeapTuple(table->slot, true, &should_free);
	ItemPointerData tid = old->t_self;
	HeapTuple	tuple;

	memcpy(all, values, MDB_REJECTED_COLUMNS * sizeof(Datum));
	memcpy(nulls, isnull, MDB_REJECTED_COLUMNS * sizeof(bool));
	memcpy(replaced, replace, MDB_REJECTED_COLUMNS * sizeof(bool));
	tuple = heap_modify_tuple(old, desc, all, nulls, replaced);
	if (should_free)
		heap_freetuple(old);
	CatalogTupleUpdateWithInfo(table->rel, &tid, tuple, table->indexes);
	heap_freetuple(tuple);
	CommandCounterIncrement();
}

/* Remove the row that is locked. */
void
mdb_rejected_delete(MdbRejected *table)
{
	ItemPointerData tid = table->slot->tts_tid;

	ExecClearTuple(table->slot);

	/* Values that are stored elsewhere need a snapshot to be found. */
	PushActiveSnapshot(GetLatestSnapshot());
	simple_heap_delete(table->rel, &tid);
	PopActiveSnapshot();
}

/*
 * Show the rows of an identity to a visitor: of one owner, in the order of
 * their age, or of all.  What the visitor allocates lives until the next row.
 */
void
mdb_rejected_walk(MdbRejected *table, const pg_uuid_t *identity,
				  const char *owner, ScanDirection direction,
				  MdbRejectedVisit visit, void *state)
{
	Relation	index = index_open(table->by_age, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "mdbatch rejected row",
												  ALLOCSET_DEFAULT_SIZES);
	bool		go_on;

	identity_key(&keys[0], identity);
	if (owner != NULL)
		owner_key(&keys[1], owner);
	PushActiveSnapshot(GetLatestSnapshot());
	scan = systable_beginscan_ordered(table->rel, index, GetActiveSnapshot(),
									  owner != NULL ? 2 : 1, keys);
	do
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		tuple = systable_getnext_ordered(scan, direction);
		old = MemoryContextSwitchTo(context);
		go_on = HeapTupleIsValid(tuple) && visit(table, tuple, state);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	} while (go_on);
	MemoryContextDelete(context);
	systable_endscan_ordered(scan);
	PopActiveSnapshot();
	index_close(index, AccessShareLock);
}

/*
 * The trigger of the table: a background worker that applies the changes of
 * another server has none to make here, as each server keeps what it has
 * refused itself.  A client that sets session_replication_role, as restores
 * do, is none.
 */
Datum
mdbatch_not_replicated(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by a BEFORE trigger for each row",
						TRIGGER_FUNCTION)));
	if (MyBgworkerEntry != NULL &&
		SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		PG_RETURN_POINTER(NULL);
	PG_RETURN_POINTER(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
					  data->tg_newtuple : data->tg_trigtuple);
}
