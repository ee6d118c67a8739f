/*
 * reject_tidy.c
 *		Keeping the rows of a table in mdbatch_rejected few and up to date.
 *
 * Model: after rows have been stored, those beyond mdbatch.max_rejected go,
 * the oldest first, and all get the name that the table has now.  The rows are
 * counted once, and what is stored is added from then on: rows that others
 * remove make that number too large, so it only tells when to count again.
 * When rows go, a hundredth more than must go does, so that a table that goes
 * on refusing entries is not counted at each flush.
 *
 * A rename is noticed by the oldest row, which gets the new name last.
 *
 * Locking: as rejected.c.  Rows that others have locked stay as they are.
 *
 * Limits: if this fails, or there is no time left, the next flush does it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/itup.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "isolate.h"
#include "reject_tidy.h"
#include "rejected.h"
#include "settings.h"

#define UNKNOWN		(-1)

/* How many rows a batch's table has, at most. */
typedef struct Estimate
{
	pg_uuid_t	identity;
	NameData	owner;
	int64		nrows;			/* or UNKNOWN */
} Estimate;

static Estimate *estimates;		/* one for each batch */

typedef struct Tidying
{
	MdbRejected table;
	const pg_uuid_t *identity;
	const char *owner;
	const char *target;
	TimestampTz limit;			/* nothing is begun after that */
	Estimate   *estimate;

	/* Of one walk. */
	bool		renamed;
	int64		count;
	int64		excess;			/* rows that are to go */

	int64		forgotten;
} Tidying;

/* The estimate of a batch; unknown if it was about another table. */
static Estimate *
estimate_of(int batch, const pg_uuid_t *identity, const char *owner)
{
	Estimate   *estimate;

	if (estimates == NULL)
		estimates = MemoryContextAllocZero(TopMemoryContext,
										   mdb_max_batches * sizeof(Estimate));
	estimate = &estimates[batch];
	if (memcmp(&estimate->identity, identity, sizeof(*identity)) != 0 ||
		strcmp(NameStr(estimate->owner), owner) != 0)
	{
		estimate->identity = *identity;
		namestrcpy(&estimate->owner, owner);
		estimate->nrows = UNKNOWN;
	}
	return estimate;
}

static bool
has_name(Tidying *tidying, HeapTuple tuple)
{
	bool		isnull;
	Datum		name = mdb_rejected_get(&tidying->table, tuple,
										MDB_REJECTED_TARGET, &isnull);

	return strcmp(TextDatumGetCString(name), tidying->target) == 0;
}

static bool
visit_oldest(MdbRejected *table, HeapTuple tuple, void *state)
{
	Tidying    *tidying = state;

	tidying->renamed = !has_name(tidying, tuple);
	return false;
}

static bool
visit_rename(MdbRejected *table, HeapTuple tuple, void *state)
{
	Tidying    *tidying = state;
	ItemPointerData tid = tuple->t_self;
	Datum		values[MDB_REJECTED_COLUMNS] = {0};
	bool		isnull[MDB_REJECTED_COLUMNS] = {0};
	bool		replace[MDB_REJECTED_COLUMNS] = {0};

	if (has_name(tidying, tuple) ||
		!mdb_rejected_lock(table, &tid, LockWaitSkip))
		return true;
	values[MDB_REJECTED_TARGET - 1] = CStringGetTextDatum(tidying->target);
	replace[MDB_REJECTED_TARGET - 1] = true;
	mdb_rejected_update(table, values, isnull, replace);
	return GetCurrentTimestamp() < tidying->limit;
}

static bool
visit_count(MdbRejected *table, HeapTuple tuple, void *state)
{
	Tidying    *tidying = state;

	tidying->count++;
	return GetCurrentTimestamp() < tidying->limit;
}

static bool
visit_forget(MdbRejected *table, HeapTuple tuple, void *state)
{
	Tidying    *tidying = state;
	ItemPointerData tid = tuple->t_self;

	if (!mdb_rejected_lock(table, &tid, LockWaitSkip))
		return true;
	mdb_rejected_delete(table);
	return ++tidying->forgotten < tidying->excess &&
		GetCurrentTimestamp() < tidying->limit;
}

static void
walk(Tidying *tidying, ScanDirection direction, MdbRejectedVisit visit)
{
	mdb_rejected_walk(&tidying->table, tidying->identity, tidying->owner,
					  direction, visit, tidying);
}

/* Remove what is too much. */
static void
forget(Tidying *tidying)
{
	Estimate   *estimate = tidying->estimate;

	if (estimate->nrows != UNKNOWN && estimate->nrows <= mdb_max_rejected)
		return;
	walk(tidying, ForwardScanDirection, visit_count);
	estimate->nrows = tidying->count;
	if (tidying->count <= mdb_max_rejected)
		return;
	tidying->excess = tidying->count - mdb_max_rejected +
		mdb_max_rejected / 100;
	walk(tidying, ForwardScanDirection, visit_forget);

	/* The transaction may not commit. */
	estimate->nrows = UNKNOWN;
}

static void
tidy(void *state)
{
	Tidying    *tidying = state;

	mdb_rejected_open(&tidying->table);
	walk(tidying, ForwardScanDirection, visit_oldest);
	if (tidying->renamed)
		walk(tidying, BackwardScanDirection, visit_rename);
	forget(tidying);
	mdb_rejected_close(&tidying->table);
}

/*
 * Tidy the rows of a batch's table after so many were inserted.  Returns how
 * many have gone.  It is no error if it cannot be done now, unless something
 * else ends the flush.
 */
int64
mdb_reject_tidy(int batch, const pg_uuid_t *identity, const char *owner,
				const char *target, int64 ninserted, TimestampTz deadline)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "mdbatch tidying",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TimestampTz now = GetCurrentTimestamp();
	Tidying		tidying = {0};
	ErrorData  *error;

	tidying.identity = identity;
	tidying.owner = owner;
	tidying.target = target;

	/* What is done until then stays; the next flush goes on. */
	tidying.limit = now + Min((deadline - now) / 2, USECS_PER_SEC);
	tidying.estimate = estimate_of(batch, identity, owner);
	if (tidying.estimate->nrows != UNKNOWN)
		tidying.estimate->nrows += ninserted;
	error = mdb_isolate_try_until(tidy, &tidying, old, deadline);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (error == NULL)
		return tidying.forgotten;
	tidying.estimate->nrows = UNKNOWN;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
		ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) &&
		GetCurrentTimestamp() < deadline)
		ReThrowError(error);
	FreeErrorData(error);
	return 0;
}
