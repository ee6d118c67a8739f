/*
 * target.h
 *		Targets as a backend knows them: resolved, checked, cached.
 */
#ifndef MDB_TARGET_H
#define MDB_TARGET_H

#include "access/tupdesc.h"
#include "definition.h"
#include "pool.h"
#include "settings.h"

#define MDB_TARGET_NAME		(2 * NAMEDATALEN + 5)	/* bytes, schema.table */

typedef struct MdbTarget
{
	Oid			relid;			/* of the cache, must be first */
	bool		valid;			/* false: resolve again */
	bool		changed;		/* since it was begun to be resolved */
	MemoryContext context;		/* of what follows */
	MdbDefinition *definition;
	MdbAltered *attributes;		/* what altered those of its row types */
	TupleDesc	row;			/* its columns as the table has them */
	TupleDesc	input;			/* as values are made for them: keys and
								 * version without their domains, which may
								 * refuse nulls that have errors and defaults
								 * of their own */
	uint64		resolved;		/* how often; another number, another row */
	Oid			owner;
	char		name[MDB_TARGET_NAME];

	/* InvalidOid: to be checked. */
	Oid			allowed_role;	/* may add */
	Oid			naming_role;	/* may name the table */

	/* The batch, as long as its epoch is this. */
	uint64		epoch;			/* 0: to be looked up */
	int			batch;
	MdbRef		definition_ref;
} MdbTarget;

/*
 * How often something is looked up that changes while it is looked up.  Other
 * sessions can go on with such changes for ever, but a call has to end.
 */
#define MDB_MAX_ROUNDS		10

extern uint64 mdb_target_changes(void);
extern MdbTarget *mdb_target_metadata(void);
extern void mdb_target_forget(Oid relid);
extern MdbTarget *mdb_target_resolve(Oid relid);
extern Oid	mdb_target_of_row(Oid type);
extern void mdb_target_check_add(MdbTarget *target);
extern void mdb_target_check_named(MdbTarget *target);
extern bool mdb_target_hold_batch(MdbTarget *target);
extern MdbLimits mdb_target_limits(const MdbTarget *target);

#endif							/* MDB_TARGET_H */
