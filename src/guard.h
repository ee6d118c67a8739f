/*
 * guard.h
 *		What cannot be done to attached tables and to mdbatch's own.
 */
#ifndef MDB_GUARD_H
#define MDB_GUARD_H

#include "nodes/parsenodes.h"

extern void mdb_guard_command(Node *command);
extern void mdb_guard_register(void);

#endif							/* MDB_GUARD_H */
