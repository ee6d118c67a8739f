/*
 * guard_names.c
 *		Names of our functions in our schema are ours.
 *
 * Purpose: a second function of such a name makes calls ambiguous, those of
 * clients that send untyped parameters and those of the worker.  So a role that
 * can create objects in our schema could stop all adds and flushes.
 *
 * Locking: none of its own.
 *
 * Limits: superusers can do it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "extension.h"
#include "guard_names.h"

/*
 * ERROR if a function is made or renamed that calls of ours could mean, too:
 * one that has our names, in our schema.  A superuser knows what he does, and
 * restores what there was before.
 */
void
mdb_guard_check_function(Oid function)
{
	Relation	catalog;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		is_ours = false;

	if (superuser())
		return;
	catalog = table_open(ProcedureRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_proc_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(function));
	scan = systable_beginscan(catalog, ProcedureOidIndexId, true, SnapshotSelf,
							  1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);

		is_ours = strncmp(NameStr(form->proname), "mdbatch_", 8) == 0 &&
			form->pronamespace == mdb_extension_schema(true);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	if (is_ours)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("functions of schema \"%s\" whose names begin with \"mdbatch_\" belong to extension \"mdbatch\"",
						get_namespace_name(mdb_extension_schema(true))),
				 errhint("Choose another name or schema: calls would be ambiguous.")));
}
