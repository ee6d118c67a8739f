/*
 * verdict.h
 *		Can a flush write its target now?
 */
#ifndef MDB_VERDICT_H
#define MDB_VERDICT_H

#include "plan.h"

extern void mdb_verdict_check(const MdbPlan *plan, Oid owner);

#endif							/* MDB_VERDICT_H */
