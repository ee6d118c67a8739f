/*
 * batch.c
 *		The batches: identity, and what they hold.
 *
 * Model: max_batches slots.  A slot belongs to a target of a database from
 * its first add until another target needs the slot and this batch has been
 * empty longest (R10).  What the entries of a batch look like is a list of
 * definitions, oldest first; each has its own flush order, so that entries of
 * an older definition are written first.  All but the newest go when they
 * have no entries.  A transaction that uses a slot or a definition holds the
 * batch (note.c); taking either away changes the epoch.
 *
 * Locking: the control lock guards identities, a batch's lock its lists and
 * books (locks.c has the order).
 *
 * Limits: finding a batch walks the slots, which happens when a backend
 * resolves a target, not at each add.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "common/hashfn.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "compat.h"
#include "define.h"
#include "note.h"

static MdbBatch *batches;
static pg_atomic_uint64 *last_epoch;

/* Shared memory that the batches take, bytes. */
Size
mdb_batch_shmem(void)
{
	return add_size(mul_size(mdb_max_batches + 1, sizeof(MdbBatch)),
					MDB_CACHE_LINES);
}

/* All but the condition variable, which others may be using. */
static void
init_batch(MdbBatch *batch)
{
	memset(batch, 0, offsetof(MdbBatch, changed));
	pg_atomic_init_u64(&batch->epoch, 0);
	pg_atomic_init_u32(&batch->account.used, 0);
	pg_atomic_init_u64(&batch->load, 0);
	pg_atomic_init_u64(&batch->dropped_entries, 0);
	pg_atomic_init_u64(&batch->drop_logged, 0);
	for (int i = 0; i < MDB_NSTRIPES; i++)
	{
		pg_atomic_init_u64(&batch->stripes[i].count.linked, 0);
		pg_atomic_init_u64(&batch->stripes[i].count.coalesced, 0);
		pg_atomic_init_u64(&batch->stripes[i].count.stale, 0);
	}
}

/* Create the batches, or attach to them; under AddinShmemInitLock. */
void
mdb_batch_attach(void)
{
	bool		found;
	char	   *at = ShmemInitStruct("mdbatch batches", mdb_batch_shmem(),
									 &found);

	last_epoch = (pg_atomic_uint64 *) at;
	batches = (MdbBatch *) TYPEALIGN(MDB_CACHE_LINES, at + sizeof(*last_epoch));
	if (found)
		return;
	pg_atomic_init_u64(last_epoch, 0);
	for (int i = 0; i < mdb_max_batches; i++)
	{
		init_batch(&batches[i]);
		ConditionVariableInit(&batches[i].changed);
	}
}

/* Is the library preloaded, so that there is something to work with? */
bool
mdb_batch_attached(void)
{
	return batches != NULL;
}

/*
 * ERROR unless there is shared memory that this process may use.  All
 * functions that read or change it call this first.
 *
 * A parallel worker may not use it, not even to look: what it adds would
 * never be published, as only its leader commits, and what it holds is not
 * what the leader holds.  The parallel labels of our functions are not
 * enough: a function that calls them can have a wrong label.
 */
void
mdb_batch_require(void)
{
	if (!mdb_batch_attached())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mdbatch is not loaded"),
				 errhint("Add \"mdbatch\" to \"shared_preload_libraries\" and restart the server.")));
	if (IsParallelWorker())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot access batches of mdbatch during a parallel operation"),
				 errhint("Mark the function that calls mdbatch as PARALLEL UNSAFE.")));
}

MdbBatch *
mdb_batch(int number)
{
	return &batches[number];
}

/* What one of a batch's counters says, under its lock. */
uint64
mdb_batch_count(int number, const uint64 *counter)
{
	uint64		count;

	LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
	count = *counter;
	LWLockRelease(mdb_batch_lock(number));
	return count;
}

/* Entries that wait, those in flight not counted. */
uint32
mdb_batch_waiting(const MdbBatch *batch)
{
	return pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &batch->load)) >> 32;
}

/* Those of them that the next flush may take, under the batch's lock. */
uint32
mdb_batch_ready(const MdbBatch *batch)
{
	return mdb_batch_waiting(batch) - batch->ndeferred;
}

/* Places that open transactions have reserved. */
uint32
mdb_batch_reserved(const MdbBatch *batch)
{
	return (uint32)
		pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &batch->load));
}

static void
change_epoch(MdbBatch *batch)
{
	pg_atomic_write_u64(&batch->epoch,
						pg_atomic_add_fetch_u64(last_epoch, 1));
}

/*
 * Is there nothing in the batch, nor anybody who could put something there?
 * Then its epoch is zero, and the caller must change it.  Under the control
 * lock.
 */
static bool
take_away(int number)
{
	MdbBatch   *batch = &batches[number];
	uint64		epoch = pg_atomic_read_u64(&batch->epoch);

	pg_atomic_write_u64(&batch->epoch, 0);
	pg_memory_barrier();
	if (!mdb_note_is_held(number))
		return true;
	pg_atomic_write_u64(&batch->epoch, epoch);
	return false;
}

/* Has the batch neither entries nor reservations?  Under its lock. */
bool
mdb_batch_is_empty(const MdbBatch *batch)
{
	return pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &batch->load)) == 0 &&
		batch->in_flight == 0;
}

/* The slot of a target, under the control lock; -1 if it has none. */
static int
find_slot(Oid dboid, Oid relid)
{
	for (int i = 0; i < mdb_max_batches; i++)
		if (batches[i].dboid == dboid && batches[i].relid == relid &&
			!batches[i].gone)
			return i;
	return -1;
}

/*
 * The batch of a target, -1 if it has none.  It may be another's as soon as
 * this returns: hold it, and ask again if the epoch is no longer the same.
 */
int
mdb_batch_find(Oid dboid, Oid relid, uint64 *epoch)
{
	int			number;

	LWLockAcquire(mdb_lock_control(), LW_SHARED);
	number = find_slot(dboid, relid);
	if (number >= 0)
		*epoch = pg_atomic_read_u64(&batches[number].epoch);
	LWLockRelease(mdb_lock_control());
	return number;
}

/*
 * Empty a slot of the batch that has been empty longest, under the control
 * lock; -1 if there is none.
 */
static int
reclaim_slot(void)
{
	TimestampTz after = DT_NOBEGIN;

	for (;;)
	{
		int			candidate = -1;

		for (int i = 0; i < mdb_max_batches; i++)
		{
			if (mdb_batch_is_empty(&batches[i]) && batches[i].empty_since > after &&
				(candidate < 0 ||
				 batches[i].empty_since < batches[candidate].empty_since))
				candidate = i;
		}
		if (candidate < 0)
			return -1;
		after = batches[candidate].empty_since;

		if (take_away(candidate))
		{
			LWLock	   *lock = mdb_batch_lock(candidate);
			bool		empty;

			LWLockAcquire(lock, LW_EXCLUSIVE);
			empty = mdb_batch_is_empty(&batches[candidate]);
			if (empty)
				mdb_define_free(&batches[candidate], false);

			/* The worker may still be freeing what it has finished. */
			empty = empty &&
				pg_atomic_read_u32(&batches[candidate].account.used) == 0;
			LWLockRelease(lock);
			if (empty)
				return candidate;
			change_epoch(&batches[candidate]);
		}
	}
}

/* Make a slot the empty batch of a target. */
static void
occupy_slot(MdbBatch *batch, Oid dboid, Oid relid)
{
	TimestampTz now = GetCurrentTimestamp();

	Assert(pg_atomic_read_u32(&batch->account.used) == 0);
	init_batch(batch);
	batch->dboid = dboid;
	batch->relid = relid;
	batch->empty_since = now;
	batch->next_retry = DT_NOEND;
	batch->counters.stats_reset = now;
	change_epoch(batch);
}

/*
 * The batch of a target, which gets one if it has none; -1 if there is no
 * slot for it.  As with mdb_batch_find, hold it and look again.
 */
int
mdb_batch_acquire(Oid dboid, Oid relid, uint64 *epoch)
{
	int			number = mdb_batch_find(dboid, relid, epoch);

	if (number >= 0 && *epoch != 0)
		return number;

	LWLockAcquire(mdb_lock_control(), LW_EXCLUSIVE);
	number = find_slot(dboid, relid);
	if (number < 0)
	{
		number = find_slot(InvalidOid, InvalidOid);
		if (number < 0)
			number = reclaim_slot();
		if (number >= 0)
		{
			LWLockAcquire(mdb_batch_lock(number), LW_EXCLUSIVE);
			occupy_slot(&batches[number], dboid, relid);
			LWLockRelease(mdb_batch_lock(number));
		}
	}
	if (number >= 0)
		*epoch = pg_atomic_read_u64(&batches[number].epoch);
	LWLockRelease(mdb_lock_control());
	return number;
}

/*
 * Let older definitions go that nothing was defined by any more, and the slot
 * of a batch that was detached and is empty.  Allowed in a commit callback.
 */
void
mdb_batch_tidy(int number)
{
	MdbBatch   *batch = &batches[number];

	if (batch->oldest == batch->newest && !batch->detached)
		return;
	LWLockAcquire(mdb_lock_control(), LW_EXCLUSIVE);
	if (take_away(number))
	{
		bool		leave;

		LWLockAcquire(mdb_batch_lock(number), LW_EXCLUSIVE);
		leave = batch->detached && mdb_batch_is_empty(batch);
		mdb_define_free(batch, !leave);
		if (leave && pg_atomic_read_u32(&batch->account.used) == 0)
			batch->dboid = batch->relid = InvalidOid;
		LWLockRelease(mdb_batch_lock(number));
		change_epoch(batch);
	}
	LWLockRelease(mdb_lock_control());
}

/*
 * A target is no longer attached: its batch goes when it is empty.  Allowed
 * in a commit callback.
 */
void
mdb_batch_detach(Oid dboid, Oid relid)
{
	int			number;

	LWLockAcquire(mdb_lock_control(), LW_SHARED);
	number = find_slot(dboid, relid);
	if (number >= 0)
	{
		LWLockAcquire(mdb_batch_lock(number), LW_EXCLUSIVE);
		batches[number].detached = true;
		LWLockRelease(mdb_batch_lock(number));
	}
	LWLockRelease(mdb_lock_control());
	if (number >= 0)
		mdb_batch_tidy(number);
}

/*
 * A target is attached again, with sizes of its own or 0; something may be
 * left in its batch.  Allowed in a commit callback.
 */
void
mdb_batch_attach_again(Oid dboid, Oid relid, int batch_size,
					   int64 flush_interval)
{
	int			number;

	LWLockAcquire(mdb_lock_control(), LW_SHARED);
	number = find_slot(dboid, relid);
	if (number >= 0)
	{
		MdbBatch   *batch = &batches[number];

		LWLockAcquire(mdb_batch_lock(number), LW_EXCLUSIVE);
		batch->own_batch_size = batch_size;
		batch->own_interval = flush_interval;
		if (!mdb_batch_is_empty(batch))
			batch->detached = false;
		LWLockRelease(mdb_batch_lock(number));
	}
	LWLockRelease(mdb_lock_control());
}

/*
 * Zero a batch's counters; what is pending counts as added from then on.
 * Under its lock, and nothing may be published meanwhile.
 */
void
mdb_batch_reset_books(MdbBatch *batch)
{
	memset(&batch->counters, 0, sizeof(batch->counters));
	batch->counters.stats_reset = GetCurrentTimestamp();
	pg_atomic_write_u64(&batch->dropped_entries, 0);
	for (int i = 0; i < MDB_NSTRIPES; i++)
	{
		pg_atomic_write_u64(&batch->stripes[i].count.linked,
							i > 0 ? 0 : (uint64) mdb_batch_waiting(batch) +
							batch->in_flight);
		pg_atomic_write_u64(&batch->stripes[i].count.coalesced, 0);
		pg_atomic_write_u64(&batch->stripes[i].count.stale, 0);
	}
}

/*
 * A target is no more (InvalidOid: nor are the others of its database): what
 * is pending is to be discarded.  Allowed in a commit callback.
 */
void
mdb_batch_drop(Oid dboid, Oid relid)
{
	LWLockAcquire(mdb_lock_control(), LW_SHARED);
	for (int i = 0; i < mdb_max_batches; i++)
	{
		MdbBatch   *batch = &batches[i];

		if (batch->dboid != dboid ||
			(OidIsValid(relid) && batch->relid != relid))
			continue;
		LWLockAcquire(mdb_batch_lock(i), LW_EXCLUSIVE);
		batch->gone = true;
		LWLockRelease(mdb_batch_lock(i));
	}
	LWLockRelease(mdb_lock_control());
}
