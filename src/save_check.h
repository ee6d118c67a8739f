/*
 * save_check.h
 *		The format of the saved file, and whether a file is in it.
 */
#ifndef MDB_SAVE_CHECK_H
#define MDB_SAVE_CHECK_H

#include "access/xlogdefs.h"
#include "port/pg_crc32c.h"

#include "batch.h"

#define SAVE_MAGIC		"mdbatch"	/* with its terminating zero, 8 bytes */
#define SAVE_FORMAT		2

typedef struct SaveHeader
{
	char		magic[8];
	uint32		format;
	uint32		server_version; /* whose layout the values have */
	uint64		system_identifier;
	XLogRecPtr	checkpoint;		/* of the shutdown */
	uint64		length;			/* bytes after the header */
	uint32		nbatches;
	pg_crc32c	crc;			/* of all, this being 0 */
} SaveHeader;

typedef struct SavedBatch
{
	Oid			dboid;
	Oid			relid;
	uint32		ndefinitions;
	int			own_batch_size;
	int64		own_interval;
	bool		detached;
	char		target[sizeof(((MdbBatch *) 0)->target) + 2];
} SavedBatch;

typedef struct SavedDefinition
{
	uint32		nbytes;
	uint32		nentries;
} SavedDefinition;

extern bool mdb_save_check(FILE *file, const SaveHeader *header);

#endif							/* MDB_SAVE_CHECK_H */
