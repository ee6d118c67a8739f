/*
 * guard_names.h
 *		Names of our functions in our schema are ours.
 */
#ifndef MDB_GUARD_NAMES_H
#define MDB_GUARD_NAMES_H

extern void mdb_guard_check_function(Oid function);

#endif							/* MDB_GUARD_NAMES_H */
