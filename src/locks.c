/*
 * locks.c
 *		The lightweight locks of mdbatch.
 *
 * Model: one tranche.  The control lock guards which batch belongs to which
 * target, one lock per batch its lists and books, 64 partition locks the hash,
 * and the lock of the workers the roster.
 *
 * Locking: order is control, partition, batch, then the spinlocks of pool.c.
 * Two partitions are only ever locked all together, in their order.  The lock
 * of the workers is a leaf.
 */
#include "postgres.h"

#include "storage/shmem.h"

#include "locks.h"
#include "settings.h"

#define NPARTITIONS		64

typedef enum LockNumber
{
	CONTROL_LOCK,
	WORKERS_LOCK,
	FIRST_PARTITION_LOCK,
	FIRST_BATCH_LOCK = FIRST_PARTITION_LOCK + NPARTITIONS
} LockNumber;

static LWLockPadded *locks;

/* Shared memory beside the tranche, bytes. */
Size
mdb_locks_shmem(void)
{
	return sizeof(LWLockPadded *);
}

/* Locks of the tranche "mdbatch". */
int
mdb_locks_count(void)
{
	return FIRST_BATCH_LOCK + mdb_max_batches;
}

/*
 * Find the locks; under AddinShmemInitLock.  Only who creates shared memory may
 * ask for the tranche by its name; others find it here.
 */
void
mdb_locks_attach(void)
{
	LWLockPadded **found_locks;
	bool		found;

	found_locks = ShmemInitStruct("mdbatch locks", mdb_locks_shmem(), &found);
	if (!found)
		*found_locks = GetNamedLWLockTranche("mdbatch");
	locks = *found_locks;
}

LWLock *
mdb_lock_control(void)
{
	return &locks[CONTROL_LOCK].lock;
}

LWLock *
mdb_lock_workers(void)
{
	return &locks[WORKERS_LOCK].lock;
}

LWLock *
mdb_lock_partition(uint32 hash)
{
	return &locks[FIRST_PARTITION_LOCK + hash % NPARTITIONS].lock;
}

/* Nothing in the hash changes until they are let go. */
void
mdb_lock_partitions_shared(void)
{
	for (int i = 0; i < NPARTITIONS; i++)
		LWLockAcquire(&locks[FIRST_PARTITION_LOCK + i].lock, LW_SHARED);
}

void
mdb_unlock_partitions(void)
{
	for (int i = NPARTITIONS - 1; i >= 0; i--)
		LWLockRelease(&locks[FIRST_PARTITION_LOCK + i].lock);
}

LWLock *
mdb_batch_lock(int number)
{
	return &locks[FIRST_BATCH_LOCK + number].lock;
}
