/*
 * staging.h
 *		The transaction's own adds, until it commits.
 */
#ifndef MDB_STAGING_H
#define MDB_STAGING_H

#include "entry.h"
#include "target.h"

typedef enum MdbStaged
{
	MDB_ACCEPTED,
	MDB_NEEDS_PLACE,			/* accepted, if this were not a rehearsal */
	MDB_NO_ROOM,				/* queue_size entries wait or are reserved */
	MDB_NO_MEMORY				/* the batch may not have more of the pool now */
} MdbStaged;

#define MDB_REHEARSAL	(-1)	/* as queue_size: take no places */

extern void mdb_staging_expect(const MdbTarget *target,
							   const MdbEntryShape *shapes, int n);
extern MdbStaged mdb_staging_add(const MdbTarget *target, int queue_size,
								 const MdbEntryShape *shape,
								 const Datum *values, const bool *isnull);
extern void mdb_staging_register(void);
extern bool mdb_staging_is_empty(void);
extern MdbWatched *mdb_staging_watch(int *count);
extern bool mdb_staging_has_reservation(void);
extern void mdb_staging_begin_call(void);
extern void mdb_staging_end_call(void);
extern void mdb_staging_cancel_call(void);

#endif							/* MDB_STAGING_H */
