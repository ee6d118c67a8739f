/*
 * trust.h
 *		Whose code can a flush run, and does the owner of the target trust it?
 */
#ifndef MDB_TRUST_H
#define MDB_TRUST_H

#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"

extern bool mdb_trust_role(Oid role, Oid owner);
extern List *mdb_trust_check_target(Oid relid, Oid owner, Bitmapset *key,
									List **tables);
extern void mdb_trust_check_cast(Oid relid, Oid owner, Oid from, Oid to);

#endif							/* MDB_TRUST_H */
