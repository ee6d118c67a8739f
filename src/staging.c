/*
 * staging.c
 *		The transaction's own adds, until it commits.
 *
 * Model: an add fills an entry in the pool and appends a record of it.
 * Records of a savepoint level are the end of one array; within a level a key
 * has one record (R8), found through a small local hash.  When a level
 * commits, its records are folded into its parent's; when it aborts, they are
 * cut off.  At the commit of the transaction every record is published
 * (R7); nothing is allocated then, and nothing can fail.
 *
 * A call that may have to start anew is a level of its own for its duration.
 *
 * A parallel worker has no adds (mdb_batch_require).  If it had some, the end
 * of its transaction would forget them, as it commits nothing.
 *
 * Locking: none of its own; what it calls in queue.c takes partition locks.
 *
 * Limits: without an xid an error after the commit runs the abort callback as
 * well, so each record is gone before the next is published.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "entry.h"
#include "hash.h"
#include "note.h"
#include "queue.h"
#include "roster.h"
#include "staging.h"

#define MIN_RECORDS		256
#define KEPT_RECORDS	65536	/* more are given back after the transaction */
#define NO_RECORD		(-1)

typedef struct Record
{
	MdbRef		ref;
	uint32		hash;
	int			previous;		/* record of the same bucket */
	uint32		coalesced;		/* adds that this entry stands for, too */
	uint32		stale;
	bool		reserved;
} Record;

typedef struct Level
{
	int			nest;			/* transaction nest level */
	int			start;			/* its first record */
	bool		is_call;
} Level;

static Record *records;
static int	nrecords;
static int	max_records;
static int *buckets;			/* the last record of each; max_records of
								 * them */

static MdbWatched *watched;		/* of the records, in their order; or NULL */

static Level *levels;
static int	nlevels;
static int	max_levels;

static inline int *
bucket_of(uint32 hash)
{
	return &buckets[hash & (max_records - 1)];
}

static void
push_record(const Record *record)
{
	int		   *bucket = bucket_of(record->hash);

	Assert(records != NULL && nrecords < max_records);
	records[nrecords] = *record;
	records[nrecords].previous = *bucket;
	*bucket = nrecords++;
}

/* Make room for one more record; can ERROR. */
static void
grow_records(void)
{
	int			n = max_records == 0 ? MIN_RECORDS : max_records * 2;
	int		   *new_buckets;

	if (nrecords < max_records)
		return;
	new_buckets = MemoryContextAllocHuge(TopMemoryContext, n * sizeof(int));
	if (records == NULL)
		records = MemoryContextAlloc(TopMemoryContext, n * sizeof(Record));
	else
		records = repalloc_huge(records, n * sizeof(Record));
	if (buckets != NULL)
		pfree(buckets);
	buckets = new_buckets;
	max_records = n;

	for (int i = 0; i < n; i++)
		buckets[i] = NO_RECORD;
	for (int i = 0; i < nrecords; i++)
	{
		int		   *bucket = bucket_of(records[i].hash);

		records[i].previous = *bucket;
		*bucket = i;
	}
}

/* Push a level; can ERROR, and then nothing has changed. */
static void
push_level(int nest, bool is_call)
{
	if (nlevels == max_levels)
	{
		int			n = max_levels == 0 ? 16 : max_levels * 2;

		if (levels == NULL)
			levels = MemoryContextAlloc(TopMemoryContext, n * sizeof(Level));
		else
			levels = repalloc(levels, n * sizeof(Level));
		max_levels = n;
	}
	levels[nlevels].nest = nest;
	levels[nlevels].start = nrecords;
	levels[nlevels].is_call = is_call;
	nlevels++;
}

/* The record of an entry's key among those from start on. */
static Record *
find_record(MdbRef ref, int start)
{
	for (int i = *bucket_of(mdb_entry(ref)->hash); i >= start;
		 i = records[i].previous)
		if (mdb_hash_same_key(records[i].ref, ref))
			return &records[i];
	return NULL;
}

static MdbAccount *
account_of(MdbRef ref)
{
	return &mdb_batch(mdb_entry(ref)->batch)->account;
}

/* Combine a later entry, and what it stands for, into a record. */
static void
absorb(Record *record, const Record *later)
{
	if (mdb_hash_combine(record->ref, later->ref))
		record->coalesced++;
	else
		record->stale++;
	record->coalesced += later->coalesced;
	record->stale += later->stale;
	if (later->reserved)
	{
		if (record->reserved)
			mdb_queue_unreserve(mdb_entry(record->ref)->batch);
		record->reserved = true;
	}
	mdb_pool_free_near(account_of(later->ref), later->ref);
}

/*
 * Entries of these shapes come next, for a target whose batch this transaction
 * holds.  Memory is on credit until the caller settles.
 */
void
mdb_staging_expect(const MdbTarget *target, const MdbEntryShape *shapes, int n)
{
	uint64		nchunks = 0;

	for (int i = 0; i < n; i++)
		nchunks += mdb_pool_chain_length(mdb_entry_contents(&shapes[i]));
	if (nchunks <= PG_UINT32_MAX)
		mdb_pool_prepay(&mdb_batch(target->batch)->account, nchunks);
}

/*
 * Enqueue one entry for a target whose batch this transaction holds.  Values
 * are those of the definition's columns, as they were measured.  A rehearsal
 * tells which entries need a place, and must be cancelled with its call.  Can
 * ERROR.
 */
MdbStaged
mdb_staging_add(const MdbTarget *target, int queue_size,
				const MdbEntryShape *shape, const Datum *values,
				const bool *isnull)
{
	MdbAccount *account = &mdb_batch(target->batch)->account;
	uint32		nbytes = mdb_entry_contents(shape);
	Record		record = {0};
	Record	   *same;
	int			nest = GetCurrentTransactionNestLevel();

	if (!mdb_pool_ever_fits(nbytes))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("entry is too large"),
				 errdetail("The entry takes " UINT64_FORMAT " bytes of memory, but at most " UINT64_FORMAT " are available to a batch.",
						   (uint64) mdb_pool_chain_length(nbytes) * MDB_CHUNK_SIZE,
						   mdb_pool_limit()),
				 errhint("Increase \"mdbatch.memory\".")));
	grow_records();
	if (nlevels == 0 || levels[nlevels - 1].nest < nest)
		push_level(nest, false);

	record.ref = mdb_pool_alloc(account, nbytes);
	if (record.ref == MDB_NO_REF)
		return MDB_NO_MEMORY;
	record.hash = shape->hash;
	mdb_entry_fill(record.ref, shape, target->definition, target->batch,
				   target->definition_ref, values, isnull);

	same = find_record(record.ref, levels[nlevels - 1].start);
	if (same != NULL)
	{
		absorb(same, &record);
		return MDB_ACCEPTED;
	}

	/* A key that is pending needs no place (R9). */
	if (mdb_queue_is_pending(record.ref))
		push_record(&record);
	else if (queue_size == MDB_REHEARSAL)
	{
		push_record(&record);
		return MDB_NEEDS_PLACE;
	}
	else
	{
		if (!mdb_queue_reserve(target->batch, queue_size))
		{
			mdb_pool_free(account, record.ref);
			return MDB_NO_ROOM;
		}
		record.reserved = true;
		mdb_note_reserved(target->batch);
		push_record(&record);
	}
	return MDB_ACCEPTED;
}

/* Has this transaction no adds? */
bool
mdb_staging_is_empty(void)
{
	return nrecords == 0;
}

/*
 * Tell what becomes of this transaction's adds when it commits; palloc'd, to
 * outlive the transaction.
 */
MdbWatched *
mdb_staging_watch(int *count)
{
	watched = MemoryContextAllocHuge(CurrentMemoryContext,
									 nrecords * sizeof(MdbWatched));
	for (int i = 0; i < nrecords; i++)
		watched[i].hash = records[i].hash;
	*count = nrecords;
	return watched;
}

/* Does this transaction hold a reservation in any batch? */
bool
mdb_staging_has_reservation(void)
{
	for (int i = 0; i < nrecords; i++)
		if (records[i].reserved)
			return true;
	return false;
}

/* Forget the records from start on, and what they reserved. */
static void
cut_records(int start)
{
	while (nrecords > start)
	{
		Record	   *record = &records[--nrecords];

		*bucket_of(record->hash) = record->previous;
		if (record->ref == MDB_NO_REF)
			continue;			/* published before an error */
		if (record->reserved)
			mdb_queue_unreserve(mdb_entry(record->ref)->batch);
		mdb_pool_free_near(account_of(record->ref), record->ref);
	}
}

/* Records were cut off: where are places still reserved? */
static void
note_reservations(void)
{
	mdb_note_unreserved();
	for (int i = 0; i < nrecords; i++)
		if (records[i].reserved)
			mdb_note_reserved(mdb_entry(records[i].ref)->batch);
}

/* Fold the uppermost level into the one below; allocates nothing. */
static void
fold_level(void)
{
	int			start = levels[nlevels - 1].start;
	int			below = levels[nlevels - 2].start;
	int			end = nrecords;

	/* Take them all off the local hash, then put back those that stay. */
	while (nrecords > start)
	{
		nrecords--;
		*bucket_of(records[nrecords].hash) = records[nrecords].previous;
	}
	for (int i = start; i < end; i++)
	{
		Record		record = records[i];
		Record	   *same = find_record(record.ref, below);

		if (same != NULL)
			absorb(same, &record);
		else
			push_record(&record);
	}
	nlevels--;
}

/*
 * From here to the end of the call its adds are apart from earlier ones, so
 * that it can start anew.  Can ERROR.
 */
void
mdb_staging_begin_call(void)
{
	push_level(GetCurrentTransactionNestLevel(), true);
}

/* Keep the adds of the call. */
void
mdb_staging_end_call(void)
{
	Level	   *level = &levels[nlevels - 1];

	Assert(level->is_call);
	if (nlevels > 1 && level[-1].nest == level->nest)
		fold_level();
	else
		level->is_call = false;
}

/* Forget the adds of the call. */
void
mdb_staging_cancel_call(void)
{
	Assert(levels[nlevels - 1].is_call);
	cut_records(levels[nlevels - 1].start);
	nlevels--;
	note_reservations();
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId mine,
					SubTransactionId parent, void *arg)
{
	int			nest = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		int			before = nlevels;

		mdb_pool_settle();
		while (nlevels > 0 && levels[nlevels - 1].nest >= nest)
		{
			cut_records(levels[nlevels - 1].start);
			nlevels--;
		}
		if (nlevels < before)
			note_reservations();
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		if (nlevels == 0 || levels[nlevels - 1].nest < nest)
			return;
		if (nlevels > 1 && levels[nlevels - 2].nest == nest - 1)
			fold_level();
		else
			levels[nlevels - 1].nest = nest - 1;
	}
}

/* Cannot fail. */
static void
publish_all(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		wake = false;
	int			n = nrecords;

	if (n > 0)
		mdb_pool_prepay(account_of(records[0].ref), 0);
	for (int i = 0; i < n; i++)
	{
		Record		record = records[i];
		int64		arrival;

		/* Never published twice, whatever happens. */
		records[i].ref = MDB_NO_REF;
		*bucket_of(record.hash) = NO_RECORD;
		wake |= mdb_queue_publish(record.ref, record.reserved,
								  record.coalesced, record.stale, now,
								  &arrival);
		if (watched != NULL)
			watched[i].arrival = arrival;
	}
	nrecords = 0;
	if (wake)
		mdb_roster_wake(MyDatabaseId);
}

/* The transaction is over: nothing is left of its records. */
static void
reset(void)
{
	nrecords = 0;
	nlevels = 0;
	watched = NULL;
	mdb_pool_settle();
	mdb_note_clear();
	if (max_records > KEPT_RECORDS)
	{
		pfree(records);
		pfree(buckets);
		records = NULL;
		buckets = NULL;
		max_records = 0;
	}
}

static void
transaction_ends(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (nrecords > 0)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has added to a batch")));
			break;
		case XACT_EVENT_PRE_COMMIT:
			if (nrecords > 0)
				mdb_note_committing();
			break;
		case XACT_EVENT_COMMIT:
			publish_all();
			reset();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			cut_records(0);
			reset();
			break;
		case XACT_EVENT_PREPARE:
			reset();
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			Assert(nrecords == 0);
			break;
	}
}

/* To be called once in each backend, from _PG_init. */
void
mdb_staging_register(void)
{
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(subtransaction_ends, NULL);
}
