/*
 * reach.c
 *		The tables that a flush can write.
 *
 * Purpose: what has to be looked at before a flush runs as the owner of its
 * target (trust.c), and what has to be guarded while a table is attached
 * (guard.c).
 *
 * Model: the target, its partitions at every level, and the tables whose
 * foreign keys are checked when the target changes, or change them: ON UPDATE
 * CASCADE, SET NULL and SET DEFAULT; from these further ones.  Until PostgreSQL
 * 17 the AFTER triggers of a referencing table run with the rights of the role
 * that updates the referenced one.  A flush never changes a key, so foreign
 * keys to it do not count.
 *
 * Which tables reference a table is read from the triggers that PostgreSQL made
 * for the foreign keys, as pg_constraint has no index on the referenced one.
 *
 * Locking: none.  The catalogs are read, no table is opened.
 *
 * Limits: a trigger of the owner that changes a key makes actions happen that
 * are not followed here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_rewrite.h"
#include "commands/trigger.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "reach.h"

/* Can the trigger fire in a worker, whose replication role is "origin"? */
bool
mdb_reach_trigger_fires(Form_pg_trigger trigger)
{
	return trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN ||
		trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
}

/*
 * Is it the function of a trigger that looks at the referencing table, or
 * writes it, when the referenced one is updated?
 */
static bool
is_update_trigger(Oid function)
{
	return function == F_RI_FKEY_NOACTION_UPD ||
		function == F_RI_FKEY_RESTRICT_UPD ||
		function == F_RI_FKEY_CASCADE_UPD ||
		function == F_RI_FKEY_SETNULL_UPD ||
		function == F_RI_FKEY_SETDEFAULT_UPD;
}

/*
 * Has PostgreSQL made the trigger for a foreign key, on the referenced table,
 * for its updates?
 */
bool
mdb_reach_is_update_trigger(Form_pg_trigger trigger)
{
	return trigger->tgisinternal && is_update_trigger(trigger->tgfoid);
}

static bool
is_action(char action)
{
	return action == FKCONSTR_ACTION_CASCADE ||
		action == FKCONSTR_ACTION_SETNULL ||
		action == FKCONSTR_ACTION_SETDEFAULT;
}

/* Does a foreign key reference nothing but columns of the target's key? */
bool
mdb_reach_references_key(Oid constraint, Oid target, Bitmapset *key)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	AttrNumber	referencing[INDEX_MAX_KEYS];
	AttrNumber	referenced[INDEX_MAX_KEYS];
	Oid			relid;
	bool		result = true;
	int			n;

	if (!HeapTupleIsValid(tuple))
		return false;
	relid = ((Form_pg_constraint) GETSTRUCT(tuple))->confrelid;
	DeconstructFkConstraintRow(tuple, &n, referencing, referenced, NULL, NULL,
							   NULL, NULL, NULL);
	ReleaseSysCache(tuple);

	/* A partition can have its columns at other places than the target. */
	for (int i = 0; result && i < n; i++)
	{
		char	   *name = get_attname(relid, referenced[i], true);

		result = name != NULL &&
			bms_is_member(get_attnum(target, name), key);
	}
	return result;
}

/*
 * Add the tables that an update of a table updates.  With a key, the table is
 * the target or one of its partitions.
 */
static List *
add_referencing(List *tables, Oid relid, Oid target, Bitmapset *key)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData scan_key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&scan_key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, TriggerRelidNameIndexId, true, NULL, 1,
							  &scan_key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (mdb_reach_is_update_trigger(form) && mdb_reach_trigger_fires(form) &&
			(key == NULL || !mdb_reach_references_key(form->tgconstraint, target, key)))
			tables = list_append_unique_oid(tables, form->tgconstrrelid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return tables;
}

/* The table and its partitions at every level; palloc'd. */
List *
mdb_reach_with_partitions(Oid relid)
{
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		return find_all_inheritors(relid, NoLock, NULL);
	return list_make1_oid(relid);
}

/*
 * The tables that a flush of the target can write, or whose owners' code runs
 * to check foreign keys to what it writes; the columns of its key are
 * never changed.  palloc'd.
 */
List *
mdb_reach_tables(Oid relid, Bitmapset *key)
{
	List	   *tables = mdb_reach_with_partitions(relid);
	int			ntarget = list_length(tables);

	/* The list grows while it is walked. */
	for (int i = 0; i < list_length(tables); i++)
	{
		Oid			table = list_nth_oid(tables, i);

		if (i >= ntarget)
			tables = list_concat_unique_oid(tables,
											mdb_reach_with_partitions(table));
		tables = add_referencing(tables, table, relid,
								 i < ntarget ? key : NULL);
	}
	return tables;
}

/* The partitioned tables that a table is a part of; palloc'd. */
List *
mdb_reach_ancestors(Oid relid)
{
	return get_rel_relispartition(relid) ? get_partition_ancestors(relid) : NIL;
}

/* Add the tables whose change makes a foreign key of this one change it. */
static List *
add_referenced(List *tables, Oid relid)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true,
							  NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		if (form->contype == CONSTRAINT_FOREIGN &&
			is_action(form->confupdtype))
			tables = list_append_unique_oid(tables, form->confrelid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return tables;
}

/*
 * The tables from which a table can be reached, itself included: an update of
 * one of them can write this table.  palloc'd.
 */
List *
mdb_reach_from(Oid relid)
{
	List	   *tables = list_make1_oid(relid);

	for (int i = 0; i < list_length(tables); i++)
	{
		Oid			table = list_nth_oid(tables, i);

		tables = list_concat_unique_oid(tables, mdb_reach_ancestors(table));
		tables = add_referenced(tables, table);
	}
	return tables;
}

/* Has a table rules? */
bool
mdb_reach_has_rules(Oid relid)
{
	Relation	catalog = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&key, Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, RewriteRelRulenameIndexId, true, NULL, 1,
							  &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}
