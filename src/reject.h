/*
 * reject.h
 *		Keeping entries that their target refused, in mdbatch_rejected.
 */
#ifndef MDB_REJECT_H
#define MDB_REJECT_H

#include "flight.h"
#include "isolate.h"

extern void mdb_reject_keep(const MdbFlight *flight, const MdbPlan *plan,
							Oid owner, MdbBlame *blame, TimestampTz deadline,
							MdbOutcome *outcome);

#endif							/* MDB_REJECT_H */
