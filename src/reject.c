/*
 * reject.c
 *		Keeping entries that their target refused, in mdbatch_rejected.
 *
 * Model: an entry is shown as text (shown.c), merged into the row that the
 * table has of its key (reject_merge.c), and stored (rejected.c).  That runs
 * output functions of the target's types, so all of it is done as the target's
 * owner, restricted (R18); what is stored is stored without SQL, and no code
 * of anybody runs with more rights than that.
 *
 * mdbatch_rejected must not stop a flush (R12): everything is done under
 * subtransactions, some entries in each.  If these cannot be stored, their
 * halves are tried, down to single entries; an entry that cannot be stored
 * alone stays pending, with its own backoff, and so does what there is no time
 * for.
 *
 * Locking: ROW EXCLUSIVE on mdbatch_rejected, waiting no longer than the
 * flush's lock_timeout and half the time that is left.  Rows are not waited
 * for.
 *
 * Limits: two rows of a key can exist, if the role that owns the table has
 * changed, or the name of a key column.
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "entry.h"
#include "flight.h"
#include "labels.h"
#include "name.h"
#include "reject.h"
#include "reject_merge.h"
#include "reject_tidy.h"
#include "rejected.h"
#include "report.h"
#include "settings.h"
#include "shown.h"

#define MAX_MESSAGE	(64 * 1024) /* bytes of the error's message */
#define CHUNK		100			/* entries that are stored together */

/* Entries that are being kept. */
typedef struct Keeping
{
	const MdbPlan *plan;
	const MdbBlame *blame;
	MdbRejected table;
	pg_uuid_t	identity;
	const char *target;			/* name of the table */
	const char *owner;			/* and of its owner */
	const char *const *names;	/* of its columns */
	MemoryContext context;		/* of one entry */
	TimestampTz last;			/* rejected_at of the last row */
	TimestampTz deadline;

	/* Those that are tried now. */
	int			first;
	int			count;
	bool		careful;
	bool		opened;			/* the table could be */
	bool		stopped;		/* nothing more is tried */

	int64		ninserted;
	bool	   *kept;
	ErrorData  *error;			/* why the first one is not kept */
} Keeping;

/* When an entry was rejected: each row later than the one before. */
static TimestampTz
now_or_later(Keeping *keeping)
{
	keeping->last = Max(GetCurrentTimestamp(), keeping->last + 1);
	return keeping->last;
}

static Datum
message_of(const ErrorData *error)
{
	const char *message = error->message != NULL ? error->message : "";
	int			len = strlen(message);

	len = pg_mbcliplen(message, len, Min(len, MAX_MESSAGE));
	return PointerGetDatum(cstring_to_text_with_len(message, len));
}

static Jsonb *
locked_jsonb(const MdbRejected *table, int column)
{
	bool		isnull;
	Datum		value = mdb_rejected_locked(table, column, &isnull);

	return isnull ? NULL : DatumGetJsonbP(value);
}

/* Write the row of an entry that has been shown, and merged if it exists. */
static void
store(Keeping *keeping, const MdbShown *shown, Datum key, Datum digest,
	  const ErrorData *error, bool exists)
{
	Datum		values[MDB_REJECTED_COLUMNS];
	bool		isnull[MDB_REJECTED_COLUMNS] = {0};
	bool		replace[MDB_REJECTED_COLUMNS];

#define VALUE(column) values[(column) - 1]
	VALUE(MDB_REJECTED_TARGET) = CStringGetTextDatum(keeping->target);
	VALUE(MDB_REJECTED_KEY) = key;
	VALUE(MDB_REJECTED_ENTRY) = mdb_shown_object(shown);
	VALUE(MDB_REJECTED_SQLSTATE) =
		CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	VALUE(MDB_REJECTED_MESSAGE) = message_of(error);
	VALUE(MDB_REJECTED_AT) = TimestampTzGetDatum(now_or_later(keeping));
	VALUE(MDB_REJECTED_REMOVED) = BoolGetDatum(false);
	VALUE(MDB_REJECTED_BYTES) =
		mdb_shown_bytes(shown, &isnull[MDB_REJECTED_BYTES - 1]);
	VALUE(MDB_REJECTED_IDENTITY) = UUIDPGetDatum(&keeping->identity);
	VALUE(MDB_REJECTED_OWNER) = CStringGetTextDatum(keeping->owner);
	VALUE(MDB_REJECTED_DIGEST) = digest;
#undef VALUE

	if (exists)
	{
		memset(replace, true, sizeof(replace));
		mdb_rejected_update(&keeping->table, values, isnull, replace);
	}
	else
	{
		mdb_rejected_insert(&keeping->table, values, isnull);
		keeping->ninserted++;
	}
}

static void
keep_one(Keeping *keeping, int i)
{
	MemoryContext old = MemoryContextSwitchTo(keeping->context);
	MdbShown	shown = {0};
	Datum		key;
	Datum		digest;
	bool		exists;

	shown.plan = keeping->plan;
	shown.names = keeping->names;
	mdb_shown_entry(&shown, keeping->blame->entries[i], keeping->careful);
	key = mdb_shown_key(&shown);
	digest = mdb_shown_digest(key);
	exists = mdb_rejected_lock_key(&keeping->table, &keeping->identity,
								   keeping->owner, digest);
	if (exists)
		mdb_reject_merge(&shown,
						 locked_jsonb(&keeping->table, MDB_REJECTED_ENTRY),
						 locked_jsonb(&keeping->table, MDB_REJECTED_BYTES),
						 keeping->careful);
	store(keeping, &shown, key, digest, keeping->blame->errors[i], exists);
	MemoryContextSwitchTo(old);
	MemoryContextReset(keeping->context);
}

static void
keep_some(void *state)
{
	Keeping    *keeping = state;

	mdb_rejected_open(&keeping->table);
	keeping->opened = true;
	for (int i = 0; i < keeping->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		keep_one(keeping, keeping->first + i);
	}
	mdb_rejected_close(&keeping->table);
}

/*
 * True if an error must end the flush: a cancel from outside, or a shutdown.
 * The flush's own timeout must not: what is written is to stay.
 */
static bool
ends_flush(const Keeping *keeping, const ErrorData *error)
{
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) !=
		ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION))
		return false;
	return ShutdownRequestPending ||
		GetCurrentTimestamp() < keeping->deadline;
}

/* True if other entries, or fewer of them, would meet the same error. */
static bool
is_hopeless(const Keeping *keeping, const ErrorData *error)
{
	return !keeping->opened ||
		error->sqlerrcode == ERRCODE_DISK_FULL ||
		GetCurrentTimestamp() >= keeping->deadline;
}

static void
remember_error(Keeping *keeping, ErrorData *error)
{
	if (keeping->error == NULL)
		keeping->error = error;
	else
		FreeErrorData(error);
}

/* Keep entries, or parts of them, or remember why not. */
static void
keep(Keeping *keeping, int first, int count, bool careful)
{
	int64		ninserted = keeping->ninserted;
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *error;

	keeping->first = first;
	keeping->count = count;
	keeping->careful = careful;
	keeping->opened = false;
	error = mdb_isolate_try_until(keep_some, keeping, context,
								  keeping->deadline);
	MemoryContextReset(keeping->context);
	if (error == NULL)
	{
		memset(keeping->kept + first, true, count * sizeof(bool));
		return;
	}
	keeping->ninserted = ninserted;
	if (ends_flush(keeping, error))
		ReThrowError(error);
	keeping->stopped |= is_hopeless(keeping, error);
	if (keeping->stopped || (count == 1 && careful))
	{
		remember_error(keeping, error);
		return;
	}
	FreeErrorData(error);
	if (count == 1)
	{
		keep(keeping, first, 1, true);
		return;
	}
	keep(keeping, first, count / 2, false);
	if (!keeping->stopped)
		keep(keeping, first + count / 2, count - count / 2, false);
}

/* Keep all of them, as far as that can be. */
static void
keep_all(Keeping *keeping)
{
	int			n = keeping->blame->count;

	for (int first = 0; first < n && !keeping->stopped; first += CHUNK)
	{
		if (GetCurrentTimestamp() >= keeping->deadline)
		{
			remember_error(keeping,
						   mdb_isolate_error(CurrentMemoryContext,
											 ERRCODE_QUERY_CANCELED,
											 "there was no time left to keep rejected entries"));
			return;
		}
		keep(keeping, first, Min(CHUNK, n - first), false);
	}
}

/*
 * Find out which table the rows belong to.  ERROR if it has no identity: a
 * label that was written by hand can lack one.  The flush does not make one
 * up, as it would have to write the label, which needs a stronger lock.
 */
static void
identify(void *state)
{
	Keeping    *keeping = state;
	Oid			relid = keeping->plan->definition->relid;

	if (!mdb_labels_identity(relid, &keeping->identity))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no identity", get_rel_name(relid)),
				 errdetail("What it refuses cannot be kept."),
				 errhint("Attach the table again, with %s().",
						 "mdbatch_attach")));
	keeping->target = mdb_name_of_table(relid);
	keeping->names = mdb_shown_names(keeping->plan);
}

/* Entries that are not kept are stepped over; the others come first then. */
static void
step_over_rest(MdbBlame *blame, const bool *kept)
{
	int			n = 0;

	for (int i = 0; i < blame->count; i++)
	{
		if (kept[i])
		{
			blame->entries[n] = blame->entries[i];
			blame->errors[n++] = blame->errors[i];
		}
		else
			mdb_flight_step_over(blame->entries[i], false);
	}
	blame->count = n;
}

/* The lock timeout while there is so much time left. */
static void
limit_lock_timeout(TimestampTz deadline)
{
	long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													   deadline);

	mdb_as_owner_set_ms("lock_timeout",
						Max(1, Min(LockTimeout, left / 2)));
}

/*
 * Store entries.  Those that cannot be stored are stepped over and taken out of
 * the blame; then the reason is returned.
 */
static ErrorData *
store_blamed(int batch, const MdbPlan *plan, Oid owner, MdbBlame *blame,
			 TimestampTz deadline, MdbOutcome *outcome)
{
	Keeping		keeping = {0};
	MdbAsOwner	before;

	keeping.plan = plan;
	keeping.blame = blame;
	keeping.deadline = deadline;
	keeping.owner = GetUserNameFromId(owner, false);
	keeping.kept = MemoryContextAllocExtended(CurrentMemoryContext,
											  blame->count * sizeof(bool),
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	keeping.context = AllocSetContextCreate(CurrentMemoryContext,
											"mdbatch rejected entry",
											ALLOCSET_DEFAULT_SIZES);
	mdb_shown_enter(&before, owner);
	limit_lock_timeout(deadline);
	keeping.error = mdb_isolate_try_until(identify, &keeping,
										  CurrentMemoryContext, deadline);
	if (keeping.error == NULL)
		keep_all(&keeping);
	if (keeping.error == NULL || keeping.ninserted > 0)
		outcome->forgotten = mdb_reject_tidy(batch, &keeping.identity,
											 keeping.owner, keeping.target,
											 keeping.ninserted, deadline);
	mdb_as_owner_leave(&before);
	MemoryContextDelete(keeping.context);
	step_over_rest(blame, keeping.kept);
	return keeping.error;
}

/* What the books and those who wait are told of them; palloc'd. */
static void
describe_rejections(const MdbBlame *blame, int64 until,
					MdbOutcome *outcome)
{
	outcome->rejections = palloc0(blame->count * sizeof(MdbRejection));
	for (int i = 0; i < blame->count; i++)
	{
		MdbRejection *rejection = &outcome->rejections[i];
		const ErrorData *error = blame->errors[i];

		rejection->hash = mdb_entry(blame->entries[i])->hash;
		rejection->sqlstate = error->sqlerrcode;
		rejection->until = until;
		mdb_report_copy(rejection->constraint, error->constraint_name,
						sizeof(rejection->constraint));
		mdb_report_copy(rejection->message, error->message,
						sizeof(rejection->message));
	}
	outcome->nrejected = blame->count;
	outcome->last_rejected = outcome->rejections[blame->count - 1].sqlstate;
	strlcpy(outcome->constraint,
			outcome->rejections[blame->count - 1].constraint, NAMEDATALEN);
}

/*
 * Keep the entries of a flight that their target refused for good, in its
 * transaction.  Those that cannot be kept are stepped over.
 */
void
mdb_reject_keep(const MdbFlight *flight, const MdbPlan *plan, Oid owner,
				MdbBlame *blame, TimestampTz deadline, MdbOutcome *outcome)
{
	int			nblamed = blame->count;
	ErrorData  *error = NULL;

	if (mdb_max_rejected == 0)
		outcome->forgotten = nblamed;
	else
		error = store_blamed(flight->batch, plan, owner, blame, deadline,
							 outcome);
	if (error != NULL)
	{
		if (outcome->nstepped == 0)
			mdb_report_describe(&outcome->step, error);
		outcome->nstepped += nblamed - blame->count;
	}
	if (blame->count > 0)
		describe_rejections(blame, flight->until, outcome);
}
