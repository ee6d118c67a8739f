/*
 * log_filter.h
 *		Keeping values out of what processes that flush write to the log.
 */
#ifndef MDB_LOG_FILTER_H
#define MDB_LOG_FILTER_H

#include "batch.h"

extern void mdb_log_filter_register(void);
extern void mdb_log_filter_install(void);
extern void mdb_log_filter_begin(const MdbBatch *batch);
extern void mdb_log_filter_end(void);

#endif							/* MDB_LOG_FILTER_H */
