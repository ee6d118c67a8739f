/*
 * labels.c
 *		Attachments, stored as security labels of the target.
 *
 * Model: a label of the provider "mdbatch" on the table says what concerns it
 * as a whole, one on each of its columns what that column is in an entry.
 * (label.c has their form).  So an attachment follows renames, goes with DROP,
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
#include "access/xact.h"
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
#include "utils/lsyscache.h"

#include "compat.h"
#include "extension.h"
#include "labels.h"

static ObjectAddress
address(Oid relid, AttrNumber attnum)
{
	ObjectAddress object;

	ObjectAddressSubSet(object, RelationRelationId, relid, attnum);
	return object;
}

static bool
read_table(Oid relid, MdbTableLabel *label)
{
	ObjectAddress object = address(relid, 0);
	char	   *text = GetSecurityLabel(&object, MDB_PROVIDER);

	if (text == NULL)
		return false;
	mdb_label_parse_table(text, label);
	return true;
}

/* The label of an attached table; false if it is not attached. */
bool
mdb_labels_read_table(Oid relid, MdbTableLabel *label)
{
	return read_table(relid, label) && label->attached;
}

/*
 * The identity of a table's attachment, also of a former one; false if it has
 * none.  mdbatch_metadata, which has no label, has the nil uuid.
 */
bool
mdb_labels_identity(Oid relid, pg_uuid_t *identity)
{
	MdbTableLabel label;

	memset(identity, 0, sizeof(*identity));
	if (relid == mdb_extension_metadata_table(true))
		return true;
	if (!read_table(relid, &label) || !label.has_identity)
		return false;
	*identity = label.identity;
	return true;
}

/* The label of a column; false if it has none. */
bool
mdb_labels_read_column(Oid relid, AttrNumber attnum, MdbColumnLabel *label)
{
	ObjectAddress object = address(relid, attnum);
	char	   *text = GetSecurityLabel(&object, MDB_PROVIDER);

	if (text == NULL)
		return false;
	mdb_label_parse_column(text, label);
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

/*
 * Label a table as attached, whose lock the caller has; not checked here.  It
 * keeps the identity that it has.
 */
void
mdb_labels_write_table(Oid relid, const MdbTableLabel *label)
{
	ObjectAddress object = address(relid, 0);
	MdbTableLabel written = *label;

	written.attached = true;
	written.has_identity = true;
	if (!mdb_labels_identity(relid, &written.identity))
		written.identity = *DatumGetUUIDP(OidFunctionCall0(F_GEN_RANDOM_UUID));
	SetSecurityLabel(&object, MDB_PROVIDER, mdb_label_format_table(&written));
	invalidate(relid);
}

/* Label a column of a table, whose lock the caller has. */
void
mdb_labels_write_column(Oid relid, AttrNumber attnum,
						const MdbColumnLabel *label)
{
	ObjectAddress object = address(relid, attnum);

	SetSecurityLabel(&object, MDB_PROVIDER, mdb_label_format_column(label));
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
			strcmp(TextDatumGetCString(provider), MDB_PROVIDER) == 0)
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
	mdb_label_parse_table(text, &label);
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
	bool		all = !OidIsValid(*(Oid *) state);
	const char *kept = NULL;

	if (!all && *(Oid *) state != relid)
		return false;
	if (!all && subid == 0)
	{
		MdbTableLabel label;

		mdb_label_parse_table(text, &label);
		label.attached = false;
		if (label.has_identity)
			kept = mdb_label_format_table(&label);
	}
	SetSecurityLabel(&object, MDB_PROVIDER, kept);
	CacheInvalidateRelcacheByRelid(relid);
	return false;
}

/*
 * Take all labels off a table, whose lock the caller has, but its identity:
 * its rejected entries still belong to it.
 */
void
mdb_labels_clear(Oid relid)
{
	walk_labels(visit_clear, &relid);
	CommandCounterIncrement();
	invalidate(relid);
}

/* Is a table attached, or the metadata target since no other is? */
bool
mdb_labels_is_attached(Oid relid)
{
	MdbTableLabel label;

	return mdb_labels_read_table(relid, &label) ||
		(relid == mdb_extension_metadata_table(true) &&
		 !OidIsValid(mdb_labels_metadata_target()));
}

/* Take all labels off, with the extension. */
void
mdb_labels_clear_all(void)
{
	Oid			all = InvalidOid;

	walk_labels(visit_clear, &all);
}

/* May the current role call a function that attaches? */
static void
check_right_to_call(const char *name, int nargs, const Oid *argtypes)
{
	Oid			function = mdb_extension_function(name, nargs, argtypes);
	AclResult	result;

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is not installed in this database",
						"mdbatch"),
				 errhint("Use CREATE EXTENSION to install it.")));
	result = object_aclcheck(ProcedureRelationId, function, GetUserId(),
							 ACL_EXECUTE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, name);
}

/* May the current role attach tables, and so write labels? */
static void
check_right_to_attach(void)
{
	static const Oid arguments[] = {REGCLASSOID, NAMEARRAYOID, NAMEOID,
		NAMEARRAYOID, JSONBOID, TEXTOID, TEXTOID, NAMEOID, INT4OID,
	INTERVALOID};

	check_right_to_call("mdbatch_attach", lengthof(arguments), arguments);
}

/* May the current role point mdbatch_add at tables? */
static void
check_right_to_mark(void)
{
	static const Oid arguments[] = {REGCLASSOID, NAMEOID, NAMEOID, NAMEOID,
	NAMEOID, NAMEOID, TEXTOID, TEXTOID};

	check_right_to_call("mdbatch_set_target", lengthof(arguments), arguments);
}

static void
check_marks(Oid relid, const MdbTableLabel *label)
{
	Oid			marked;

	if (!label->metadata)
		return;
	check_right_to_mark();
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
						MDB_PROVIDER)));
	relkind = get_rel_relkind(object->objectId);
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an ordinary or partitioned table",
						get_rel_name(object->objectId))));
	if (text != NULL && object->objectSubId == 0)
		mdb_label_parse_table(text, &table);
	else if (text != NULL)
		mdb_label_parse_column(text, &column);

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
	register_label_provider(MDB_PROVIDER, check_label);
}
