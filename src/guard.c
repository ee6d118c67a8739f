/*
 * guard.c
 *		What cannot be done to attached tables and to mdbatch's own.
 *
 * Purpose: a flush runs the triggers of its target as the owner of the table.
 * PostgreSQL does not say who made a trigger, and a trigger of a lesser role
 * needs no function of that role: its WHEN can call a superuser's with text to
 * execute.  So a lesser role makes none while the table is attached (R18),
 * whatever it was granted.
 *
 * Model: an object-access hook looks at each trigger, rule and policy that is
 * made or altered, and at each new partition.  The guard holds for the target,
 * its partitions, and the tables that change with it through foreign keys
 * (reach.c).  On mdbatch_rejected, which the worker writes as its owner, a
 * superuser, the guard lets nobody do anything; on mdbatch_metadata only roles
 * that its owner trusts, also while another table is the metadata target.
 *
 * Locking: the command has locked the table.
 *
 * Limits: without the library preloaded nothing is guarded.  A trigger that was
 * made then is judged by its function alone (trust.c).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "extension.h"
#include "guard.h"
#include "labels.h"
#include "reach.h"
#include "trigger_right.h"
#include "trust.h"

/* Where it is written to which table an object belongs. */
typedef struct Guarded
{
	Oid			class_id;
	Oid			index;			/* on the object's OID */
	AttrNumber	oid_attnum;
	AttrNumber	relid_attnum;
} Guarded;

static const Guarded guarded[] = {
	{TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid,
	Anum_pg_trigger_tgrelid},
	{RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid,
	Anum_pg_rewrite_ev_class},
	{PolicyRelationId, PolicyOidIndexId, Anum_pg_policy_oid,
	Anum_pg_policy_polrelid}
};

static object_access_hook_type next_hook;

static Oid
owner_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/*
 * The table of a trigger, rule or policy that this command has made or
 * changed; InvalidOid for a trigger that PostgreSQL makes for a constraint.
 */
static Oid
table_of(const Guarded *kind, Oid object_id)
{
	Relation	catalog = table_open(kind->class_id, AccessShareLock);
	Oid			relid = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;

	ScanKeyInit(&key, kind->oid_attnum, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object_id));
	scan = systable_beginscan(catalog, kind->index, true, SnapshotSelf, 1,
							  &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) &&
		(kind->class_id != TriggerRelationId ||
		 !((Form_pg_trigger) GETSTRUCT(tuple))->tgisinternal))
		relid = DatumGetObjectId(heap_getattr(tuple, kind->relid_attnum,
											  RelationGetDescr(catalog),
											  &isnull));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return relid;
}

/* Is this command our own install or update script? */
static bool
in_own_script(void)
{
	return creating_extension &&
		CurrentExtensionObject == get_extension_oid("mdbatch", true);
}

/* ERROR if it is mdbatch_rejected, which stays as it was made. */
static void
check_rejected(Oid relid)
{
	if (!OidIsValid(relid) || relid != mdb_extension_relation("mdbatch_rejected", true) ||
		in_own_script())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("table \"%s\" cannot be altered", get_rel_name(relid)),
			 errdetail("The worker writes it with the rights of its owner.")));
}

/* Is it the table itself, or a partitioned table that has it as a part? */
static bool
contains(Oid target, Oid relid)
{
	return target == relid ||
		(get_rel_relispartition(relid) &&
		 list_member_oid(get_partition_ancestors(relid), target));
}

/*
 * ERROR if a target runs code of this table and does not trust our role.  If
 * it does not trust the owner of a table that references it, either, then it
 * never writes that table: its owner does there as he likes.
 */
static void
check_role(Oid relid)
{
	ListCell   *cell;

	foreach(cell, mdb_reach_from(relid))
	{
		Oid			target = lfirst_oid(cell);
		Oid			owner = owner_of(target);

		if (!OidIsValid(owner) || mdb_trust_role(GetUserId(), owner))
			continue;
		if (target != mdb_extension_metadata_table(true) &&
			!mdb_labels_is_attached(target))
			continue;
		if (!contains(target, relid) &&
			!mdb_trust_role(owner_of(relid), owner))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must have the privileges of role \"%s\" to create or alter a trigger, rule or policy on table \"%s\"",
						GetUserNameFromId(owner, true), get_rel_name(relid)),
				 errdetail("Flushes of table \"%s\" run it as that role.",
						   get_rel_name(target))));
	}
}

/*
 * A table becomes a partition.  It brings the triggers that it has, so they
 * must be none that a lesser role can have made: as when attaching.
 */
static void
check_partition(Oid child, Oid parent)
{
	ListCell   *cell;

	check_rejected(parent);
	foreach(cell, mdb_reach_from(parent))
	{
		Oid			target = lfirst_oid(cell);
		Oid			owner = owner_of(target);

		if (OidIsValid(owner) && mdb_labels_is_attached(target))
			mdb_trigger_right_check(child, owner);
	}
}

static void
check_object(Oid class_id, Oid object_id)
{
	for (int i = 0; i < (int) lengthof(guarded); i++)
	{
		Oid			relid;

		if (guarded[i].class_id != class_id)
			continue;
		relid = table_of(&guarded[i], object_id);
		if (!OidIsValid(relid))
			return;
		check_rejected(relid);
		check_role(relid);
	}
}

/*
 * ERROR if the command alters mdbatch_rejected.  Not all of what ALTER TABLE
 * does is told to the hook below.
 */
void
mdb_guard_alter_table(const AlterTableStmt *statement)
{
	check_rejected(RangeVarGetRelid(statement->relation, NoLock, true));
}

/* A relation was altered by a command, not by PostgreSQL's own maintenance. */
static void
check_altered(Oid relid, const ObjectAccessPostAlter *alter)
{
	if (!alter->is_internal)
		check_rejected(relid);
}

static void
object_accessed(ObjectAccessType access, Oid class_id, Oid object_id,
				int sub_id, void *arg)
{
	bool		altered = access == OAT_POST_ALTER;

	if (next_hook != NULL)
		next_hook(access, class_id, object_id, sub_id, arg);
	if (!altered && access != OAT_POST_CREATE)
		return;
	switch (class_id)
	{
		case TriggerRelationId:
		case RewriteRelationId:
		case PolicyRelationId:
			if (OidIsValid(get_extension_oid("mdbatch", true)))
				check_object(class_id, object_id);
			break;
		case RelationRelationId:
			if (altered)
				check_altered(object_id, arg);
			break;
		case InheritsRelationId:
			if (altered)
				check_partition(object_id,
								((ObjectAccessPostAlter *) arg)->auxiliary_id);
			break;
		default:
			break;
	}
}

/* Watch objects; to be called once in each backend, from _PG_init. */
void
mdb_guard_register(void)
{
	next_hook = object_access_hook;
	object_access_hook = object_accessed;
}
