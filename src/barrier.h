/*
 * barrier.h
 *		The durability barrier.
 */
#ifndef MDB_BARRIER_H
#define MDB_BARRIER_H

extern void mdb_barrier_sync(Oid relid);

#endif							/* MDB_BARRIER_H */
