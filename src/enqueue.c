/*
 * enqueue.c
 *		A call that adds entries, from its checks to its result.
 *
 * Model: a front end resolves its target, checks its input as a whole, and
 * then hands the entries over one by one.  When a batch is full the call
 * drops entries, fails, or forgets what it has enqueued, waits for room, and
 * starts anew (R9).
 *
 * Locking: none.
 *
 * Limits: a call waits only if its transaction holds no reservation, so that
 * no two calls wait for each other.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "access/tupdesc.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "enqueue.h"
#include "entry.h"
#include "hash.h"
#include "staging.h"

#define DROP_LOG_INTERVAL	(10 * USECS_PER_SEC)

/* The most that an index entry may take: a third of a page, as nbtree has it. */
#define MAX_KEY \
	((Size) MAXALIGN_DOWN((BLCKSZ - \
						   MAXALIGN(SizeOfPageHeaderData + \
									3 * sizeof(ItemIdData) + \
									3 * sizeof(ItemPointerData)) - \
						   MAXALIGN(sizeof(BTPageOpaqueData))) / 3))
#define SMALL_KEY		(MAX_KEY / 2)

/* Entries that are enqueued together; wide ones are fewer. */
#define MAX_GROUP		32
#define MAX_GROUP_VALUES	(MAX_GROUP * 8)

typedef struct Group
{
	Datum	   *values;			/* of each entry, one after the other */
	bool	   *isnull;
	MdbEntryShape shapes[MAX_GROUP];

	/* Where they are, unless one entry alone is wider. */
	Datum		few_values[MAX_GROUP_VALUES];
	bool		few_isnull[MAX_GROUP_VALUES];
} Group;

typedef struct Call
{
	MdbTarget  *target;
	MdbLimits	limits;
	int			on_full;
	int			count;
	MdbNext		next;
	void	   *state;

	/* Of the attempt. */
	int			accepted;
	int			dropped;
	int			needed;			/* places, in a rehearsal */
	MdbStaged	refusal;		/* what stopped it; MDB_ACCEPTED: nothing */
} Call;

/* What every call that adds has to check first (R7, R17); ERROR if not. */
void
mdb_enqueue_begin(const char *function)
{
	mdb_batch_require();
	mdb_wait_require_workers();
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

/* Count what was dropped, and tell so at most once every 10 s. */
static void
count_dropped(const Call *call)
{
	MdbBatch   *batch = mdb_batch(call->target->batch);
	uint64		logged = pg_atomic_read_u64(&batch->drop_logged);
	uint64		now = (uint64) GetCurrentTimestamp();

	pg_atomic_fetch_add_u64(&batch->dropped_entries, call->dropped);
	if (now - logged >= DROP_LOG_INTERVAL &&
		pg_atomic_compare_exchange_u64(&batch->drop_logged, &logged, now))
		ereport(LOG_SERVER_ONLY,
				(errmsg("batch of table %s is full: " UINT64_FORMAT " entries dropped so far",
						call->target->name,
						pg_atomic_read_u64(&batch->dropped_entries)),
				 errhint("Increase \"mdbatch.queue_size\" or \"mdbatch.memory\"."),
				 errhidestmt(true), errhidecontext(true)));
}

static void
raise_full(const Call *call, MdbStaged refusal)
{
	const char *name = get_rel_name(call->target->relid);

	if (refusal == MDB_NO_ROOM)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("batch of table \"%s\" is full", name),
				 errdetail("At most %d entries may wait.",
						   call->limits.queue_size),
				 errhint("Increase \"mdbatch.queue_size\", or try again later.")));
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("out of memory for the batch of table \"%s\"", name),
			 errhint("Increase \"mdbatch.memory\", or try again later.")));
}

/*
 * A key that no index can hold would fail every flush: refuse it.  What might
 * be too large is tried as the index would, which compresses it.
 */
static void
check_key_size(const MdbDefinition *definition, const Datum *values)
{
	bool		isnull[INDEX_MAX_KEYS] = {0};
	Size		size = 0;
	TupleDesc	desc;
	IndexTuple	tuple;

	for (int i = 0; i < definition->nkeys; i++)
		size += definition->columns[i].typlen > 0 ?
			definition->columns[i].typlen :
			toast_raw_datum_size(values[i]) + ALIGNOF_DOUBLE;
	if (size < SMALL_KEY)
		return;

	desc = CreateTemplateTupleDesc(definition->nkeys);
	for (int i = 0; i < definition->nkeys; i++)
		TupleDescInitEntry(desc, i + 1, NULL, definition->columns[i].type,
						   -1, 0);
	tuple = index_form_tuple(desc, unconstify(Datum *, values), isnull);
	if (IndexTupleSize(tuple) > MAX_KEY)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("key is too large"),
				 errdetail("It takes %zu bytes in an index, which holds %zu at most.",
						   IndexTupleSize(tuple), MAX_KEY)));
	pfree(tuple);
	FreeTupleDesc(desc);
}

/*
 * Take the entries of a group from the front end, and measure them.  What they
 * will meet in shared memory is fetched meanwhile: else each would wait for it
 * alone.
 */
static void
measure(const Call *call, Group *group, int first, int n)
{
	const MdbTarget *target = call->target;
	int			ncolumns = target->definition->ncolumns;

	for (int i = 0; i < n; i++)
	{
		Datum	   *values = group->values + i * ncolumns;
		bool	   *isnull = group->isnull + i * ncolumns;

		call->next(call->state, first + i, values, isnull);
		check_key_size(target->definition, values);
		group->shapes[i] = mdb_entry_measure(target->definition,
											 target->batch,
											 target->definition_ref, values,
											 isnull);
		mdb_hash_prefetch(group->shapes[i].hash);
	}
	if (n > 1)
		for (int i = 0; i < n; i++)
			mdb_hash_prefetch_entry(group->shapes[i].hash);
}

/* Enqueue an entry; false if the attempt ends here. */
static bool
add(Call *call, int queue_size, const Group *group, int i)
{
	int			ncolumns = call->target->definition->ncolumns;
	MdbStaged	staged = mdb_staging_add(call->target, queue_size,
										 &group->shapes[i],
										 group->values + i * ncolumns,
										 group->isnull + i * ncolumns);

	if (staged == MDB_ACCEPTED)
		call->accepted++;
	else if (staged == MDB_NEEDS_PLACE)
		call->needed++;
	else if (call->on_full == MDB_ON_FULL_DROP)
		call->dropped++;
	else
	{
		call->refusal = staged;
		return false;
	}
	return true;
}

/* Enqueue what is accepted; stops early only where nothing may be dropped. */
static void
attempt(Call *call, int queue_size)
{
	int			ncolumns = call->target->definition->ncolumns;
	int			size = Max(1, Min(MAX_GROUP, MAX_GROUP_VALUES / ncolumns));
	Group		group;
	bool		go_on = true;

	call->accepted = call->dropped = call->needed = 0;
	call->refusal = MDB_ACCEPTED;
	if (!mdb_target_hold_batch(call->target))
	{
		/* Not even for the definition of the entries is there memory. */
		if (call->on_full == MDB_ON_FULL_DROP)
			call->dropped = call->count;
		else
			call->refusal = MDB_NO_MEMORY;
		return;
	}
	group.values = group.few_values;
	group.isnull = group.few_isnull;
	if (ncolumns > MAX_GROUP_VALUES)
	{
		group.values = palloc(ncolumns * sizeof(Datum));
		group.isnull = palloc(ncolumns * sizeof(bool));
	}
	for (int first = 0; go_on && first < call->count; first += size)
	{
		int			n = Min(size, call->count - first);

		CHECK_FOR_INTERRUPTS();
		measure(call, &group, first, n);
		mdb_staging_expect(call->target, group.shapes, n);
		for (int i = 0; go_on && i < n; i++)
			go_on = add(call, queue_size, &group, i);
	}
	mdb_pool_settle();
	if (ncolumns > MAX_GROUP_VALUES)
	{
		pfree(group.values);
		pfree(group.isnull);
	}
}

/*
 * The call cannot be served now: wait until it may be, or ERROR if it cannot
 * be, or waiting is refused.
 */
static void
wait_for_room(Call *call, uint64 flushes)
{
	int			number = call->target->batch;

	if (mdb_staging_has_reservation())
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("batch of table \"%s\" is full",
						get_rel_name(call->target->relid)),
				 errdetail("The transaction cannot wait for room, as it has reserved some itself."),
				 errhint("Commit before adding more, or increase \"mdbatch.queue_size\".")));

	if (call->refusal == MDB_NO_ROOM)
	{
		/* How many places does it need in all? */
		mdb_staging_begin_call();
		attempt(call, MDB_REHEARSAL);
		mdb_staging_cancel_call();
		if (call->needed > call->limits.queue_size)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("call needs more room than the batch of table \"%s\" has",
							get_rel_name(call->target->relid)),
					 errdetail("It has %d new keys, but at most %d entries may wait.",
							   call->needed, call->limits.queue_size),
					 errhint("Add fewer entries in a call, or increase \"mdbatch.queue_size\".")));
	}
	if (call->refusal == MDB_NO_MEMORY)
	{
		if (!mdb_wait_for_memory(number, flushes))
			raise_full(call, MDB_NO_MEMORY);
	}
	else
		mdb_wait_for_room(number, call->limits.queue_size, call->needed);
}

/* Try until there is room. */
static void
attempt_until_room(Call *call)
{
	for (;;)
	{
		uint64		flushes;

		(void) mdb_target_hold_batch(call->target);
		flushes = mdb_batch_count(call->target->batch,
								  &mdb_batch(call->target->batch)->nflushed);
		mdb_staging_begin_call();
		attempt(call, call->limits.queue_size);
		if (call->refusal == MDB_ACCEPTED)
			break;
		mdb_staging_cancel_call();
		wait_for_room(call, flushes);
	}
	mdb_staging_end_call();
}

/*
 * Enqueue entries for a target, and return how many were accepted.  With
 * on_full = error, or when it may not wait, ERROR, and nothing is enqueued.
 */
int
mdb_enqueue(MdbTarget *target, int on_full, int count, MdbNext next,
			void *state)
{
	Call		call = {0};

	call.target = target;
	call.limits = mdb_target_limits(target);
	call.on_full = on_full;
	call.count = count;
	call.next = next;
	call.state = state;

	if (on_full == MDB_ON_FULL_WAIT)
		attempt_until_room(&call);
	else
		attempt(&call, call.limits.queue_size);
	if (call.refusal != MDB_ACCEPTED)
		raise_full(&call, call.refusal);
	if (call.dropped > 0)
		count_dropped(&call);
	return call.accepted;
}
