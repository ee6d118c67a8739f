/*
 * attach.c
 *		Attaching tables: mdbatch_set_target.
 *
 * Model: names become a layout, which is checked (R20) and written as labels,
 * all in the caller's transaction.  Pointing mdbatch_add at mdbatch_metadata
 * means to mark no table.
 *
 * Locking: SHARE UPDATE EXCLUSIVE on the new target, then on
 * mdbatch_metadata, which all changes of the metadata target go through, then
 * on the former target.
 *
 * Limits: what is pending for the former target is still written, as its
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

#include "batch.h"
#include "extension.h"
#include "labels.h"
#include "layout.h"

PG_FUNCTION_INFO_V1(mdbatch_set_target);

/* The arguments of mdbatch_set_target, in their order. */
enum
{
	ARG_TARGET,
	ARG_AGENT_ID,
	ARG_KEY,
	ARG_VALUE,
	ARG_ERROR,
	ARG_COLLECTED_AT,
	ARG_MODE,
	ARG_CHANNEL
};

static const char *const argument_names[] = {
	"target", "agent_id", "key", "value", "error", "collected_at", "mode",
	"channel"
};

static void
check_arguments(FunctionCallInfo fcinfo)
{
	for (int i = ARG_TARGET; i <= ARG_MODE; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null",
							argument_names[i])));
}

static MdbMode
get_mode(const char *mode)
{
	if (strcmp(mode, "upsert") == 0)
		return MDB_UPSERT;
	if (strcmp(mode, "update") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid mode \"%s\"", mode),
				 errhint("Valid modes are \"upsert\" and \"update\".")));
	return MDB_UPDATE;
}

static void
check_channel(const char *channel)
{
	if (channel[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("channel name must not be empty"),
				 errhint("Use NULL for no notification.")));
	if (strlen(channel) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("channel name is too long"),
				 errdetail("It may have at most %d bytes.", NAMEDATALEN - 1)));
}

/* The layout that the arguments describe. */
static MdbLayout *
layout_of_arguments(Relation rel, FunctionCallInfo fcinfo)
{
	static const int columns[] = {ARG_AGENT_ID, ARG_KEY, ARG_COLLECTED_AT,
	ARG_VALUE, ARG_ERROR};
	MdbTableLabel label = {0};
	MdbLayout  *layout;

	label.metadata = true;
	label.mode = get_mode(text_to_cstring(PG_GETARG_TEXT_PP(ARG_MODE)));
	if (!PG_ARGISNULL(ARG_CHANNEL))
	{
		const char *channel = text_to_cstring(PG_GETARG_TEXT_PP(ARG_CHANNEL));

		check_channel(channel);
		strlcpy(label.channel, channel, NAMEDATALEN);
	}
	label.nkeys = 2;
	label.has_version = true;
	label.ncarried = 2;
	label.since = GetCurrentTimestamp();
	layout = mdb_layout_make(&label);
	for (int i = 0; i < (int) lengthof(columns); i++)
		layout->columns[i] =
			mdb_layout_column(rel, NameStr(*PG_GETARG_NAME(columns[i])));
	layout->notify = layout->columns[0];
	return layout;
}

/* mdbatch_metadata is what it is. */
static void
check_defaults(FunctionCallInfo fcinfo)
{
	bool		defaults = !PG_ARGISNULL(ARG_CHANNEL);

	for (int i = ARG_AGENT_ID; i <= ARG_COLLECTED_AT; i++)
		defaults &= strcmp(NameStr(*PG_GETARG_NAME(i)), argument_names[i]) == 0;
	defaults = defaults &&
		strcmp(text_to_cstring(PG_GETARG_TEXT_PP(ARG_MODE)), "upsert") == 0 &&
		strcmp(text_to_cstring(PG_GETARG_TEXT_PP(ARG_CHANNEL)),
			   MDB_DEFAULT_CHANNEL) == 0;
	if (!defaults)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" can be the target with default arguments only",
						"mdbatch_metadata"),
				 errhint("Use a table of your own.")));
}

static void
check_ownership(Oid relid)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!pg_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER,
					   get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}

/* Open the table that is to be the target, for its owner. */
static Relation
open_target(Oid relid)
{
	/* Nobody else's table is locked; what was true before may not be after. */
	check_ownership(relid);
	LockRelationOid(relid, ShareUpdateExclusiveLock);
	check_ownership(relid);
	return relation_open(relid, NoLock);
}

/* The former metadata target is detached. */
static void
detach_former(Oid relid)
{
	Oid			former = mdb_labels_metadata_target();

	if (!OidIsValid(former) || former == relid)
		return;
	LockRelationOid(former, ShareUpdateExclusiveLock);
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(former)))
		mdb_labels_clear(former);
}

/*
 * Attach a table, naming its five columns, and point mdbatch_add at it.
 * Transactional.
 */
Datum
mdbatch_set_target(PG_FUNCTION_ARGS)
{
	Oid			metadata;
	Oid			relid;
	Relation	rel;

	mdb_batch_require();
	check_arguments(fcinfo);
	PreventCommandIfReadOnly("mdbatch_set_target()");
	relid = PG_GETARG_OID(ARG_TARGET);
	metadata = mdb_extension_metadata_table(false);
	rel = open_target(relid);

	if (relid == metadata)
	{
		check_defaults(fcinfo);
		detach_former(relid);
	}
	else
	{
		MdbLayout  *layout;

		mdb_layout_check_kind(rel);
		layout = layout_of_arguments(rel, fcinfo);

		mdb_layout_check(rel, layout);
		LockRelationOid(metadata, ShareUpdateExclusiveLock);
		detach_former(relid);
		mdb_layout_write(rel, layout);
	}
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}
