/*
 * rows.h
 *		Entries of a call, as values, before they are enqueued.
 */
#ifndef MDB_ROWS_H
#define MDB_ROWS_H

#include "target.h"

typedef struct MdbRows
{
	MdbTarget  *target;
	Oid			relid;
	uint64		resolved;		/* when the values were made for it */
	TupleDesc	row;			/* the target's input */
	const MdbDefinition *definition;
	const MdbAltered *attributes;	/* of the row types in it */
	uint64		changes;		/* of them, by this transaction */
	TupleDesc	columns;		/* and its row */
	int			nkeys;
	int			version;		/* its place; -1: none */
	int			count;
	int			allocated;
	Datum	   *values;			/* of all entries */
	bool	   *isnull;
} MdbRows;

extern MdbRows *mdb_rows_begin(Oid relid, bool named, int expected);
extern void mdb_rows_push(MdbRows *rows, const Datum *values,
						  const bool *isnull);
extern bool mdb_rows_are_current(const MdbRows *rows);
extern int	mdb_rows_enqueue(MdbRows *rows, int on_full);

#endif							/* MDB_ROWS_H */
