/*
 * attach.c
 *		Attaching and detaching tables.
 *
 * Model: the names that an attaching function is given become a layout, which
 * is checked (R20) and written as labels, all in the caller's transaction.
 * mdbatch_set_target is an attach with five names and a mark.  Pointing
 * mdbatch_add at mdbatch_metadata means to mark no table.
 *
 * Locking: SHARE UPDATE EXCLUSIVE on the new target and on all other tables
 * that a flush of it can write, then on mdbatch_metadata, which all changes of
 * the metadata target go through, then on the former target.
 *
 * Limits: what is pending for a former attachment is still written, as its
 * definition is stored beside the batch.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "attach_args.h"
#include "batch.h"
#include "drop.h"
#include "extension.h"
#include "fitness.h"
#include "labels.h"
#include "rights.h"
#include "trigger_right.h"
#include "trust.h"

PG_FUNCTION_INFO_V1(mdbatch_attach);
PG_FUNCTION_INFO_V1(mdbatch_detach);
PG_FUNCTION_INFO_V1(mdbatch_set_target);

/* Open the table that is to be the target, for its owner. */
static Relation
open_target(Oid relid)
{
	mdb_extension_lock();

	/* Nobody else's table is locked; what was true before may not be after. */
	mdb_rights_check_owner(relid);
	LockRelationOid(relid, ShareUpdateExclusiveLock);
	mdb_rights_check_owner(relid);
	return relation_open(relid, NoLock);
}

/* The former metadata target, or all tables that have its mark, is detached. */
static void
detach_former(Oid relid)
{
	ListCell   *cell;

	foreach(cell, mdb_labels_marked())
	{
		Oid			former = lfirst_oid(cell);

		if (former == relid)
			continue;
		LockRelationOid(former, ShareUpdateExclusiveLock);

		/* It may have been dropped, or attached otherwise, meanwhile. */
		if (mdb_labels_is_marked(former))
		{
			mdb_labels_clear(former);
			mdb_drop_detached(former);
		}
	}
}

/*
 * Does the owner trust all code that a flush will run?  The triggers that are
 * there now are vouched for by the caller; so no lesser role can have
 * made them.
 */
static void
check_trust(Relation rel, const MdbLayout *layout)
{
	Oid			owner = rel->rd_rel->relowner;
	Bitmapset  *key = NULL;
	List	   *locked = NIL;
	MdbTrusted	trusted;
	ListCell   *cell;

	for (int i = 0; i < layout->label.nkeys; i++)
		key = bms_add_member(key, layout->columns[i].attnum);

	/*
	 * A trigger, partition or foreign key that is being made now is seen by
	 * one side or the other: look again until all tables are locked.
	 */
	for (;;)
	{
		trusted = mdb_trust_check_target(RelationGetRelid(rel), owner, key);
		if (list_difference_oid(trusted.tables, locked) == NIL)
			break;
		foreach(cell, list_difference_oid(trusted.tables, locked))
		{
			LockRelationOid(lfirst_oid(cell), ShareUpdateExclusiveLock);
		}
		locked = list_concat_unique_oid(locked, trusted.tables);
	}
	foreach(cell, trusted.tables)
	{
		mdb_trigger_right_check(lfirst_oid(cell), owner);
	}
	bms_free(key);
}

/* Write a layout, if the table is fit for it. */
static void
attach(Relation rel, const MdbLayout *layout)
{
	MdbAltered *attributes;

	mdb_fitness_check(rel, layout);
	check_trust(rel, layout);
	pfree(mdb_layout_define(rel, layout, &attributes));
	if (layout->label.metadata)
	{
		Oid			metadata = mdb_extension_metadata_table(false);

		LockRelationOid(metadata, ShareUpdateExclusiveLock);
		detach_former(RelationGetRelid(rel));
		mdb_drop_detached(metadata);
	}
	mdb_layout_write(rel, layout);
	mdb_drop_attached(RelationGetRelid(rel), layout->label.batch_size,
					  layout->label.flush_interval);
}

static void
refuse_metadata_table(Oid relid, const char *action)
{
	if (relid == mdb_extension_metadata_table(true))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot %s table \"%s\"", action, "mdbatch_metadata"),
				 errdetail("It is the metadata target whenever no other table is."),
				 errhint("Use %s() to point mdbatch_add() at another table.",
						 "mdbatch_set_target")));
}

/*
 * Put a batch in front of a table, or change what is in front of it.
 * Transactional.
 */
Datum
mdbatch_attach(PG_FUNCTION_ARGS)
{
	Oid			relid;
	Relation	rel;

	mdb_batch_require();
	mdb_attach_args_check(fcinfo);
	PreventCommandIfReadOnly("mdbatch_attach()");
	PreventCommandIfParallelMode("mdbatch_attach()");
	relid = PG_GETARG_OID(0);
	refuse_metadata_table(relid, "attach");
	rel = open_target(relid);
	mdb_fitness_check_kind(rel);
	attach(rel, mdb_attach_args_layout(rel, fcinfo));
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * Take the batch away from a table; what is pending is still written.
 * Transactional.
 */
Datum
mdbatch_detach(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	rel;

	mdb_batch_require();
	PreventCommandIfReadOnly("mdbatch_detach()");
	PreventCommandIfParallelMode("mdbatch_detach()");
	refuse_metadata_table(relid, "detach");
	rel = open_target(relid);
	if (!mdb_labels_is_attached(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not attached",
						RelationGetRelationName(rel))));
	mdb_labels_clear(relid);
	mdb_drop_detached(relid);
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * Attach a table, naming its five columns, and point mdbatch_add at it.
 * Transactional.
 */
Datum
mdbatch_set_target(PG_FUNCTION_ARGS)
{
	Oid			relid;
	Relation	rel;

	mdb_batch_require();
	mdb_attach_args_check_five(fcinfo);
	PreventCommandIfReadOnly("mdbatch_set_target()");
	PreventCommandIfParallelMode("mdbatch_set_target()");
	relid = PG_GETARG_OID(0);
	rel = open_target(relid);
	if (relid == mdb_extension_metadata_table(false))
	{
		mdb_attach_args_check_defaults(fcinfo);
		detach_former(relid);
		mdb_drop_attached(relid, 0, 0);
	}
	else
	{
		mdb_fitness_check_kind(rel);
		attach(rel, mdb_attach_args_layout_five(rel, fcinfo));
	}
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}
