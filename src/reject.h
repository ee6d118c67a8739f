/*
 * reject.h
 *		Keeping entries that their target refused, in mdbatch_rejected.
 */
#ifndef MDB_REJECT_H
#define MDB_REJECT_H

#include "isolate.h"

extern void mdb_reject_store(const MdbPlan *plan, Oid owner,
							 const MdbBlame *blame);

#endif							/* MDB_REJECT_H */
