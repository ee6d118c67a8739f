/*
 * shape.h
 *		Is a column still of the shape that entries were made for?
 */
#ifndef MDB_SHAPE_H
#define MDB_SHAPE_H

#include "access/attnum.h"

extern TransactionId mdb_shape_altered(Oid relid, AttrNumber attnum);
extern uint32 mdb_shape_of_type(Oid type);

#endif							/* MDB_SHAPE_H */
