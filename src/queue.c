/*
 * queue.c
 *		What is pending: places, and publishing.
 *
 * Model: the hash finds an entry by batch, definition and key; each definition
 * has its waiting entries in order of arrival.  Publishing links a filled
 * entry in, or exchanges its contents with those of the entry that waits for
 * the same key, which keeps its place (R1, R3).  An add to a key that is in
 * flight (flight.c) becomes a fresh waiting entry.
 *
 * Locking: a hash bucket and the contents of the entries on it under the lock
 * of its partition, order lists under the batch's lock, taken after it.
 *
 * Publishing happens in transaction callbacks: it allocates nothing and cannot
 * fail.
 *
 * Limits: two transactions that commit at the same moment are ordered by
 * their publishing, which follows their commit.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "compat.h"
#include "define.h"
#include "due.h"
#include "hash.h"
#include "queue.h"

/* Where this process counts what it publishes. */
MdbStripe *
mdb_queue_stripe(MdbBatch *batch)
{
	return &batch->stripes[mdb_proc_number() % MDB_NSTRIPES];
}

/*
 * Take one of the places of a batch that the caller holds; false if all are
 * taken.
 */
bool
mdb_queue_reserve(int number, int queue_size)
{
	pg_atomic_uint64 *load = &mdb_batch(number)->load;
	uint64		seen = pg_atomic_read_u64(load);

	do
	{
		if ((seen >> 32) + (uint32) seen >= (uint64) queue_size)
			return false;
	} while (!pg_atomic_compare_exchange_u64(load, &seen,
											 seen + MDB_RESERVED_ONE));
	return true;
}

/* Give one reserved place back, and tell those who wait for room. */
void
mdb_queue_unreserve(int number)
{
	pg_atomic_fetch_sub_u64(&mdb_batch(number)->load, MDB_RESERVED_ONE);
	ConditionVariableBroadcast(&mdb_batch(number)->changed);
}

/* Is the key of a staged entry pending, in flight included? */
bool
mdb_queue_is_pending(MdbRef staged)
{
	LWLock	   *lock = mdb_lock_partition(mdb_entry(staged)->hash);
	bool		found;

	/* It may be flushed as soon as it was found: being sure is no better. */
	if (mdb_hash_seems_waiting(staged))
		return true;

	LWLockAcquire(lock, LW_SHARED);

	/* What a flush has finished may still be there for a moment. */
	found = mdb_hash_find(staged, MDB_WAITING) != MDB_NO_REF ||
		(mdb_batch(mdb_entry(staged)->batch)->in_flight > 0 &&
		 mdb_hash_find(staged, MDB_IN_FLIGHT) != MDB_NO_REF);
	LWLockRelease(lock);
	return found;
}

/*
 * Make a staged entry wait, at the end; under the partition's lock.  Returns
 * how many are ready then.
 */
static uint32
link_waiting(MdbRef staged, uint64 unreserve, TimestampTz now)
{
	MdbEntry   *entry = mdb_entry(staged);
	MdbBatch   *batch = mdb_batch(entry->batch);
	LWLock	   *lock = mdb_batch_lock(entry->batch);
	MdbDefinitionHead *definition = mdb_define_head(entry->definition);
	uint32		ready;

	mdb_hash_insert(staged);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	batch->last_arrival = Max(batch->last_arrival + 1, now);
	entry->arrival = batch->last_arrival;
	entry->state = MDB_WAITING;
	mdb_order_append(&definition->ready, staged);
	definition->nentries++;
	(void) pg_atomic_add_fetch_u64(&batch->load, MDB_WAITING_ONE - unreserve);
	ready = mdb_batch_ready(batch);
	if (ready == 1)
		batch->nonempty_since = now;
	if (entry->definition == batch->newest)
	{
		batch->own_batch_size = definition->own_batch_size;
		batch->own_interval = definition->own_interval;
	}
	LWLockRelease(lock);
	return ready;
}

/*
 * Make a staged entry pending.  It stands for the others of its transaction
 * that were coalesced into it or found stale.  True if the worker must look
 * at the batch.  The arrival of the entry that holds it now is returned, too.
 * Cannot fail.
 */
bool
mdb_queue_publish(MdbRef staged, bool reserved, uint32 coalesced, uint32 stale,
				  TimestampTz now, int64 *arrival)
{
	int			number = mdb_entry(staged)->batch;
	MdbBatch   *batch = mdb_batch(number);
	MdbStripe  *stripe = mdb_queue_stripe(batch);
	LWLock	   *partition = mdb_lock_partition(mdb_entry(staged)->hash);
	uint64		unreserve = reserved ? MDB_RESERVED_ONE : 0;
	uint32		ready = 0;
	MdbRef		pending;

	LWLockAcquire(partition, LW_EXCLUSIVE);
	pending = mdb_hash_find(staged, MDB_WAITING);
	if (pending == MDB_NO_REF)
	{
		ready = link_waiting(staged, unreserve, now);
		pg_atomic_fetch_add_u64(&stripe->count.linked, 1);
	}
	else
	{
		if (mdb_hash_combine(pending, staged))
			coalesced++;
		else
			stale++;
		if (reserved)
			pg_atomic_fetch_sub_u64(&batch->load, MDB_RESERVED_ONE);
	}
	*arrival = mdb_entry(pending == MDB_NO_REF ? staged : pending)->arrival;
	if (coalesced > 0)
		pg_atomic_fetch_add_u64(&stripe->count.coalesced, coalesced);
	if (stale > 0)
		pg_atomic_fetch_add_u64(&stripe->count.stale, stale);
	LWLockRelease(partition);

	if (pending != MDB_NO_REF)
	{
		mdb_pool_free_near(&batch->account, staged);
		if (reserved)
			ConditionVariableBroadcast(&batch->changed);
	}
	return ready > 0 &&
		(ready == 1 || ready == (uint32) mdb_batch_limits(batch).batch_size);
}
