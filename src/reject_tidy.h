/*
 * reject_tidy.h
 *		Keeping the rows of a table in mdbatch_rejected few and up to date.
 */
#ifndef MDB_REJECT_TIDY_H
#define MDB_REJECT_TIDY_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

extern int64 mdb_reject_tidy(int batch, const pg_uuid_t *identity,
							 const char *owner, const char *target,
							 int64 ninserted, TimestampTz deadline);

#endif							/* MDB_REJECT_TIDY_H */
