/*
 * wait.c
 *		Waiting for flushes, where the deadlock detector sees it (R13).
 *
 * Model: while a flush of the database runs, a waiter waits for the worker's
 * transaction, as for any lock: if the waiter is in the worker's way, the
 * detector finds that out.  As a rule a flush is short: so for a part of the
 * worker's lock_timeout the waiter sleeps first, on the condition variable of
 * its batch.  While no flush runs it sleeps there, too; the worker broadcasts
 * it after it has published its transaction and before it takes its first
 * lock, for all batches of the database.  Then the waiter looks again.  When
 * only the reservations of others fill a batch, it waits for one of their
 * transactions.
 *
 * A transaction that could be in the way of the flush for certain (it has
 * written, or has locks) may not wait at all.
 *
 * Locking: none while waiting.
 *
 * Limits: waiting for a flush ends with the first failure of the batch.  Who
 * waits for one holder of reservations learns of room that another gives back
 * when the first has ended, too.  A wait for a worker that is still connecting
 * is not visible to the detector.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "define.h"
#include "due.h"
#include "flight.h"
#include "hash.h"
#include "note.h"
#include "roster.h"
#include "settings.h"
#include "wait.h"

#define UNSEEN_WAIT		20		/* ms, at most */
#define NOBODY_WAIT		10		/* ms, while no transaction can be waited for */

static bool in_worker = false;

/* This process is a worker: nothing in it may wait for a flush. */
void
mdb_wait_in_worker(void)
{
	in_worker = true;
}

/* ERROR where there will never be a worker. */
void
mdb_wait_require_workers(void)
{
	if (!IsUnderPostmaster)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mdbatch does not work in single-user mode")));
}

static void
refuse(const char *what, const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("cannot wait for %s in this transaction", what),
			 errdetail_internal("%s", reason),
			 errhint("Wait in a transaction of its own, before anything is written or locked.")));
}

/* Could this lock of ours be in the way of a flush? */
static bool
is_in_the_way(const LockInstanceData *lock)
{
	LOCKMASK	harmless = LOCKBIT_ON(AccessShareLock);

	if (lock->pid != MyProcPid || lock->holdMask == 0)
		return false;
	if (lock->locktag.locktag_type == LOCKTAG_ADVISORY)
		return true;
	if (lock->locktag.locktag_type != LOCKTAG_RELATION)
		return false;

	/* What an INSERT takes on a view. */
	if (lock->locktag.locktag_field1 == MyDatabaseId &&
		get_rel_relkind(lock->locktag.locktag_field2) == RELKIND_VIEW)
		harmless |= LOCKBIT_ON(RowExclusiveLock);
	return (lock->holdMask & ~harmless) != 0;
}

/*
 * ERROR if this transaction may not wait (R13); "what" says for what, for the
 * message.
 */
void
mdb_wait_refuse(const char *what)
{
	LockData   *locks;

	if (in_worker)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for %s in a background worker of mdbatch",
						what),
				 errdetail("The worker would wait for itself.")));
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		refuse(what, _("The transaction has written to the database."));

	locks = GetLockStatusData();
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (is_in_the_way(lock))
			refuse(what,
				   lock->locktag.locktag_type == LOCKTAG_ADVISORY ?
				   _("It holds an advisory lock.") :
				   _("It holds a table lock above ACCESS SHARE."));
	}
}

/*
 * Many who wait for the same lock are slow to be woken.  So a process that
 * waits for a transaction does without the lock at first, unless its own
 * lock_timeout is about as short.  How long from now, in milliseconds?  The
 * worker looks for a deadlock after half its lock_timeout, and must see us
 * then.
 */
static long
unseen_wait(VirtualTransactionId vxid)
{
	static VirtualTransactionId awaited;
	static TimestampTz until;
	TimestampTz now = GetCurrentTimestamp();

	if (LockTimeout > 0 && LockTimeout < 10 * UNSEEN_WAIT)
		return 0;
	if (!VirtualTransactionIdEquals(vxid, awaited))
	{
		awaited = vxid;
		until = now + Min(UNSEEN_WAIT, mdb_lock_timeout / 4) * INT64CONST(1000);
	}
	return Max(until - now, 0) / 1000;
}

/*
 * A running transaction that has reserved places in a batch; an invalid one
 * if there is none, as it has just ended, or has not told yet.
 */
static VirtualTransactionId
running_holder(int number)
{
	VirtualTransactionId vxid = mdb_note_holder(number);

	if (VirtualTransactionIdIsValid(vxid) && VirtualXactLock(vxid, false))
		SetInvalidVirtualTransactionId(vxid);
	return vxid;
}

/*
 * Wait until something about the batch may have changed.  The caller has
 * prepared to sleep on the batch's condition variable, then looked.
 */
static void
wait_for_change(int number, bool only_reservations)
{
	MdbBatch   *batch = mdb_batch(number);
	VirtualTransactionId vxid = mdb_roster_vxid(batch->dboid);

	if (!VirtualTransactionIdIsValid(vxid) && only_reservations)
		vxid = running_holder(number);
	if (VirtualTransactionIdIsValid(vxid))
	{
		long		unseen = unseen_wait(vxid);

		if (unseen > 0 &&
			!ConditionVariableTimedSleep(&batch->changed, unseen,
										 mdb_wait_event("MdbatchBatchChange")))
			return;
		ConditionVariableCancelSleep();
		CHECK_FOR_INTERRUPTS();
		(void) VirtualXactLock(vxid, true);
	}
	else if (only_reservations)

		/*
		 * What gives a reservation back tells so, but do not rely on it; nor
		 * look again and again meanwhile.
		 */
		(void) ConditionVariableTimedSleep(&batch->changed, NOBODY_WAIT,
										   mdb_wait_event("MdbatchBatchChange"));
	else
		ConditionVariableSleep(&batch->changed,
							   mdb_wait_event("MdbatchBatchChange"));
}

/*
 * Wait until a batch that the caller holds has room for as many entries
 * (R9), no more than queue_size of them.  ERROR if waiting is refused.
 */
void
mdb_wait_for_room(int number, int queue_size, int needed)
{
	MdbBatch   *batch = mdb_batch(number);

	mdb_wait_refuse("room in a batch");
	mdb_roster_wake(batch->dboid);
	for (;;)
	{
		uint32		waiting;
		uint32		reserved;
		uint32		in_flight;

		ConditionVariablePrepareToSleep(&batch->changed);
		LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
		waiting = mdb_batch_waiting(batch);
		reserved = mdb_batch_reserved(batch);
		in_flight = batch->in_flight;
		LWLockRelease(mdb_batch_lock(number));
		if ((int64) waiting + reserved + needed <= queue_size)
			break;
		wait_for_change(number, waiting + in_flight == 0 && reserved > 0);
	}
	ConditionVariableCancelSleep();
}

/*
 * Wait until a batch that the caller holds has been flushed more often than
 * that, which frees memory, or until what frees it may be over; false if nothing
 * is pending in it, and nobody is to be waited for.  ERROR if waiting is
 * refused.
 */
bool
mdb_wait_for_memory(int number, uint64 flushes)
{
	MdbBatch   *batch = mdb_batch(number);
	bool		waited = false;

	mdb_wait_refuse("room in a batch");
	mdb_roster_wake(batch->dboid);
	for (;;)
	{
		bool		flushed;
		bool		pending;

		ConditionVariablePrepareToSleep(&batch->changed);
		LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
		pending = mdb_batch_waiting(batch) + batch->in_flight > 0;
		flushed = batch->nflushed != flushes;
		LWLockRelease(mdb_batch_lock(number));
		if (flushed)
			break;
		if (!pending)
		{
			/* A flush tells that it is over before it has freed everything. */
			VirtualTransactionId vxid = mdb_roster_vxid(batch->dboid);

			ConditionVariableCancelSleep();
			if (VirtualTransactionIdIsValid(vxid))
				return VirtualXactLock(vxid, true);
			return waited;
		}
		wait_for_change(number, false);
		waited = true;
	}
	ConditionVariableCancelSleep();
	return true;
}

/*
 * Wait for the transactions that have committed, so that others see what
 * they did, but have not published their entries yet.
 */
void
mdb_wait_for_committers(int number)
{
	int			count;
	VirtualTransactionId *committers = mdb_note_committers(number, &count);

	for (int i = 0; i < count; i++)
		(void) VirtualXactLock(committers[i], true);
	pfree(committers);
}

/* Wait until what is in flight of a batch that the caller holds is not. */
void
mdb_wait_for_flight(int number)
{
	const MdbBatch *batch = mdb_batch(number);
	VirtualTransactionId vxid;
	bool		in_flight;

	LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
	in_flight = batch->in_flight > 0;
	LWLockRelease(mdb_batch_lock(number));

	/* The transaction of that flight, or a later one. */
	vxid = mdb_roster_vxid(batch->dboid);
	if (in_flight && VirtualTransactionIdIsValid(vxid))
		(void) VirtualXactLock(vxid, true);
}

/*
 * Ask for a flush of all that has arrived in a batch that the caller holds,
 * what was stepped over included, and tell how many entries are pending.
 */
MdbBarrier
mdb_wait_request(int number, int64 *pending)
{
	MdbBatch   *batch = mdb_batch(number);
	MdbBarrier	barrier = {0};

	barrier.batch = number;
	LWLockAcquire(mdb_batch_lock(number), LW_EXCLUSIVE);
	*pending = (int64) mdb_batch_waiting(batch) + batch->in_flight;
	barrier.arrival = batch->last_arrival + 1;
	barrier.nfailures = batch->nfailures;
	barrier.nrejected = batch->nrejected;
	barrier.nsteps = batch->nsteps;
	mdb_flight_wake_all(batch);
	if (*pending > 0)
		batch->requested = barrier.arrival;
	LWLockRelease(mdb_batch_lock(number));
	if (*pending > 0)
		mdb_roster_wake(batch->dboid);
	return barrier;
}

/* What a waiter sees of its batch. */
typedef struct View
{
	bool		done;
	bool		failed;			/* a flush failed */
	bool		stepped;		/* what is left was stepped over */
	int			sqlstate;
	int64		nrejected;
	MdbFailure	last_error;
} View;

/*
 * The text can quote values: it goes to the client alone, not to the log, and
 * only to roles that may see it.  The others hear of a constraint.
 */
static void
raise_failure(const MdbBatch *batch, const View *view, bool may_see_error)
{
	const char *constraint = view->last_error.constraint;

	ereport(ERROR,
			(errcode(view->sqlstate != 0 ? view->sqlstate :
					 ERRCODE_INTERNAL_ERROR),
			 view->stepped ?
			 errmsg("could not flush some entries of table %s", batch->target) :
			 errmsg("could not flush the batch of table %s", batch->target),
			 may_see_error ?
			 errdetail("The flush failed with: %s", view->last_error.message) :
			 constraint[0] != '\0' ?
			 errdetail("Constraint \"%s\" refused an entry.", constraint) : 0,
			 constraint[0] != '\0' ?
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, constraint) : 0,
			 errdetail_log("See \"last_error\" in mdbatch_stat."),
			 errhint("The entries stay pending and are flushed again later.")));
}

/* Are keys pending that the waiter waits for; are all of those deferred? */
static bool
are_pending(const MdbBarrier *barrier, bool *deferred)
{
	bool		found = false;

	*deferred = true;
	for (int i = 0; i < barrier->nwatched; i++)
	{
		bool		one_deferred;

		if (!mdb_hash_is_pending(barrier->watched[i].hash, barrier->batch,
								 barrier->arrival, &one_deferred))
			continue;
		found = true;
		*deferred &= one_deferred;
	}
	return found;
}

static void
look(const MdbBarrier *barrier, View *view)
{
	MdbBatch   *batch = mdb_batch(barrier->batch);
	bool		deferred;
	bool		stepped;
	bool		blocked;

	LWLockAcquire(mdb_batch_lock(barrier->batch), LW_SHARED);
	view->done = mdb_batch_oldest(batch) >= barrier->arrival;
	view->failed = batch->nfailures != barrier->nfailures;
	stepped = batch->nsteps != barrier->nsteps;
	blocked = batch->in_flight == 0 && mdb_define_next(batch) == MDB_NO_REF;
	view->stepped = stepped &&
		(mdb_batch_oldest_ready(batch) >= barrier->arrival || blocked);
	view->nrejected = batch->nrejected - barrier->nrejected;
	view->sqlstate = view->failed ? batch->last_error.sqlstate :
		batch->step_sqlstate;
	view->last_error = batch->last_error;
	LWLockRelease(mdb_batch_lock(barrier->batch));

	if (!view->done && barrier->watched != NULL)
	{
		view->done = !are_pending(barrier, &deferred);
		view->stepped = stepped && (deferred || blocked);
	}
}

/*
 * Wait until all that arrived before a barrier is durably in the table, or
 * gone with it.  ERROR as soon as a flush of the batch fails, or has stepped
 * over some of it.  Returns how many entries were rejected meanwhile.
 */
int64
mdb_wait_for_flush(const MdbBarrier *barrier, bool may_see_error)
{
	MdbBatch   *batch = mdb_batch(barrier->batch);
	View	   *view = palloc(sizeof(View));
	int64		nrejected;

	for (;;)
	{
		ConditionVariablePrepareToSleep(&batch->changed);
		look(barrier, view);
		if (view->done)
			break;
		if (view->failed || view->stepped)
		{
			ConditionVariableCancelSleep();
			raise_failure(batch, view, may_see_error);
		}
		wait_for_change(barrier->batch, false);
	}
	ConditionVariableCancelSleep();
	nrejected = view->nrejected;
	pfree(view);
	return nrejected;
}
