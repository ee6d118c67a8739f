/*
 * hash.h
 *		Entries by batch, definition and key.
 */
#ifndef MDB_HASH_H
#define MDB_HASH_H

#include "batch.h"
#include "entry.h"

/* Merge the slots of an entry into those of the one that stays (R21). */
typedef void (*MdbMerge) (MdbRef survivor, MdbRef other);

extern Size mdb_hash_shmem(void);
extern void mdb_hash_attach(MdbMerge merge_slots);
extern void mdb_hash_prefetch(uint32 hash);
extern void mdb_hash_prefetch_entry(uint32 hash);
extern bool mdb_hash_same_key(MdbRef a, MdbRef b);
extern bool mdb_hash_seems_waiting(MdbRef like);
extern bool mdb_hash_is_pending(uint32 hash, int batch, int64 before,
								bool *deferred);
extern bool mdb_hash_combine(MdbRef earlier, MdbRef later);
extern MdbRef mdb_hash_find(MdbRef like, MdbEntryState state);
extern void mdb_hash_insert(MdbRef ref);
extern void mdb_hash_remove(MdbRef ref);

#endif							/* MDB_HASH_H */
