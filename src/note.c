/*
 * note.c
 *		What every backend tells the others about its transaction.
 *
 * Model: one note per process, written by its owner alone and cleared when
 * its transaction ends.  It says which batches the transaction holds (has
 * entries or reservations in), so that their slots and definitions stay; in
 * which of them it reserved places, and under which virtual transaction id,
 * so that others can wait for it; and that it is committing, as a
 * transaction is visible to others before its entries are pending.
 *
 * Holding is the protocol of hazard pointers: the holder sets its bit, then
 * looks whether the batch is still the one it resolved; a process that wants to
 * reuse a slot takes the batch's epoch away, then looks for bits.  A full
 * barrier stands between the two steps on both sides.
 *
 * Locking: none; atomics and barriers.
 *
 * Limits: a batch is held to the end of the transaction, also after a rollback
 * to a savepoint.  A transaction that gets its xid after it was marked as
 * committing (to send a notification) looks as if it had none, and is waited
 * for longer than necessary.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "storage/shmem.h"

#include "compat.h"
#include "note.h"

typedef struct Note
{
	pg_atomic_uint64 vxid;		/* packed; 0: no reservation */
	pg_atomic_uint64 committing;	/* packed vxid; 0: not committing */
	pg_atomic_uint32 xid;		/* good while committing is set */
	bool		any;			/* owner only: some bit is set */
	pg_atomic_uint64 bits[FLEXIBLE_ARRAY_MEMBER];	/* held, then reserved */
} Note;

static char *notes;

static int
nwords(void)
{
	return (mdb_max_batches + 63) / 64;
}

static Size
note_size(void)
{
	return TYPEALIGN(MDB_CACHE_LINES, offsetof(Note, bits) +
					 2 * nwords() * sizeof(pg_atomic_uint64));
}

static Note *
note_of(int proc)
{
	return (Note *) (notes + proc * note_size());
}

/* Shared memory that the notes take, bytes. */
Size
mdb_note_size(void)
{
	return add_size(mul_size(MaxBackends, note_size()), MDB_CACHE_LINES);
}

/* Create the notes, or attach to them; under AddinShmemInitLock. */
void
mdb_note_attach(void)
{
	bool		found;
	char	   *at = ShmemInitStruct("mdbatch notes", mdb_note_size(), &found);

	notes = (char *) TYPEALIGN(MDB_CACHE_LINES, at);
	if (found)
		return;
	for (int proc = 0; proc < MaxBackends; proc++)
	{
		Note	   *note = note_of(proc);

		pg_atomic_init_u64(&note->vxid, 0);
		pg_atomic_init_u64(&note->committing, 0);
		pg_atomic_init_u32(&note->xid, InvalidTransactionId);
		note->any = false;
		for (int i = 0; i < 2 * nwords(); i++)
			pg_atomic_init_u64(&note->bits[i], 0);
	}
}

static inline uint64
bit_of(int number)
{
	return UINT64CONST(1) << (number % 64);
}

/*
 * Hold a batch to the end of the transaction, provided that it is still the
 * one of that epoch; false if it must be looked up again.
 */
bool
mdb_note_hold(int number, uint64 epoch)
{
	Note	   *note = note_of(mdb_proc_number());
	pg_atomic_uint64 *word = &note->bits[number / 64];
	uint64		before = pg_atomic_read_u64(word);

	if (before & bit_of(number))
		return pg_atomic_read_u64(&mdb_batch(number)->epoch) == epoch;

	/* Whatever uses a batch holds it first: the last line of defence. */
	if (IsParallelWorker())
		elog(ERROR, "cannot hold a batch in a parallel worker");

	note->any = true;
	pg_atomic_write_u64(word, before | bit_of(number));
	pg_memory_barrier();
	if (pg_atomic_read_u64(&mdb_batch(number)->epoch) == epoch)
		return true;
	pg_atomic_write_u64(word, before);
	return false;
}

/*
 * Hold the batch of a target to the end of the transaction; -1 if it has
 * none.
 */
int
mdb_note_hold_target(Oid dboid, Oid relid)
{
	uint64		epoch = 0;
	int			number;

	do
	{
		number = mdb_batch_find(dboid, relid, &epoch);
	} while (number >= 0 && !mdb_note_hold(number, epoch));
	return number;
}

/*
 * Hold a batch whose target is gone, to discard it; false if the slot is
 * another's by now.
 */
bool
mdb_note_hold_gone(int number)
{
	uint64		epoch = pg_atomic_read_u64(&mdb_batch(number)->epoch);

	return epoch != 0 && mdb_note_hold(number, epoch) &&
		mdb_batch(number)->gone;
}

/* Tell that this transaction has reserved places in a batch that it holds. */
void
mdb_note_reserved(int number)
{
	Note	   *note = note_of(mdb_proc_number());
	pg_atomic_uint64 *word = &note->bits[nwords() + number / 64];
	uint64		before = pg_atomic_read_u64(word);

	if (before & bit_of(number))
		return;
	pg_atomic_write_u64(&note->vxid, mdb_my_vxid());
	pg_write_barrier();
	pg_atomic_write_u64(word, before | bit_of(number));
}

/* Tell that this transaction has no places reserved, in any batch. */
void
mdb_note_unreserved(void)
{
	Note	   *note = note_of(mdb_proc_number());

	for (int i = nwords(); i < 2 * nwords(); i++)
		pg_atomic_write_u64(&note->bits[i], 0);
}

/* Tell that this transaction is about to become visible. */
void
mdb_note_committing(void)
{
	Note	   *note = note_of(mdb_proc_number());

	pg_atomic_write_u32(&note->xid, GetTopTransactionIdIfAny());
	pg_write_barrier();
	pg_atomic_write_u64(&note->committing, mdb_my_vxid());
	pg_memory_barrier();
}

/* The transaction is over and its entries are published or gone. */
void
mdb_note_clear(void)
{
	Note	   *note = note_of(mdb_proc_number());

	if (!note->any)
		return;
	pg_memory_barrier();
	pg_atomic_write_u64(&note->committing, 0);
	pg_atomic_write_u64(&note->vxid, 0);
	for (int i = 0; i < 2 * nwords(); i++)
		pg_atomic_write_u64(&note->bits[i], 0);
	note->any = false;
}

/* Does any transaction hold the batch?  To be asked after a full barrier. */
bool
mdb_note_is_held(int number)
{
	for (int proc = 0; proc < MaxBackends; proc++)
		if (pg_atomic_read_u64(&note_of(proc)->bits[number / 64]) &
			bit_of(number))
			return true;
	return false;
}

/*
 * Another transaction that has places of the batch reserved, or an invalid
 * one.
 */
VirtualTransactionId
mdb_note_holder(int number)
{
	for (int proc = 0; proc < MaxBackends; proc++)
	{
		Note	   *note = note_of(proc);
		uint64		vxid;

		if (proc == mdb_proc_number() ||
			!(pg_atomic_read_u64(&note->bits[nwords() + number / 64]) &
			  bit_of(number)))
			continue;
		pg_read_barrier();
		vxid = pg_atomic_read_u64(&note->vxid);
		pg_read_barrier();
		if (vxid != 0 &&
			(pg_atomic_read_u64(&note->bits[nwords() + number / 64]) &
			 bit_of(number)))
			return mdb_unpack_vxid(vxid);
	}
	return mdb_unpack_vxid(0);
}

/*
 * The other transactions with entries in the batch that are visible already
 * and have not published yet.  One whose xid is still in progress is not
 * visible: it may be waiting for a standby, and nobody has to wait for it.
 * palloc'd.
 */
VirtualTransactionId *
mdb_note_committers(int number, int *count)
{
	VirtualTransactionId *found = palloc(MaxBackends * sizeof(*found));

	*count = 0;
	for (int proc = 0; proc < MaxBackends; proc++)
	{
		Note	   *note = note_of(proc);
		uint64		committing;
		TransactionId xid;

		if (proc == mdb_proc_number() ||
			!(pg_atomic_read_u64(&note->bits[number / 64]) & bit_of(number)))
			continue;
		committing = pg_atomic_read_u64(&note->committing);
		if (committing == 0)
			continue;
		pg_read_barrier();
		xid = pg_atomic_read_u32(&note->xid);
		pg_read_barrier();
		if (pg_atomic_read_u64(&note->committing) != committing)
			continue;			/* it has published meanwhile */
		if (TransactionIdIsValid(xid) && TransactionIdIsInProgress(xid))
			continue;
		found[(*count)++] = mdb_unpack_vxid(committing);
	}
	return found;
}
