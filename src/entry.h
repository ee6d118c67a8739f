/*
 * entry.h
 *		The codec: column values to the bytes of an entry and back.
 */
#ifndef MDB_ENTRY_H
#define MDB_ENTRY_H

#include "utils/memutils.h"

#include "definition.h"
#include "pool.h"
#include "slot.h"

/*
 * The most that an entry may take, bytes: a row of it must fit into an
 * allocation, with its header and what aligns its columns.
 */
#define MDB_MAX_CONTENTS	(MaxAllocSize - 64 * 1024)

typedef enum MdbEntryState
{
	MDB_STAGED,					/* of an open transaction, seen by nobody else */
	MDB_WAITING,				/* pending, in the order of its definition */
	MDB_IN_FLIGHT				/* pending, a flush is writing it */
} MdbEntryState;

/*
 * The header of an entry; it is a chain of the pool, whose contents are its
 * merge slots, its key and its values.
 */
typedef struct MdbEntry
{
	MdbRef		next;			/* the chain's */

	/* Set when filled, then read-only. */
	MdbRef		definition;
	uint32		hash;			/* of batch, definition and key */
	uint32		keylen;
	uint16		batch;
	uint16		nslots;

	/* With the contents: under the lock of the hash partition. */
	uint32		vallen;
	int64		version;

	/* Under the lock of the hash partition. */
	MdbRef		hash_next;
	uint32		state;			/* MdbEntryState; changes under the batch's
								 * lock too */

	/* Under the lock of the batch. */
	MdbRef		order_prev;
	MdbRef		order_next;
	int64		arrival;		/* of the key, us since 2000, unique in a
								 * batch */
	uint32		retry_at;		/* s since 2000, when deferred; else 0 */
	uint16		deferrals;		/* in a row */
	bool		locked;			/* the row was, when it was deferred */
	uint8		pad;
} MdbEntry;

StaticAssertDecl(sizeof(MdbEntry) <= MDB_HEAD_SIZE, "entry header too large");

/* The sizes of an entry's parts, before it is allocated. */
typedef struct MdbEntryShape
{
	uint32		hash;
	uint32		keylen;
	uint32		vallen;
	uint16		nslots;
} MdbEntryShape;

static inline MdbEntry *
mdb_entry(MdbRef ref)
{
	return (MdbEntry *) mdb_pool_head(ref);
}

/* Bytes of contents of a filled entry. */
static inline uint32
mdb_entry_length(const MdbEntry *entry)
{
	return entry->nslots * MDB_SLOT_SIZE + entry->keylen + entry->vallen;
}

extern void mdb_entry_set_seed(uint64 seed);
extern MdbEntryShape mdb_entry_measure(const MdbDefinition *definition,
									   uint16 batch, MdbRef definition_ref,
									   Datum *values, const bool *isnull);
extern uint32 mdb_entry_contents(const MdbEntryShape *shape);
extern void mdb_entry_fill(MdbRef ref, const MdbEntryShape *shape,
						   const MdbDefinition *definition,
						   uint16 batch, MdbRef definition_ref,
						   const Datum *values, const bool *isnull);
extern MdbRef mdb_entry_rebuild(MdbAccount *account,
								const MdbEntryShape *shape, int64 version,
								const char *contents,
								const MdbDefinition *definition,
								uint16 batch, MdbRef definition_ref);
extern int	mdb_entry_decode(const char *contents, int64 version,
							 const MdbDefinition *definition, bool wide,
							 Datum *values, bool *isnull);
extern void mdb_entry_merge(MdbRef survivor, MdbRef other);

#endif							/* MDB_ENTRY_H */
