/*
 * worker.h
 *		The worker of a database, and the launcher that starts workers.
 */
#ifndef MDB_WORKER_H
#define MDB_WORKER_H

#include "batch.h"

extern PGDLLEXPORT void mdb_worker_main(Datum main_arg);
extern PGDLLEXPORT void mdb_launcher_main(Datum main_arg);
extern bool mdb_worker_sleep_until(TimestampTz until);
extern void mdb_launcher_register(void);

#endif							/* MDB_WORKER_H */
