/*
 * put.h
 *		The front end for any table.
 */
#ifndef MDB_PUT_H
#define MDB_PUT_H

#include "utils/jsonb.h"

extern int	mdb_put(Oid relid, Jsonb *entries, int on_full);

#endif							/* MDB_PUT_H */
