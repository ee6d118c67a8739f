/*
 * queue.c
 *		What is pending: publish, detach, finish, put back.
 *
 * Model: the hash finds an entry by batch, definition and key; each definition
 * has its waiting entries in order of arrival.  Publishing links a filled
 * entry in, or exchanges its contents with those of the entry that waits for
 * the same key, which keeps its place (R1, R3).  A flush detaches entries:
 * they are in flight, still found, and an add to such a key becomes a fresh
 * waiting entry.  When the flush's transaction commits they are dropped;
 * when it aborts they go back to the front, combined with what is fresh.
 *
 * Locking: a hash bucket and the contents of the entries on it under the lock
 * of its partition, order lists under the batch's lock, taken after it.
 * Contents of entries in flight do not change, the worker reads them without
 * a lock.  Only the worker of the database detaches, finishes and puts back;
 * others discard, too, so whoever takes entries out holds the batch.
 *
 * Publishing, finishing and putting back happen in transaction callbacks:
 * they allocate nothing and cannot fail.
 *
 * Limits: two transactions that commit at the same moment are ordered by
 * their publishing, which follows their commit.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "compat.h"
#include "books.h"
#include "due.h"
#include "hash.h"
#include "queue.h"

/* Order lists, under the batch's lock: to the end, or to the front. */
static void
list_append(MdbRef *first, MdbRef *last, MdbRef ref)
{
	mdb_entry(ref)->order_prev = *last;
	mdb_entry(ref)->order_next = MDB_NO_REF;
	if (*last != MDB_NO_REF)
		mdb_entry(*last)->order_next = ref;
	else
		*first = ref;
	*last = ref;
}

static void
list_prepend(MdbRef *first, MdbRef *last, MdbRef ref)
{
	mdb_entry(ref)->order_prev = MDB_NO_REF;
	mdb_entry(ref)->order_next = *first;
	if (*first != MDB_NO_REF)
		mdb_entry(*first)->order_prev = ref;
	else
		*last = ref;
	*first = ref;
}

static void
list_remove(MdbRef *first, MdbRef *last, MdbRef ref)
{
	const MdbEntry *entry = mdb_entry(ref);

	if (entry->order_prev != MDB_NO_REF)
		mdb_entry(entry->order_prev)->order_next = entry->order_next;
	else
		*first = entry->order_next;
	if (entry->order_next != MDB_NO_REF)
		mdb_entry(entry->order_next)->order_prev = entry->order_prev;
	else
		*last = entry->order_prev;
}

static MdbStripe *
my_stripe(MdbBatch *batch)
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

	LWLockAcquire(lock, LW_SHARED);

	/* What a flush has finished may still be there for a moment. */
	found = mdb_hash_find(staged, MDB_WAITING) != MDB_NO_REF ||
		(mdb_batch(mdb_entry(staged)->batch)->in_flight > 0 &&
		 mdb_hash_find(staged, MDB_IN_FLIGHT) != MDB_NO_REF);
	LWLockRelease(lock);
	return found;
}

/* Make a staged entry wait, at the end; under the partition's lock. */
static uint32
link_waiting(MdbRef staged, uint64 unreserve, TimestampTz now)
{
	MdbEntry   *entry = mdb_entry(staged);
	MdbBatch   *batch = mdb_batch(entry->batch);
	LWLock	   *lock = mdb_batch_lock(entry->batch);
	MdbDefinitionHead *definition = mdb_batch_definition(entry->definition);
	uint32		waiting;

	mdb_hash_insert(staged);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	batch->last_arrival = Max(batch->last_arrival + 1, now);
	entry->arrival = batch->last_arrival;
	entry->state = MDB_WAITING;
	list_append(&definition->first, &definition->last, staged);
	definition->nentries++;
	waiting = pg_atomic_add_fetch_u64(&batch->load,
									  MDB_WAITING_ONE - unreserve) >> 32;
	if (waiting == 1)
		batch->nonempty_since = now;
	LWLockRelease(lock);
	return waiting;
}

/*
 * Make a staged entry pending.  It stands for the others of its transaction
 * that were coalesced into it or found stale.  True if the worker must look
 * at the batch.  Cannot fail.
 */
bool
mdb_queue_publish(MdbRef staged, bool reserved, uint32 coalesced, uint32 stale,
				  TimestampTz now)
{
	int			number = mdb_entry(staged)->batch;
	MdbBatch   *batch = mdb_batch(number);
	MdbStripe  *stripe = my_stripe(batch);
	LWLock	   *partition = mdb_lock_partition(mdb_entry(staged)->hash);
	uint64		unreserve = reserved ? MDB_RESERVED_ONE : 0;
	uint32		added = 1 + coalesced + stale;
	uint32		waiting = 0;
	MdbRef		pending;

	LWLockAcquire(partition, LW_EXCLUSIVE);
	pending = mdb_hash_find(staged, MDB_WAITING);
	if (pending == MDB_NO_REF)
		waiting = link_waiting(staged, unreserve, now);
	else
	{
		if (mdb_hash_combine(pending, staged))
			coalesced++;
		else
			stale++;
		pg_atomic_fetch_sub_u64(&batch->load, unreserve);
	}
	pg_atomic_fetch_add_u64(&stripe->count.added, added);
	if (coalesced > 0)
		pg_atomic_fetch_add_u64(&stripe->count.coalesced, coalesced);
	if (stale > 0)
		pg_atomic_fetch_add_u64(&stripe->count.stale, stale);
	LWLockRelease(partition);

	if (pending != MDB_NO_REF)
	{
		mdb_pool_free(&batch->account, staged);
		if (reserved)
			ConditionVariableBroadcast(&batch->changed);
	}
	return waiting == 1 ||
		waiting == (uint32) mdb_batch_limits(batch)
		.batch_size;
}

/*
 * The oldest waiting entry, none if none waits that arrived until then, or the
 * next one is of another definition than the wanted one; and its hash.
 */
static MdbRef
peek_waiting(int number, MdbRef *definition, int64 until, uint32 *hash,
			 int64 *arrival)
{
	MdbBatch   *batch = mdb_batch(number);
	MdbRef		ref;

	LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
	if (*definition == MDB_NO_REF)
		*definition = mdb_batch_next_definition(batch);
	ref = *definition == MDB_NO_REF ? MDB_NO_REF :
		mdb_batch_definition(*definition)->first;
	if (ref != MDB_NO_REF && mdb_entry(ref)->arrival > until)
		ref = MDB_NO_REF;
	if (ref != MDB_NO_REF)
	{
		*hash = mdb_entry(ref)->hash;
		*arrival = mdb_entry(ref)->arrival;
	}
	LWLockRelease(mdb_batch_lock(number));
	return ref;
}

/*
 * Take that entry out of its order.  It is returned with the locks of its
 * partition and of the batch, which the caller holds (note.c), held.
 */
static MdbRef
pop_waiting(int number, MdbRef *definition, int64 until)
{
	MdbBatch   *batch = mdb_batch(number);
	LWLock	   *lock = mdb_batch_lock(number);
	uint32		hash = 0;
	int64		arrival = 0;
	MdbRef		ref;

	while ((ref = peek_waiting(number, definition, until, &hash,
							   &arrival)) != MDB_NO_REF)
	{
		MdbDefinitionHead *head = mdb_batch_definition(*definition);

		/* Somebody else may have taken it before we have both locks. */
		LWLockAcquire(mdb_lock_partition(hash), LW_EXCLUSIVE);
		LWLockAcquire(lock, LW_EXCLUSIVE);
		if (head->first == ref && mdb_entry(ref)->arrival == arrival)
		{
			list_remove(&head->first, &head->last, ref);
			pg_atomic_fetch_sub_u64(&batch->load, MDB_WAITING_ONE);
			break;
		}
		LWLockRelease(lock);
		LWLockRelease(mdb_lock_partition(hash));
	}
	return ref;
}

static void
unlock_popped(MdbRef ref)
{
	LWLockRelease(mdb_batch_lock(mdb_entry(ref)->batch));
	LWLockRelease(mdb_lock_partition(mdb_entry(ref)->hash));
}

/*
 * Detach up to max entries, all of one definition, into flight->entries,
 * which has room for them.  From then on the caller must finish them or put
 * them back.
 */
void
mdb_queue_detach(int number, MdbFlight *flight, int max)
{
	MdbBatch   *batch = mdb_batch(number);
	int64		until;

	/* What arrives from now on may be of a key that is taken already. */
	LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
	until = batch->last_arrival;
	LWLockRelease(mdb_batch_lock(number));

	flight->batch = number;
	flight->definition = MDB_NO_REF;
	flight->count = 0;
	while (flight->count < max)
	{
		MdbRef		ref = pop_waiting(number, &flight->definition, until);

		if (ref == MDB_NO_REF)
			break;
		mdb_entry(ref)->state = MDB_IN_FLIGHT;
		list_append(&batch->flight_first, &batch->flight_last, ref);
		batch->in_flight++;
		flight->entries[flight->count++] = ref;
		unlock_popped(ref);
	}
}

/*
 * The transaction that wrote the entries has committed: drop them.  To be
 * called from its commit callback.  Cannot fail.
 */
void
mdb_queue_finish(const MdbFlight *flight, const MdbOutcome *outcome)
{
	MdbBatch   *batch = mdb_batch(flight->batch);
	LWLock	   *lock = mdb_batch_lock(flight->batch);
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(lock, LW_EXCLUSIVE);
	mdb_batch_definition(flight->definition)->nentries -= flight->count;
	batch->flight_first = batch->flight_last = MDB_NO_REF;
	batch->in_flight = 0;
	batch->nflushed++;
	batch->last_flush_end = now;
	batch->empty_since = now;
	batch->retry_at = 0;
	batch->failures_in_row = 0;
	mdb_books_count_outcome(batch, flight->count, outcome, now);
	LWLockRelease(lock);

	for (int i = 0; i < flight->count; i++)
	{
		MdbRef		ref = flight->entries[i];
		LWLock	   *partition = mdb_lock_partition(mdb_entry(ref)->hash);

		LWLockAcquire(partition, LW_EXCLUSIVE);
		mdb_hash_remove(ref);
		LWLockRelease(partition);
		mdb_pool_free(&batch->account, ref);
	}
	ConditionVariableBroadcast(&batch->changed);
}

/* Count an entry that nobody wants any more, under both locks. */
static MdbRef
discard(MdbBatch *batch, MdbRef ref)
{
	mdb_hash_remove(ref);
	mdb_batch_definition(mdb_entry(ref)->definition)->nentries--;
	batch->counters.discarded++;
	batch->empty_since = GetCurrentTimestamp();
	return ref;
}

/*
 * The entry goes back to the front, unless it was discarded meanwhile; under
 * the partition's lock.  Returns what is to be freed.
 */
static MdbRef
restore_waiting(MdbBatch *batch, MdbRef ref)
{
	MdbEntry   *entry = mdb_entry(ref);
	MdbDefinitionHead *definition = mdb_batch_definition(entry->definition);
	MdbRef		fresh = mdb_hash_find(ref, MDB_WAITING);

	list_remove(&batch->flight_first, &batch->flight_last, ref);
	batch->in_flight--;
	if (entry->arrival <= batch->discarded_until)
	{
		batch->flight_discarded++;
		return discard(batch, ref);
	}
	list_prepend(&definition->first, &definition->last, ref);
	entry->state = MDB_WAITING;
	batch->nonempty_since = Min(batch->nonempty_since, entry->arrival);
	if (fresh == MDB_NO_REF)
	{
		pg_atomic_fetch_add_u64(&batch->load, MDB_WAITING_ONE);
		return MDB_NO_REF;
	}

	/* The fresh one is the later; there is one entry less. */
	if (mdb_hash_combine(ref, fresh))
		pg_atomic_fetch_add_u64(&my_stripe(batch)->count.coalesced, 1);
	else
		pg_atomic_fetch_add_u64(&my_stripe(batch)->count.stale, 1);
	list_remove(&definition->first, &definition->last, fresh);
	definition->nentries--;
	mdb_hash_remove(fresh);
	return fresh;
}

/*
 * The transaction that should have written the entries did not commit: they
 * wait again, and the flush failed unless it was merely interrupted (failure
 * NULL).  To be called from its abort callback.  Cannot fail.
 */
void
mdb_queue_put_back(const MdbFlight *flight, const MdbFailure *failure)
{
	MdbBatch   *batch = mdb_batch(flight->batch);
	LWLock	   *lock = mdb_batch_lock(flight->batch);

	for (int i = flight->count - 1; i >= 0; i--)
	{
		MdbRef		ref = flight->entries[i];
		LWLock	   *partition = mdb_lock_partition(mdb_entry(ref)->hash);
		MdbRef		replaced;

		LWLockAcquire(partition, LW_EXCLUSIVE);
		LWLockAcquire(lock, LW_EXCLUSIVE);
		replaced = restore_waiting(batch, ref);
		LWLockRelease(lock);
		LWLockRelease(partition);
		if (replaced != MDB_NO_REF)
			mdb_pool_free(&batch->account, replaced);
	}

	if (failure != NULL)
	{
		LWLockAcquire(lock, LW_EXCLUSIVE);
		mdb_books_count_failure(batch, failure);
		LWLockRelease(lock);
	}
	ConditionVariableBroadcast(&batch->changed);
}

/*
 * Throw away all that waits now in a batch that the caller holds, and what is
 * in flight unless the flush commits.  Returns how many waited.  Cannot fail.
 */
int64
mdb_queue_discard(int number)
{
	MdbBatch   *batch = mdb_batch(number);
	int64		count = 0;
	int64		until;

	LWLockAcquire(mdb_batch_lock(number), LW_EXCLUSIVE);
	until = batch->last_arrival;
	batch->discarded_until = until;
	LWLockRelease(mdb_batch_lock(number));

	for (;;)
	{
		MdbRef		definition = MDB_NO_REF;
		MdbRef		ref = pop_waiting(number, &definition, until);

		if (ref == MDB_NO_REF)
			break;
		(void) discard(batch, ref);
		unlock_popped(ref);
		mdb_pool_free(&batch->account, ref);
		count++;
	}
	ConditionVariableBroadcast(&batch->changed);
	return count;
}

/* Does anybody still want what is in flight?  Its first entry is the oldest. */
bool
mdb_queue_is_wanted(const MdbFlight *flight)
{
	int64		discarded_until;

	LWLockAcquire(mdb_batch_lock(flight->batch), LW_SHARED);
	discarded_until = mdb_batch(flight->batch)->discarded_until;
	LWLockRelease(mdb_batch_lock(flight->batch));
	return mdb_entry(flight->entries[0])->arrival > discarded_until;
}
