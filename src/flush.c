/*
 * flush.c
 *		One flush: at most a batch's worth of entries in one transaction.
 *
 * Model: begin a transaction and publish it, detach entries, write them with
 * one statement as the owner of the table, restricted, tell the listeners,
 * commit.  If the target refuses an entry, or takes too long, once more: then
 * those to blame are found and kept in mdbatch_rejected, or wait for a retry of
 * their own, and the rest is written.
 * The callback of that transaction drops the entries when it commits, or puts
 * them back when it aborts, so that each is written exactly once whatever
 * stops the worker (R26).
 *
 * Locking: what the statement takes; none of the batch's while it runs.
 *
 * Limits: a flush ends after flush_timeout at the latest, not counting the
 * commit itself, or a second later if the target's code resists.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "define.h"
#include "due.h"
#include "flush.h"
#include "isolate.h"
#include "log_filter.h"
#include "note.h"
#include "flight.h"
#include "reject.h"
#include "renew.h"
#include "report.h"
#include "rights.h"
#include "roster.h"
#include "source.h"
#include "step.h"
#include "timer.h"
#include "verdict.h"

/* The flush of this process; entries are in flight while running is true. */
static bool running = false;
static bool detached = false;
static MdbFlight flight;
static MdbOutcome outcome;
static MdbFailure *failure;		/* NULL: interrupted, which is no failure */
static MdbFailure failure_data;
static TimestampTz end_until;	/* the flush's timeout */
static TimestampTz plain_until; /* then all at once has taken too long */
static TimestampTz isolate_until;	/* then what is not tried is stepped over */
static bool writing;			/* the target is locked, no entry refused yet */
static bool refused;			/* by the target, perhaps for a single entry */
static bool slow;				/* all at once has taken too long */

/* Why entries are not written though nothing failed. */
static enum
{
	NOT_GIVEN_UP,
	GONE,						/* the table was dropped */
	UNWANTED					/* they were discarded meanwhile */
}			given_up;

/*
 * The end of the flush's transaction (R26).  No other events concern it: only
 * the background worker registers this, which is no parallel worker.
 */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (!detached)
		return;
	if (mdb_timer_was_hard() && failure == NULL)
	{
		failure = &failure_data;
		failure->reason = outcome.reason;
		failure->sqlstate = ERRCODE_QUERY_CANCELED;
		failure->constraint[0] = '\0';
		strlcpy(failure->message,
				"the flush did not end when it was canceled",
				MDB_ERROR_LEN);
	}
	if (event == XACT_EVENT_COMMIT)
	{
		detached = false;
		mdb_flight_finish(&flight, &outcome);
	}
	else if (event == XACT_EVENT_ABORT)
	{
		detached = false;
		mdb_flight_put_back(&flight, failure);
	}
}

/* To be called once in a worker. */
void
mdb_flush_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
	mdb_timer_init();
}

/* Does a flush run that a signal to stop may interrupt? */
bool
mdb_flush_is_running(void)
{
	return running;
}

/* Let the waiters of all batches of this database wait for us from now on. */
static void
publish_transaction(void)
{
	mdb_roster_publish_vxid(true);
	for (int i = 0; i < mdb_max_batches; i++)
		if (mdb_batch(i)->dboid == MyDatabaseId)
			ConditionVariableBroadcast(&mdb_batch(i)->changed);
}

/* Tell the listeners; they hear it when the transaction commits (R6, R25). */
static void
notify(const char *channel, MdbValueSet *set)
{
	char	   *payload;
	int			at = 0;

	if (set == NULL)
		return;

	/*
	 * A queue that was full stays full for those who send, until a process
	 * asks how full it is.
	 */
	if (mdb_batch(flight.batch)->failures_in_row > 0)
		(void) OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE);
	while ((payload = mdb_payload_next(set, &at)) != NULL)
	{
		Async_Notify(channel, payload);
		outcome.notifications++;
	}
	mdb_report_too_long(mdb_batch(flight.batch), set->ntoo_long);
	for (int i = 0; i < set->nvalues; i++)
		mdb_histogram_observe(&outcome.utilization, MDB_BATCH_UTILIZATION,
							  set->values[i].count);
}

/* The entries that were stepped over, for the books. */
static void
count_stepped(int nlocked, const MdbBlame *blame)
{
	outcome.nstepped = nlocked + blame->nstepped;
	outcome.step.owner = failure_data.owner;
	if (nlocked > 0)
	{
		outcome.step.sqlstate = ERRCODE_LOCK_NOT_AVAILABLE;
		strlcpy(outcome.step.message, "rows are locked by other transactions",
				MDB_ERROR_LEN);
	}
	else if (blame->nstepped > 0)
		mdb_report_describe(&outcome.step, blame->step_error);
}

/* Write all but what others still have locked that was stepped over before. */
static void
write_plainly(MdbWriter *writer)
{
	static const MdbBlame nobody = {0};
	bool		deferred = mdb_flight_was_deferred(&flight);
	int			n = flight.count;

	/* The rest of the time is for the other way, if that can help. */
	if (deferred || n > 1)
		plain_until = mdb_timer_middle(end_until);
	if (deferred)
		n = mdb_step_over_locked(writer, flight.entries, flight.count, true,
								 mdb_timer_middle(plain_until));
	mdb_timer_arm(Min(plain_until, end_until));
	if (n > 0)
		mdb_write_entries(writer, flight.entries, n);
	mdb_timer_disarm();
	count_stepped(flight.count - n, &nobody);
}

/* Write what the target takes, and step over what is locked. */
static MdbBlame *
write_carefully(MdbWriter *writer)
{
	int			n = mdb_step_over_locked(writer, flight.entries, flight.count,
										 false, mdb_timer_middle(isolate_until));
	MdbBlame   *blame;

	/* Whatever else it has to wait for, it waits for often. */
	mdb_as_owner_set_ms("lock_timeout", Max(LockTimeout / 10, 1));
	blame = mdb_isolate(writer, flight.entries, n, flight.count, slow,
						isolate_until);
	count_stepped(flight.count - n, blame);
	return blame;
}

/* Write what is in flight; all of it, or, carefully, what can be written. */
static void
write_flight(const MdbPlan *plan, Oid owner, bool carefully)
{
	MdbBlame   *blame = NULL;
	MdbWriter	writer;

	if (plan->sqlstate != 0)
		blame = mdb_isolate_blame_all(flight.entries, flight.count,
									  plan->sqlstate, plan->message);
	else
	{
		mdb_write_begin(&writer, flight.batch, plan, owner);
		if (carefully)
			blame = write_carefully(&writer);
		else
			write_plainly(&writer);
		mdb_write_end(&writer);
		outcome.flushed = writer.written;
		notify(plan->definition->channel, writer.announced);
	}
	if (blame != NULL && blame->count > 0)
		mdb_reject_keep(&flight, plan, owner, blame, end_until, &outcome);
}

/* The owner of the target, locked for writing; InvalidOid if it is gone. */
static Oid
lock_target(Oid relid)
{
	LockRelationOid(relid, RowExclusiveLock);
	return mdb_rights_owner(relid);
}

static void
report_activity(const MdbBatch *batch)
{
	char		activity[256];

	snprintf(activity, sizeof(activity), "mdbatch: flush of %d entries of %s",
			 flight.count, batch->target);
	pgstat_report_activity(STATE_RUNNING, activity);
}

/*
 * Detach entries, in the flush's transaction, which holds the batch; false if
 * there are none any more.
 */
static bool
take_off(int number, MdbReason reason)
{
	MdbBatch   *batch = mdb_batch(number);
	int			max = mdb_batch_limits(batch).batch_size;

	memset(&outcome, 0, sizeof(outcome));
	outcome.reason = reason;
	outcome.started = GetCurrentTimestamp();
	flight.count = 0;
	publish_transaction();
	if (mdb_note_hold_target(MyDatabaseId, batch->relid) != number)
		return false;
	flight.entries = MemoryContextAllocHuge(TopTransactionContext,
											max * sizeof(MdbRef));
	detached = true;
	mdb_flight_detach(number, &flight, max);
	detached = flight.count > 0;
	return detached;
}

static void
start_timer(int timeout)
{
	TimestampTz now = GetCurrentTimestamp();

	isolate_until = now + timeout * INT64CONST(1000) / 4 * 3;
	end_until = now + timeout * INT64CONST(1000);
	mdb_timer_start(timeout, end_until);
}

/* The flush's transaction, from the first lock to before the commit. */
static void
run_transaction(int number, MdbReason reason, int timeout, bool carefully)
{
	MdbBatch   *batch = mdb_batch(number);
	MdbPlan    *plan;
	Oid			owner;

	if (!take_off(number, reason))
		return;
	report_activity(batch);
	start_timer(timeout);
	failure_data.owner = owner = lock_target(batch->relid);
	given_up = !OidIsValid(owner) ||
		!OidIsValid(get_extension_oid("mdbatch", true)) ? GONE :
		!mdb_flight_is_wanted(&flight) ? UNWANTED : NOT_GIVEN_UP;
	if (given_up != NOT_GIVEN_UP)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("entries of table %s are not wanted", batch->target)));
	PushActiveSnapshot(GetTransactionSnapshot());
	plan = mdb_plan_make(mdb_define_read(flight.definition));
	mdb_verdict_check(plan, owner);
	writing = true;
	write_flight(plan, owner, carefully);
	writing = false;
	mdb_renew_drop_temporary();
	PopActiveSnapshot();
	mdb_timer_stop();
	if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF || reason == MDB_SHUTDOWN)
		(void) set_config_option("synchronous_commit", "local", PGC_SUSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
								 false);
}

/*
 * Was it no error but a signal to stop that ended the flush, or the little
 * time that it leaves?  Then the next worker flushes, and nobody has failed.
 */
static bool
was_interrupted(const ErrorData *error)
{
	return ShutdownRequestPending &&
		(error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		 error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE);
}

static void
remember_failure(const ErrorData *error, MdbReason reason)
{
	failure_data.reason = reason;
	mdb_report_describe(&failure_data, error);
	failure = &failure_data;
}

/* The transaction failed: abort it, and keep the reason in the books. */
static void
recover(int number, MdbReason reason, bool carefully, MemoryContext context)
{
	MdbBatch   *batch = mdb_batch(number);
	ErrorData  *error;

	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	debug_query_string = NULL;
	mdb_source_disarm();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();

	if (writing && !carefully)
	{
		slow = mdb_timer_ended(error, plain_until);
		refused = slow || mdb_isolate_can_help(error->sqlerrcode);
	}
	if (!was_interrupted(error) && given_up == NOT_GIVEN_UP && !refused)
	{
		remember_failure(error, reason);
		mdb_report_failure(batch, error);
	}
	if (!detached && failure != NULL)
	{
		/* It failed before it had any entries: back off all the same. */
		flight.batch = number;
		flight.count = 0;
		mdb_flight_put_back(&flight, failure);
	}
	AbortCurrentTransaction();
	if (given_up == GONE && mdb_note_hold_target(MyDatabaseId,
												 batch->relid) == number)
		(void) mdb_flight_discard(number, NULL);
	mdb_note_clear();
	FreeErrorData(error);
	RESUME_INTERRUPTS();
}

/* One transaction.  False if it failed, was refused or interrupted. */
static bool
flush_once(int number, MdbReason reason, int timeout, bool carefully)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = true;

	failure = NULL;
	failure_data.owner = InvalidOid;
	writing = refused = false;
	plain_until = DT_NOEND;
	given_up = NOT_GIVEN_UP;
	PG_TRY();
	{
		running = true;
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		mdb_renew_seeds();
		run_transaction(number, reason, timeout, carefully);
		CommitTransactionCommand();
		running = false;
		QueryCancelPending = false; /* it came too late */
	}
	PG_CATCH();
	{
		running = false;
		ok = false;
		recover(number, reason, carefully, context);
	}
	PG_END_TRY();
	mdb_roster_publish_vxid(false);
	LockReleaseSession(USER_LOCKMETHOD);	/* which triggers left */
	MemoryContextSwitchTo(context);
	return ok;
}

static void
set_timeout(const char *name, int ms)
{
	char		value[32];

	snprintf(value, sizeof(value), "%d", ms);
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Flush a batch of this database once, for at most timeout ms before the
 * commit.  False if the flush failed or was interrupted.
 */
bool
mdb_flush_batch(int number, MdbReason reason, int timeout, int lock_timeout)
{
	TimestampTz stop = GetCurrentTimestamp() + timeout * INT64CONST(1000);
	bool		ok;

	mdb_log_filter_begin(mdb_batch(number));
	set_timeout("lock_timeout", lock_timeout);

	/* The deadlock detector comes first: it may untangle the queue (R13). */
	set_timeout("deadlock_timeout", Max(1, Min(500, lock_timeout / 2)));

	ok = flush_once(number, reason, timeout, false);
	if (!ok && refused)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														   stop);

		ok = flush_once(number, reason, Max(left, 1), true);
	}
	if (ok)
		mdb_report_refusals(mdb_batch(number), &outcome);
	mdb_batch_tidy(number);
	mdb_log_filter_end();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return ok;
}
