/*
 * snapshot.h
 *		A copy of what is pending, to look at.
 */
#ifndef MDB_SNAPSHOT_H
#define MDB_SNAPSHOT_H

#include "batch.h"

/* A copy of what is pending in a batch. */
typedef struct MdbSnapshotEntry
{
	MdbRef		definition;
	int64		version;
	bool		in_flight;
	const char *contents;
} MdbSnapshotEntry;

typedef struct MdbSnapshot
{
	int			count;
	MdbSnapshotEntry *entries;	/* in flush order */
} MdbSnapshot;

extern MdbSnapshot mdb_snapshot_take(int number);

#endif							/* MDB_SNAPSHOT_H */
