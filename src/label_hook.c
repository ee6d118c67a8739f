/*
 * label_hook.c
 *		SECURITY LABEL FOR mdbatch.
 *
 * Model: a restore and the table's owner write labels with that statement, and
 * the provider's hook judges form and right: a label says what mdbatch_attach
 * could have written, and the role may call that function.  It does not judge
 * the table.  A table that is not fit for its label any more would otherwise
 * make a dump that cannot be restored, so that an owner could stop others'
 * restores and pg_upgrade (R36).  What is odd is a WARNING here, and an ERROR
 * when the table is used.
 *
 * Locking: the statement has SHARE UPDATE EXCLUSIVE on the table; a mark of
 * the metadata target takes it on mdbatch_metadata too, which makes marks wait
 * for one another.
 *
 * Limits: two labels with the same identity that are written at the same time
 * get no WARNING.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type_d.h"
#include "commands/seclabel.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "extension.h"
#include "label_hook.h"
#include "labels.h"

/* May the current role call a function that attaches? */
static void
check_right_to_call(const char *name, int nargs, const Oid *argtypes)
{
	Oid			function;
	AclResult	result;

	mdb_extension_lock();
	function = mdb_extension_function(name, nargs, argtypes);
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function \"%s\" of extension \"%s\" does not exist",
						name, "mdbatch")));
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

/* The form of a label.  ERROR if it has no such. */
static void
check_form(const ObjectAddress *object, const char *text, MdbTableLabel *label)
{
	MdbColumnLabel column;
	const char *problem = NULL;

	memset(label, 0, sizeof(*label));
	if (text != NULL)
		problem = object->objectSubId == 0 ?
			mdb_label_parse_table(text, label) :
			mdb_label_parse_column(text, &column);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid label of provider \"%s\"", MDB_PROVIDER),
				 errdetail_internal("%s", problem),
				 errhint("Use %s() to attach a table.", "mdbatch_attach")));
}

/*
 * ERROR for what no table can become.  A table can become a view (up to
 * PostgreSQL 15), and then its dump has labels of the view.
 */
static void
check_kind(Oid relid, const char *text)
{
	bool		view = get_rel_relkind(relid) == RELKIND_VIEW;

	if (mdb_labels_is_table(relid) || (view && text == NULL))
		return;
	ereport(view ? WARNING : ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not an ordinary or partitioned table",
					get_rel_name(relid)),
			 view ? errdetail("The label is stored, but does not attach it.") : 0));
}

/*
 * May the current role mark a table as the metadata target?  WARNING if
 * another one is.
 */
static void
check_mark(Oid relid)
{
	Oid			metadata = mdb_extension_metadata_table(true);
	ListCell   *cell;

	check_right_to_mark();
	if (!mdb_labels_is_table(relid))
		return;
	if (OidIsValid(metadata))
		LockRelationOid(metadata, ShareUpdateExclusiveLock);
	foreach(cell, mdb_labels_marked())
	{
		if (lfirst_oid(cell) == relid)
			continue;
		ereport(WARNING,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("there is a metadata target already"),
				 errdetail("Table %s is marked as well. While several tables are, %s() uses none of them.",
						   mdb_labels_table_name(lfirst_oid(cell)),
						   "mdbatch_add"),
				 errhint("Use %s() to mark one of them.",
						 "mdbatch_set_target")));
		break;
	}
}

/* WARNING if another table has the identity. */
static void
check_identity(Oid relid, const pg_uuid_t *identity)
{
	Oid			twin = mdb_labels_twin(relid, identity);

	if (OidIsValid(twin))
		ereport(WARNING,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("there is a table with this identity already"),
				 errdetail("It is table %s.", mdb_labels_table_name(twin)),
				 errhint("Take the label off one of them, and attach it again.")));
}

/*
 * The provider's hook: SECURITY LABEL FOR mdbatch ON TABLE, COLUMN.  It judges
 * form and right; a table that is not fit is no ERROR, or its owner could make
 * the restore of a whole database fail (R36).
 */
static void
check_label(const ObjectAddress *object, const char *text)
{
	Oid			relid = object->objectId;
	MdbTableLabel label;

	if (object->classId != RelationRelationId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("label provider \"%s\" labels tables and their columns only",
						MDB_PROVIDER)));
	check_form(object, text, &label);
	if (!IsBinaryUpgrade)
		check_right_to_attach();
	check_kind(relid, text);
	if (IsBinaryUpgrade)
		return;
	if (relid == mdb_extension_metadata_table(true))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" cannot be labelled", "mdbatch_metadata")));
	if (object->objectSubId != 0)
	{
		CacheInvalidateRelcacheByRelid(relid);
		return;
	}
	if (label.metadata)
		check_mark(relid);
	if (label.has_identity)
		check_identity(relid, &label.identity);
	mdb_labels_invalidate(relid, label.metadata);
}

/* Register the provider, at server start. */
void
mdb_label_hook_register(void)
{
	register_label_provider(MDB_PROVIDER, check_label);
}
