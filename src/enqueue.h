/*
 * enqueue.h
 *		A call that adds entries, from its checks to its result.
 */
#ifndef MDB_ENQUEUE_H
#define MDB_ENQUEUE_H

#include "target.h"
#include "wait.h"

/*
 * Gives the values of entry number 0 to count - 1, in the order of the
 * definition's columns.  It may not run anything that could change a batch.
 */
typedef void (*MdbNext) (void *state, int number, Datum *values, bool *isnull);

extern void mdb_enqueue_begin(const char *function);
extern int	mdb_enqueue(MdbTarget *target, int on_full, int count,
						MdbNext next, void *state);

#endif							/* MDB_ENQUEUE_H */
