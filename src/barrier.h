/*
 * barrier.h
 *		The durability barrier.
 */
#ifndef MDB_BARRIER_H
#define MDB_BARRIER_H

#include "fmgr.h"

extern void mdb_barrier_begin_sync(FunctionCallInfo fcinfo,
								   const char *procedure);
extern int	mdb_barrier_on_full(void);
extern void mdb_barrier_commit_and_wait(Oid relid);

#endif							/* MDB_BARRIER_H */
