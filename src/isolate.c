/*
 * isolate.c
 *		A refused batch: find the entries to blame, write the rest.
 *
 * Model: halves of the batch are written under subtransactions; a half that
 * is refused is halved again, down to single entries: O(k log n) statements
 * for k bad ones of n (R12).  An entry is to blame if it is refused alone: for
 * good with an error about data, else for now: it is stepped over.  An error
 * that all entries meet, or that is not about entries, fails the flush.
 *
 * A slow entry is found by the time that it takes.  Each try gets half of what
 * is left; what did not end in it is cut into many parts, as the next tries
 * get less time.  Entries that were stepped over before come last, so that
 * they do not take the time of the others.
 *
 * Locking: what the statements take.
 *
 * Limits: statement-level triggers run once for each statement.  What is not
 * tried when the time is up is stepped over, so that what is written stays.
 * Code of the target that raises 57014 itself fails the flush, unless the time
 * is up just then.
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "flight.h"
#include "isolate.h"
#include "source.h"
#include "timer.h"

#define MIN_LOCK_TIMEOUT	10	/* ms */
#define SLOW_PARTS			8	/* of what took too long */

typedef struct Isolation
{
	MdbWriter  *writer;
	MdbBlame   *blame;

	TimestampTz deadline;		/* what is not tried until then is stepped
								 * over */
	int			left;			/* entries that are not decided on */
	int			taken;			/* entries that the target took */
	bool		same_step;		/* all that are stepped over met one error */
	int			step_sqlstate;

	/* The statement that is tried. */
	const MdbRef *entries;
	int			count;
} Isolation;

/* Is an error of that kind the fault of the data that met it (R12)? */
static bool
blames_data(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_DATA_EXCEPTION:	/* 22 */
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:	/* 23 */
		case ERRCODE_WITH_CHECK_OPTION_VIOLATION:	/* 44 */
		case ERRCODE_PLPGSQL_ERROR: /* P0 */
			return true;
		default:
			return false;
	}
}

/*
 * Can an error of that kind be one that only some entries meet?  Not what
 * concerns the server, or was done to the flush from outside.  A deadlock is
 * about rows that others have locked; without those there is none, and failing
 * instead would let a role that makes deadlocks stop the batch.
 */
bool
mdb_isolate_can_help(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_DISK_FULL:
		case ERRCODE_OUT_OF_MEMORY:
		case ERRCODE_TOO_MANY_CONNECTIONS:
			return false;
		default:
			return ERRCODE_TO_CATEGORY(sqlstate) !=
				ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION);
	}
}

/* An error that is only described, not raised; palloc'd in that context. */
ErrorData *
mdb_isolate_error(MemoryContext context, int sqlstate, const char *message)
{
	ErrorData  *error = MemoryContextAllocZero(context, sizeof(ErrorData));

	error->elevel = ERROR;
	error->sqlerrcode = sqlstate;
	error->message = MemoryContextStrdup(context, message);
	return error;
}

/*
 * Do some work in a subtransaction.  Its error, in that memory context, if it
 * fails; NULL if not.
 */
ErrorData *
mdb_isolate_try(void (*work) (void *state), void *state, MemoryContext context)
{
	MemoryContext before = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(before);
	PG_TRY();
	{
		work(state);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		mdb_source_disarm();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * The same, canceled at a time.  No timer is armed after it: what is between
 * two tries cannot be undone alone.
 */
ErrorData *
mdb_isolate_try_until(void (*work) (void *state), void *state,
					  MemoryContext context, TimestampTz until)
{
	ErrorData  *error;

	mdb_timer_arm(until);
	error = mdb_isolate_try(work, state, context);
	mdb_timer_disarm();
	return error;
}

/* Room to blame so many entries. */
static MdbBlame *
make_blame(MemoryContext context, int count)
{
	MdbBlame   *blame = MemoryContextAllocZero(context, sizeof(MdbBlame));

	blame->entries = MemoryContextAllocHuge(context, count * sizeof(MdbRef));
	blame->errors = MemoryContextAllocHuge(context, count * sizeof(ErrorData *));
	return blame;
}

static void
write_some(void *state)
{
	Isolation  *isolation = state;

	mdb_write_entries(isolation->writer, isolation->entries,
					  isolation->count);
}

/* Step over some entries, for an error that one of them met. */
static void
step_over(Isolation *isolation, const MdbRef *entries, int count,
		  ErrorData *error)
{
	MdbBlame   *blame = isolation->blame;

	for (int i = 0; i < count; i++)
		mdb_flight_step_over(entries[i],
							 error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE);
	isolation->same_step &= blame->nstepped == 0 ||
		error->sqlerrcode == isolation->step_sqlstate;
	isolation->step_sqlstate = error->sqlerrcode;
	isolation->left -= count;
	blame->nstepped += count;
	if (blame->step_error == NULL)
		blame->step_error = error;
}

/* The time is up: what is written is worth more than what is not tried. */
static ErrorData *
out_of_time(const Isolation *isolation)
{
	return mdb_isolate_error(isolation->writer->context, ERRCODE_QUERY_CANCELED,
							 "there was no time left to find the entries to blame");
}

/* Others have locked what cannot be seen; there may be more of that. */
static void
shorten_lock_timeout(void)
{
	if (LockTimeout > MIN_LOCK_TIMEOUT)
		mdb_as_owner_set_ms("lock_timeout",
							Max(LockTimeout / 4, MIN_LOCK_TIMEOUT));
}

/* Until when a try of so many entries may take. */
static TimestampTz
time_for(const Isolation *isolation, int count)
{
	return count == 1 && isolation->left == 1 ? isolation->deadline :
		mdb_timer_middle(isolation->deadline);
}

/* An entry was refused alone. */
static void
blame_entry(Isolation *isolation, const MdbRef *entry, ErrorData *error)
{
	MdbBlame   *blame = isolation->blame;

	if (!blames_data(error->sqlerrcode))
	{
		step_over(isolation, entry, 1, error);
		if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
			shorten_lock_timeout();
		return;
	}
	isolation->left--;
	blame->entries[blame->count] = *entry;
	blame->errors[blame->count++] = error;
}

static void isolate_parts(Isolation *isolation, const MdbRef *entries,
						  int count, bool slow);

static void
isolate(Isolation *isolation, const MdbRef *entries, int count)
{
	TimestampTz until = time_for(isolation, count);
	ErrorData  *error;
	bool		slow;

	if (GetCurrentTimestamp() >= isolation->deadline)
	{
		step_over(isolation, entries, count, out_of_time(isolation));
		return;
	}
	isolation->entries = entries;
	isolation->count = count;
	error = mdb_isolate_try_until(write_some, isolation,
								  isolation->writer->context, until);
	if (error == NULL)
	{
		isolation->left -= count;
		isolation->taken += count;
		return;
	}
	slow = mdb_timer_ended(error, until);
	if (!slow && !mdb_isolate_can_help(error->sqlerrcode))
		ReThrowError(error);
	if (count == 1)
		blame_entry(isolation, entries, error);
	else
	{
		FreeErrorData(error);
		isolate_parts(isolation, entries, count, slow);
	}
}

/* Several entries were refused together. */
static void
isolate_parts(Isolation *isolation, const MdbRef *entries, int count,
			  bool slow)
{
	int			nparts = Min(count, slow ? SLOW_PARTS : 2);
	int			from = 0;

	for (int part = 1; part <= nparts; part++)
	{
		int			to = (int64) count * part / nparts;

		isolate(isolation, entries + from, to - from);
		from = to;
	}
}

/* Let entries that were stepped over before come last; how many do not. */
static int
put_fresh_first(MdbRef *entries, int count)
{
	MdbRef	   *deferred = palloc(count * sizeof(MdbRef));
	int			ndeferred = 0;
	int			n = 0;

	for (int i = 0; i < count; i++)
	{
		if (mdb_entry(entries[i])->deferrals > 0)
			deferred[ndeferred++] = entries[i];
		else
			entries[n++] = entries[i];
	}
	memcpy(entries + n, deferred, ndeferred * sizeof(MdbRef));
	pfree(deferred);
	return n;
}

/* Try entries, or their parts if it is known that they are refused. */
static void
isolate_group(Isolation *isolation, const MdbRef *entries, int count,
			  bool refused, bool slow)
{
	if (refused && count > 1)
		isolate_parts(isolation, entries, count, slow);
	else if (count > 0)
		isolate(isolation, entries, count);
}

/*
 * If every entry that was tried, of several, met the same error that a trigger
 * raised, it is the trigger that is broken: none is to blame.
 */
static void
check_trigger(const Isolation *isolation)
{
	const MdbBlame *blame = isolation->blame;
	int			sqlstate = blame->count > 0 ? blame->errors[0]->sqlerrcode : 0;

	if (isolation->taken > 0 ||
		ERRCODE_TO_CATEGORY(sqlstate) != ERRCODE_PLPGSQL_ERROR)
		return;
	for (int i = 1; i < blame->count; i++)
		if (blame->errors[i]->sqlerrcode != sqlstate)
			return;
	ReThrowError(blame->errors[0]);
}

/*
 * Write those entries that the target takes until the deadline, and say which
 * it refuses for good or for now.  ERROR if something else is wrong.  They are
 * of a flight of so many, which took too long if it is slow; if all of them
 * are fresh, and meet the same error, that is no more about entries, either.
 */
MdbBlame *
mdb_isolate(MdbWriter *writer, MdbRef *entries, int count, int flight_count,
			bool slow, TimestampTz deadline)
{
	MdbBlame   *blame = make_blame(writer->context, count);
	Isolation	isolation = {0};
	int			nfresh;

	isolation.writer = writer;
	isolation.blame = blame;
	isolation.deadline = deadline;
	isolation.same_step = true;
	isolation.left = count;
	nfresh = put_fresh_first(entries, count);

	/* All of them together have just failed. */
	isolate_group(&isolation, entries, nfresh, nfresh == flight_count, slow);
	isolate_group(&isolation, entries + nfresh, count - nfresh,
				  nfresh == 0 && count == flight_count, slow);
	if (flight_count > 1)
		check_trigger(&isolation);
	if (nfresh == flight_count && blame->nstepped == flight_count &&
		isolation.same_step)
		ReThrowError(blame->step_error);
	return blame;
}

/* None of the entries can be written, for a reason known beforehand. */
MdbBlame *
mdb_isolate_blame_all(const MdbRef *entries, int count, int sqlstate,
					  const char *message)
{
	MdbBlame   *blame = make_blame(CurrentMemoryContext, count);
	ErrorData  *error = mdb_isolate_error(CurrentMemoryContext, sqlstate,
										  message);

	blame->count = count;
	for (int i = 0; i < count; i++)
	{
		blame->entries[i] = entries[i];
		blame->errors[i] = error;
	}
	return blame;
}
