/*
 * rejected_drop.h
 *		What a table has refused goes with it.
 */
#ifndef MDB_REJECTED_DROP_H
#define MDB_REJECTED_DROP_H

extern void mdb_rejected_drop(Oid relid);

#endif							/* MDB_REJECTED_DROP_H */
