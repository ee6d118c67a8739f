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
extern bool mdb_reach_is_update_trigger(Form_pg_trigger trigger);
extern bool mdb_reach_references_key(Oid constraint, Oid target,
									 Bitmapset *key);
extern List *mdb_reach_with_partitions(Oid relid);
extern List *mdb_reach_ancestors(Oid relid);
extern List *mdb_reach_tables(Oid relid, Bitmapset *key);
extern List *mdb_reach_from(Oid relid);
extern bool mdb_reach_has_rules(Oid relid);

#endif							/* MDB_REACH_H */
