/*
 * extension.c
 *		Where this database has the extension.
 *
 * Model: looked up in the catalogs at each call; callers cache.  A name in the
 * extension's schema is not enough: the owner of mdbatch_metadata can rename
 * it, and make another table in its place.  So what is found must be a
 * member of the extension, and what was renamed is not found.
 *
 * Locking: none; the extension's objects go with it, and code that still uses
 * them then meets a plain "does not exist".
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "extension.h"

/* The schema that holds our objects. */
Oid
mdb_extension_schema(bool missing_ok)
{
	Oid			extension = get_extension_oid("mdbatch", missing_ok);
	Oid			schema = InvalidOid;
	Relation	catalog;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	if (!OidIsValid(extension))
		return InvalidOid;

	catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(catalog, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return schema;
}

/*
 * Keep the extension from being dropped until this transaction ends; ERROR if
 * it is not there, or is another one by the time that we have the lock.
 */
void
mdb_extension_lock(void)
{
	Oid			extension = get_extension_oid("mdbatch", true);

	if (OidIsValid(extension))
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	if (!OidIsValid(extension) ||
		get_extension_oid("mdbatch", true) != extension)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is not installed in this database",
						"mdbatch"),
				 errhint("Use CREATE EXTENSION to install it.")));
}

/* Does an object belong to the extension? */
static bool
is_member(Oid class_id, Oid object_id)
{
	Oid			extension = get_extension_oid("mdbatch", true);

	return OidIsValid(extension) &&
		getExtensionOfObject(class_id, object_id) == extension;
}

/* A table or view of ours.  If it is missing, InvalidOid or an ERROR. */
Oid
mdb_extension_relation(const char *name, bool missing_ok)
{
	Oid			schema = mdb_extension_schema(missing_ok);
	Oid			relid = InvalidOid;
	bool		impostor;

	if (OidIsValid(schema))
		relid = get_relname_relid(name, schema);
	impostor = OidIsValid(relid) && !is_member(RelationRelationId, relid);
	if (OidIsValid(relid) && !impostor)
		return relid;
	if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" of extension \"%s\" does not exist",
						name, "mdbatch"),
				 impostor ?
				 errdetail("The relation of that name in schema \"%s\" does not belong to the extension.",
						   get_namespace_name(schema)) : 0,
				 errhint("If it was renamed or moved, give it back its name \"%s\" in schema \"%s\".",
						 name, get_namespace_name(schema))));
	return InvalidOid;
}

/* The table mdbatch_metadata. */
Oid
mdb_extension_metadata_table(bool missing_ok)
{
	return mdb_extension_relation("mdbatch_metadata", missing_ok);
}

/* One of our functions; InvalidOid if there is none. */
Oid
mdb_extension_function(const char *name, int nargs, const Oid *argtypes)
{
	oidvector  *arguments = buildoidvector(argtypes, nargs);
	Oid			function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										   CStringGetDatum(name),
										   PointerGetDatum(arguments),
										   ObjectIdGetDatum(mdb_extension_schema(true)));

	return OidIsValid(function) && is_member(ProcedureRelationId, function) ?
		function : InvalidOid;
}
