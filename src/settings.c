/*
 * settings.c
 *		Every setting of mdbatch.
 *
 * Model: plain GUCs.  What sizes shared memory is fixed at the start of the
 * server; everything else follows a reload, and a worker reads it again
 * before each flush.
 *
 * Locking: none.
 *
 * Limits: two processes may see different values for the moment between
 * their reloads, so nothing here may decide about the layout of anything
 * shared but memory and max_batches.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "settings.h"

int			mdb_batch_size;
int			mdb_flush_interval;
int			mdb_queue_size;
int			mdb_memory;
int			mdb_max_batches;
int			mdb_on_full;
int			mdb_flush_timeout;
int			mdb_lock_timeout;
int			mdb_max_rejected;
int			mdb_max_workers;
int			mdb_idle_timeout;

static const struct config_enum_entry on_full_options[] = {
	{"drop", MDB_ON_FULL_DROP, false},
	{"wait", MDB_ON_FULL_WAIT, false},
	{"error", MDB_ON_FULL_ERROR, false},
	{NULL, 0, false}
};

/* Zero is neither a size nor the default of -1. */
static bool
check_queue_size(int *newval, void **extra, GucSource source)
{
	if (*newval == 0)
	{
		GUC_check_errdetail("The value must be -1, or between 1 and 10000000.");
		return false;
	}
	return true;
}

/* What sizes shared memory: fixed at the start of the server. */
static void
define_sizes(void)
{
	/* A chunk of 128 bytes is addressed by 31 bits: 256 GB. */
	DefineCustomIntVariable("mdbatch.memory",
							"Sets the shared memory for the entries of all batches.",
							NULL,
							&mdb_memory,
							32 * 1024, 1024, 255 * 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("mdbatch.max_batches",
							"Sets how many targets of all databases may have a batch.",
							NULL,
							&mdb_max_batches,
							64, 1, 4096,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
}

/* When and how much a batch is flushed, and what happens when it is full. */
static void
define_batch(void)
{
	DefineCustomIntVariable("mdbatch.batch_size",
							"Sets the number of entries that triggers a flush, and the most that one flush writes.",
							NULL,
							&mdb_batch_size,
							500, MDB_MIN_BATCH_SIZE, MDB_MAX_BATCH_SIZE,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("mdbatch.flush_interval",
							"Sets the time to the scheduled flush of a batch.",
							"Counted from the later of the end of the last flush and the arrival of the first entry in the empty batch.",
							&mdb_flush_interval,
							5000, MDB_MIN_FLUSH_INTERVAL, MDB_MAX_FLUSH_INTERVAL,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("mdbatch.queue_size",
							"Sets how many entries of one batch may wait beside those in flight.",
							"-1 means five times the batch size.",
							&mdb_queue_size,
							-1, -1, 10000000,
							PGC_SIGHUP, 0,
							check_queue_size, NULL, NULL);
	DefineCustomEnumVariable("mdbatch.on_full",
							 "Sets what happens to a new key when its batch is full.",
							 NULL,
							 &mdb_on_full,
							 MDB_ON_FULL_DROP, on_full_options,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);
}

static void
define_workers(void)
{
	DefineCustomIntVariable("mdbatch.flush_timeout",
							"Sets the longest time that one flush may take before it commits.",
							"At shutdown, all last flushes of a worker together.",
							&mdb_flush_timeout,
							15000, 10, 60 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("mdbatch.lock_timeout",
							"Sets how long a flush waits for a lock.",
							NULL,
							&mdb_lock_timeout,
							1000, 10, 60 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("mdbatch.max_rejected",
							"Sets how many rejected entries of one table are kept.",
							"0 keeps none.",
							&mdb_max_rejected,
							100000, 0, INT_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("mdbatch.max_workers",
							"Sets the number of workers that flush at a time.",
							NULL,
							&mdb_max_workers,
							4, 1, 1024,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("mdbatch.idle_timeout",
							"Sets the time after which a worker with nothing pending exits.",
							NULL,
							&mdb_idle_timeout,
							60000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
}

/* To be called from _PG_init while shared libraries are preloaded. */
void
mdb_settings_define(void)
{
	define_sizes();
	define_batch();
	define_workers();
	MarkGUCPrefixReserved("mdbatch");
}

/*
 * The limits of a batch whose target has its own batch size and interval
 * (microseconds); zero for those it leaves to the settings.
 */
MdbLimits
mdb_settings_limits(int own_batch_size, int64 own_interval)
{
	MdbLimits	limits;

	limits.batch_size = own_batch_size > 0 ? own_batch_size : mdb_batch_size;
	limits.flush_interval = own_interval > 0 ? own_interval :
		mdb_flush_interval * INT64CONST(1000);
	limits.queue_size = mdb_queue_size > 0 ? mdb_queue_size :
		5 * limits.batch_size;
	return limits;
}
