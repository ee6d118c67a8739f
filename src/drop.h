/*
 * drop.h
 *		What is dropped takes its batches along.
 */
#ifndef MDB_DROP_H
#define MDB_DROP_H

extern void mdb_drop_register(void);
extern void mdb_drop_detached(Oid relid);

#endif							/* MDB_DROP_H */
