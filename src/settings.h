/*
 * settings.h
 *		Every setting of mdbatch.
 */
#ifndef MDB_SETTINGS_H
#define MDB_SETTINGS_H

typedef enum MdbOnFull
{
	MDB_ON_FULL_DROP,
	MDB_ON_FULL_WAIT,
	MDB_ON_FULL_ERROR
} MdbOnFull;

/* What one batch may hold and when it is due: its own values, or the settings. */
typedef struct MdbLimits
{
	int			batch_size;		/* entries */
	int			queue_size;		/* entries */
	int64		flush_interval; /* microseconds */
} MdbLimits;

/* Ranges, which hold for a target's own values, too. */
#define MDB_MIN_BATCH_SIZE		1
#define MDB_MAX_BATCH_SIZE		100000
#define MDB_MIN_FLUSH_INTERVAL	10	/* ms */
#define MDB_MAX_FLUSH_INTERVAL	(24 * 60 * 60 * 1000)

extern int	mdb_batch_size;		/* entries */
extern int	mdb_flush_interval; /* ms */
extern int	mdb_queue_size;		/* entries; -1: five times the batch size */
extern int	mdb_memory;			/* kB */
extern int	mdb_max_batches;
extern int	mdb_on_full;		/* MdbOnFull */
extern int	mdb_flush_timeout;	/* ms */
extern int	mdb_lock_timeout;	/* ms */
extern int	mdb_max_rejected;	/* rows of a table */
extern int	mdb_max_workers;
extern int	mdb_idle_timeout;	/* ms */

extern void mdb_settings_define(void);
extern MdbLimits mdb_settings_limits(int own_batch_size, int64 own_interval);

#endif							/* MDB_SETTINGS_H */
