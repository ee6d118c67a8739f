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
 * Locking: what the statements take.
 *
 * Limits: statement-level triggers run once for each statement.  What is not
 * tried when the time is up is stepped over, so that what is written stays.
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

typedef struct Isolation
{
	MdbWriter  *writer;
	MdbBlame   *blame;

	TimestampTz deadline;		/* what is not tried until then is stepped
								 * over */
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
 * concerns the server, or was done to the flush from outside.
 */
bool
mdb_isolate_can_help(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_DISK_FULL:
		case ERRCODE_OUT_OF_MEMORY:
		case ERRCODE_TOO_MANY_CONNECTIONS:
			return false;
		default:
			return ERRCODE_TO_CATEGORY(sqlstate) !=
				ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION);
	}
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
	blame->nstepped += count;
	if (blame->step_error == NULL)
		blame->step_error = error;
}

/* The time is up: what is written is worth more than what is not tried. */
static ErrorData *
out_of_time(const Isolation *isolation)
{
	ErrorData  *error = MemoryContextAllocZero(isolation->writer->context,
											   sizeof(ErrorData));

	error->elevel = ERROR;
	error->sqlerrcode = ERRCODE_QUERY_CANCELED;
	error->message = MemoryContextStrdup(isolation->writer->context,
										 "there was no time left to find the entries to blame");
	return error;
}

/* Others have locked what cannot be seen; there may be more of that. */
static void
shorten_lock_timeout(void)
{
	if (LockTimeout > MIN_LOCK_TIMEOUT)
		mdb_as_owner_set_ms("lock_timeout",
							Max(LockTimeout / 4, MIN_LOCK_TIMEOUT));
}

static void
isolate(Isolation *isolation, const MdbRef *entries, int count)
{
	MdbBlame   *blame = isolation->blame;
	ErrorData  *error;

	if (GetCurrentTimestamp() >= isolation->deadline)
	{
		step_over(isolation, entries, count, out_of_time(isolation));
		return;
	}
	isolation->entries = entries;
	isolation->count = count;
	error = mdb_isolate_try_until(write_some, isolation,
								  isolation->writer->context,
								  isolation->deadline);
	if (error == NULL)
	{
		isolation->taken += count;
		return;
	}
	if (mdb_timer_ended(error, isolation->deadline))
	{
		step_over(isolation, entries, count, error);
		return;
	}
	if (!mdb_isolate_can_help(error->sqlerrcode))
		ReThrowError(error);
	if (count > 1)
	{
		FreeErrorData(error);
		isolate(isolation, entries, count / 2);
		isolate(isolation, entries + count / 2, count - count / 2);
		return;
	}
	if (blames_data(error->sqlerrcode))
	{
		blame->entries[blame->count] = *entries;
		blame->errors[blame->count++] = error;
	}
	else
	{
		step_over(isolation, entries, 1, error);
		if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
			shorten_lock_timeout();
	}
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
 * of a flight of so many; if all of them are fresh, and meet the same error,
 * that is no more about entries, either.
 */
MdbBlame *
mdb_isolate(MdbWriter *writer, const MdbRef *entries, int count,
			int flight_count, bool fresh, TimestampTz deadline)
{
	MdbBlame   *blame = make_blame(writer->context, count);
	Isolation	isolation = {0};

	isolation.writer = writer;
	isolation.blame = blame;
	isolation.deadline = deadline;
	isolation.same_step = true;
	if (count > 1 && count == flight_count)
	{
		/* The whole has just failed. */
		isolate(&isolation, entries, count / 2);
		isolate(&isolation, entries + count / 2, count - count / 2);
	}
	else if (count > 0)
		isolate(&isolation, entries, count);
	if (flight_count > 1)
		check_trigger(&isolation);
	if (fresh && blame->nstepped == flight_count && isolation.same_step)
		ReThrowError(blame->step_error);
	return blame;
}

/* None of the entries can be written, for a reason known beforehand. */
MdbBlame *
mdb_isolate_blame_all(const MdbRef *entries, int count, int sqlstate,
					  const char *message)
{
	MdbBlame   *blame = make_blame(CurrentMemoryContext, count);
	ErrorData  *error = palloc0(sizeof(ErrorData));

	error->elevel = ERROR;
	error->sqlerrcode = sqlstate;
	error->message = pstrdup(message);
	blame->count = count;
	for (int i = 0; i < count; i++)
	{
		blame->entries[i] = entries[i];
		blame->errors[i] = error;
	}
	return blame;
}
