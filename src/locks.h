/*
 * locks.h
 *		The lightweight locks of mdbatch.
 */
#ifndef MDB_LOCKS_H
#define MDB_LOCKS_H

#include "storage/lwlock.h"

extern Size mdb_locks_shmem(void);
extern int	mdb_locks_count(void);
extern void mdb_locks_attach(void);
extern LWLock *mdb_lock_control(void);
extern LWLock *mdb_lock_workers(void);
extern LWLock *mdb_lock_partition(uint32 hash);
extern void mdb_lock_partitions_shared(void);
extern void mdb_unlock_partitions(void);
extern LWLock *mdb_batch_lock(int number);

#endif							/* MDB_LOCKS_H */
