/*
 * isolate.c
 *		A refused batch: find the entries to blame, write the rest.
 *
 * Model: halves of the batch are written under subtransactions; a half that
 * is refused is halved again, down to single entries: O(k log n) statements
 * for k bad ones of n (R12).  An entry is to blame if it is refused alone, with
 * an error about data.  Any other error is not about entries, and fails the
 * flush.
 *
 * Locking: what the statements take.
 *
 * Limits: statement-level triggers run once for each statement.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "isolate.h"
#include "source.h"

typedef struct Isolation
{
	MdbWriter  *writer;
	MdbBlame   *blame;

	/* The statement that is tried. */
	const MdbRef *entries;
	int			count;
} Isolation;

/* Is an error of that kind the fault of the entries that met it (R12)? */
bool
mdb_isolate_blames_data(int sqlstate)
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
	if (!mdb_isolate_blames_data(error->sqlerrcode))
		ReThrowError(error);
	if (count > 1)
	{
		FreeErrorData(error);
		isolate(isolation, entries, count / 2);
		isolate(isolation, entries + count / 2, count - count / 2);
		return;
	}
	blame->entries[blame->count] = *entries;
	blame->errors[blame->count++] = error;
}

/*
 * If every entry of several met the same error that a trigger raised, it is
 * the trigger that is broken.
 */
static void
check_trigger(const MdbBlame *blame, int count)
{
	int			sqlstate = blame->count > 0 ? blame->errors[0]->sqlerrcode : 0;

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
 * good; ERROR if something else is wrong.
 */
MdbBlame *
mdb_isolate(MdbWriter *writer, const MdbRef *entries, int count)
{
	MdbBlame   *blame = make_blame(writer->context, count);
	Isolation	isolation = {0};

	isolation.writer = writer;
	isolation.blame = blame;
	isolate(&isolation, entries, count);
	check_trigger(blame, count);
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
