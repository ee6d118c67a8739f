/*
 * prepared.h
 *		The statements of this worker, planned once.
 */
#ifndef MDB_PREPARED_H
#define MDB_PREPARED_H

#include "executor/spi.h"

#include "plan.h"

extern SPIPlanPtr mdb_prepared_get(int batch, const MdbPlan *plan,
								   const char *statement);

#endif							/* MDB_PREPARED_H */
