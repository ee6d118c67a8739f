/*
 * shape.h
 *		Are values of row types still laid out as when they were made?
 */
#ifndef MDB_SHAPE_H
#define MDB_SHAPE_H

#include "lib/stringinfo.h"
#include "utils/rel.h"

#include "definition.h"

/* A description of row types while it is made. */
typedef struct MdbShape
{
	Relation	rel;			/* whose columns they are in */
	StringInfoData bytes;		/* MdbRowType, one after the other */
	int			nrow_types;
	StringInfoData altered;		/* MdbAltered of each of their attributes */
} MdbShape;

extern MdbAltered mdb_shape_altered(Oid relid, AttrNumber attnum);
extern bool mdb_shape_has_rows(Oid type);
extern void mdb_shape_begin(MdbShape *shape, Relation rel);
extern bool mdb_shape_add(MdbShape *shape, Oid type);
extern bool mdb_shape_was_described(Oid relid);
extern bool mdb_shape_fits(const MdbDefinition *definition, int column,
						   bool lock);

#endif							/* MDB_SHAPE_H */
