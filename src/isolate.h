/*
 * isolate.h
 *		A refused batch: find the entries to blame, write the rest.
 */
#ifndef MDB_ISOLATE_H
#define MDB_ISOLATE_H

#include "datatype/timestamp.h"
#include "write.h"

/* Entries that the target refuses for good, and why. */
typedef struct MdbBlame
{
	int			count;
	MdbRef	   *entries;
	ErrorData **errors;

	/* Those that it refuses for now. */
	int			nstepped;
	ErrorData  *step_error;		/* of the first of them */
} MdbBlame;

extern bool mdb_isolate_can_help(int sqlstate);
extern ErrorData *mdb_isolate_error(MemoryContext context, int sqlstate,
									const char *message);
extern ErrorData *mdb_isolate_try(void (*work) (void *state), void *state,
								  MemoryContext context);
extern ErrorData *mdb_isolate_try_until(void (*work) (void *state),
										void *state, MemoryContext context,
										TimestampTz until);
extern MdbBlame *mdb_isolate(MdbWriter *writer, MdbRef *entries, int count,
							 int flight_count, bool slow,
							 TimestampTz deadline);
extern MdbBlame *mdb_isolate_blame_all(const MdbRef *entries, int count,
									   int sqlstate, const char *message);

#endif							/* MDB_ISOLATE_H */
