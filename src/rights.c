/*
 * rights.c
 *		Who may add to a batch, see it, and flush it (R18).
 *
 * Model: questions about the current role, answered from the catalogs each
 * time; a caller that asks often caches the answer.
 *
 * Locking: none.  A table that is gone answers no.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "compat.h"
#include "rights.h"

/* Kinds of columns, as sets of MdbRole. */
#define KEY_COLUMNS		(1 << MDB_KEY)
#define VERSION_COLUMN	(1 << MDB_VERSION)
#define MERGED_COLUMNS	(1 << MDB_SUM | 1 << MDB_MIN | 1 << MDB_MAX)
#define WRITTEN_COLUMNS (VERSION_COLUMN | 1 << MDB_LAST | MERGED_COLUMNS)
#define ALL_COLUMNS		(KEY_COLUMNS | WRITTEN_COLUMNS)

static bool
exists(Oid relid)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
}

/* The owner of a table; InvalidOid if it is gone. */
Oid
mdb_rights_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* May the role name a table of that schema, which may be gone? */
static AclResult
may_name(Oid schema, Oid role)
{
	return OidIsValid(schema) ?
		object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE) :
		ACLCHECK_OK;
}

/*
 * ERROR unless the current role could name the table in SQL.  Its OID, or a
 * value of its row type, can be had without that.
 */
void
mdb_rights_check_named(Oid relid)
{
	Oid			schema = get_rel_namespace(relid);
	AclResult	result = may_name(schema, GetUserId());

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_SCHEMA, get_namespace_name(schema));
}

/* The same for what a view names: its owner may do that for all others. */
void
mdb_rights_check_named_by(Oid relid, Oid view_owner)
{
	if (may_name(get_rel_namespace(relid), view_owner) != ACLCHECK_OK)
		mdb_rights_check_named(relid);
}

/* ERROR unless the table exists and the current role owns it. */
void
mdb_rights_check_owner(Oid relid)
{
	if (!exists(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	mdb_rights_check_named(relid);
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER,
					   get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}

/*
 * Has the current role the privilege on the table, or on each column of these
 * kinds that an entry has?
 */
static bool
has_privilege(const MdbDefinition *definition, int kinds, AclMode mode)
{
	bool		missing = false;

	if (pg_class_aclcheck_ext(definition->relid, GetUserId(), mode,
							  &missing) == ACLCHECK_OK)
		return true;
	if (missing)
		return false;
	for (int i = 0; i < definition->ncolumns; i++)
		if ((kinds & (1 << definition->columns[i].role)) != 0 &&
			pg_attribute_aclcheck_ext(definition->relid,
									  definition->columns[i].attnum,
									  GetUserId(), mode,
									  &missing) != ACLCHECK_OK)
			return false;
	return true;
}

/*
 * May the current role add to a target of that definition, row security apart?
 *
 * This is what SQL asks for, with one exception: an upsert compares keys and
 * versions, but needs no SELECT on them, so that reporters can be roles that
 * may not read.  mdbatch does not show these how a comparison ended
 * (mdb_rights_see_outcome).  Columns that merge need SELECT: an overflow of a
 * sum would tell the stored value.
 */
bool
mdb_rights_add(const MdbDefinition *definition)
{
	bool		update = definition->mode == MDB_UPDATE;

	return has_privilege(definition, WRITTEN_COLUMNS, ACL_UPDATE) &&
		(update || has_privilege(definition, ALL_COLUMNS, ACL_INSERT)) &&
		has_privilege(definition,
					  MERGED_COLUMNS | (update ? KEY_COLUMNS : 0),
					  ACL_SELECT);
}

/* What an add needs, as a sentence. */
const char *
mdb_rights_needed(const MdbDefinition *definition)
{
	if (definition->mode == MDB_UPSERT)
		return definition->has_merge ?
			_("Adding needs INSERT on the columns of an entry, UPDATE on those that are not in the key, and SELECT on those that merge.") :
			_("Adding needs INSERT on the columns of an entry, and UPDATE on those that are not in the key.");
	return definition->has_merge ?
		_("Adding needs UPDATE on the columns of an entry that are not in the key, and SELECT on the key and on the columns that merge.") :
		_("Adding needs UPDATE on the columns of an entry that are not in the key, and SELECT on the key.");
}

/*
 * May the current role read all that pending entries of that definition hold,
 * row security apart?
 */
bool
mdb_rights_see_pending(const MdbDefinition *definition)
{
	return has_privilege(definition, ALL_COLUMNS, ACL_SELECT);
}

/* May the role read all statistics? */
bool
mdb_rights_read_all_stats(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

/*
 * May the current role see what became of a table's entries?  That tells which
 * rows there are, and how new they are.  InvalidOid stands for a table of
 * another database, or one that is gone.  The definition is NULL if none is
 * known: then the role needs SELECT on the whole table.
 */
bool
mdb_rights_see_outcome(Oid relid, const MdbDefinition *definition)
{
	bool		missing = false;

	if (mdb_rights_read_all_stats())
		return true;
	return (definition != NULL ?
			has_privilege(definition, KEY_COLUMNS | VERSION_COLUMN, ACL_SELECT) :
			pg_class_aclcheck_ext(relid, GetUserId(), ACL_SELECT,
								  &missing) == ACLCHECK_OK) &&
		check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED;
}

/*
 * May the current role read the full text of an error that a flush of the
 * table met?  The flush ran as the role ran_as; InvalidOid: as the owner.
 *
 * Rights on columns are not enough: code of the owner can quote whatever the
 * owner may read, and the definition that the error is about may be gone.
 * Ownership now is not enough, either, if the flush ran as a former owner.
 */
bool
mdb_rights_see_errors(Oid relid, Oid ran_as)
{
	if (mdb_rights_read_all_stats())
		return true;
	return exists(relid) &&
		object_ownercheck(RelationRelationId, relid, GetUserId()) &&
		(!OidIsValid(ran_as) || has_privs_of_role(GetUserId(), ran_as));
}

/* May the role ask for a flush: own the table, or add to it? */
bool
mdb_rights_flush(Oid relid, const MdbDefinition *definition)
{
	if (!exists(relid))
		return false;
	return object_ownercheck(RelationRelationId, relid, GetUserId()) ||
		(definition != NULL && mdb_rights_add(definition));
}

/* Could the role do all that the owner can, without a flush? */
bool
mdb_rights_is_trusted(Oid role, Oid owner)
{
	return has_privs_of_role(role, owner) || mdb_can_set_role(role, owner);
}
