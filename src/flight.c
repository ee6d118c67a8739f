/*
 * flight.c
 *		What is pending: detach, finish, put back, discard.
 *
 * Model: a flush detaches entries: they are in flight, still found by key, and
 * an add to such a key becomes a fresh waiting entry (queue.c).  When the
 * flush's transaction commits they are dropped, but for those that it stepped
 * over: these are deferred, wait for a retry of their own, and do not count
 * for capacity until then (R12).  When it aborts, all go back to their place,
 * combined with what is fresh.
 *
 * Locking: as queue.c.  Contents of entries in flight do not change, the
 * worker reads them without a lock.  Only the worker of the database detaches,
 * finishes and puts back; others discard, too, so a process that takes
 * entries out holds the batch (note.c).
 *
 * Finishing and putting back happen in transaction callbacks: they allocate
 * nothing and cannot fail.
 *
 * Limits: what is deferred is looked through at each flush.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "books.h"
#include "define.h"
#include "flight.h"
#include "hash.h"
#include "queue.h"

#define AHEAD	4				/* entries, of what is fetched meanwhile */

/* The time of an entry's own retry, whole seconds. */
static inline TimestampTz
retry_time(const MdbEntry *entry)
{
	return (TimestampTz) entry->retry_at * USECS_PER_SEC;
}

/* Let deferred entries whose time has come be ready; under the batch's lock. */
static void
wake_deferred(MdbBatch *batch, TimestampTz now)
{
	batch->next_retry = DT_NOEND;
	for (MdbRef definition = batch->oldest; definition != MDB_NO_REF;
		 definition = mdb_define_head(definition)->newer)
	{
		MdbDefinitionHead *head = mdb_define_head(definition);
		MdbRef		hint = MDB_NO_REF;
		MdbRef		next;

		for (MdbRef ref = head->deferred.first; ref != MDB_NO_REF; ref = next)
		{
			MdbEntry   *entry = mdb_entry(ref);

			next = entry->order_next;
			if (retry_time(entry) > now)
			{
				batch->next_retry = Min(batch->next_retry, retry_time(entry));
				continue;
			}
			mdb_order_remove(&head->deferred, ref);
			mdb_order_insert(&head->ready, ref, hint);
			hint = ref;
			entry->retry_at = 0;
			head->nlocked -= entry->locked;
			batch->ndeferred--;
		}
	}
}

/* Let all deferred entries be ready at once; under the batch's lock. */
void
mdb_flight_wake_all(MdbBatch *batch)
{
	if (batch->ndeferred > 0)
		wake_deferred(batch, DT_NOEND);
}

/*
 * The flush steps over an entry in flight: when it commits, the entry is
 * deferred, twice as long each time.
 */
void
mdb_flight_step_over(MdbRef ref, bool locked)
{
	MdbEntry   *entry = mdb_entry(ref);

	entry->locked = locked;
	if (entry->deferrals < PG_UINT16_MAX)
		entry->deferrals++;
	entry->retry_at = (GetCurrentTimestamp() +
					   mdb_books_backoff(entry->deferrals)) / USECS_PER_SEC + 1;
}

/* Was any of the entries in flight stepped over before? */
bool
mdb_flight_was_deferred(const MdbFlight *flight)
{
	for (int i = 0; i < flight->count; i++)
		if (mdb_entry(flight->entries[i])->deferrals > 0)
			return true;
	return false;
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
		*definition = mdb_define_next(batch);
	ref = *definition == MDB_NO_REF ? MDB_NO_REF :
		mdb_define_head(*definition)->ready.first;
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
		MdbDefinitionHead *head = mdb_define_head(*definition);

		/* Somebody else may have taken it before we have both locks. */
		LWLockAcquire(mdb_lock_partition(hash), LW_EXCLUSIVE);
		LWLockAcquire(lock, LW_EXCLUSIVE);
		if (head->ready.first == ref && mdb_entry(ref)->arrival == arrival)
		{
			mdb_order_remove(&head->ready, ref);
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
mdb_flight_detach(int number, MdbFlight *flight, int max)
{
	MdbBatch   *batch = mdb_batch(number);
	int64		until;

	/* What arrives from now on may be of a key that is taken already. */
	LWLockAcquire(mdb_batch_lock(number), LW_EXCLUSIVE);
	if (batch->ndeferred > 0)
		wake_deferred(batch, GetCurrentTimestamp());
	until = batch->last_arrival;
	batch->writing = false;
	LWLockRelease(mdb_batch_lock(number));

	flight->batch = number;
	flight->until = until;
	flight->definition = MDB_NO_REF;
	flight->count = 0;
	while (flight->count < max)
	{
		MdbRef		ref = pop_waiting(number, &flight->definition, until);

		if (ref == MDB_NO_REF)
			break;
		mdb_entry(ref)->state = MDB_IN_FLIGHT;
		mdb_order_append(&batch->flight, ref);
		batch->in_flight++;
		flight->entries[flight->count++] = ref;
		unlock_popped(ref);
	}
}

/* Count an entry that nobody wants any more, under both locks. */
static MdbRef
discard(MdbBatch *batch, MdbRef ref)
{
	mdb_hash_remove(ref);
	mdb_define_head(mdb_entry(ref)->definition)->nentries--;
	batch->counters.discarded++;
	batch->empty_since = GetCurrentTimestamp();
	return ref;
}

/* The entry waits again, for its own retry or with the others. */
static void
link_again(MdbBatch *batch, MdbRef ref, bool deferred)
{
	MdbEntry   *entry = mdb_entry(ref);
	MdbDefinitionHead *definition = mdb_define_head(entry->definition);

	entry->state = MDB_WAITING;
	if (deferred)
	{
		mdb_order_insert_late(&definition->deferred, ref);
		definition->nlocked += entry->locked;
		batch->ndeferred++;
		batch->next_retry = Min(batch->next_retry, retry_time(entry));
		return;
	}
	if (entry->retry_at != 0)
		entry->deferrals--;		/* the flush did not commit that */
	entry->retry_at = 0;
	mdb_order_insert(&definition->ready, ref, MDB_NO_REF);
	batch->nonempty_since = Min(batch->nonempty_since, entry->arrival);
}

/*
 * The entry goes back to its place, unless it was discarded meanwhile; under
 * both locks.  Returns what is to be freed.
 */
static MdbRef
restore(MdbBatch *batch, MdbRef ref, bool deferred)
{
	MdbEntry   *entry = mdb_entry(ref);
	MdbDefinitionHead *definition = mdb_define_head(entry->definition);
	MdbStripe  *stripe = mdb_queue_stripe(batch);
	MdbRef		fresh = mdb_hash_find(ref, MDB_WAITING);

	mdb_order_remove(&batch->flight, ref);
	batch->in_flight--;
	if (entry->arrival <= batch->discarded_until)
	{
		batch->flight_discarded++;
		return discard(batch, ref);
	}
	link_again(batch, ref, deferred);
	if (fresh == MDB_NO_REF)
	{
		pg_atomic_fetch_add_u64(&batch->load, MDB_WAITING_ONE);
		return MDB_NO_REF;
	}

	/* The fresh one is the later; there is one entry less. */
	if (mdb_hash_combine(ref, fresh))
		pg_atomic_fetch_add_u64(&stripe->count.coalesced, 1);
	else
		pg_atomic_fetch_add_u64(&stripe->count.stale, 1);
	pg_atomic_fetch_sub_u64(&stripe->count.linked, 1);
	mdb_order_remove(&definition->ready, fresh);
	definition->nentries--;
	mdb_hash_remove(fresh);
	return fresh;
}

/* The same, taking the locks. */
static void
put_back(MdbBatch *batch, MdbRef ref, bool deferred)
{
	int			number = mdb_entry(ref)->batch;
	LWLock	   *partition = mdb_lock_partition(mdb_entry(ref)->hash);
	MdbRef		replaced;

	LWLockAcquire(partition, LW_EXCLUSIVE);
	LWLockAcquire(mdb_batch_lock(number), LW_EXCLUSIVE);
	replaced = restore(batch, ref, deferred);
	LWLockRelease(mdb_batch_lock(number));
	LWLockRelease(partition);
	if (replaced != MDB_NO_REF)
		mdb_pool_free(&batch->account, replaced);
}

/* Put back what the flush stepped over; returns how many are left. */
static int
defer_stepped(MdbBatch *batch, MdbFlight *flight)
{
	int			n = 0;

	for (int i = 0; i < flight->count; i++)
	{
		MdbRef		ref = flight->entries[i];

		if (mdb_entry(ref)->retry_at != 0)
			put_back(batch, ref, true);
		else
			flight->entries[n++] = ref;
	}
	return n;
}

/*
 * The transaction that wrote the entries has committed: drop them, or defer
 * them.  To be called from its commit callback.  Cannot fail.
 */
void
mdb_flight_finish(MdbFlight *flight, const MdbOutcome *outcome)
{
	MdbBatch   *batch = mdb_batch(flight->batch);
	LWLock	   *lock = mdb_batch_lock(flight->batch);
	TimestampTz now = GetCurrentTimestamp();
	int			n = outcome->nstepped > 0 ? defer_stepped(batch, flight) :
		flight->count;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	mdb_define_head(flight->definition)->nentries -= n;
	memset(&batch->flight, 0, sizeof(batch->flight));
	batch->in_flight = 0;
	batch->writing = false;
	batch->nflushed++;
	batch->last_flush_end = now;
	batch->empty_since = now;
	batch->retry_at = 0;
	batch->failures_in_row = 0;
	mdb_books_count_outcome(batch, n, outcome, now);
	LWLockRelease(lock);

	mdb_pool_prepay(&batch->account, 0);
	for (int i = 0; i < n; i++)
	{
		MdbRef		ref = flight->entries[i];
		LWLock	   *partition = mdb_lock_partition(mdb_entry(ref)->hash);

		mdb_pool_prefetch(flight->entries, n, i);
		if (i + AHEAD < n)
			mdb_hash_prefetch(mdb_entry(flight->entries[i + AHEAD])->hash);
		LWLockAcquire(partition, LW_EXCLUSIVE);
		mdb_hash_remove(ref);
		LWLockRelease(partition);
		mdb_pool_free(&batch->account, ref);
	}
	mdb_pool_settle();
	ConditionVariableBroadcast(&batch->changed);
}

/*
 * The transaction that should have written the entries did not commit: they
 * wait again, and the flush failed unless it was merely interrupted (failure
 * NULL).  To be called from its abort callback.  Cannot fail.
 */
void
mdb_flight_put_back(const MdbFlight *flight, const MdbFailure *failure)
{
	MdbBatch   *batch = mdb_batch(flight->batch);
	LWLock	   *lock = mdb_batch_lock(flight->batch);

	for (int i = flight->count - 1; i >= 0; i--)
		put_back(batch, flight->entries[i], false);

	if (failure != NULL)
	{
		LWLockAcquire(lock, LW_EXCLUSIVE);
		mdb_books_count_failure(batch, failure);
		LWLockRelease(lock);
	}
	ConditionVariableBroadcast(&batch->changed);
}

/* Throw away what waits and arrived until then; returns how many. */
static int64
discard_waiting(int number, int64 until)
{
	MdbBatch   *batch = mdb_batch(number);
	int64		count = 0;

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
	return count;
}

/*
 * Throw away all that is pending now in a batch that the caller holds.  What
 * is in flight goes when its flush finds out that nobody wants it, or fails;
 * but if the flush is writing, and so may still commit, *writing (unless NULL)
 * is set.
 * Returns how many are thrown away for certain.  Cannot fail.
 */
int64
mdb_flight_discard(int number, bool *writing)
{
	MdbBatch   *batch = mdb_batch(number);
	int64		count;
	int64		until;
	bool		may_commit;

	LWLockAcquire(mdb_batch_lock(number), LW_EXCLUSIVE);
	until = batch->last_arrival;
	batch->discarded_until = until;
	mdb_flight_wake_all(batch);
	LWLockRelease(mdb_batch_lock(number));
	count = discard_waiting(number, until);

	/* Whatever a flush has detached meanwhile, it is not writing that. */
	LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
	may_commit = batch->writing && batch->in_flight > 0;
	if (!may_commit)
		for (MdbRef ref = batch->flight.first; ref != MDB_NO_REF &&
			 mdb_entry(ref)->arrival <= until; ref = mdb_entry(ref)->order_next)
			count++;
	LWLockRelease(mdb_batch_lock(number));
	ConditionVariableBroadcast(&batch->changed);
	if (writing != NULL)
		*writing = may_commit;
	return count;
}

/*
 * Does anybody still want what is in flight?  Its first entry is the oldest.
 * If so, the flush is writing from now on.
 */
bool
mdb_flight_is_wanted(const MdbFlight *flight)
{
	MdbBatch   *batch = mdb_batch(flight->batch);
	bool		wanted;

	LWLockAcquire(mdb_batch_lock(flight->batch), LW_EXCLUSIVE);
	wanted = mdb_entry(flight->entries[0])->arrival > batch->discarded_until;
	batch->writing = wanted;
	LWLockRelease(mdb_batch_lock(flight->batch));
	return wanted;
}
