/*
 * launcher.c
 *		Starts a worker for each database that has something pending.
 *
 * Model: a static background worker without a database.  It sleeps until its
 * latch is set (by an add to a database without a worker, by a worker that
 * starts or ends) or until it may try again.  Databases whose batches are due
 * first come first.  When no place is free and a database has something due,
 * a worker that has nothing due is asked for its place.  A worker that does
 * not come, or ends before it has connected, is tried again after 1 s, then
 * after twice as long, up to 1 min; any other after 1 s from its last start.
 *
 * Locking: the control lock and batches' locks for a moment.
 *
 * Limits: max_workers, out of max_worker_processes.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "due.h"
#include "pin.h"
#include "roster.h"
#include "save.h"
#include "worker.h"

#define FIRST_DELAY		USECS_PER_SEC
#define LAST_DELAY		(60 * USECS_PER_SEC)

/* What the launcher knows of a database. */
typedef struct Database
{
	Oid			dboid;			/* must be first */
	TimestampTz not_before;		/* start no worker earlier */
	int64		delay;			/* us, after the next failure */
	bool		no_slot;		/* the postmaster had no worker to give */
	bool		is_held;		/* a command wants the database alone */
	TimestampTz due;			/* of its batches; DT_NOEND: nothing pending */
	int			place;			/* -1: no worker */
	uint32		generation;
	BackgroundWorkerHandle *handle; /* NULL: not started by this launcher */
} Database;

static HTAB *databases;
static bool slots_logged = false;

static Database *
database(Oid dboid)
{
	bool		found;
	Database   *db = hash_search(databases, &dboid, HASH_ENTER, &found);

	if (!found)
	{
		db->not_before = 0;
		db->delay = FIRST_DELAY;
		db->no_slot = false;
		db->is_held = false;
		db->due = DT_NOEND;
		db->place = -1;
		db->handle = NULL;
	}
	return db;
}

/* The next start of a worker that could not do its work comes later. */
static void
back_off(Database *db)
{
	db->not_before = GetCurrentTimestamp() + db->delay;
	db->delay = Min(db->delay * 2, LAST_DELAY);
}

static void
forget_worker(Database *db)
{
	if (db->handle != NULL)
		pfree(db->handle);
	db->handle = NULL;
	db->place = -1;
}

/* Read the roster: who is there, who has ended and how, who never came. */
static int
look_at_workers(void)
{
	int			nworkers = 0;
	HASH_SEQ_STATUS scan;
	Database   *db;

	/* Only the roster knows: a place may have been taken away. */
	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
		db->place = -1;

	for (int i = 0; i < mdb_roster_nplaces(); i++)
	{
		MdbPlace	place = mdb_roster_read(i);
		pid_t		pid;

		if (!OidIsValid(place.dboid))
			continue;
		db = database(place.dboid);
		db->place = i;
		if (place.end == MDB_END_NEVER_CONNECTED)
			back_off(db);
		if (place.end == MDB_END_IDLE)
			db->not_before = 0;
		if (place.end != MDB_END_NOT_YET)
		{
			forget_worker(db);
			continue;
		}
		if (place.connected)
			db->delay = FIRST_DELAY;
		if (place.pid == 0 && db->handle != NULL &&
			db->generation == place.generation &&
			GetBackgroundWorkerPid(db->handle, &pid) == BGWH_STOPPED)
		{
			mdb_roster_cancel(i, place.generation);
			back_off(db);
			forget_worker(db);
			continue;
		}
		nworkers++;
	}

	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
		if (db->place < 0)
			forget_worker(db);
	return nworkers;
}

/* When is the first batch of each database due? */
static void
look_at_batches(TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	Database   *db;

	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
		db->due = DT_NOEND;

	for (int i = 0; i < mdb_max_batches; i++)
	{
		MdbBatch   *batch = mdb_batch(i);
		MdbDue		due;
		Oid			dboid;

		if (!OidIsValid(batch->dboid) || mdb_batch_waiting(batch) == 0)
			continue;
		LWLockAcquire(mdb_lock_control(), LW_SHARED);
		dboid = batch->dboid;
		LWLockAcquire(mdb_batch_lock(i), LW_SHARED);
		due = mdb_batch_due(batch, now);
		LWLockRelease(mdb_batch_lock(i));
		LWLockRelease(mdb_lock_control());
		if (OidIsValid(dboid))
		{
			db = database(dboid);
			db->due = Min(db->due, due.at);
		}
	}
}

/* Ask the postmaster for a worker. */
static void
start_worker(Database *db)
{
	BackgroundWorker worker = {0};
	uint32		generation;
	int			place = mdb_roster_reserve(db->dboid, &generation);
	MemoryContext old;

	db->is_held = place < 0;
	if (db->is_held)
	{
		/* It sets our latch when it lets go. */
		db->not_before = GetCurrentTimestamp() + FIRST_DELAY;
		return;
	}
	snprintf(worker.bgw_name, BGW_MAXLEN, "mdbatch worker for database %u",
			 db->dboid);
	strlcpy(worker.bgw_type, "mdbatch worker", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION | BGWORKER_INTERRUPTIBLE;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "mdbatch", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "mdb_worker_main", BGW_MAXLEN);
	worker.bgw_main_arg = Int32GetDatum(place);
	memcpy(worker.bgw_extra, &generation, sizeof(generation));
	worker.bgw_notify_pid = MyProcPid;

	old = MemoryContextSwitchTo(TopMemoryContext);
	if (RegisterDynamicBackgroundWorker(&worker, &db->handle))
	{
		db->place = place;
		db->generation = generation;
		db->not_before = GetCurrentTimestamp() + FIRST_DELAY;
		db->no_slot = false;
		slots_logged = false;
	}
	else
	{
		mdb_roster_cancel(place, generation);
		db->not_before = GetCurrentTimestamp() + FIRST_DELAY;
		db->no_slot = true;
		if (!slots_logged)
			ereport(LOG,
					(errmsg("no background worker is free for mdbatch"),
					 errhint("Increase \"max_worker_processes\".")));
		slots_logged = true;
	}
	MemoryContextSwitchTo(old);
}

/* The database without a worker that needs one first, and may have one. */
static Database *
next_without_worker(TimestampTz now, TimestampTz *until)
{
	HASH_SEQ_STATUS scan;
	Database   *db;
	Database   *first = NULL;

	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
	{
		if (db->place >= 0 || db->due == DT_NOEND)
			continue;
		if (db->not_before > now)
			*until = Min(*until, db->not_before);
		else if (first == NULL || db->due < first->due)
			first = db;
	}
	return first;
}

/*
 * Ask the worker with the longest time to its next flush for its place, which
 * it leaves as soon as nothing is due.
 */
static void
ask_for_place(void)
{
	HASH_SEQ_STATUS scan;
	Database   *db;
	Database   *last = NULL;

	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
		if (db->place >= 0 && (last == NULL || db->due > last->due))
			last = db;
	if (last != NULL)
		mdb_roster_ask_to_yield(last->place);
}

/* Forget databases that have nothing pending and nothing to wait for. */
static void
forget_databases(TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	Database   *db;

	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
		if (db->place < 0 && db->due == DT_NOEND && db->not_before <= now)
			hash_search(databases, &db->dboid, HASH_REMOVE, NULL);
}

/* Start the workers that are needed; returns when to look again. */
static TimestampTz
start_workers(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = DT_NOEND;
	int			nworkers = look_at_workers();
	Database   *db;

	look_at_batches(now);
	while ((db = next_without_worker(now, &until)) != NULL)
	{
		if (nworkers >= mdb_max_workers)
		{
			if (db->due <= now)
				ask_for_place();
			else
				until = Min(until, db->due);
			break;
		}
		start_worker(db);
		if (db->place >= 0)
			nworkers++;
		else if (db->no_slot && db->due <= now)
			ask_for_place();
	}
	forget_databases(now);
	return until;
}

/* A worker may have ended, or a database be free: try again at once. */
static void
retry_without_slot(void)
{
	HASH_SEQ_STATUS scan;
	Database   *db;

	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
		if (db->no_slot || db->is_held)
			db->not_before = 0;
}

/* The launcher's main function. */
void
mdb_launcher_main(Datum main_arg)
{
	HASHCTL		info = {0};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	mdb_pin_process();

	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(Database);
	databases = hash_create("mdbatch databases", 16, &info,
							HASH_ELEM | HASH_BLOBS);
	mdb_roster_enter_launcher();
	mdb_save_remove();

	while (!ShutdownRequestPending)
	{
		if (mdb_worker_sleep_until(start_workers()))
			retry_without_slot();
		CHECK_FOR_INTERRUPTS();
	}
	proc_exit(1);
}

/* Have the postmaster start the launcher; from _PG_init. */
void
mdb_launcher_register(void)
{
	BackgroundWorker worker = {0};

	strlcpy(worker.bgw_name, "mdbatch launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "mdbatch launcher", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "mdbatch", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "mdb_launcher_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
