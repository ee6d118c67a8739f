/*
 * pool.h
 *		The memory of all batches: one pool of chunks.
 */
#ifndef MDB_POOL_H
#define MDB_POOL_H

#include "port/atomics.h"

/* A chunk by number; shared memory is never addressed by pointers. */
typedef uint32 MdbRef;

#define MDB_NO_REF			((MdbRef) 0)
#define MDB_CHUNK_SIZE		128
#define MDB_HEAD_SIZE		64	/* of a chain's first chunk, the owner's */
#define MDB_CACHE_LINES		128 /* keeps what two processes write apart */

/* What one batch uses: chunks, its guaranteed share included. */
typedef union MdbAccount
{
	pg_atomic_uint32 used;
	char		pad[MDB_CACHE_LINES];
} MdbAccount;

/* A position in a chain's contents, to write or read them in order. */
typedef struct MdbCursor
{
	MdbRef		chunk;
	uint32		offset;			/* in the chunk */
} MdbCursor;

/* The chunks, by number; set at startup. */
extern char *mdb_pool_base;

/* The header of a chain; its first member must be a MdbRef, the pool's. */
static inline void *
mdb_pool_head(MdbRef first)
{
	return mdb_pool_base + (Size) first * MDB_CHUNK_SIZE;
}

extern Size mdb_pool_size(void);
extern void mdb_pool_attach(void);
extern uint32 mdb_pool_chunks(void);
extern bool mdb_pool_exists(MdbRef ref);
extern uint64 mdb_pool_limit(void);
extern uint32 mdb_pool_chain_length(uint32 nbytes);
extern bool mdb_pool_ever_fits(uint32 nbytes);
extern MdbRef mdb_pool_alloc(MdbAccount *account, uint32 nbytes);
extern void mdb_pool_prepay(MdbAccount *account, uint32 n);
extern void mdb_pool_settle(void);
extern void mdb_pool_prefetch(const MdbRef *chains, int count, int at);
extern void mdb_pool_free(MdbAccount *account, MdbRef first);
extern void mdb_pool_free_near(MdbAccount *account, MdbRef first);
extern MdbCursor mdb_pool_start(MdbRef first);
extern void mdb_pool_skip(MdbCursor *cursor, uint32 nbytes);
extern void mdb_pool_write(MdbCursor *cursor, const void *bytes, uint32 nbytes);
extern void mdb_pool_read(MdbCursor *cursor, void *bytes, uint32 nbytes);
extern bool mdb_pool_equal(MdbCursor a, MdbCursor b, uint32 nbytes);
extern bool mdb_pool_equal_bytes(MdbCursor cursor, const void *bytes,
								 uint32 nbytes);
extern void mdb_pool_exchange(MdbRef a, MdbRef b);

#endif							/* MDB_POOL_H */
