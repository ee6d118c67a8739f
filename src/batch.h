/*
 * batch.h
 *		The batches: identity, and what they hold.
 */
#ifndef MDB_BATCH_H
#define MDB_BATCH_H

#include "datatype/timestamp.h"
#include "definition.h"
#include "histogram.h"
#include "locks.h"
#include "order.h"
#include "pool.h"
#include "settings.h"
#include "storage/condition_variable.h"
#include "storage/lock.h"

#define MDB_NSTRIPES	8
#define MDB_ERROR_LEN	1024	/* bytes of an error message that are kept */

typedef enum MdbReason
{
	MDB_SCHEDULED,
	MDB_CAPACITY,
	MDB_REQUESTED,
	MDB_SHUTDOWN
} MdbReason;

#define MDB_NREASONS	4

/* An entry that its target refused for good. */
typedef struct MdbRejection
{
	uint32		hash;			/* of the entry */
	int			sqlstate;
	int64		until;			/* what its flight could have taken */
	char		constraint[NAMEDATALEN];	/* that refused it; empty: none */
	char		message[112];
} MdbRejection;

#define MDB_KEPT_REJECTIONS		32

/* An add whose fate is of interest. */
typedef struct MdbWatched
{
	uint32		hash;
	int64		arrival;		/* of the entry that held it at first */
} MdbWatched;

/* What publishing counts, spread over the processes that do it. */
typedef union MdbStripe
{
	struct
	{
		pg_atomic_uint64 linked;	/* added, and neither of these two */
		pg_atomic_uint64 coalesced;
		pg_atomic_uint64 stale;
	}			count;
	char		pad[MDB_CACHE_LINES];
} MdbStripe;

/* Why a flush failed, or stepped over entries. */
typedef struct MdbFailure
{
	MdbReason	reason;
	int			sqlstate;
	Oid			owner;			/* the role that the flush ran as; InvalidOid:
								 * it did not come that far */
	char		constraint[NAMEDATALEN];	/* empty: none */
	char		message[MDB_ERROR_LEN];
} MdbFailure;

/* What flushing counts (R19). */
typedef struct MdbCounters
{
	int64		flushed;
	int64		skipped;
	int64		rejected;
	int64		discarded;
	int64		batches[MDB_NREASONS];
	int64		flush_failures;
	int64		notifications;
	TimestampTz last_flush;		/* 0: never */
	int64		last_flush_duration;	/* us */
	TimestampTz last_failure;	/* 0: never */
	TimestampTz stats_reset;
	MdbHistogram size;
	MdbHistogram utilization;
	MdbHistogram duration[MDB_NREASONS];
} MdbCounters;

typedef struct MdbBatch
{
	/*
	 * Changes under the control lock, and only while nobody holds the batch;
	 * read under that lock, or by a process that holds the batch.
	 */
	Oid			dboid;			/* InvalidOid: the slot is free */
	Oid			relid;

	/*
	 * Another number as soon as what was resolved for the batch is no longer
	 * good: the slot went to another target, or a definition is gone.
	 */
	pg_atomic_uint64 epoch;

	MdbAccount	account;

	/* Waiting entries (high half) and reservations (low half), as one. */
	pg_atomic_uint64 load;
	char		pad[MDB_CACHE_LINES];

	pg_atomic_uint64 dropped_entries;
	pg_atomic_uint64 drop_logged;	/* when the log last told, us */
	MdbStripe	stripes[MDB_NSTRIPES];

	/* Under the batch's lock. */
	MdbRef		oldest;			/* definitions, in the order of their making */
	MdbRef		newest;
	MdbList		flight;			/* in flight, in flush order */
	uint32		in_flight;
	uint32		ndeferred;		/* of those that wait */
	TimestampTz next_retry;		/* of the deferred; DT_NOEND: none */
	int64		last_arrival;
	TimestampTz nonempty_since; /* of what waits */
	TimestampTz empty_since;
	TimestampTz last_flush_end;
	TimestampTz retry_at;		/* 0: the last flush did not fail */
	int			failures_in_row;
	MdbReason	failed_reason;
	int64		requested;		/* flush what arrived before */
	bool		writing;		/* a flush has the table, and what is in
								 * flight */
	int64		discarded_until;	/* what arrived until then is not wanted */
	bool		gone;			/* target dropped: discard */
	bool		detached;		/* gone as soon as it is empty */
	int			own_batch_size; /* 0: the setting's */
	int64		own_interval;	/* us; 0: the setting's */
	char		target[2 * NAMEDATALEN + 1 + 4];	/* schema.name, as last
													 * resolved */

	/* Under the batch's lock too: in one step with what they count. */
	uint64		nfailures;		/* never reset */
	uint64		nflushed;		/* flushes that committed, never reset */
	uint64		nrejected;		/* entries, never reset */
	uint64		flight_discarded;	/* entries, never reset */
	uint64		nsteps;			/* flushes that stepped over entries, never
								 * reset */
	int			step_sqlstate;	/* why the last one did */
	MdbFailure	last_error;		/* for those who wait, too: never reset */
	MdbRejection rejections[MDB_KEPT_REJECTIONS];	/* the last of them */
	MdbCounters counters;

	/* A flush began or ended, or there is room.  Must be the last. */
	ConditionVariable changed;
} MdbBatch;

extern Size mdb_batch_shmem(void);
extern void mdb_batch_attach(void);
extern bool mdb_batch_attached(void);
extern void mdb_batch_require(void);

extern MdbBatch *mdb_batch(int number);
extern bool mdb_batch_is_empty(const MdbBatch *batch);
extern uint64 mdb_batch_count(int number, const uint64 *counter);
extern uint32 mdb_batch_waiting(const MdbBatch *batch);
extern uint32 mdb_batch_ready(const MdbBatch *batch);
extern uint32 mdb_batch_reserved(const MdbBatch *batch);
extern int	mdb_batch_find(Oid dboid, Oid relid, uint64 *epoch);
extern int	mdb_batch_acquire(Oid dboid, Oid relid, uint64 *epoch);
extern void mdb_batch_tidy(int number);
extern void mdb_batch_drop(Oid dboid, Oid relid);
extern void mdb_batch_detach(Oid dboid, Oid relid);
extern void mdb_batch_attach_again(Oid dboid, Oid relid, int batch_size,
								   int64 flush_interval);
extern void mdb_batch_reset_books(MdbBatch *batch);

#define MDB_WAITING_ONE		(UINT64CONST(1) << 32)
#define MDB_RESERVED_ONE	UINT64CONST(1)

#endif							/* MDB_BATCH_H */
