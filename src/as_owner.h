/*
 * as_owner.h
 *		Running code of a table with no more rights than its owner has.
 */
#ifndef MDB_AS_OWNER_H
#define MDB_AS_OWNER_H

typedef struct MdbAsOwner
{
	Oid			user;
	int			context;
	int			nest_level;
} MdbAsOwner;

extern void mdb_as_owner_enter(MdbAsOwner *before, Oid owner);
extern void mdb_as_owner_set(const char *name, const char *value);
extern void mdb_as_owner_set_ms(const char *name, int ms);
extern void mdb_as_owner_leave(const MdbAsOwner *before);

#endif							/* MDB_AS_OWNER_H */
