/*
 * worker.c
 *		The worker of a database: flushes its batches when they are due.
 *
 * Model: sleeps until the next batch is due or its latch is set.  The batch
 * that has been due longest goes first.  It exits with 0, which the launcher
 * understands as "nothing to do", only when nothing has been pending for
 * idle_timeout or it is asked for its place while nothing is due.  Told to
 * stop, it interrupts a flush that runs, flushes everything once more for at
 * most flush_timeout, and exits with 1: it cannot know whether the server is
 * stopping.
 *
 * Locking: batches' locks for a moment, to see what is due.
 *
 * Limits: one flush at a time.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "define.h"
#include "due.h"
#include "flush.h"
#include "note.h"
#include "flight.h"
#include "log_filter.h"
#include "pin.h"
#include "roster.h"
#include "wait.h"
#include "worker.h"

/* The longest that a last flush waits for a lock, ms. */
#define SHUTDOWN_LOCK_TIMEOUT	1000

/* A signal to stop that comes so much later than the first means it, us. */
#define INSIST_AFTER	(USECS_PER_SEC / 2)

/*
 * SIGTERM: the flush that runs is cut short; then the last ones run.  Who
 * insists ends the worker, if it is in a flush: code of a target can catch a
 * cancel and go on.  (The postmaster signals a process and its group, so two
 * at once are one.)
 */
static void
handle_stop(SIGNAL_ARGS)
{
	static TimestampTz first = 0;
	int			save_errno = errno;
	TimestampTz now = GetCurrentTimestamp();

	if (!ShutdownRequestPending)
		first = now;
	if (mdb_flush_is_running() && !ShutdownRequestPending)
	{
		QueryCancelPending = true;
		InterruptPending = true;
	}
	else if (mdb_flush_is_running() && now - first >= INSIST_AFTER)
	{
		ProcDiePending = true;
		InterruptPending = true;
	}
	ShutdownRequestPending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

/* The batch of this database that has been due longest; when the next is. */
static int
find_due(TimestampTz now, MdbDue *due)
{
	int			number = -1;
	TimestampTz number_flushed = 0;

	due->at = DT_NOEND;
	for (int i = 0; i < mdb_max_batches; i++)
	{
		MdbBatch   *batch = mdb_batch(i);
		MdbDue		candidate;
		TimestampTz flushed;

		if (batch->dboid != MyDatabaseId)
			continue;
		LWLockAcquire(mdb_batch_lock(i), LW_SHARED);
		candidate = mdb_batch_due(batch, now);
		flushed = batch->last_flush_end;
		LWLockRelease(mdb_batch_lock(i));
		if (candidate.at < due->at ||
			(number >= 0 && candidate.at == due->at &&
			 flushed < number_flushed))
		{
			*due = candidate;
			number = i;
			number_flushed = flushed;
		}
	}
	return number;
}

/* Flush what is due now, or discard what is pending for nothing. */
static void
serve(int number, MdbReason reason)
{
	if (mdb_batch(number)->gone)
	{
		if (mdb_note_hold_gone(number))
			(void) mdb_flight_discard(number, NULL);
		mdb_note_clear();
		mdb_batch_tidy(number);
	}
	else
		(void) mdb_flush_batch(number, reason, mdb_flush_timeout,
							   mdb_lock_timeout);
}

/* Nothing is lost quietly. */
static void
tell_left(const MdbBatch *batch)
{
	uint32		waiting = mdb_batch_waiting(batch);

	ereport(LOG,
			(errmsg_plural("worker stops with %u entry pending for table %s",
						   "worker stops with %u entries pending for table %s",
						   waiting, waiting, batch->target),
			 errdetail("The next worker flushes what is pending; if the server is shutting down, it is saved.")));
}

/*
 * What has arrived in each batch of this database when the last flushes begin;
 * what comes later is left to the next worker, or saved.
 */
static int64 *
note_arrivals(void)
{
	int64	   *until = palloc0(mdb_max_batches * sizeof(int64));

	for (int i = 0; i < mdb_max_batches; i++)
	{
		LWLockAcquire(mdb_batch_lock(i), LW_SHARED);
		if (mdb_batch(i)->dboid == MyDatabaseId && !mdb_batch(i)->gone)
			until[i] = mdb_batch(i)->last_arrival;
		LWLockRelease(mdb_batch_lock(i));
	}
	return until;
}

/* Is something left in a batch that arrived until then? */
static bool
is_left(int number, int64 until)
{
	bool		left;

	LWLockAcquire(mdb_batch_lock(number), LW_SHARED);
	left = mdb_batch(number)->dboid == MyDatabaseId &&
		!mdb_batch(number)->gone &&
		mdb_define_next(mdb_batch(number)) != MDB_NO_REF &&
		mdb_batch_oldest_ready(mdb_batch(number)) <= until;
	LWLockRelease(mdb_batch_lock(number));
	return left;
}

/*
 * The last flushes, all of them together for at most flush_timeout (R14); one
 * of each batch in turn, so that no batch waits for all of another.
 */
static void
flush_last(void)
{
	TimestampTz stop = GetCurrentTimestamp() +
		mdb_flush_timeout * INT64CONST(1000);
	int64	   *until = note_arrivals();
	bool		again = true;

	while (again)
	{
		again = false;
		for (int i = 0; i < mdb_max_batches; i++)
		{
			long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
															   stop);

			if (until[i] == 0 || !is_left(i, until[i]))
				continue;
			if (left > 0 && !mdb_roster_should_stop() &&
				mdb_flush_batch(i, MDB_SHUTDOWN, left,
								Min(mdb_lock_timeout, SHUTDOWN_LOCK_TIMEOUT)))
				again = true;
			else
				until[i] = 0;	/* give up */
		}
	}
	for (int i = 0; i < mdb_max_batches; i++)
		if (mdb_batch(i)->dboid == MyDatabaseId && !mdb_batch(i)->gone &&
			mdb_batch_waiting(mdb_batch(i)) > 0)
			tell_left(mdb_batch(i));
}

static void
follow_reload(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * Sleep until a time (DT_NOEND: for ever) or until the latch is set, and follow
 * a reload.  True if the latch was set.
 */
bool
mdb_worker_sleep_until(TimestampTz until)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		timeout = -1;
	int			happened;

	if (until != DT_NOEND)
	{
		events |= WL_TIMEOUT;
		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
	}
	happened = WaitLatch(MyLatch, events, timeout,
						 mdb_wait_event("MdbatchMain"));
	ResetLatch(MyLatch);
	follow_reload();
	return (happened & WL_LATCH_SET) != 0;
}

/* Flush what is due and sleep, until told to stop or there is nothing to do. */
static void
serve_database(void)
{
	TimestampTz idle_since = GetCurrentTimestamp();

	while (!ShutdownRequestPending)
	{
		TimestampTz now;
		MdbDue		due;
		int			number;
		TimestampTz until;

		/* There is nothing to cancel between flushes. */
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		follow_reload();

		now = GetCurrentTimestamp();
		number = find_due(now, &due);
		if (number >= 0)
			idle_since = now;
		if (number >= 0 && due.at <= now)
		{
			serve(number, due.reason);
			continue;
		}

		until = number >= 0 ? due.at :
			idle_since + mdb_idle_timeout * INT64CONST(1000);
		if (mdb_roster_should_yield() || (number < 0 && until <= now))
			proc_exit(0);
		(void) mdb_worker_sleep_until(until);
	}
}

/* The worker's main function; its place in the roster is the argument. */
void
mdb_worker_main(Datum main_arg)
{
	uint32		generation;
	Oid			dboid;

	/*
	 * Until it has connected it must be able to die in the wait for a lock,
	 * of the database that is about to be dropped, say.
	 */
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);

	/* Before connecting: see mdb_roster_enter_worker. */
	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	if (!mdb_roster_enter_worker(DatumGetInt32(main_arg), generation, &dboid))
		proc_exit(0);
	BackgroundWorkerUnblockSignals();
	mdb_pin_process();
	mdb_pin_connect(dboid);
	pqsignal(SIGTERM, handle_stop);
	mdb_roster_connected();
	mdb_wait_in_worker();
	mdb_flush_init();
	mdb_log_filter_install();
	pgstat_report_activity(STATE_IDLE, NULL);
	CurrentMemoryContext = AllocSetContextCreate(TopMemoryContext,
												 "mdbatch worker",
												 ALLOCSET_DEFAULT_SIZES);

	serve_database();
	flush_last();
	proc_exit(1);
}
