/*
 * drop.h
 *		What is dropped takes its batches along.
 */
#ifndef MDB_DROP_H
#define MDB_DROP_H

extern void mdb_drop_register(void);
extern void mdb_drop_attached(Oid relid, int batch_size,
							  int64 flush_interval);
extern void mdb_drop_detached(Oid relid);
extern void mdb_drop_hold_database(Oid dboid);

#endif							/* MDB_DROP_H */
