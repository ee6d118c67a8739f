/*
 * write.h
 *		Writing entries in flight to their target.
 */
#ifndef MDB_WRITE_H
#define MDB_WRITE_H

#include "as_owner.h"
#include "payload.h"
#include "plan.h"
#include "pool.h"

typedef struct MdbWriter
{
	int			batch;
	const MdbPlan *plan;
	Oid			owner;
	MdbAsOwner	before;
	char	   *statement;
	MemoryContext context;		/* of what outlives a statement */
	int64		written;		/* rows */
	MdbValueSet *announced;		/* NULL: no row with a value yet */
} MdbWriter;

extern void mdb_write_begin(MdbWriter *writer, int batch, const MdbPlan *plan,
							Oid owner);
extern void mdb_write_entries(MdbWriter *writer, const MdbRef *entries,
							  int count);
extern void mdb_write_end(MdbWriter *writer);

#endif							/* MDB_WRITE_H */
