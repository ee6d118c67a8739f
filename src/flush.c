/*
 * flush.c
 *		One flush: at most a batch's worth of entries in one transaction.
 *
 * Model: begin a transaction and publish it, detach entries, write them with
 * one statement as the owner of the table, restricted, tell the listeners,
 * commit.  The callback of that transaction drops the entries when it
 * commits, or puts them back when it aborts, so that each is written exactly
 * once whatever stops the worker (R26).
 *
 * Locking: what the statement takes; none of the batch's while it runs.
 *
 * Limits: a flush ends after flush_timeout at the latest, not counting the
 * commit itself, or a second later if the target's code resists.  Until a
 * refused row can be isolated, it fails the flush.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/async.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "due.h"
#include "flush.h"
#include "payload.h"
#include "queue.h"
#include "roster.h"
#include "source.h"
#include "statement.h"

/* The flush of this process; entries are in flight while running is true. */
static bool running = false;
static bool detached = false;
static MdbFlight flight;
static MdbOutcome outcome;
static MdbFailure *failure;		/* NULL: interrupted, which is no failure */
static MdbFailure failure_data;
static bool target_is_gone;

/* How much longer than its timeout a flush may take that cannot be canceled. */
#define HARD_TIMEOUT	1000	/* ms */

static TimeoutId hard_timeout;
static volatile sig_atomic_t hard_stopped = false;

/*
 * Code of the target can catch a cancel and go on; this ends the worker.
 * Another one takes over, after a backoff.
 */
static void
stop_hard(void)
{
	hard_stopped = true;
	ProcDiePending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* The end of the flush's transaction (R26). */
static void
transaction_ends(XactEvent event, void *arg)
{
	if (!detached)
		return;
	if (hard_stopped && failure == NULL)
	{
		failure = &failure_data;
		failure->reason = outcome.reason;
		failure->sqlstate = ERRCODE_QUERY_CANCELED;
		strlcpy(failure->message,
				"the flush did not end when it was canceled",
				MDB_ERROR_LEN);
	}
	if (event == XACT_EVENT_COMMIT)
	{
		detached = false;
		mdb_queue_finish(&flight, &outcome);
	}
	else if (event == XACT_EVENT_ABORT)
	{
		detached = false;
		mdb_queue_put_back(&flight, failure);
	}
}

/* To be called once in a worker. */
void
mdb_flush_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
	hard_timeout = RegisterTimeout(USER_TIMEOUT, stop_hard);
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

static void
set_local(const char *name, const char *value, GucAction action)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, action,
							 true, 0, false);
}

/* What a target's code sees is the same whoever set what (R18). */
static void
fix_settings(void)
{
	set_local("search_path", "pg_catalog, pg_temp", GUC_ACTION_SAVE);
	set_local("DateStyle", "ISO, YMD", GUC_ACTION_SAVE);
	set_local("IntervalStyle", "postgres", GUC_ACTION_SAVE);
	set_local("TimeZone", "UTC", GUC_ACTION_SAVE);
	set_local("extra_float_digits", "1", GUC_ACTION_SAVE);
	set_local("bytea_output", "hex", GUC_ACTION_SAVE);
	set_local("row_security", "on", GUC_ACTION_SAVE);
}

/* Distinct values of the notify column of the rows written, counted. */
static MdbUuidSet *
collect_written(const MdbDefinition *definition)
{
	MdbUuidSet *set;

	if (definition->notify < 0)
		return NULL;
	set = mdb_payload_uuids(SPI_processed);
	if (getBaseType(SPI_gettypeid(SPI_tuptable->tupdesc, 1)) !=
		definition->columns[definition->notify].type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the announced column has another type than in the entries")));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
			mdb_payload_add_uuid(set, DatumGetUUIDP(value));
	}
	return set;
}

/* Tell the listeners; they hear it when the transaction commits (R6). */
static void
notify(const MdbDefinition *definition, const MdbUuidSet *set)
{
	int			n = set == NULL ? 0 : mdb_payload_count(set);

	for (int i = 0; i < n; i++)
		Async_Notify(definition->channel, mdb_payload_text(set, i));
	outcome.notifications = n;
	for (int i = 0; set != NULL && i < set->nuuids; i++)
		mdb_histogram_observe(&outcome.utilization, MDB_BATCH_UTILIZATION,
							  set->uuids[i].count);
}

static void
check_spi(int result, int expected)
{
	if (result < 0 || (expected != 0 && result != expected))
		elog(ERROR, "unexpected result of a statement: %s",
			 SPI_result_code_string(result));
}

/* Write the entries as the owner, restricted (R18). */
static void
write_entries(const MdbDefinition *definition, Oid owner)
{
	Oid			save_user;
	int			save_context;
	int			save_nestlevel;
	MdbUuidSet *set;
	char	   *statement;

	SPI_connect();
	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(owner, save_context | SECURITY_RESTRICTED_OPERATION);
	save_nestlevel = NewGUCNestLevel();
	fix_settings();

	/*
	 * No trigger may be deferred in a restricted operation: it would run at
	 * the commit, with other rights.
	 */
	check_spi(SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0),
			  SPI_OK_UTILITY);

	statement = mdb_statement_make(definition);
	debug_query_string = statement;
	mdb_source_arm(definition, &flight, owner);
	check_spi(SPI_execute(statement, false, 0), 0);
	outcome.flushed = SPI_processed;
	set = collect_written(definition);
	mdb_source_disarm();
	debug_query_string = NULL;

	AtEOXact_GUC(false, save_nestlevel);
	SetUserIdAndSecContext(save_user, save_context);
	notify(definition, set);
	SPI_finish();
}

/* The owner of the target, locked for writing; InvalidOid if it is gone. */
static Oid
lock_target(Oid relid)
{
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	LockRelationOid(relid, RowExclusiveLock);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

static void
report_activity(const MdbBatch *batch)
{
	char		activity[256];

	snprintf(activity, sizeof(activity), "mdbatch: flush of %d entries of %s",
			 flight.count, batch->target);
	pgstat_report_activity(STATE_RUNNING, activity);
}

/* The flush's transaction, from the first lock to before the commit. */
static void
run_transaction(int number, MdbReason reason, int timeout)
{
	MdbBatch   *batch = mdb_batch(number);
	int			max = mdb_batch_limits(batch).batch_size;
	MdbDefinition *definition;
	Oid			owner;

	flight.entries = MemoryContextAllocHuge(TopTransactionContext,
											max * sizeof(MdbRef));
	memset(&outcome, 0, sizeof(outcome));
	outcome.reason = reason;
	outcome.started = GetCurrentTimestamp();
	publish_transaction();
	detached = true;
	mdb_queue_detach(number, &flight, max);
	report_activity(batch);
	enable_timeout_after(STATEMENT_TIMEOUT, timeout);
	enable_timeout_after(hard_timeout, timeout + HARD_TIMEOUT);

	owner = lock_target(batch->relid);
	if (!OidIsValid(owner) || !OidIsValid(get_extension_oid("mdbatch", true)))
	{
		target_is_gone = true;
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s does not exist", batch->target)));
	}
	definition = mdb_batch_read_definition(flight.definition);
	PushActiveSnapshot(GetTransactionSnapshot());
	write_entries(definition, owner);
	PopActiveSnapshot();

	/* From here on nothing may cut into the commit. */
	disable_timeout(STATEMENT_TIMEOUT, false);
	disable_timeout(hard_timeout, false);
	CHECK_FOR_INTERRUPTS();		/* it may have fired just now */
	if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF || reason == MDB_SHUTDOWN)
		set_local("synchronous_commit", "local", GUC_ACTION_LOCAL);
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

/* Values never go to the log, and primary messages quote them. */
static void
log_failure(const MdbBatch *batch, const ErrorData *error)
{
	ereport(LOG,
			(errmsg("could not flush the batch of table %s: SQLSTATE %s",
					batch->target, unpack_sql_state(error->sqlerrcode)),
			 error->constraint_name != NULL ?
			 errdetail("Constraint \"%s\" refused an entry.",
					   error->constraint_name) : 0,
			 errhint("The entries stay pending; see \"last_error\" in mdbatch_stat.")));
}

static void
remember_failure(const ErrorData *error, MdbReason reason)
{
	char	   *message = psprintf("%s%s%s", error->message,
								   error->detail != NULL ? "  DETAIL:  " : "",
								   error->detail != NULL ? error->detail : "");

	/* Not in the middle of a character. */
	message[pg_mbcliplen(message, strlen(message), MDB_ERROR_LEN - 1)] = '\0';
	failure = &failure_data;
	failure->reason = reason;
	failure->sqlstate = error->sqlerrcode;
	strlcpy(failure->message, message, MDB_ERROR_LEN);
	pfree(message);
}

/* The transaction failed: abort it, and keep the reason in the books. */
static void
recover(int number, MdbReason reason, MemoryContext context)
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

	if (!was_interrupted(error) && !target_is_gone)
	{
		remember_failure(error, reason);
		log_failure(batch, error);
	}
	if (!detached && failure != NULL)
	{
		/* It failed before it had any entries: back off all the same. */
		flight.batch = number;
		flight.count = 0;
		mdb_queue_put_back(&flight, failure);
	}
	AbortCurrentTransaction();
	if (target_is_gone)
		mdb_queue_discard(number);
	FreeErrorData(error);
	RESUME_INTERRUPTS();
}

/*
 * Flush a batch of this database once, for at most timeout ms before the
 * commit.  False if the flush failed or was interrupted.
 */
bool
mdb_flush_batch(int number, MdbReason reason, int timeout, int lock_timeout)
{
	MemoryContext context = CurrentMemoryContext;
	char		value[32];
	volatile bool ok = true;

	snprintf(value, sizeof(value), "%d", lock_timeout);
	SetConfigOption("lock_timeout", value, PGC_SUSET, PGC_S_OVERRIDE);

	/* The deadlock detector comes first: it may untangle the queue (R13). */
	snprintf(value, sizeof(value), "%d", Max(1, Min(1000, lock_timeout / 2)));
	SetConfigOption("deadlock_timeout", value, PGC_SUSET, PGC_S_OVERRIDE);
	failure = NULL;
	target_is_gone = false;

	PG_TRY();
	{
		running = true;
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		run_transaction(number, reason, timeout);
		CommitTransactionCommand();
		running = false;
		QueryCancelPending = false; /* it came too late */
	}
	PG_CATCH();
	{
		running = false;
		ok = false;
		recover(number, reason, context);
	}
	PG_END_TRY();

	mdb_roster_publish_vxid(false);
	MemoryContextSwitchTo(context);
	if (ok)
		mdb_batch_forget_definitions(number);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return ok;
}
