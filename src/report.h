/*
 * report.h
 *		What a flush tells the books and the log about errors.
 */
#ifndef MDB_REPORT_H
#define MDB_REPORT_H

#include "books.h"

extern void mdb_report_copy(char *to, const char *from, int size);
extern void mdb_report_describe(MdbFailure *description,
								const ErrorData *error);
extern void mdb_report_failure(const MdbBatch *batch, const ErrorData *error);
extern void mdb_report_refusals(const MdbBatch *batch,
								const MdbOutcome *outcome);
extern void mdb_report_too_long(const MdbBatch *batch, int ntoo_long);

#endif							/* MDB_REPORT_H */
