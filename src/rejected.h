/*
 * rejected.h
 *		The table mdbatch_rejected.
 */
#ifndef MDB_REJECTED_H
#define MDB_REJECTED_H

#include "access/sdir.h"
#include "catalog/indexing.h"
#include "nodes/lockoptions.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

/* Its columns, by number. */
enum
{
	MDB_REJECTED_TARGET = 1,
	MDB_REJECTED_KEY,
	MDB_REJECTED_ENTRY,
	MDB_REJECTED_SQLSTATE,
	MDB_REJECTED_MESSAGE,
	MDB_REJECTED_AT,
	MDB_REJECTED_REMOVED,
	MDB_REJECTED_BYTES,
	MDB_REJECTED_IDENTITY,
	MDB_REJECTED_OWNER,
	MDB_REJECTED_DIGEST,
	MDB_REJECTED_COLUMNS = MDB_REJECTED_DIGEST
};

/* The open table. */
typedef struct MdbRejected
{
	Relation	rel;
	Oid			by_key;			/* its primary key */
	Oid			by_age;			/* identity, owner, rejected_at */
	CatalogIndexState indexes;	/* NULL if no row can be written */
	TupleTableSlot *slot;		/* the row that is locked */
} MdbRejected;

/* Sees a row; returns false to end the walk. */
typedef bool (*MdbRejectedVisit) (MdbRejected *table, HeapTuple tuple,
								  void *state);

extern void mdb_rejected_open(MdbRejected *table);
extern bool mdb_rejected_try_open(MdbRejected *table);
extern void mdb_rejected_close(MdbRejected *table);
extern Datum mdb_rejected_get(const MdbRejected *table, HeapTuple tuple,
							  int column, bool *isnull);
extern Datum mdb_rejected_locked(const MdbRejected *table, int column,
								 bool *isnull);
extern bool mdb_rejected_lock(MdbRejected *table, ItemPointer tid,
							  LockWaitPolicy wait);
extern bool mdb_rejected_lock_key(MdbRejected *table,
								  const pg_uuid_t *identity,
								  const char *owner, Datum digest);
extern void mdb_rejected_insert(MdbRejected *table, Datum *values,
								bool *isnull);
extern void mdb_rejected_update(MdbRejected *table, Datum *values,
								bool *isnull, bool *replace);
extern void mdb_rejected_delete(MdbRejected *table);
extern void mdb_rejected_walk(MdbRejected *table, const pg_uuid_t *identity,
							  const char *owner, ScanDirection direction,
							  MdbRejectedVisit visit, void *state);

#endif							/* MDB_REJECTED_H */
