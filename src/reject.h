/*
 * reject.h
 *		Keeping entries that their target refused, in mdbatch_rejected.
 */
#ifndef MDB_REJECT_H
#define MDB_REJECT_H

#include "books.h"
#include "isolate.h"

/* The field of an entry that is kept as its bytes. */
#define MDB_REJECTED_BYTES	"entry bytes"

extern const char *mdb_reject_table_name(void);
extern Oid	mdb_reject_table_owner(void);
extern void mdb_reject_store(const MdbPlan *plan, Oid owner,
							 const MdbBlame *blame);
extern void mdb_reject_count(const MdbBlame *blame, int64 until,
							 MdbOutcome *outcome);

#endif							/* MDB_REJECT_H */
