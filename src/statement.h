/*
 * statement.h
 *		The text of the statement that writes a batch.
 */
#ifndef MDB_STATEMENT_H
#define MDB_STATEMENT_H

#include "definition.h"

extern char *mdb_statement_make(const MdbDefinition *definition);

#endif							/* MDB_STATEMENT_H */
