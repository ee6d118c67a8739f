/*
 * source.h
 *		mdbatch_flushing(): the entries in flight, as rows.
 */
#ifndef MDB_SOURCE_H
#define MDB_SOURCE_H

#include "plan.h"
#include "pool.h"

extern void mdb_source_arm(const MdbPlan *plan, const MdbRef *entries,
						   int count, bool wide, Oid owner);
extern void mdb_source_disarm(void);

#endif							/* MDB_SOURCE_H */
