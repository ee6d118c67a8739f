/*
 * order.h
 *		Lists of entries in the order of their arrival.
 */
#ifndef MDB_ORDER_H
#define MDB_ORDER_H

#include "pool.h"

typedef struct MdbList
{
	MdbRef		first;			/* MDB_NO_REF: empty */
	MdbRef		last;
} MdbList;

extern void mdb_order_append(MdbList *list, MdbRef ref);
extern void mdb_order_insert(MdbList *list, MdbRef ref, MdbRef hint);
extern void mdb_order_insert_late(MdbList *list, MdbRef ref);
extern void mdb_order_remove(MdbList *list, MdbRef ref);

#endif							/* MDB_ORDER_H */
