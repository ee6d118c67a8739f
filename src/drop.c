/*
 * drop.c
 *		What is dropped takes its batches along (R16).
 *
 * Model: a hook sees each object that is dropped.  A table's batch, all of a
 * database's with the extension or the database itself, are remembered and
 * given up when the drop commits; the worker discards what is pending.  A
 * table that is detached keeps its batch until it is empty.  The extension
 * takes the labels of its database along, in the same transaction, and a table
 * its rows of mdbatch_rejected.
 *
 * DROP DATABASE calls the hook when it has locked the database and before it
 * looks for connections: the worker is stopped and none may start until the
 * drop has ended either way.  Nobody is left to discard then, so the backend
 * does it.
 *
 * Locking: none while waiting for the worker to go, which takes no lock of
 * this transaction to do so.
 *
 * Limits: two-phase commit of a drop is noticed by the worker only, when the
 * flush does not find the table.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "compat.h"
#include "drop.h"
#include "labels.h"
#include "note.h"
#include "flight.h"
#include "rejected_drop.h"
#include "roster.h"

typedef enum Kind
{
	DROP_TABLE,
	DISCARD_TABLE,				/* what is pending now; it is attached again */
	DROP_EXTENSION,				/* all of this database */
	DROP_DATABASE,
	DETACH_TABLE,				/* the table stays, its batch goes when empty */
	ATTACH_TABLE,				/* if it was detached before, its batch stays */
	HOLD_DATABASE				/* its worker keeps away, that is all */
} Kind;

/* What ends, or is only held, with this transaction. */
typedef struct Dropped
{
	struct Dropped *next;
	int			nest;			/* transaction nest level of the drop */
	Kind		kind;
	Oid			dboid;
	Oid			relid;			/* InvalidOid: all of the database */
	int			batch_size;		/* of a table that is attached, or 0 */
	int64		flush_interval;
} Dropped;

static object_access_hook_type next_hook;
static bool holding = false;	/* some database's worker keeps away */
static Dropped *drops;			/* in TopTransactionContext */

static Dropped *
remember(Kind kind, Oid dboid, Oid relid)
{
	Dropped    *drop = MemoryContextAllocZero(TopTransactionContext,
											  sizeof(*drop));

	drop->next = drops;
	drop->nest = GetCurrentTransactionNestLevel();
	drop->dboid = dboid;
	drop->relid = relid;
	drop->kind = kind;
	drops = drop;
	return drop;
}

/* A table is no longer attached, if this transaction commits. */
void
mdb_drop_detached(Oid relid)
{
	remember(DETACH_TABLE, MyDatabaseId, relid);
}

/* Does a table have a batch that must go with it? */
static bool
has_batch(Oid relid)
{
	uint64		epoch;

	return mdb_batch_find(MyDatabaseId, relid, &epoch) >= 0;
}

/* Stop the worker of a database, and let none start until we have ended. */
static void
stop_worker(Oid dboid)
{
	TimestampTz signal_at = 0;

	/* It would be told to stop, and never be seen to have failed. */
	if (mdb_roster_is_worker(MyProcPid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot take a database from its worker in a background worker of mdbatch")));

	holding = true;
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();

		/* Each second, as code of a target can resist the first time. */
		if (now >= signal_at)
		{
			pid_t		pid = mdb_roster_hold(dboid);

			if (pid != 0)
				(void) kill(pid, SIGTERM);
			signal_at = now + USECS_PER_SEC;
		}
		if (!mdb_roster_is_busy(dboid))
			break;

		/*
		 * It waits for nothing that we have: a flush is cut short, none
		 * follows.  Its end sets no latch of ours, so look every 10 ms.
		 */
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 10, mdb_wait_event("MdbatchWorkerExit"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* A table is attached, with these sizes of its own, if this transaction commits. */
void
mdb_drop_attached(Oid relid, int batch_size, int64 flush_interval)
{
	Dropped    *drop = remember(ATTACH_TABLE, MyDatabaseId, relid);

	drop->batch_size = batch_size;
	drop->flush_interval = flush_interval;
}

/*
 * The worker of a database keeps away until this transaction ends, so that its
 * connection is no obstacle.
 */
void
mdb_drop_hold_database(Oid dboid)
{
	remember(HOLD_DATABASE, dboid, InvalidOid);
	stop_worker(dboid);
}

static void
object_dropped(ObjectAccessType access, Oid class_id, Oid object_id,
			   int sub_id, void *arg)
{
	if (next_hook != NULL)
		next_hook(access, class_id, object_id, sub_id, arg);
	if (access != OAT_DROP || sub_id != 0)
		return;

	if (class_id == RelationRelationId)
	{
		mdb_rejected_drop(object_id);
		if (has_batch(object_id))
			remember(DROP_TABLE, MyDatabaseId, object_id);
	}
	else if (class_id == DatabaseRelationId)
	{
		remember(DROP_DATABASE, object_id, InvalidOid);
		stop_worker(object_id);
	}
	else if (class_id == ExtensionRelationId &&
			 object_id == get_extension_oid("mdbatch", true))
	{
		mdb_labels_clear_all();
		for (int i = 0; i < mdb_max_batches; i++)
			if (mdb_batch(i)->dboid == MyDatabaseId)
				remember(DROP_TABLE, MyDatabaseId, mdb_batch(i)->relid);
		remember(DROP_EXTENSION, MyDatabaseId, InvalidOid);
	}
}

/* Discard what is pending for a table, before this transaction publishes. */
static void
discard(Oid dboid, Oid relid)
{
	int			number = mdb_note_hold_target(dboid, relid);

	if (number >= 0)
		(void) mdb_flight_discard(number, NULL);
}

/* The drop has committed; cannot fail. */
static void
give_up(const Dropped *drop)
{
	switch (drop->kind)
	{
		case HOLD_DATABASE:
			break;
		case DETACH_TABLE:
			mdb_batch_detach(drop->dboid, drop->relid);
			break;
		case ATTACH_TABLE:
			mdb_batch_attach_again(drop->dboid, drop->relid, drop->batch_size,
								   drop->flush_interval);
			break;
		case DISCARD_TABLE:
			discard(drop->dboid, drop->relid);
			break;
		case DROP_TABLE:
		case DROP_EXTENSION:
			mdb_batch_drop(drop->dboid, drop->relid);
			mdb_roster_wake(drop->dboid);
			break;
		case DROP_DATABASE:
			mdb_batch_drop(drop->dboid, InvalidOid);
			for (int i = 0; i < mdb_max_batches; i++)
				if (mdb_batch(i)->dboid == drop->dboid &&
					mdb_note_hold_gone(i))
					(void) mdb_flight_discard(i, NULL);
			break;
	}
}

/* Is it not so when the transaction commits, after all? */
static bool
is_undone(const Dropped *drop)
{
	switch (drop->kind)
	{
		case DETACH_TABLE:
			return mdb_labels_is_attached(drop->relid);
		case ATTACH_TABLE:
			return !mdb_labels_is_attached(drop->relid);
		case DROP_EXTENSION:
			return OidIsValid(get_extension_oid("mdbatch", true));
		default:
			return false;
	}
}

/* Let go of what is held, unless something still wants that. */
static void
unhold(void)
{
	for (Dropped *drop = drops; drop != NULL; drop = drop->next)
		if (drop->kind == DROP_DATABASE || drop->kind == HOLD_DATABASE)
			return;
	holding = false;
	mdb_roster_unhold();
}

/* The transaction is about to commit: what will be true then? */
static void
settle_drops(void)
{
	for (Dropped **link = &drops; *link != NULL;)
		if (is_undone(*link))
			*link = (*link)->next;
		else
		{
			if ((*link)->kind == DROP_TABLE &&
				mdb_labels_is_attached((*link)->relid))
				(*link)->kind = DISCARD_TABLE;
			link = &(*link)->next;
		}
}

/* The transaction is over. */
static void
forget_drops(void)
{
	drops = NULL;
	if (holding)
		unhold();
}

static void
transaction_ends(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			settle_drops();
			break;
		case XACT_EVENT_COMMIT:
			for (Dropped *drop = drops; drop != NULL; drop = drop->next)
				give_up(drop);
			forget_drops();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget_drops();
			break;
		case XACT_EVENT_PRE_PREPARE:
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			/* No parallel worker drops anything. */
			Assert(drops == NULL && !holding);
			break;
	}
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId mine,
					SubTransactionId parent, void *arg)
{
	int			nest = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (drops != NULL && drops->nest >= nest)
			drops = drops->next;
		if (holding)
			unhold();
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (Dropped *drop = drops; drop != NULL && drop->nest >= nest;
			 drop = drop->next)
			drop->nest = nest - 1;
	}
}

/* Watch drops; to be called once in each backend, from _PG_init. */
void
mdb_drop_register(void)
{
	next_hook = object_access_hook;
	object_access_hook = object_dropped;
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(subtransaction_ends, NULL);
}
