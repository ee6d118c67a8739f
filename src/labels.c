/*
 * labels.c
 *		Attachments, stored as security labels of the target.
 *
 * Model: a label of the provider "mdbatch" on the table says what concerns it
 * as a whole, one on each of its columns what that column is in an entry.
 * Both are JSON objects.  So an attachment follows renames, goes with DROP,
 * rolls back, and is dumped with its table.  The table's label counts the
 * columns that must have labels, so that a dropped one is noticed.
 *
 * A restore and the table's owner write labels through SECURITY LABEL: the
 * provider's hook checks the form and the right to attach.  Whether the table
 * is fit is checked when the label is read to some purpose (target.c), as a
 * restore makes labels before primary keys.
 *
 * Locking: SECURITY LABEL and our own functions take SHARE UPDATE EXCLUSIVE
 * on the table; marking the metadata target takes it on mdbatch_metadata too.
 * Changes send relcache invalidations, of mdbatch_metadata as well, which
 * stands for the question which table is the metadata target.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_seclabel.h"
#include "commands/seclabel.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "extension.h"
#include "labels.h"

#define PROVIDER	"mdbatch"

static void
bad_label(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid label of provider \"%s\"", PROVIDER),
			 errdetail_internal("%s", detail),
			 errhint("Use %s() to attach a table.", "mdbatch_set_target")));
}

/* A field of a label; false if it is not there, ERROR if of another type. */
static bool
get_field(Jsonb *label, const char *name, enum jbvType type, JsonbValue *value)
{
	if (getKeyJsonValueFromContainer(&label->root, name, strlen(name),
									 value) == NULL)
		return false;
	if (value->type != type)
		bad_label(_("A field has the wrong type."));
	return true;
}

static bool
get_flag(Jsonb *label, const char *name)
{
	JsonbValue	value;

	return get_field(label, name, jbvBool, &value) && value.val.boolean;
}

static int64
get_number(Jsonb *label, const char *name)
{
	JsonbValue	value;
	int64		number;

	if (!get_field(label, name, jbvNumeric, &value))
		return 0;
	number = DatumGetInt64(DirectFunctionCall1(numeric_int8,
											   NumericGetDatum(value.val.numeric)));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq,
										  NumericGetDatum(value.val.numeric),
										  NumericGetDatum(int64_to_numeric(number)))))
		bad_label(_("A number is not an integer."));
	return number;
}

static Jsonb *
parse(const char *text)
{
	Jsonb	   *label = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														   CStringGetDatum(text)));

	if (!JB_ROOT_IS_OBJECT(label))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("label of provider \"%s\" must be a JSON object",
						PROVIDER)));
	return label;
}

static void
parse_table(const char *text, MdbTableLabel *label)
{
	Jsonb	   *json = parse(text);
	JsonbValue	value;
	int64		nkeys;
	int64		ncarried;

	memset(label, 0, sizeof(*label));
	label->metadata = get_flag(json, "metadata");
	label->has_version = get_flag(json, "version");
	label->nkeys = nkeys = get_number(json, "key");
	label->ncarried = ncarried = get_number(json, "columns");
	label->since = get_number(json, "since");

	if (!get_field(json, "mode", jbvString, &value))
		bad_label(_("The mode is missing."));
	if (value.val.string.len == 6 &&
		strncmp(value.val.string.val, "upsert", 6) == 0)
		label->mode = MDB_UPSERT;
	else if (value.val.string.len == 6 &&
			 strncmp(value.val.string.val, "update", 6) == 0)
		label->mode = MDB_UPDATE;
	else
		bad_label(_("The mode must be \"upsert\" or \"update\"."));

	if (get_field(json, "channel", jbvString, &value))
	{
		if (value.val.string.len == 0 || value.val.string.len >= NAMEDATALEN)
			bad_label(_("The channel must have 1 to 63 bytes."));
		memcpy(label->channel, value.val.string.val, value.val.string.len);
	}
	if (nkeys < 1 || nkeys > INDEX_MAX_KEYS ||
		ncarried < 0 || ncarried > MaxHeapAttributeNumber)
		bad_label(_("The number of columns is out of range."));
}

static void
parse_column(const char *text, MdbColumnLabel *label)
{
	Jsonb	   *json = parse(text);
	int64		key = get_number(json, "key");
	int64		carried = get_number(json, "column");
	bool		version = get_flag(json, "version");

	if ((key > 0) + (carried > 0) + version != 1 ||
		key > INDEX_MAX_KEYS || carried > MaxAttrNumber)
		bad_label(_("A column is one of key, version, or column."));
	label->role = key > 0 ? MDB_KEY : version ? MDB_VERSION : MDB_LAST;
	label->position = key > 0 ? key : carried;
	label->notify = get_flag(json, "notify");
}

static ObjectAddress
address(Oid relid, AttrNumber attnum)
{
	ObjectAddress object;

	ObjectAddressSubSet(object, RelationRelationId, relid, attnum);
	return object;
}

/* The label of a table; false if it has none. */
bool
mdb_label_read_table(Oid relid, MdbTableLabel *label)
{
	ObjectAddress object = address(relid, 0);
	char	   *text = GetSecurityLabel(&object, PROVIDER);

	if (text == NULL)
		return false;
	parse_table(text, label);
	return true;
}

/* The label of a column; false if it has none. */
bool
mdb_label_read_column(Oid relid, AttrNumber attnum, MdbColumnLabel *label)
{
	ObjectAddress object = address(relid, attnum);
	char	   *text = GetSecurityLabel(&object, PROVIDER);

	if (text == NULL)
		return false;
	parse_column(text, label);
	return true;
}

/* Whoever cached something about a target, or which one it is, looks again. */
static void
invalidate(Oid relid)
{
	Oid			metadata = mdb_extension_metadata_table(true);

	CacheInvalidateRelcacheByRelid(relid);
	if (OidIsValid(metadata) && metadata != relid)
		CacheInvalidateRelcacheByRelid(metadata);
}

/* Label a table, whose lock the caller has; not checked here. */
void
mdb_label_write_table(Oid relid, const MdbTableLabel *label)
{
	ObjectAddress object = address(relid, 0);
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "{\"mode\": \"%s\", \"key\": %d, \"columns\": %d, "
					 "\"since\": " INT64_FORMAT,
					 label->mode == MDB_UPSERT ? "upsert" : "update",
					 label->nkeys, label->ncarried, label->since);
	if (label->metadata)
		appendStringInfoString(&text, ", \"metadata\": true");
	if (label->has_version)
		appendStringInfoString(&text, ", \"version\": true");
	if (label->channel[0] != '\0')
	{
		appendStringInfoString(&text, ", \"channel\": ");
		escape_json(&text, label->channel);
	}
	appendStringInfoChar(&text, '}');
	SetSecurityLabel(&object, PROVIDER, text.data);
	invalidate(relid);
}

/* Label a column of a table, whose lock the caller has. */
void
mdb_label_write_column(Oid relid, AttrNumber attnum,
					   const MdbColumnLabel *label)
{
	ObjectAddress object = address(relid, attnum);
	StringInfoData text;

	initStringInfo(&text);
	if (label->role == MDB_VERSION)
		appendStringInfoString(&text, "{\"version\": true");
	else
		appendStringInfo(&text, "{\"%s\": %d",
						 label->role == MDB_KEY ? "key" : "column",
						 label->position);
	if (label->notify)
		appendStringInfoString(&text, ", \"notify\": true");
	appendStringInfoChar(&text, '}');
	SetSecurityLabel(&object, PROVIDER, text.data);
}

/*
 * Walk the labels of the provider in this database.  Stops when the visitor
 * returns true.
 */
static void
walk_labels(bool (*visit) (Oid relid, int subid, const char *text, void *state),
			void *state)
{
	Relation	catalog = table_open(SecLabelRelationId, AccessShareLock);
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		done = false;

	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (!done && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		FormData_pg_seclabel *form = (FormData_pg_seclabel *) GETSTRUCT(tuple);
		bool		isnull;
		Datum		provider = heap_getattr(tuple, Anum_pg_seclabel_provider,
											RelationGetDescr(catalog), &isnull);
		Datum		label = heap_getattr(tuple, Anum_pg_seclabel_label,
										 RelationGetDescr(catalog), &isnull);

		if (form->classoid == RelationRelationId &&
			strcmp(TextDatumGetCString(provider), PROVIDER) == 0)
			done = visit(form->objoid, form->objsubid,
						 TextDatumGetCString(label), state);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

static bool
visit_metadata(Oid relid, int subid, const char *text, void *state)
{
	MdbTableLabel label;

	if (subid != 0)
		return false;
	parse_table(text, &label);
	if (!label.metadata)
		return false;
	*(Oid *) state = relid;
	return true;
}

/* The table that is marked as the metadata target, or InvalidOid. */
Oid
mdb_labels_metadata_target(void)
{
	Oid			relid = InvalidOid;

	walk_labels(visit_metadata, &relid);
	return relid;
}

static bool
visit_clear(Oid relid, int subid, const char *text, void *state)
{
	ObjectAddress object = address(relid, subid);

	if (OidIsValid(*(Oid *) state) && *(Oid *) state != relid)
		return false;
	SetSecurityLabel(&object, PROVIDER, NULL);
	CacheInvalidateRelcacheByRelid(relid);
	return false;
}

/* Take all labels off a table, whose lock the caller has. */
void
mdb_labels_clear(Oid relid)
{
	walk_labels(visit_clear, &relid);
	invalidate(relid);
}

/* Take all labels off, with the extension. */
void
mdb_labels_clear_all(void)
{
	Oid			all = InvalidOid;

	walk_labels(visit_clear, &all);
}

/* May the current role attach tables, and so write labels? */
static void
check_right_to_attach(void)
{
	Oid			arguments[] = {REGCLASSOID, NAMEOID, NAMEOID, NAMEOID, NAMEOID,
	NAMEOID, TEXTOID, TEXTOID};
	Oid			function = mdb_extension_function("mdbatch_set_target",
												  lengthof(arguments),
												  arguments);
	AclResult	result;

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is not installed in this database",
						"mdbatch"),
				 errhint("Use CREATE EXTENSION to install it.")));
	result = pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, "mdbatch_set_target");
}

static void
check_marks(Oid relid, const MdbTableLabel *label)
{
	Oid			marked;

	if (!label->metadata)
		return;
	LockRelationOid(mdb_extension_metadata_table(false),
					ShareUpdateExclusiveLock);
	marked = mdb_labels_metadata_target();
	if (OidIsValid(marked) && marked != relid)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("there is a metadata target already"),
				 errdetail("Table \"%s\" is marked as the metadata target.",
						   get_rel_name(marked))));
}

/* The provider's hook: SECURITY LABEL FOR mdbatch ON TABLE, COLUMN (R27). */
static void
check_label(const ObjectAddress *object, const char *text)
{
	MdbTableLabel table;
	MdbColumnLabel column;
	char		relkind;

	if (object->classId != RelationRelationId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("label provider \"%s\" labels tables and their columns only",
						PROVIDER)));
	relkind = get_rel_relkind(object->objectId);
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an ordinary or partitioned table",
						get_rel_name(object->objectId))));
	if (text != NULL && object->objectSubId == 0)
		parse_table(text, &table);
	else if (text != NULL)
		parse_column(text, &column);

	if (IsBinaryUpgrade)
		return;
	check_right_to_attach();
	if (object->objectId == mdb_extension_metadata_table(true))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" cannot be labelled", "mdbatch_metadata")));
	if (text != NULL && object->objectSubId == 0)
		check_marks(object->objectId, &table);
	invalidate(object->objectId);
}

/* Register the provider, at server start. */
void
mdb_labels_register(void)
{
	register_label_provider(PROVIDER, check_label);
}
