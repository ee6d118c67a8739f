/*
 * target.c
 *		Targets as a backend knows them: resolved, checked, cached.
 *
 * Model: a cache by table, emptied by relcache invalidations (labels send
 * them, too), and of rights by those of roles and schemas.  Every add accepts
 * invalidations first, so a change is seen by the next call after its commit.
 * An altered row type sends one of its own relation, and none of the tables
 * that have columns of it.
 *
 * Locking: ACCESS SHARE on the table while it is resolved, none at an add
 * that finds it in the cache: adds go on while a flush, or an ALTER TABLE,
 * has the table locked (R5).
 *
 * Limits: what was resolved may change between the call and the flush, which
 * looks at the catalogs itself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "batch.h"
#include "compat.h"
#include "define.h"
#include "fitness.h"
#include "marked.h"
#include "name.h"
#include "note.h"
#include "rights.h"
#include "shape.h"
#include "target.h"

static HTAB *targets;

static void
forget_roles(MdbTarget *target)
{
	target->allowed_role = InvalidOid;
	target->naming_role = InvalidOid;
}

static uint64 changes;			/* see mdb_target_changes() */

static void
forget(MdbTarget *target)
{
	target->valid = false;
	target->changed = true;
	forget_roles(target);
}

static void
forget_all(void)
{
	HASH_SEQ_STATUS scan;
	MdbTarget  *target;

	hash_seq_init(&scan, targets);
	while ((target = hash_seq_search(&scan)) != NULL)
		forget(target);
}

/* A relation changed, or (InvalidOid) any may have. */
static void
relation_changed(Datum arg, Oid relid)
{
	MdbTarget  *target;

	if (!OidIsValid(relid))
		forget_all();
	else if (mdb_shape_was_described(relid))
	{
		/* One that is just being resolved may have described it, too. */
		changes++;
		forget_all();
	}
	else
	{
		target = hash_search(targets, &relid, HASH_FIND, NULL);
		if (target != NULL)
			forget(target);
	}
}

/*
 * How often a row type of a target may have been altered by this very
 * transaction, which can take that back: then the catalogs do not tell.
 */
uint64
mdb_target_changes(void)
{
	return changes;
}

/* Resolve a table again; cannot fail. */
void
mdb_target_forget(Oid relid)
{
	if (targets != NULL)
		relation_changed((Datum) 0, relid);
}

/* A role, a membership or the rights on a schema changed. */
static void
rights_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS scan;
	MdbTarget  *target;

	hash_seq_init(&scan, targets);
	while ((target = hash_seq_search(&scan)) != NULL)
		forget_roles(target);
}

static void
make_cache(void)
{
	HASHCTL		info = {0};

	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(MdbTarget);
	info.hcxt = TopMemoryContext;
	targets = hash_create("mdbatch targets", 16, &info,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, rights_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, rights_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, rights_changed, (Datum) 0);
	/* who is pg_database_owner */
	CacheRegisterSyscacheCallback(DATABASEOID, rights_changed, (Datum) 0);
}

static MdbTarget *
cached(Oid relid)
{
	bool		found;
	MdbTarget  *target;

	if (targets == NULL)
		make_cache();
	target = hash_search(targets, &relid, HASH_ENTER, &found);
	if (!found)
		memset((char *) target + sizeof(Oid), 0, sizeof(MdbTarget) - sizeof(Oid));
	return target;
}

pg_noreturn static void not_attached(Oid relid);

static void
not_attached(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" is not attached", get_rel_name(relid)),
			 errhint("Use %s() to attach it.", "mdbatch_attach")));
}

/* The columns of an entry as the table has them: names, domains, typmods. */
static TupleDesc
describe_row(Relation rel, const MdbDefinition *definition)
{
	TupleDesc	row = CreateTemplateTupleDesc(definition->ncolumns);

	for (int i = 0; i < definition->ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
											  definition->columns[i].attnum - 1);

		TupleDescInitEntry(row, i + 1, NameStr(att->attname), att->atttypid,
						   att->atttypmod, att->attndims);
		TupleDescInitEntryCollation(row, i + 1, att->attcollation);
	}
	return row;
}

/* The same, keys and version without their domains. */
static TupleDesc
describe_input(TupleDesc row, const MdbDefinition *definition)
{
	TupleDesc	input = CreateTupleDescCopy(row);

	for (int i = 0; i < mdb_definition_carried(definition); i++)
	{
		Form_pg_attribute att = TupleDescAttr(input, i);

		att->atttypid = getBaseTypeAndTypmod(att->atttypid, &att->atttypmod);
	}
	return input;
}

/* What was fit when it was attached may no longer be (R23). */
static void
check_fitness(Relation rel, const MdbLayout *layout)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		mdb_fitness_check(rel, layout);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (error->hint == NULL)
			error->hint = psprintf(_("Attach the table again, with %s(), when it is fit to be a target."),
								   layout->label.metadata ?
								   "mdbatch_set_target" : "mdbatch_attach");
		ReThrowError(error);
	}
	PG_END_TRY();
}

/*
 * Fill a target from the catalogs, its table open and locked; false if it is
 * not attached.
 */
static bool
resolve(MdbTarget *target, Relation rel)
{
	MdbLayout  *layout = mdb_layout_read(rel);
	MdbDefinition *definition;
	MdbAltered *attributes;
	Size		size;
	MemoryContext old;
	const char *name;

	if (layout == NULL)
		return false;
	check_fitness(rel, layout);
	definition = mdb_layout_define(rel, layout, &attributes);

	/* Somebody further up may still be using what was resolved before. */
	if (target->context != NULL)
		MemoryContextSetParent(target->context, TopTransactionContext);
	target->context = NULL;
	target->context = AllocSetContextCreate(TopMemoryContext,
											"mdbatch target",
											ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(target->context);
	target->definition = palloc(mdb_definition_size(definition));
	memcpy(target->definition, definition, mdb_definition_size(definition));
	size = mdb_definition_nattributes(definition) * sizeof(MdbAltered);
	target->attributes = palloc(size);
	memcpy(target->attributes, attributes, size);
	target->row = describe_row(rel, definition);
	target->input = describe_input(target->row, definition);
	MemoryContextSwitchTo(old);
	target->resolved++;
	target->owner = rel->rd_rel->relowner;
	name = mdb_name_of_table(RelationGetRelid(rel));
	strlcpy(target->name, name,
			pg_mbcliplen(name, strlen(name), MDB_TARGET_NAME - 1) + 1);
	target->epoch = 0;
	forget_roles(target);
	return true;
}

/*
 * A target that is attached and fit, or an ERROR; NULL, if the caller wants
 * that, where the table is not attached or does not exist.
 */
static MdbTarget *
find_target(Oid relid, bool missing_ok)
{
	MdbTarget  *target;

	AcceptInvalidationMessages();
	target = cached(relid);
	for (int round = 1; !target->valid; round++)
	{
		uint64		messages = SharedInvalidMessageCounter;
		Relation	rel;
		bool		attached;

		CHECK_FOR_INTERRUPTS();
		LockRelationOid(relid, AccessShareLock);
		rel = RelationIdGetRelation(relid);
		if (rel == NULL && missing_ok)
			return NULL;
		if (rel == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation with OID %u does not exist", relid)));

		mdb_marked_used();
		target->changed = false;
		attached = resolve(target, rel);
		target->valid = attached && !target->changed;
		table_close(rel, AccessShareLock);
		if (!attached && missing_ok)
			return NULL;
		if (!attached)
			not_attached(relid);

		/*
		 * Good for this call, if what cleared it was no message, or if the
		 * messages do not end: what it says was true a moment ago.
		 */
		if (messages == SharedInvalidMessageCounter || round == MDB_MAX_ROUNDS)
			break;
	}
	return target;
}

/*
 * A target that is attached and fit, or an ERROR.  Good until the caller
 * calls anything of this file again.
 */
MdbTarget *
mdb_target_resolve(Oid relid)
{
	return find_target(relid, false);
}

/* The table of a row type, which may be a domain over one. */
Oid
mdb_target_of_row(Oid type)
{
	Oid			relid = OidIsValid(type) ?
		get_typ_typrelid(getBaseType(type)) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("argument must be a row of a target"),
				 OidIsValid(type) ?
				 errdetail("It has type %s.", format_type_be(type)) : 0,
				 errhint("Cast it to the name of the table.")));
	return relid;
}

/* The target of mdbatch_add. */
MdbTarget *
mdb_target_metadata(void)
{
	if (targets == NULL)
		make_cache();
	AcceptInvalidationMessages();
	for (int round = 1;; round++)
	{
		Oid			relid = mdb_marked_find();
		MdbTarget  *target = find_target(relid, true);

		/* It may have become another one while we waited for its table. */
		if (target != NULL && target->definition->metadata)
			return target;
		mdb_marked_forget();
		if (round == MDB_MAX_ROUNDS)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("the metadata target changes all the time"),
					 errdetail("It was another table each of the %d times that it was looked up.",
							   MDB_MAX_ROUNDS)));
	}
}

/* Neither the adding role nor the owner, who writes, may be under policies. */
static void
refuse_row_security(const MdbTarget *target, Oid role)
{
	if (check_enable_rls(target->relid, role, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot add to table \"%s\"", get_rel_name(target->relid)),
				 role == target->owner ?
				 errdetail("Row-level security applies to the owner of the table.") :
				 errdetail("Row-level security applies to role \"%s\".",
						   GetUserNameFromId(role, false))));
}

/*
 * May the current role add to the target (R18)?  ERROR if not.
 *
 * The answer is cached, unless an invalidation came while it was looked for:
 * it could be about what had been looked at by then.
 */
void
mdb_target_check_add(MdbTarget *target)
{
	Oid			role = GetUserId();
	uint64		messages = SharedInvalidMessageCounter;

	if (target->allowed_role == role)
		return;
	if (!mdb_rights_add(target->definition))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s",
						get_rel_name(target->relid)),
				 errdetail_internal("%s",
									mdb_rights_needed(target->definition))));
	refuse_row_security(target, role);
	refuse_row_security(target, target->owner);
	if (messages == SharedInvalidMessageCounter)
		target->allowed_role = role;
}

/*
 * The caller has named the target: could the current role do so in SQL?  ERROR
 * if not.
 */
void
mdb_target_check_named(MdbTarget *target)
{
	Oid			role = GetUserId();
	uint64		messages = SharedInvalidMessageCounter;

	if (target->naming_role == role)
		return;
	mdb_rights_check_named(target->relid);
	if (messages == SharedInvalidMessageCounter)
		target->naming_role = role;
}

/*
 * The target's batch and definition, held to the end of the transaction;
 * false if the batch may not have the memory for a new definition now.  ERROR
 * if no batch is free.
 */
bool
mdb_target_hold_batch(MdbTarget *target)
{
	if (target->epoch != 0 && mdb_note_hold(target->batch, target->epoch))
		return true;

	for (;;)
	{
		uint64		epoch = 0;

		target->epoch = 0;
		target->batch = mdb_batch_acquire(MyDatabaseId, target->relid, &epoch);
		if (target->batch < 0)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("no batch is free for table \"%s\"",
							get_rel_name(target->relid)),
					 errdetail("All %d of \"mdbatch.max_batches\" have pending entries, or transactions that use them.",
							   mdb_max_batches),
					 errhint("Increase \"mdbatch.max_batches\".")));
		if (epoch != 0 && mdb_note_hold(target->batch, epoch))
		{
			target->definition_ref =
				mdb_define(target->batch, target->definition,
						   target->name);
			if (target->definition_ref == MDB_NO_REF)
				return false;
			target->epoch = epoch;
			return true;
		}
	}
}

MdbLimits
mdb_target_limits(const MdbTarget *target)
{
	return mdb_settings_limits(target->definition->batch_size,
							   target->definition->flush_interval);
}
