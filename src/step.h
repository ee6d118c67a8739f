/*
 * step.h
 *		Stepping over rows that others have locked.
 */
#ifndef MDB_STEP_H
#define MDB_STEP_H

#include "datatype/timestamp.h"
#include "write.h"

extern int	mdb_step_over_locked(const MdbWriter *writer, MdbRef *entries,
								 int count, bool only_again,
								 TimestampTz until);

#endif							/* MDB_STEP_H */
