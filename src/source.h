/*
 * source.h
 *		mdbatch_flushing(): the entries in flight, as rows.
 */
#ifndef MDB_SOURCE_H
#define MDB_SOURCE_H

#include "definition.h"
#include "queue.h"

extern void mdb_source_arm(const MdbDefinition *definition,
						   const MdbFlight *flight, Oid owner);
extern void mdb_source_disarm(void);

#endif							/* MDB_SOURCE_H */
