/*
 * statement.h
 *		The text of the statements that write a batch.
 */
#ifndef MDB_STATEMENT_H
#define MDB_STATEMENT_H

#include "plan.h"

extern char *mdb_statement_write(const MdbPlan *plan);
extern char *mdb_statement_find(const MdbPlan *plan, bool lock);

#endif							/* MDB_STATEMENT_H */
