/*
 * rejected_drop.c
 *		What a table has refused goes with it.
 *
 * Model: the object-access hook calls this for each relation that is dropped,
 * while its label is still there.  Its rows of mdbatch_rejected are removed in
 * the dropping transaction, without SQL, so without any right of the role that
 * drops.  They stay if another table has the same identity: one of the two
 * labels is a copy, and a copy must not take away what belongs to the original.
 *
 * Locking: the table that is dropped is locked by then, so no flush or retry of
 * it is under way.  Rows that others are changing are waited for.
 *
 * Limits: nothing is removed if the library is not loaded, or if
 * mdbatch_rejected is not there (it can be dropped by the same command), or is
 * not what the install script has made.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "labels.h"
#include "rejected.h"
#include "rejected_drop.h"
#include "rights.h"

/* What a table leaves behind that is dropped. */
typedef struct Remains
{
	const pg_uuid_t *identity;
	Oid			relid;
	Oid			owner;			/* of that table */
	bool		looked;			/* at the labels of other tables */
	bool		shared;			/* another one has the identity */
} Remains;

/* Identities can be copied: the row must be one that the owner can have. */
static bool
is_of_owner(MdbRejected *table, HeapTuple tuple, Oid owner)
{
	bool		isnull;
	Datum		name = mdb_rejected_get(table, tuple, MDB_REJECTED_OWNER,
										&isnull);
	Oid			role = get_role_oid(TextDatumGetCString(name), true);

	return OidIsValid(role) && has_privs_of_role(owner, role);
}

static bool
remove_row(MdbRejected *table, HeapTuple tuple, void *state)
{
	Remains    *remains = state;
	ItemPointerData tid = tuple->t_self;

	if (!is_of_owner(table, tuple, remains->owner))
		return true;

	if (!remains->looked)
		remains->shared = OidIsValid(mdb_labels_twin(remains->relid,
													 remains->identity));
	remains->looked = true;
	if (remains->shared)
		return false;
	if (mdb_rejected_lock(table, &tid, LockWaitBlock))
		mdb_rejected_delete(table);
	return true;
}

/* Not what is dropped most: indexes, sequences, and the like. */
static bool
can_have_label(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	return relkind == RELKIND_RELATION ||
		relkind == RELKIND_PARTITIONED_TABLE ||
		relkind == RELKIND_VIEW;	/* a table can become one, by a rule */
}

/*
 * A table is being dropped: remove its rows, unless another table has the same
 * identity.
 */
void
mdb_rejected_drop(Oid relid)
{
	MdbRejected table;
	Remains		remains = {0};
	pg_uuid_t	identity;

	if (!can_have_label(relid) || !mdb_labels_identity(relid, &identity) ||
		!mdb_rejected_try_open(&table))
		return;
	remains.identity = &identity;
	remains.relid = relid;
	remains.owner = mdb_rights_owner(relid);
	mdb_rejected_walk(&table, &identity, NULL, ForwardScanDirection,
					  remove_row, &remains);
	mdb_rejected_close(&table);
}
