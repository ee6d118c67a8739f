/*
 * due.h
 *		When a batch is to be flushed next, and why.
 */
#ifndef MDB_DUE_H
#define MDB_DUE_H

#include "batch.h"

/* When a batch is to be flushed next, and why. */
typedef struct MdbDue
{
	TimestampTz at;				/* DT_NOEND: not before something changes */
	MdbReason	reason;
} MdbDue;

extern MdbLimits mdb_batch_limits(const MdbBatch *batch);
extern int64 mdb_batch_oldest_ready(const MdbBatch *batch);
extern int64 mdb_batch_oldest(const MdbBatch *batch);
extern MdbDue mdb_batch_due(const MdbBatch *batch, TimestampTz now);

#endif							/* MDB_DUE_H */
