/*
 * pool.c
 *		The memory of all batches: one pool of chunks.
 *
 * Model: a chain is one chunk or several.  The first holds the link to the
 * next, the owner's header (up to MDB_HEAD_SIZE bytes, the link included)
 * and the beginning of the contents; the others hold a link and more of the
 * contents.  Chunk 0 is never used, so that 0 means none.  Free chunks hang
 * on NLISTS lists; a process begins at a list of its own, so that two seldom
 * meet.  What a process will soon take again goes back there, where it is
 * still in the processor's cache; the rest to the list of its number.
 *
 * Half of the pool is guaranteed to the batches in equal shares, what they
 * use beyond that comes out of the other half (R10).  An allocation is
 * accounted before it takes chunks, and a chunk is put back before it is
 * accounted as free: an allocation that is accounted finds its chunks.  A
 * process that allocates or frees many in a row does so on credit: it pays
 * for them together, as all processes pay at the same place.
 *
 * Locking: a spinlock per list, held for a few assignments; the accounts are
 * atomics.  No function here can ERROR, but for the attachment at startup.
 *
 * Limits: nothing is compacted, as nothing is fragmented.  Two allocations
 * that race for the last chunks may both be refused.  An allocation that is
 * about to be refused is counted for a moment, which can let another batch have
 * more than there is: that one finds no chunk, and is refused as well.
 */
#include "postgres.h"

#include "storage/shmem.h"
#include "storage/spin.h"

#include "compat.h"
#include "pool.h"
#include "settings.h"

#define NLISTS			16
#define LINK_SIZE		16
#define HEAD_DATA		(MDB_CHUNK_SIZE - MDB_HEAD_SIZE)
#define LINK_DATA		(MDB_CHUNK_SIZE - LINK_SIZE)
#define MAX_LOOKED		(64 * NLISTS)	/* lists, in vain, one after the other */
#define MAX_CREDIT		64		/* chunks of it that are put back */

typedef union Chunk
{
	MdbRef		next;			/* in the chain, or on the free list */
	char		bytes[MDB_CHUNK_SIZE];
} Chunk;

typedef union FreeList
{
	struct
	{
		slock_t		mutex;
		MdbRef		first;		/* under mutex */
	}			list;
	char		pad[MDB_CACHE_LINES];
} FreeList;

typedef struct Pool
{
	/* Set once at startup, then read-only. */
	uint32		nchunks;
	uint32		guaranteed;		/* to each batch */
	uint32		shared_limit;	/* of all that is beyond the guaranteed */

	MdbAccount	shared;			/* chunks beyond the guaranteed */
	FreeList	lists[NLISTS];
} Pool;

char	   *mdb_pool_base;

static Pool *pool;
static Chunk *chunks;

/* What this process has paid for and not taken, or put back. */
static MdbAccount *credit_account;
static uint32 credit;

/* Chunks of the pool, as mdbatch.memory has it. */
uint32
mdb_pool_chunks(void)
{
	return (uint32) mdb_memory * (1024 / MDB_CHUNK_SIZE);
}

/* Shared memory that the pool takes, bytes. */
Size
mdb_pool_size(void)
{
	Size		size = add_size(sizeof(Pool), MDB_CACHE_LINES);

	return add_size(size, mul_size((Size) mdb_pool_chunks() + 1,
								   sizeof(Chunk)));
}

/* Create the pool, or attach to it; under AddinShmemInitLock. */
void
mdb_pool_attach(void)
{
	bool		found;

	pool = ShmemInitStruct("mdbatch pool", mdb_pool_size(), &found);
	mdb_pool_base = (char *) TYPEALIGN(MDB_CACHE_LINES, pool + 1);
	chunks = (Chunk *) mdb_pool_base;
	if (found)
		return;

	pool->nchunks = mdb_pool_chunks();
	pool->guaranteed = pool->nchunks / 2 / mdb_max_batches;
	pool->shared_limit = pool->nchunks - pool->guaranteed * mdb_max_batches;
	pg_atomic_init_u32(&pool->shared.used, 0);
	for (int i = 0; i < NLISTS; i++)
	{
		SpinLockInit(&pool->lists[i].list.mutex);
		pool->lists[i].list.first = MDB_NO_REF;
	}
	for (MdbRef ref = pool->nchunks; ref > 0; ref--)
	{
		FreeList   *free_list = &pool->lists[ref % NLISTS];

		chunks[ref].next = free_list->list.first;
		free_list->list.first = ref;
	}
}

/* Is that the number of a chunk? */
bool
mdb_pool_exists(MdbRef ref)
{
	return ref != MDB_NO_REF && ref <= pool->nchunks;
}

/* The most that one batch may ever use, bytes. */
uint64
mdb_pool_limit(void)
{
	return (uint64) (pool->guaranteed + pool->shared_limit) * MDB_CHUNK_SIZE;
}

/* Chunks of a chain with contents of as many bytes. */
uint32
mdb_pool_chain_length(uint32 nbytes)
{
	if (nbytes <= HEAD_DATA)
		return 1;
	return 1 + (nbytes - HEAD_DATA + LINK_DATA - 1) / LINK_DATA;
}

/* Could a chain of as many bytes be had if its batch were alone? */
bool
mdb_pool_ever_fits(uint32 nbytes)
{
	return mdb_pool_chain_length(nbytes) <=
		pool->guaranteed + pool->shared_limit;
}

/* The part of a batch's use that is beyond its share. */
static inline uint32
beyond_share(uint32 used)
{
	return used > pool->guaranteed ? used - pool->guaranteed : 0;
}

static void
account_free(MdbAccount *account, uint32 n)
{
	uint32		before = pg_atomic_fetch_sub_u32(&account->used, n);
	uint32		beyond = beyond_share(before) - beyond_share(before - n);

	if (beyond > 0)
		pg_atomic_fetch_sub_u32(&pool->shared.used, beyond);
}

/* Charge a batch with n chunks; false if it may not have them. */
static bool
account_alloc(MdbAccount *account, uint32 n)
{
	uint32		before = pg_atomic_fetch_add_u32(&account->used, n);
	uint32		beyond = beyond_share(before + n) - beyond_share(before);

	if (beyond == 0)
		return true;
	if (pg_atomic_fetch_add_u32(&pool->shared.used, beyond) + beyond <=
		pool->shared_limit)
		return true;
	account_free(account, n);
	return false;
}

/* Might a batch be charged with n chunks?  An attempt is seen by others. */
static bool
seems_to_have(MdbAccount *account, uint32 n)
{
	uint32		used = pg_atomic_read_u32(&account->used);

	return n <= pool->nchunks &&
		beyond_share(used + n) - beyond_share(used) +
		pg_atomic_read_u32(&pool->shared.used) <= pool->shared_limit;
}

/* Pay for n chunks, with credit first; false if the batch may not have them. */
static bool
pay(MdbAccount *account, uint32 n)
{
	uint32		own = credit_account == account ? Min(credit, n) : 0;

	if (own < n && !account_alloc(account, n - own))
		return false;
	credit -= own;
	return true;
}

/*
 * A chain for contents of as many bytes, its header and contents undefined;
 * none if the batch may not have that much now.
 */
MdbRef
mdb_pool_alloc(MdbAccount *account, uint32 nbytes)
{
	uint32		missing = mdb_pool_chain_length(nbytes);
	uint32		list = mdb_proc_number();
	MdbRef		first = MDB_NO_REF;

	if (missing > pool->nchunks || !pay(account, missing))
		return MDB_NO_REF;

	/* The account promises that they exist; see Limits. */
	for (int looked = 0; missing > 0 && looked < MAX_LOOKED; list++, looked++)
	{
		FreeList   *free_list = &pool->lists[list % NLISTS];

		if (*(volatile MdbRef *) &free_list->list.first == MDB_NO_REF)
			continue;			/* it seems, which will do */
		looked = 0;
		SpinLockAcquire(&free_list->list.mutex);
		while (missing > 0 && free_list->list.first != MDB_NO_REF)
		{
			MdbRef		taken = free_list->list.first;

			free_list->list.first = chunks[taken].next;
			chunks[taken].next = first;
			first = taken;
			missing--;
		}
		SpinLockRelease(&free_list->list.mutex);
	}
	if (missing > 0)
	{
		account_free(account, missing);
		mdb_pool_free(account, first);
		return MDB_NO_REF;
	}
	return first;
}

static void
free_on_credit(MdbAccount *account, uint32 n)
{
	if (credit_account == account && credit + n <= MAX_CREDIT)
		credit += n;
	else
		account_free(account, n);
}

/*
 * From here on this process allocates from a batch, n chunks at first, and
 * frees, on credit, until it settles, which is to be before it waits for
 * anything.  If the batch may not have n chunks now, each allocation is to find
 * that out.
 */
void
mdb_pool_prepay(MdbAccount *account, uint32 n)
{
	if (credit_account != account)
	{
		mdb_pool_settle();
		credit_account = account;
	}
	if (credit >= n)
		return;
	n -= credit;
	if (seems_to_have(account, n) && account_alloc(account, n))
		credit += n;
}

/* The end of that. */
void
mdb_pool_settle(void)
{
	if (credit > 0)
		account_free(credit_account, credit);
	credit = 0;
	credit_account = NULL;
}

/* Give a chain back, to be taken again by this process, if it is short. */
void
mdb_pool_free_near(MdbAccount *account, MdbRef first)
{
	FreeList   *free_list = &pool->lists[(uint32) mdb_proc_number() % NLISTS];

	if (chunks[first].next != MDB_NO_REF)
	{
		mdb_pool_free(account, first);
		return;
	}
	SpinLockAcquire(&free_list->list.mutex);
	chunks[first].next = free_list->list.first;
	free_list->list.first = first;
	SpinLockRelease(&free_list->list.mutex);
	free_on_credit(account, 1);
}

/* Give a chain back. */
void
mdb_pool_free(MdbAccount *account, MdbRef first)
{
	uint32		n = 0;

	while (first != MDB_NO_REF)
	{
		MdbRef		next = chunks[first].next;
		FreeList   *free_list = &pool->lists[first % NLISTS];

		SpinLockAcquire(&free_list->list.mutex);
		chunks[first].next = free_list->list.first;
		free_list->list.first = first;
		SpinLockRelease(&free_list->list.mutex);
		first = next;
		n++;
	}
	free_on_credit(account, n);
}

/*
 * Chains are walked in an order of their own: while number "at" is looked at,
 * have a later one ready.
 */
void
mdb_pool_prefetch(const MdbRef *chains, int count, int at)
{
	const int	ahead = 8;

	if (at + ahead < count)
	{
		const char *head = mdb_pool_head(chains[at + ahead]);

		mdb_prefetch(head);
		mdb_prefetch(head + MDB_HEAD_SIZE);
	}
}

/* The beginning of a chain's contents. */
MdbCursor
mdb_pool_start(MdbRef first)
{
	MdbCursor	cursor = {first, MDB_HEAD_SIZE};

	return cursor;
}

/* How much of nbytes lies in the cursor's chunk; steps to the next if none. */
static inline uint32
within_chunk(MdbCursor *cursor, uint32 nbytes)
{
	if (cursor->offset == MDB_CHUNK_SIZE)
	{
		cursor->chunk = chunks[cursor->chunk].next;
		cursor->offset = LINK_SIZE;
		Assert(cursor->chunk != MDB_NO_REF);
	}
	return Min(nbytes, MDB_CHUNK_SIZE - cursor->offset);
}

void
mdb_pool_skip(MdbCursor *cursor, uint32 nbytes)
{
	while (nbytes > 0)
	{
		uint32		n = within_chunk(cursor, nbytes);

		cursor->offset += n;
		nbytes -= n;
	}
}

void
mdb_pool_write(MdbCursor *cursor, const void *bytes, uint32 nbytes)
{
	while (nbytes > 0)
	{
		uint32		n = within_chunk(cursor, nbytes);

		memcpy(chunks[cursor->chunk].bytes + cursor->offset, bytes, n);
		bytes = (const char *) bytes + n;
		cursor->offset += n;
		nbytes -= n;
	}
}

void
mdb_pool_read(MdbCursor *cursor, void *bytes, uint32 nbytes)
{
	while (nbytes > 0)
	{
		uint32		n = within_chunk(cursor, nbytes);

		memcpy(bytes, chunks[cursor->chunk].bytes + cursor->offset, n);
		bytes = (char *) bytes + n;
		cursor->offset += n;
		nbytes -= n;
	}
}

/* Do two stretches of contents hold the same bytes? */
bool
mdb_pool_equal(MdbCursor a, MdbCursor b, uint32 nbytes)
{
	while (nbytes > 0)
	{
		uint32		n = within_chunk(&a, nbytes);

		n = within_chunk(&b, n);
		if (memcmp(chunks[a.chunk].bytes + a.offset,
				   chunks[b.chunk].bytes + b.offset, n) != 0)
			return false;
		a.offset += n;
		b.offset += n;
		nbytes -= n;
	}
	return true;
}

/* Does a stretch of contents hold these bytes? */
bool
mdb_pool_equal_bytes(MdbCursor cursor, const void *bytes, uint32 nbytes)
{
	while (nbytes > 0)
	{
		uint32		n = within_chunk(&cursor, nbytes);

		if (memcmp(chunks[cursor.chunk].bytes + cursor.offset, bytes, n) != 0)
			return false;
		bytes = (const char *) bytes + n;
		cursor.offset += n;
		nbytes -= n;
	}
	return true;
}

/* Exchange the contents of two chains; their headers stay where they are. */
void
mdb_pool_exchange(MdbRef a, MdbRef b)
{
	char		data[HEAD_DATA];
	MdbRef		next = chunks[a].next;

	memcpy(data, chunks[a].bytes + MDB_HEAD_SIZE, HEAD_DATA);
	memcpy(chunks[a].bytes + MDB_HEAD_SIZE,
		   chunks[b].bytes + MDB_HEAD_SIZE, HEAD_DATA);
	memcpy(chunks[b].bytes + MDB_HEAD_SIZE, data, HEAD_DATA);
	chunks[a].next = chunks[b].next;
	chunks[b].next = next;
}
