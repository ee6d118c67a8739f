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
#include "source.h"
#include "statement.h"
#include "step.h"

/* Count, for each entry, the rows that a query finds. */
static void
find_rows(const MdbWriter *writer, const MdbRef *entries, int count,
		  bool lock, int sign, int *found)
{
	/* Wide: only the keys matter here, not whether a sum fits. */
	mdb_source_arm(writer->plan, entries, count, true, writer->owner);
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

		if (isnull || n < 1 || n > count)
			elog(ERROR, "unexpected result of a query");
		found[n - 1] += sign;
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Step over the entries whose rows are locked by others, and put the others
 * first, in their order.  Returns how many these are.
 */
int
mdb_step_over_locked(const MdbWriter *writer, MdbRef *entries, int count)
{
	int		   *found = palloc0(count * sizeof(int));
	MdbRef	   *locked = palloc(count * sizeof(MdbRef));
	int			nlocked = 0;
	int			n = 0;

	/* Look for all rows first: one that is deleted meanwhile is not locked. */
	find_rows(writer, entries, count, false, 1, found);
	find_rows(writer, entries, count, true, -1, found);
	for (int i = 0; i < count; i++)
	{
		if (found[i] > 0)
			locked[nlocked++] = entries[i];
		else
			entries[n++] = entries[i];
	}
	for (int i = 0; i < nlocked; i++)
	{
		entries[n + i] = locked[i];
		mdb_flight_step_over(locked[i]);
	}
	pfree(found);
	pfree(locked);
	return n;
}
