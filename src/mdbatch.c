/*
 * mdbatch.c
 *		The module: what is set up when the library is loaded.
 *
 * Model: preloaded, it defines the settings, asks for shared memory, registers
 * the launcher, the label provider and the callbacks.  Loaded later, by a call
 * of one of its functions, it sets up nothing: functions that need shared
 * memory then say so.  During pg_upgrade only the label provider is there, so
 * that attachments can be restored.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"

#include "batch.h"
#include "compat.h"
#include "drop.h"
#include "entry.h"
#include "guard.h"
#include "hash.h"
#include "label_hook.h"
#include "locks.h"
#include "log_filter.h"
#include "note.h"
#include "pool.h"
#include "roster.h"
#include "save.h"
#include "settings.h"
#include "staging.h"
#include "utility.h"
#include "worker.h"

PG_MODULE_MAGIC_EXT(
					.name = "mdbatch",
					.version = "1.0"
);

void		_PG_init(void);

PG_FUNCTION_INFO_V1(mdbatch_check_preload);

static shmem_request_hook_type next_request_hook;
static shmem_startup_hook_type next_startup_hook;

static void
request_shared_memory(void)
{
	if (next_request_hook != NULL)
		next_request_hook();
	RequestAddinShmemSpace(mdb_locks_shmem());
	RequestAddinShmemSpace(mdb_pool_size());
	RequestAddinShmemSpace(mdb_batch_shmem());
	RequestAddinShmemSpace(mdb_note_size());
	RequestAddinShmemSpace(mdb_hash_shmem());
	RequestAddinShmemSpace(mdb_roster_shmem());
	RequestNamedLWLockTranche("mdbatch", mdb_locks_count());
}

static void
attach_shared_memory(void)
{
	static bool attached_before = false;

	if (next_startup_hook != NULL)
		next_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	mdb_locks_attach();
	mdb_pool_attach();
	mdb_batch_attach();
	mdb_note_attach();
	mdb_hash_attach(mdb_entry_merge);
	mdb_roster_attach();
	LWLockRelease(AddinShmemInitLock);
	if (!IsUnderPostmaster)
		mdb_save_attach();

	/* The postmaster comes here again after a crash of a backend (R15). */
	if (attached_before && !IsUnderPostmaster)
		ereport(LOG,
				(errmsg("the batches of mdbatch were reset"),
				 errdetail("Entries that had not been flushed before the crash are lost.")));
	attached_before = true;
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;

	mdb_settings_define();
	mdb_label_hook_register();
	if (IsBinaryUpgrade)
		return;

	next_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_shared_memory;
	mdb_launcher_register();
	mdb_log_filter_register();
	mdb_staging_register();
	mdb_drop_register();
	mdb_utility_register();
	mdb_guard_register();
}

/*
 * Warn if the library is not preloaded.  For the install script, which drops
 * this function again.  Not in _PG_init: a session that has loaded the library
 * before does not come there once more.
 */
Datum
mdbatch_check_preload(PG_FUNCTION_ARGS)
{
	if (!mdb_batch_attached())
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mdbatch is not loaded via \"shared_preload_libraries\""),
				 errdetail("Until it is, tables cannot be attached, and nothing can be added."),
				 errhint("Add \"mdbatch\" to \"shared_preload_libraries\" and restart the server.")));
	PG_RETURN_VOID();
}
