/*
 * reach.h
 *		The tables that a flush can write.
 */
#ifndef MDB_REACH_H
#define MDB_REACH_H

#include "catalog/pg_trigger.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"

extern bool mdb_reach_trigger_fires(Form_pg_trigger trigger);
extern List *mdb_reach_tables(Oid relid, Bitmapset *key);
extern List *mdb_reach_from(Oid relid);

#endif							/* MDB_REACH_H */
