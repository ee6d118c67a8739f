/*
 * reject_merge.h
 *		Merging a rejected entry into the one of its key that is kept.
 */
#ifndef MDB_REJECT_MERGE_H
#define MDB_REJECT_MERGE_H

#include "shown.h"

extern void mdb_reject_merge(MdbShown *shown, Jsonb *entry, Jsonb *bytes,
							 bool careful);

#endif							/* MDB_REJECT_MERGE_H */
