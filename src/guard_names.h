/*
 * guard_names.h
 *		Names of our functions in our schema are ours.
 */
#ifndef MDB_GUARD_NAMES_H
#define MDB_GUARD_NAMES_H

#include "catalog/pg_proc.h"

extern void mdb_guard_check_function(Form_pg_proc form);

#endif							/* MDB_GUARD_NAMES_H */
