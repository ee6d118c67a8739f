/*
 * books.h
 *		What flushes leave in the books of a batch (R19).
 */
#ifndef MDB_BOOKS_H
#define MDB_BOOKS_H

#include "batch.h"

/* What a flush that commits adds to the books. */
typedef struct MdbOutcome
{
	MdbReason	reason;
	TimestampTz started;
	int64		flushed;
	int			nrejected;
	int			last_rejected;	/* SQLSTATE */
	char		constraint[NAMEDATALEN];	/* of the last one, if any */
	MdbRejection *rejections;
	int64		forgotten;		/* of those before that were too many to keep */
	int			nstepped;		/* entries that it stepped over, */
	MdbFailure	step;			/* and why the first of them */
	int64		notifications;
	MdbHistogram utilization;
} MdbOutcome;

extern void mdb_books_count_outcome(MdbBatch *batch, int count,
									const MdbOutcome *outcome,
									TimestampTz now);
extern int64 mdb_books_backoff(int failures);
extern void mdb_books_count_failure(MdbBatch *batch,
									const MdbFailure *failure);

#endif							/* MDB_BOOKS_H */
