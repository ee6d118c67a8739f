/*
 * extension.c
 *		Where this database has the extension.
 *
 * Model: looked up in the catalogs at each call; callers cache.
 *
 * Locking: none; the extension's objects go with it, and whoever still uses
 * them then meets a plain "does not exist".
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
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

/* The table mdbatch_metadata. */
Oid
mdb_extension_metadata_table(bool missing_ok)
{
	Oid			schema = mdb_extension_schema(missing_ok);
	Oid			relid = InvalidOid;

	if (OidIsValid(schema))
		relid = get_relname_relid("mdbatch_metadata", schema);
	if (!OidIsValid(relid) && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" does not exist", "mdbatch_metadata")));
	return relid;
}

/* One of our functions; InvalidOid if there is none. */
Oid
mdb_extension_function(const char *name, int nargs, const Oid *argtypes)
{
	oidvector  *arguments = buildoidvector(argtypes, nargs);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum(name),
						   PointerGetDatum(arguments),
						   ObjectIdGetDatum(mdb_extension_schema(true)));
}
