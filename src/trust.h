/*
 * trust.h
 *		Whose code can a flush run, and does the owner of the target trust it?
 */
#ifndef MDB_TRUST_H
#define MDB_TRUST_H

#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"

/* What was looked at, and found to be trusted; palloc'd. */
typedef struct MdbTrusted
{
	List	   *tables;			/* that a flush can write */
	List	   *relations;		/* whose change can change the answer; these
								 * tables included */
	List	   *objects;		/* functions, types and operators, as hash
								 * values of their caches' entries */
}			MdbTrusted;

extern MdbTrusted mdb_trust_check_target(Oid relid, Oid owner,
										 Bitmapset *key);
extern void mdb_trust_check_cast(Oid relid, Oid owner, Oid from, Oid to);

#endif							/* MDB_TRUST_H */
