/*
 * queue.h
 *		What is pending: places, and publishing.
 */
#ifndef MDB_QUEUE_H
#define MDB_QUEUE_H

#include "batch.h"
#include "entry.h"

extern bool mdb_queue_reserve(int number, int queue_size);
extern void mdb_queue_unreserve(int number);
extern bool mdb_queue_is_pending(MdbRef staged);
extern bool mdb_queue_publish(MdbRef staged, bool reserved, uint32 coalesced,
							  uint32 stale, TimestampTz now, int64 *arrival);
extern MdbStripe *mdb_queue_stripe(MdbBatch *batch);

#endif							/* MDB_QUEUE_H */
