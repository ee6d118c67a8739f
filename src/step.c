/*
 * step.c
 *		Stepping over rows that others have locked (R12).
 *
 * Model: the rows of the entries that are there and those that can be locked
 * without waiting are looked up; the others are stepped over.  The locks stay,
 * so that the statement that writes does not wait for them.
 *
 * Locking: FOR NO KEY UPDATE SKIP LOCKED on the rows.
 *
 * Limits: what somebody else is inserting cannot be seen; the statement waits
 * for that.
 */
#include "postgres.h"

#include "executor/spi.h"

#include "flight.h"
#include "isolate.h"
#include "source.h"
#include "statement.h"
#include "step.h"
#include "timer.h"

/* Entries whose rows are looked for. */
typedef struct Search
{
	const MdbWriter *writer;
	MdbRef	   *entries;
	int			count;
	int		   *found;			/* rows that are there, less those that are
								 * free */
} Search;

/* Count, for each entry, the rows that a query finds. */
static void
find_rows(Search *search, bool lock, int sign)
{
	const MdbWriter *writer = search->writer;

	/* Wide: only the keys matter here, not whether a sum fits. */
	mdb_source_arm(writer->plan, search->entries, search->count, true,
				   writer->owner);
	if (SPI_execute(mdb_statement_find(writer->plan, lock), false, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "unexpected result of a query");
	mdb_source_disarm();
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
													SPI_tuptable->tupdesc, 1,
													&isnull));

		if (isnull || n < 1 || n > search->count)
			elog(ERROR, "unexpected result of a query");
		search->found[n - 1] += sign;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Lock first: a row that is deleted meanwhile is then not there. */
static void
find_locked(void *state)
{
	find_rows(state, true, -1);
	find_rows(state, false, 1);
}

/*
 * Step over those of the entries whose rows are locked by others; only_again:
 * of those that were stepped over before.  The entries that are left come
 * first then, in their order; returns how many these are.  If it takes longer
 * than that, none is stepped over.
 */
int
mdb_step_over_locked(const MdbWriter *writer, MdbRef *entries, int count,
					 bool only_again, TimestampTz until)
{
	MdbRef	   *locked = palloc(count * sizeof(MdbRef));
	Search		search = {0};
	ErrorData  *error;
	int			nlocked = 0;
	int			looked_at = 0;
	int			n = 0;

	search.writer = writer;
	search.entries = palloc(count * sizeof(MdbRef));
	search.found = palloc0(count * sizeof(int));
	for (int i = 0; i < count; i++)
		if (!only_again || mdb_entry(entries[i])->deferrals > 0)
			search.entries[search.count++] = entries[i];

	/* A key may be none that the table can have; that is found out later. */
	error = mdb_isolate_try_until(find_locked, &search, writer->context,
								  until);
	if (error != NULL)
	{
		if (!mdb_isolate_can_help(error->sqlerrcode) &&
			!mdb_timer_ended(error, until))
			ReThrowError(error);
		return count;
	}
	for (int i = 0; i < count; i++)
	{
		bool		looked = looked_at < search.count &&
			search.entries[looked_at] == entries[i];

		if (looked && search.found[looked_at++] > 0)
			locked[nlocked++] = entries[i];
		else
			entries[n++] = entries[i];
	}
	for (int i = 0; i < nlocked; i++)
	{
		entries[n + i] = locked[i];
		mdb_flight_step_over(locked[i], true);
	}
	return n;
}
