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
 * made or altered, at each new partition, and at each foreign key to a target.
 * The guard holds for the target, its partitions, and the tables that change
 * with it through foreign keys (reach.c), as long as entries wait.  On
 * mdbatch_metadata only roles that its owner trusts make triggers, also while
 * another table is the metadata target.  mdbatch_rejected, which the worker
 * writes with a superuser's rights, gets none, and is not altered: ALTER TABLE
 * on it is refused before it runs.
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
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/seclabel.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "batch.h"
#include "extension.h"
#include "guard.h"
#include "guard_names.h"
#include "labels.h"
#include "reach.h"
#include "rights.h"
#include "trigger_right.h"
#include "trust.h"

static object_access_hook_type next_hook;

/*
 * The row of an object as this command has made or changed it, which a syscache
 * does not see yet.  palloc'd; NULL if it is gone.
 */
static HeapTuple
read_row(Oid class_id, Oid object_id)
{
	Relation	catalog = table_open(class_id, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, get_object_attnum_oid(class_id), BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(object_id));
	scan = systable_beginscan(catalog, get_object_oid_index(class_id), true,
							  SnapshotSelf, 1, &key);
	tuple = heap_copytuple(systable_getnext(scan));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return tuple;
}

/*
 * The columns of a target's key, as its labels say; none if they cannot be
 * read, or if entries wait that were added when it could have had another one.
 * Never an ERROR: the command is about another table.
 */
static Bitmapset *
key_of(Oid relid)
{
	uint64		epoch;
	int			number = mdb_batch_find(MyDatabaseId, relid, &epoch);
	Bitmapset  *key = NULL;

	if (number >= 0 &&
		mdb_batch(number)->oldest != mdb_batch(number)->newest)
		return NULL;
	if (relid == mdb_extension_metadata_table(true))
	{
		key = bms_add_member(key, Max(get_attnum(relid, "agent_id"), 0));
		return bms_add_member(key, Max(get_attnum(relid, "key"), 0));
	}
	for (AttrNumber i = 1; SearchSysCacheExists2(ATTNUM,
												 ObjectIdGetDatum(relid),
												 Int16GetDatum(i)); i++)
	{
		ObjectAddress object;
		MdbColumnLabel label;
		char	   *text;

		ObjectAddressSubSet(object, RelationRelationId, relid, i);
		text = GetSecurityLabel(&object, MDB_PROVIDER);
		if (text != NULL && mdb_label_parse_column(text, &label) == NULL &&
			label.in_entry && label.role == MDB_KEY)
			key = bms_add_member(key, i);
	}
	return key;
}

/*
 * Is a table attached, or was it, and entries still wait?  The table
 * mdbatch_metadata can be the target again at any time.
 */
static bool
is_target(Oid relid)
{
	uint64		epoch;
	int			number;

	if (relid == mdb_extension_metadata_table(true) ||
		mdb_labels_is_attached(relid))
		return true;
	number = mdb_batch_find(MyDatabaseId, relid, &epoch);
	return number >= 0 && !mdb_batch_is_empty(mdb_batch(number));
}

/* Is it the table itself, or a partitioned table that has it as a part? */
static bool
contains(Oid target, Oid relid)
{
	return target == relid ||
		list_member_oid(mdb_reach_ancestors(relid), target);
}

/*
 * Can flushes of a target run code of the table?  Not if the owner of the target
 * does not trust those of the tables above it, or the owner of a table that
 * references it: then no flush runs, and those owners do there as they like.
 */
static bool
runs_code_of(Oid target, Oid relid)
{
	Oid			owner = mdb_rights_owner(target);
	ListCell   *cell;

	if (!OidIsValid(owner) || !is_target(target))
		return false;
	foreach(cell, mdb_reach_ancestors(target))
	{
		if (!mdb_rights_is_trusted(mdb_rights_owner(lfirst_oid(cell)), owner))
			return false;
	}
	return contains(target, relid) ||
		mdb_rights_is_trusted(mdb_rights_owner(relid), owner);
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

/* ERROR if a target runs code of this table and does not trust our role. */
static void
check_role(Oid relid)
{
	ListCell   *cell;

	foreach(cell, mdb_reach_from(relid))
	{
		Oid			target = lfirst_oid(cell);
		Oid			owner = mdb_rights_owner(target);

		if (!runs_code_of(target, relid) || mdb_rights_is_trusted(GetUserId(), owner))
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
 * ERROR if a table, or one that is written with it, has triggers that a role
 * can have made which the owner of a target does not trust.
 */
static void
check_triggers(Oid relid, Oid owner)
{
	ListCell   *cell;

	foreach(cell, mdb_reach_tables(relid, NULL))
	{
		mdb_trigger_right_check(lfirst_oid(cell), owner);
	}
}

/* The owners of the targets that write a table. */
static List *
owners_of_targets(Oid relid)
{
	List	   *owners = NIL;
	ListCell   *cell;

	foreach(cell, mdb_reach_from(relid))
	{
		if (runs_code_of(lfirst_oid(cell), relid))
			owners = list_append_unique_oid(owners, mdb_rights_owner(lfirst_oid(cell)));
	}
	return owners;
}

/*
 * A table becomes a partition.  It brings the triggers that it has, with those
 * of its own partitions, to the targets above it; and gets those of the tables
 * above it, if it is a target or has one.  They must be none that a lesser role
 * can have made: as when attaching.
 */
static void
check_partition(Oid child, Oid parent)
{
	ListCell   *cell;
	ListCell   *inner;

	check_rejected(parent);
	foreach(cell, owners_of_targets(parent))
	{
		check_triggers(child, lfirst_oid(cell));
	}
	foreach(cell, mdb_reach_with_partitions(child))
	{
		Oid			part = lfirst_oid(cell);

		if (!is_target(part))
			continue;
		mdb_trigger_right_check(parent, mdb_rights_owner(part));
		foreach(inner, mdb_reach_ancestors(parent))
		{
			mdb_trigger_right_check(lfirst_oid(inner), mdb_rights_owner(part));
		}
	}
}

/*
 * A foreign key is made that has flushes of a target look at the referencing
 * table, or write it.  A lesser role could so stop all flushes, as they run no
 * code of such a role; and any role could bring triggers of a lesser one.
 */
static void
check_foreign_key(Form_pg_trigger form)
{
	ListCell   *cell;

	if (!mdb_reach_is_update_trigger(form))
		return;
	foreach(cell, mdb_reach_from(form->tgrelid))
	{
		Oid			target = lfirst_oid(cell);
		Oid			owner = mdb_rights_owner(target);

		if (!runs_code_of(target, form->tgrelid) ||
			(contains(target, form->tgrelid) &&
			 mdb_reach_references_key(form->tgconstraint, target,
									  key_of(target))))
			continue;
		if (!mdb_rights_is_trusted(GetUserId(), owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must have the privileges of role \"%s\" to reference these columns of table \"%s\"",
							GetUserNameFromId(owner, true),
							get_rel_name(form->tgrelid)),
					 errdetail("Flushes of table \"%s\" can change them, and would have to check the foreign key.",
							   get_rel_name(target))));
		check_triggers(form->tgconstrrelid, owner);
	}
}

static void
check_trigger(Form_pg_trigger form, bool altered)
{
	if (form->tgisinternal)
	{
		if (!altered)
			check_foreign_key(form);
		return;
	}

	/* Its own trigger can be switched off and on. */
	if (!altered)
		check_rejected(form->tgrelid);
	check_role(form->tgrelid);
}

/* A rule or policy of a table was made or altered. */
static void
check_table(Oid relid)
{
	check_rejected(relid);
	check_role(relid);
}

/* An object of a catalog that is guarded was made or altered. */
static void
check_object(Oid class_id, Oid object_id, bool altered)
{
	HeapTuple	tuple = read_row(class_id, object_id);

	if (tuple == NULL)
		return;
	switch (class_id)
	{
		case TriggerRelationId:
			check_trigger((Form_pg_trigger) GETSTRUCT(tuple), altered);
			break;
		case RewriteRelationId:
			check_table(((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class);
			break;
		case PolicyRelationId:
			check_table(((Form_pg_policy) GETSTRUCT(tuple))->polrelid);
			break;
		case ProcedureRelationId:
			mdb_guard_check_function((Form_pg_proc) GETSTRUCT(tuple));
			break;
	}
	heap_freetuple(tuple);
}

/* Does the command only switch triggers on or off, as pg_restore does? */
static bool
switches_triggers(const AlterTableStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->cmds)
	{
		switch (lfirst_node(AlterTableCmd, cell)->subtype)
		{
			case AT_EnableTrig:
			case AT_EnableAlwaysTrig:
			case AT_EnableReplicaTrig:
			case AT_EnableTrigAll:
			case AT_EnableTrigUser:
			case AT_DisableTrig:
			case AT_DisableTrigAll:
			case AT_DisableTrigUser:
				break;
			default:
				return false;
		}
	}
	return true;
}

/*
 * ERROR if the command alters mdbatch_rejected.  What alters tables is told to
 * the hook below in some cases only, in others on some servers.
 */
void
mdb_guard_command(Node *command)
{
	RangeVar   *table = NULL;

	if (IsA(command, AlterTableStmt) &&
		!switches_triggers((AlterTableStmt *) command))
		table = ((AlterTableStmt *) command)->relation;
	else if (IsA(command, RenameStmt))
		table = ((RenameStmt *) command)->relation;
	else if (IsA(command, AlterObjectSchemaStmt))
		table = ((AlterObjectSchemaStmt *) command)->relation;
	if (table != NULL)
		check_rejected(RangeVarGetRelid(table, NoLock, true));
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
				check_object(class_id, object_id, altered);
			break;
		case ProcedureRelationId:

			/* A superuser knows what he does, and restores what there was. */
			if (!superuser())
				check_object(class_id, object_id, altered);
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
