/*
 * roster.h
 *		The launcher and the workers, as the other processes see them.
 */
#ifndef MDB_ROSTER_H
#define MDB_ROSTER_H

#include "batch.h"

/* How a worker came to its end. */
typedef enum MdbEnd
{
	MDB_END_NOT_YET,
	MDB_END_NEVER_CONNECTED,	/* no such database, no connection to be had */
	MDB_END_IDLE,				/* nothing to do, or asked to yield */
	MDB_END_STOPPED				/* a signal, or an error */
} MdbEnd;

/* A worker's place, from the moment that the launcher asks for the worker. */
typedef struct MdbPlace
{
	Oid			dboid;			/* InvalidOid: the place is free */
	uint32		generation;		/* of its use: a worker that comes late is not
								 * the one that is expected */
	pid_t		pid;			/* 0: not there yet */
	bool		connected;
	bool		yield;			/* the launcher wants the place back */
	bool		stop;			/* exit at once, flush nothing */
	MdbEnd		end;			/* how the worker ended */
} MdbPlace;

extern Size mdb_roster_shmem(void);
extern void mdb_roster_attach(void);

extern void mdb_roster_wake(Oid dboid);
extern VirtualTransactionId mdb_roster_vxid(Oid dboid);
extern pid_t mdb_roster_pid(Oid dboid);
extern bool mdb_roster_is_worker(pid_t pid);

extern void mdb_roster_enter_launcher(void);
extern int	mdb_roster_nplaces(void);
extern MdbPlace mdb_roster_read(int number);
extern int	mdb_roster_reserve(Oid dboid, uint32 *generation);
extern void mdb_roster_cancel(int number, uint32 generation);
extern void mdb_roster_ask_to_yield(int number);

extern bool mdb_roster_enter_worker(int number, uint32 generation, Oid *dboid);
extern void mdb_roster_connected(void);
extern void mdb_roster_publish_vxid(bool running);
extern bool mdb_roster_should_yield(void);
extern bool mdb_roster_should_stop(void);

extern pid_t mdb_roster_hold(Oid dboid);
extern bool mdb_roster_is_busy(Oid dboid);
extern void mdb_roster_unhold(void);

#endif							/* MDB_ROSTER_H */
