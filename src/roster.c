/*
 * roster.c
 *		The launcher and the workers, as the other processes see them.
 *
 * Model: a place per background worker that the server may have.  The
 * launcher reserves a place for a database and asks the postmaster for a
 * worker; the worker enters the place, or finds it given to another one
 * meanwhile and goes.  When it leaves, the place tells how, until the launcher
 * has read that.  Backends wake the worker of a database through its place,
 * or the launcher if there is none.
 *
 * A worker publishes the virtual transaction id of its flush, so that others
 * wait for it where the deadlock detector sees them (R13).
 *
 * A backend that drops a database holds it: no worker starts there.
 *
 * Locking: the lock of the workers, a leaf.  Latches are set under it, and
 * withdrawn under it before their process is gone.  Virtual transaction ids
 * are atomics.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"

#include "compat.h"
#include "roster.h"

typedef struct Place
{
	/* Under the lock of the workers, but see mdb_roster_is_worker. */
	MdbPlace	place;
	Latch	   *latch;			/* NULL: no worker to wake */

	pg_atomic_uint64 vxid;		/* packed; 0: no flush runs */
} Place;

typedef struct Roster
{
	/* Under the lock of the workers. */
	Latch	   *launcher;		/* NULL: no launcher to wake */
	uint32		last_generation;
	int			nplaces;		/* set once at startup */
	Place		places[FLEXIBLE_ARRAY_MEMBER];
} Roster;

static Roster *roster;
static Oid *holds;				/* per process; under the lock of the workers */
static Place *my_place;

/* Shared memory that the roster takes, bytes. */
Size
mdb_roster_shmem(void)
{
	Size		size = offsetof(Roster, places);

	size = add_size(size, mul_size(max_worker_processes, sizeof(Place)));
	return add_size(size, mul_size(MaxBackends, sizeof(Oid)));
}

/* Create the roster, or attach to it; under AddinShmemInitLock. */
void
mdb_roster_attach(void)
{
	bool		found;

	roster = ShmemInitStruct("mdbatch roster", mdb_roster_shmem(), &found);
	holds = (Oid *) &roster->places[max_worker_processes];
	if (found)
		return;
	memset(roster, 0, mdb_roster_shmem());
	roster->nplaces = max_worker_processes;
	for (int i = 0; i < roster->nplaces; i++)
		pg_atomic_init_u64(&roster->places[i].vxid, 0);
}

/* The place of a database's worker, under the lock; NULL if there is none. */
static Place *
find_place(Oid dboid)
{
	for (int i = 0; i < roster->nplaces; i++)
	{
		MdbPlace   *place = &roster->places[i].place;

		if (place->dboid == dboid && place->end == MDB_END_NOT_YET)
			return &roster->places[i];
	}
	return NULL;
}

/*
 * Wake the worker of a database, or the launcher if there is none.  Allowed in
 * a commit callback.
 */
void
mdb_roster_wake(Oid dboid)
{
	Place	   *place;

	LWLockAcquire(mdb_lock_workers(), LW_SHARED);
	place = find_place(dboid);
	if (place != NULL && place->latch != NULL)
		SetLatch(place->latch);
	else if (place == NULL && roster->launcher != NULL)
		SetLatch(roster->launcher);
	LWLockRelease(mdb_lock_workers());
}

/* The transaction that flushes now in a database, or an invalid one. */
VirtualTransactionId
mdb_roster_vxid(Oid dboid)
{
	uint64		packed = 0;
	Place	   *place;

	LWLockAcquire(mdb_lock_workers(), LW_SHARED);
	place = find_place(dboid);
	if (place != NULL)
		packed = pg_atomic_read_u64(&place->vxid);
	LWLockRelease(mdb_lock_workers());
	return mdb_unpack_vxid(packed);
}

/* The worker of a database, 0 if there is none. */
pid_t
mdb_roster_pid(Oid dboid)
{
	pid_t		pid = 0;
	Place	   *place;

	LWLockAcquire(mdb_lock_workers(), LW_SHARED);
	place = find_place(dboid);
	if (place != NULL)
		pid = place->place.pid;
	LWLockRelease(mdb_lock_workers());
	return pid;
}

/*
 * Is that process a worker?  Without the lock, because a process asks that may
 * hold any: the answer is right for one that does not begin or end just now.
 */
bool
mdb_roster_is_worker(pid_t pid)
{
	for (int i = 0; i < roster->nplaces; i++)
		if (roster->places[i].place.pid == pid)
			return true;
	return false;
}

static void
leave_launcher(int code, Datum arg)
{
	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	roster->launcher = NULL;
	LWLockRelease(mdb_lock_workers());
}

/*
 * This process is the launcher from now on.  Workers that an earlier one had
 * asked for and that have not come will find their places taken.
 */
void
mdb_roster_enter_launcher(void)
{
	before_shmem_exit(leave_launcher, (Datum) 0);
	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	roster->launcher = MyLatch;
	for (int i = 0; i < roster->nplaces; i++)
		if (roster->places[i].place.pid == 0)
			roster->places[i].place.dboid = InvalidOid;
	LWLockRelease(mdb_lock_workers());
}

int
mdb_roster_nplaces(void)
{
	return roster->nplaces;
}

/*
 * A copy of a place, for the launcher.  One whose worker has ended is free
 * afterwards.
 */
MdbPlace
mdb_roster_read(int number)
{
	MdbPlace	copy;

	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	copy = roster->places[number].place;
	if (copy.end != MDB_END_NOT_YET)
		memset(&roster->places[number].place, 0, sizeof(MdbPlace));
	LWLockRelease(mdb_lock_workers());
	return copy;
}

static bool
is_held(Oid dboid)
{
	for (int i = 0; i < MaxBackends; i++)
		if (holds[i] == dboid)
			return true;
	return false;
}

/* Reserve a free place for a worker that is to be started; -1: none, or held. */
int
mdb_roster_reserve(Oid dboid, uint32 *generation)
{
	int			number = -1;

	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	for (int i = 0; i < roster->nplaces && !is_held(dboid); i++)
	{
		MdbPlace   *place = &roster->places[i].place;

		if (OidIsValid(place->dboid))
			continue;
		memset(place, 0, sizeof(MdbPlace));
		place->dboid = dboid;
		place->generation = *generation = ++roster->last_generation;
		number = i;
		break;
	}
	LWLockRelease(mdb_lock_workers());
	return number;
}

/* The worker did not come: free its place, unless it did come after all. */
void
mdb_roster_cancel(int number, uint32 generation)
{
	MdbPlace   *place = &roster->places[number].place;

	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	if (place->generation == generation && place->pid == 0)
		place->dboid = InvalidOid;
	LWLockRelease(mdb_lock_workers());
}

/* Ask a worker to make room as soon as nothing of its database is due. */
void
mdb_roster_ask_to_yield(int number)
{
	Place	   *place = &roster->places[number];

	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	place->place.yield = true;
	if (place->latch != NULL)
		SetLatch(place->latch);
	LWLockRelease(mdb_lock_workers());
}

static void
leave_worker(int code, Datum arg)
{
	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	my_place->latch = NULL;
	pg_atomic_write_u64(&my_place->vxid, 0);
	if (!my_place->place.connected)
		my_place->place.end = MDB_END_NEVER_CONNECTED;
	else if (code == 0)
		my_place->place.end = MDB_END_IDLE;
	else
		my_place->place.end = MDB_END_STOPPED;
	if (roster->launcher != NULL)
		SetLatch(roster->launcher);
	LWLockRelease(mdb_lock_workers());
}

/*
 * Enter the place that was reserved for this worker, and learn its database;
 * false if it is no longer expected.  To be called before the worker
 * connects: then it leaves its place only when its last transaction has been
 * aborted and the entries are back.
 */
bool
mdb_roster_enter_worker(int number, uint32 generation, Oid *dboid)
{
	Place	   *place = &roster->places[number];
	bool		expected;

	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	expected = OidIsValid(place->place.dboid) &&
		place->place.generation == generation && !place->place.stop;
	if (expected)
	{
		*dboid = place->place.dboid;
		place->place.pid = MyProcPid;
		place->latch = MyLatch;
		my_place = place;
	}
	LWLockRelease(mdb_lock_workers());
	if (expected)
		before_shmem_exit(leave_worker, (Datum) 0);
	return expected;
}

/* This worker has connected to its database. */
void
mdb_roster_connected(void)
{
	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	my_place->place.connected = true;
	LWLockRelease(mdb_lock_workers());
}

/* A flush runs in this worker's current transaction, or no longer. */
void
mdb_roster_publish_vxid(bool running)
{
	pg_atomic_write_u64(&my_place->vxid, running ? mdb_my_vxid() : 0);
	pg_memory_barrier();
}

/* Does the launcher want this worker's place? */
bool
mdb_roster_should_yield(void)
{
	bool		yield;

	LWLockAcquire(mdb_lock_workers(), LW_SHARED);
	yield = my_place->place.yield;
	LWLockRelease(mdb_lock_workers());
	return yield;
}

/* Is this worker to exit at once, flushing nothing? */
bool
mdb_roster_should_stop(void)
{
	bool		stop;

	LWLockAcquire(mdb_lock_workers(), LW_SHARED);
	stop = my_place->place.stop;
	LWLockRelease(mdb_lock_workers());
	return stop;
}

/*
 * No worker may start in a database, until this process says otherwise or is
 * gone; one that runs is to stop.  Its pid, or 0.
 */
pid_t
mdb_roster_hold(Oid dboid)
{
	pid_t		pid = 0;
	Place	   *place;

	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	holds[mdb_proc_number()] = dboid;
	place = find_place(dboid);
	if (place != NULL && place->place.pid == 0)
		place->place.dboid = InvalidOid;	/* it will not be let in */
	else if (place != NULL)
	{
		place->place.stop = true;
		pid = place->place.pid;
	}
	LWLockRelease(mdb_lock_workers());
	return pid;
}

/* Is there a worker in a database, or one about to come? */
bool
mdb_roster_is_busy(Oid dboid)
{
	bool		busy;

	LWLockAcquire(mdb_lock_workers(), LW_SHARED);
	busy = find_place(dboid) != NULL;
	LWLockRelease(mdb_lock_workers());
	return busy;
}

/* Let go of the database that this process holds. */
void
mdb_roster_unhold(void)
{
	LWLockAcquire(mdb_lock_workers(), LW_EXCLUSIVE);
	holds[mdb_proc_number()] = InvalidOid;
	if (roster->launcher != NULL)
		SetLatch(roster->launcher);
	LWLockRelease(mdb_lock_workers());
}
