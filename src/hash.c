/*
 * hash.c
 *		Entries by batch, definition and key.
 *
 * Model: buckets of chained entries, about as many as the pool has chunks,
 * allocated once.  A key may be there twice: in flight and, fresh, waiting.
 * Two entries of the same key are combined here, by bytes: the newer version
 * keeps its values, merge slots go through the callback.
 *
 * Locking: a bucket, and the contents of what hangs on it, under the lock of
 * its partition; what is said to "seem" or is only fetched is read without it.
 * Nothing here allocates or can fail.
 */
#include "postgres.h"

#include "storage/shmem.h"

#include "compat.h"
#include "hash.h"
#include "locks.h"

#define MAX_STEPS	8			/* of a look without a lock */

static MdbRef *buckets;
static MdbMerge merge;

/* A power of two, about one for each chunk. */
static uint32
nbuckets(void)
{
	uint32		n = 1;

	while (n <= mdb_pool_chunks() / 2)
		n *= 2;
	return n;
}

/* Shared memory that the hash takes, bytes. */
Size
mdb_hash_shmem(void)
{
	return add_size(sizeof(uint64), mul_size(nbuckets(), sizeof(MdbRef)));
}

/* Create the hash, or attach to it; under AddinShmemInitLock. */
void
mdb_hash_attach(MdbMerge merge_slots)
{
	bool		found;
	uint64	   *seed = ShmemInitStruct("mdbatch hash", mdb_hash_shmem(), &found);

	merge = merge_slots;
	buckets = (MdbRef *) (seed + 1);
	if (!found)
	{
		memset(seed, 0, mdb_hash_shmem());
		if (!pg_strong_random(seed, sizeof(*seed)))
			elog(ERROR, "could not generate a random seed");
	}
	mdb_entry_set_seed(*seed);
}

static inline MdbRef *
bucket_of(uint32 hash)
{
	static uint32 mask = 0;

	if (unlikely(mask == 0))
		mask = nbuckets() - 1;
	return &buckets[hash & mask];
}

/*
 * An entry with that hash will be looked for: have its bucket ready; once it
 * is, have the first entry there ready.  Both look without a lock, as it does
 * not matter what they see.
 */
void
mdb_hash_prefetch(uint32 hash)
{
	mdb_prefetch(bucket_of(hash));
}

void
mdb_hash_prefetch_entry(uint32 hash)
{
	MdbRef		first = *(volatile MdbRef *) bucket_of(hash);

	if (first != MDB_NO_REF)
	{
		const char *head = mdb_pool_head(first);

		mdb_prefetch(head);
		mdb_prefetch(head + MDB_HEAD_SIZE);
	}
}

static inline MdbCursor
key_start(MdbRef ref)
{
	MdbCursor	cursor = mdb_pool_start(ref);

	mdb_pool_skip(&cursor, mdb_entry(ref)->nslots * MDB_SLOT_SIZE);
	return cursor;
}

/* Are two entries of the same batch, definition and key? */
bool
mdb_hash_same_key(MdbRef a, MdbRef b)
{
	const MdbEntry *one = mdb_entry(a);
	const MdbEntry *other = mdb_entry(b);

	return one->hash == other->hash &&
		one->batch == other->batch &&
		one->definition == other->definition &&
		one->keylen == other->keylen &&
		mdb_pool_equal(key_start(a), key_start(b), one->keylen);
}

/* Under the partition's lock: the entry of the same key in that state. */
MdbRef
mdb_hash_find(MdbRef like, MdbEntryState state)
{
	for (MdbRef ref = *bucket_of(mdb_entry(like)->hash); ref != MDB_NO_REF;
		 ref = mdb_entry(ref)->hash_next)
		if (ref != like && mdb_entry(ref)->state == state &&
			mdb_hash_same_key(ref, like))
			return ref;
	return MDB_NO_REF;
}

/*
 * Does an entry of the same key seem to wait?  This looks without a lock, at
 * chunks that may be freed and filled anew meanwhile: what it reads may be of
 * any other entry, or no header at all.  So it trusts nothing but that chunks
 * are where they are, goes a few steps, and looks at short keys only.  A
 * caller must accept a wrong answer.
 */
bool
mdb_hash_seems_waiting(MdbRef like)
{
	const MdbEntry *entry = mdb_entry(like);
	uint32		slots = entry->nslots * MDB_SLOT_SIZE;
	MdbRef		ref = *(volatile MdbRef *) bucket_of(entry->hash);

	if (slots + entry->keylen > MDB_CHUNK_SIZE - MDB_HEAD_SIZE)
		return false;
	for (int i = 0; i < MAX_STEPS && mdb_pool_exists(ref); i++)
	{
		const volatile MdbEntry *other = mdb_entry(ref);

		if (ref != like && other->hash == entry->hash &&
			other->state == MDB_WAITING && other->batch == entry->batch &&
			other->definition == entry->definition &&
			other->keylen == entry->keylen &&
			memcmp((const char *) mdb_entry(ref) + MDB_HEAD_SIZE + slots,
				   (const char *) entry + MDB_HEAD_SIZE + slots,
				   entry->keylen) == 0)
			return true;
		ref = other->hash_next;
	}
	return false;
}

/*
 * Is an entry pending that arrived before, of a key with that hash, and if so,
 * is it deferred?  That may have changed when this returns.
 */
bool
mdb_hash_is_pending(uint32 hash, int batch, int64 before, bool *deferred)
{
	LWLock	   *lock = mdb_lock_partition(hash);
	bool		found = false;

	LWLockAcquire(lock, LW_SHARED);
	for (MdbRef ref = *bucket_of(hash); ref != MDB_NO_REF && !found;
		 ref = mdb_entry(ref)->hash_next)
	{
		const MdbEntry *entry = mdb_entry(ref);

		found = entry->hash == hash && entry->batch == batch &&
			entry->arrival < before;
		if (found)
			*deferred = entry->state == MDB_WAITING && entry->retry_at != 0;
	}
	LWLockRelease(lock);
	return found;
}

/* Under the partition's lock. */
void
mdb_hash_insert(MdbRef ref)
{
	MdbRef	   *bucket = bucket_of(mdb_entry(ref)->hash);

	mdb_entry(ref)->hash_next = *bucket;
	*bucket = ref;
}

/* Under the partition's lock. */
void
mdb_hash_remove(MdbRef ref)
{
	MdbRef	   *link = bucket_of(mdb_entry(ref)->hash);

	while (*link != ref)
		link = &mdb_entry(*link)->hash_next;
	*link = mdb_entry(ref)->hash_next;
}

/*
 * Combine a later entry into an earlier one of the same key (R1): the newer
 * version stays, equal ones by the order of arrival.  Afterwards "earlier" is
 * what stays and "later" is to be freed.  True if it counts as coalesced,
 * false if the later one was stale.
 */
bool
mdb_hash_combine(MdbRef earlier, MdbRef later)
{
	MdbEntry   *stays = mdb_entry(earlier);
	MdbEntry   *goes = mdb_entry(later);
	int64		version = stays->version;
	uint32		vallen = stays->vallen;

	if (goes->version < version)
	{
		if (stays->nslots == 0)
			return false;
		merge(earlier, later);
		return true;
	}
	if (stays->nslots > 0)
		merge(later, earlier);
	mdb_pool_exchange(earlier, later);
	stays->version = goes->version;
	stays->vallen = goes->vallen;
	goes->version = version;
	goes->vallen = vallen;
	return true;
}
