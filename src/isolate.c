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
 * Limits: statement-level triggers run once for each statement.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "flight.h"
#include "isolate.h"
#include "source.h"

typedef struct Isolation
{
	MdbWriter  *writer;
	MdbBlame   *blame;

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
	if (sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED)
		return false;
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES):	/* 53 */
		case ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION):	/* 57 */
		case ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR): /* 58 */
		case ERRCODE_TO_CATEGORY(ERRCODE_INTERNAL_ERROR):	/* XX */
			return false;
		default:
			return true;
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

static void
isolate(Isolation *isolation, const MdbRef *entries, int count)
{
	MdbBlame   *blame = isolation->blame;
	ErrorData  *error;

	isolation->entries = entries;
	isolation->count = count;
	error = mdb_isolate_try(write_some, isolation, isolation->writer->context);
	if (error == NULL)
		return;
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
		mdb_flight_step_over(*entries);
		blame->nstepped++;
		blame->step_error = error;
		isolation->same_step &= blame->nstepped == 1 ||
			error->sqlerrcode == isolation->step_sqlstate;
		isolation->step_sqlstate = error->sqlerrcode;
	}
}

/*
 * If every entry of several met the same error that a trigger raised, it is
 * the trigger that is broken.  If every entry met another error that is not
 * about its data, that is no more about entries.
 */
static void
check_all(const Isolation *isolation, int count)
{
	const MdbBlame *blame = isolation->blame;
	int			sqlstate = blame->count > 0 ? blame->errors[0]->sqlerrcode : 0;

	if (blame->nstepped == count && isolation->same_step)
		ReThrowError(blame->step_error);
	if (count < 2 || blame->count < count ||
		ERRCODE_TO_CATEGORY(sqlstate) != ERRCODE_PLPGSQL_ERROR)
		return;
	for (int i = 1; i < count; i++)
		if (blame->errors[i]->sqlerrcode != sqlstate)
			return;
	ReThrowError(blame->errors[0]);
}

/*
 * Write those entries that the target takes, and say which it refuses for
 * good or for now; ERROR if something else is wrong.
 */
MdbBlame *
mdb_isolate(MdbWriter *writer, const MdbRef *entries, int count)
{
	MdbBlame   *blame = make_blame(writer->context, count);
	Isolation	isolation = {0};

	isolation.writer = writer;
	isolation.blame = blame;
	isolation.same_step = true;
	if (count > 0)
	{
		isolate(&isolation, entries, count);
		check_all(&isolation, count);
	}
	return blame;
}

/* None of the entries can be written, for a reason known beforehand. */
MdbBlame *
mdb_isolate_blame_all(const MdbRef *entries, int count, int sqlstate,
					  const char *message)
{
	MdbBlame   *blame = make_blame(CurrentMemoryContext, count);
	ErrorData  *error = palloc0(sizeof(ErrorData));

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
