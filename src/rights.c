/*
 * rights.c
 *		Who may add to a batch, see it, and flush it (R18).
 *
 * Model: questions about the current role, answered from the catalogs each
 * time; whoever asks at every call caches the answer.
 *
 * Locking: none.  A table that is gone answers no.
 */
#include "postgres.h"

#include "catalog/objectaddress.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "batch.h"
#include "compat.h"
#include "define.h"
#include "rights.h"

static bool
exists(Oid relid)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
}

/* ERROR unless the table exists and the current role owns it. */
void
mdb_rights_check_owner(Oid relid)
{
	if (!exists(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER,
					   get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}

/* Has the role the privilege on the table, or on each column of its entries? */
static bool
has_privilege(const MdbDefinition *definition, AclMode mode)
{
	bool		missing = false;

	if (pg_class_aclcheck_ext(definition->relid, GetUserId(), mode,
							  &missing) == ACLCHECK_OK)
		return true;
	for (int i = 0; i < definition->ncolumns; i++)
		if (pg_attribute_aclcheck_ext(definition->relid,
									  definition->columns[i].attnum,
									  GetUserId(), mode,
									  &missing) != ACLCHECK_OK)
			return false;
	return true;
}

/* May the role add to a target of that definition, row security apart? */
bool
mdb_rights_add(const MdbDefinition *definition)
{
	return has_privilege(definition, ACL_UPDATE) &&
		(definition->mode == MDB_UPDATE ||
		 has_privilege(definition, ACL_INSERT));
}

/*
 * May the role read all that pending entries of that definition hold, row
 * security apart?
 */
bool
mdb_rights_see_pending(const MdbDefinition *definition)
{
	return has_privilege(definition, ACL_SELECT);
}

/* May the role read all statistics? */
bool
mdb_rights_read_all_stats(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

/* May the role read all that any entry of a batch that it holds could hold? */
static bool
see_batch(int number)
{
	MdbRef		refs[64];
	int			n = 0;

	LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
	for (MdbRef ref = mdb_batch(number)->oldest; ref != MDB_NO_REF;
		 ref = mdb_define_head(ref)->newer)
	{
		if (n < (int) lengthof(refs))
			refs[n] = ref;
		n++;
	}
	LWLockRelease(mdb_batch_lock(number));

	if (n == 0 || n > (int) lengthof(refs))
		return false;
	for (int i = 0; i < n; i++)
		if (!mdb_rights_see_pending(mdb_define_read(refs[i])))
			return false;
	return true;
}

/*
 * May the role read the full text of flush errors, which can quote values?  It
 * holds the batch.
 */
bool
mdb_rights_see_errors(Oid relid, int number)
{
	if (mdb_rights_read_all_stats())
		return true;
	if (!exists(relid))
		return false;
	return object_ownercheck(RelationRelationId, relid, GetUserId()) ||
		(see_batch(number) &&
		 check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED);
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
