/*
 * trigger_right.c
 *		Can a lesser role have made a trigger of a table?
 *
 * Purpose: PostgreSQL does not say who made a trigger.  A role with TRIGGER on a
 * table can make one without a function of its own: its WHEN can call a
 * superuser's with text to execute.  While a table is attached guard.c stops
 * that; what was there before, the owner has to vouch for by attaching (R18).
 * So a table that has triggers is not attached while a lesser role holds
 * TRIGGER.
 *
 * Locking: the caller has the table locked against new triggers.
 *
 * Limits: a role that held the right once and does so no more is not known.
 * A partition's triggers can be clones of those of the tables above it, so the
 * right is looked for there, too.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "reach.h"
#include "rights.h"
#include "trigger_right.h"

/* The names of a table's triggers that are not of constraints; NULL: none. */
static char *
trigger_names(Oid relid)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	StringInfoData names;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	initStringInfo(&names);
	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, TriggerRelidNameIndexId, true, NULL, 1,
							  &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (!form->tgisinternal)
			appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "",
							 NameStr(form->tgname));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return names.len > 0 ? names.data : NULL;
}

/*
 * A role that the owner does not trust, though it can create triggers on the
 * table, PUBLIC included; false if there is none.
 */
static bool
find_trigger_right(Oid relid, Oid owner, Oid *role)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		found = false;
	bool		isnull;
	Datum		datum;
	Acl		   *acl;

	if (!HeapTupleIsValid(tuple))
		return false;
	datum = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	if (!isnull)
	{
		acl = DatumGetAclP(datum);
		for (int i = 0; !found && i < ACL_NUM(acl); i++)
		{
			const AclItem *item = &ACL_DAT(acl)[i];

			*role = item->ai_grantee;
			found = (ACLITEM_GET_PRIVS(*item) & ACL_TRIGGER) != 0 &&
				(*role == ACL_ID_PUBLIC || !mdb_rights_is_trusted(*role, owner));
		}
	}
	ReleaseSysCache(tuple);
	return found;
}

/*
 * ERROR (42501) if a role that the owner does not trust can have made one of
 * the table's triggers, constraints' triggers aside.
 */
void
mdb_trigger_right_check(Oid relid, Oid owner)
{
	char	   *names = trigger_names(relid);
	List	   *tables = lcons_oid(relid, mdb_reach_ancestors(relid));
	ListCell   *cell;
	Oid			role = InvalidOid;
	bool		found = false;

	if (names == NULL)
		return;
	foreach(cell, tables)
	{
		found = find_trigger_right(lfirst_oid(cell), owner, &role);
		if (found)
			break;
	}
	if (!found)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("table \"%s\" can have triggers of other roles than its owner",
					get_rel_name(relid)),
			 role == ACL_ID_PUBLIC ?
			 errdetail("PUBLIC holds TRIGGER on the table, which has these triggers: %s.",
					   names) :
			 errdetail("Role \"%s\" holds TRIGGER on the table, which has these triggers: %s.",
					   GetUserNameFromId(role, true), names),
			 errhint("Look at the triggers, which run as role \"%s\", and revoke the privilege first.",
					 GetUserNameFromId(owner, true))));
}
