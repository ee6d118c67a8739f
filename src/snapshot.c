/*
 * snapshot.c
 *		A copy of what is pending, to look at.
 *
 * Model: everything of a batch at one moment, copied into memory that was
 * allocated before, so that no lock is held while anything can fail; if it
 * does not fit, again with more.
 *
 * Locking: all partitions and the batch, shared.  The caller holds the batch
 * (note.c), so that the definitions stay when the locks are gone.
 *
 * Limits: adds to any batch wait while the copy is made.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "define.h"
#include "entry.h"
#include "snapshot.h"

typedef struct Copy
{
	MdbSnapshot snapshot;
	int			max_entries;
	char	   *bytes;
	Size		nbytes;
	Size		max_bytes;
	bool		too_small;
} Copy;

static void
copy_list(Copy *copy, MdbRef first)
{
	for (MdbRef ref = first; ref != MDB_NO_REF;
		 ref = mdb_entry(ref)->order_next)
	{
		const MdbEntry *entry = mdb_entry(ref);
		uint32		length = mdb_entry_length(entry);
		MdbCursor	cursor = mdb_pool_start(ref);
		MdbSnapshotEntry *target;

		if (copy->snapshot.count == copy->max_entries ||
			copy->nbytes + length > copy->max_bytes)
		{
			copy->too_small = true;
			return;
		}
		target = &copy->snapshot.entries[copy->snapshot.count++];
		target->definition = entry->definition;
		target->version = entry->version;
		target->in_flight = entry->state == MDB_IN_FLIGHT;
		target->contents = copy->bytes + copy->nbytes;
		mdb_pool_read(&cursor, copy->bytes + copy->nbytes, length);
		copy->nbytes += length;
	}
}

static void
copy_batch(Copy *copy, int number)
{
	const MdbBatch *batch = mdb_batch(number);

	mdb_lock_partitions_shared();
	LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
	copy_list(copy, batch->flight.first);
	for (MdbRef ref = batch->oldest; ref != MDB_NO_REF && !copy->too_small;
		 ref = mdb_define_head(ref)->newer)
	{
		/* What is deferred is flushed later, whenever it arrived. */
		copy_list(copy, mdb_define_head(ref)->ready.first);
		copy_list(copy, mdb_define_head(ref)->deferred.first);
	}
	LWLockRelease(mdb_batch_lock(number));
	mdb_unlock_partitions();
}

/* What is pending in a batch that the caller holds; palloc'd. */
MdbSnapshot
mdb_snapshot_take(int number)
{
	Size		room = 64;

	for (;;)
	{
		uint32		used = pg_atomic_read_u32(&mdb_batch(number)->account.used);
		Copy		copy = {0};

		room += used;
		copy.max_entries = room;
		copy.max_bytes = room * MDB_CHUNK_SIZE;
		copy.snapshot.entries =
			MemoryContextAllocHuge(CurrentMemoryContext,
								   room * sizeof(MdbSnapshotEntry));
		copy.bytes = MemoryContextAllocHuge(CurrentMemoryContext,
											copy.max_bytes);
		copy_batch(&copy, number);
		if (!copy.too_small)
			return copy.snapshot;
		pfree(copy.snapshot.entries);
		pfree(copy.bytes);
	}
}
