/*
 * flush.h
 *		One flush: at most a batch's worth of entries in one transaction.
 */
#ifndef MDB_FLUSH_H
#define MDB_FLUSH_H

#include "batch.h"

extern void mdb_flush_init(void);
extern bool mdb_flush_is_running(void);
extern bool mdb_flush_batch(int number, MdbReason reason, int timeout,
							int lock_timeout);

#endif							/* MDB_FLUSH_H */
