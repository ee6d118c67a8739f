/*
 * marked.c
 *		Which table is the metadata target.
 *
 * Model: the table that is marked, or mdbatch_metadata if none is.  Each
 * backend remembers it until a mark changes, which is announced as a change of
 * mdbatch_metadata (labels.c), or until the table itself changes.
 *
 * Locking: none; the table can be another one by the time that it is locked.
 *
 * Limits: while mdbatch_metadata is renamed, changes cannot be announced, and
 * nothing is remembered.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/sinval.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "compat.h"
#include "extension.h"
#include "labels.h"
#include "marked.h"
#include "target.h"

static Oid	metadata_relid;		/* InvalidOid: to be looked up */
static Oid	default_relid;		/* mdbatch_metadata */
static bool changed;			/* since the look-up began */
static bool unsure;				/* looked up by this transaction, which may
								 * have changed it */

/* A relation changed, or (InvalidOid) any may have. */
static void
relation_changed(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == metadata_relid || relid == default_relid)
	{
		metadata_relid = InvalidOid;
		changed = true;
	}
}

/*
 * A transaction or subtransaction is undone.  It can have dropped a table that
 * is marked, which sends no message about mdbatch_metadata.
 */
static void
undone(void)
{
	if (unsure)
	{
		metadata_relid = InvalidOid;
		mdb_target_forget(default_relid);
	}
	unsure = false;
}

static void
transaction_ends(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		unsure = false;
	else if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		undone();
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId mine,
					SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		undone();
}

/* What was looked up counts for this transaction only, if it is undone. */
void
mdb_marked_used(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		RegisterXactCallback(transaction_ends, NULL);
		RegisterSubXactCallback(subtransaction_ends, NULL);
		registered = true;
	}
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		unsure = true;
}

/* Look it up again. */
void
mdb_marked_forget(void)
{
	metadata_relid = InvalidOid;
}

pg_noreturn static void several_marked(List *marked);

/* Of two marks neither is used (R36). */
static void
several_marked(List *marked)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("several tables are marked as the metadata target"),
			 errdetail("Tables %s and %s are.",
					   mdb_labels_table_name(linitial_oid(marked)),
					   mdb_labels_table_name(lsecond_oid(marked))),
			 errhint("Use %s() to point mdbatch_add() at one of them.",
					 "mdbatch_set_target")));
}

/*
 * The metadata target.  ERROR if there is none; the caller must be ready for a
 * table that is not the metadata target any more.
 */
Oid
mdb_marked_find(void)
{
	Oid			relid = metadata_relid;

	for (int round = 1; !OidIsValid(metadata_relid) && round <= MDB_MAX_ROUNDS;
		 round++)
	{
		uint64		messages = SharedInvalidMessageCounter;
		List	   *marked;

		CHECK_FOR_INTERRUPTS();
		mdb_marked_used();
		changed = false;
		default_relid = mdb_extension_metadata_table(true);
		marked = mdb_labels_marked();
		if (list_length(marked) > 1)
			several_marked(marked);
		relid = marked != NIL ? linitial_oid(marked) :
			mdb_extension_metadata_table(false);
		if (!OidIsValid(default_relid))
			break;

		/*
		 * Set before the messages that came meanwhile are looked at, so that
		 * one about that table is not missed.
		 */
		metadata_relid = relid;
		AcceptInvalidationMessages();
		if (messages == SharedInvalidMessageCounter)
			break;
		if (changed ||
			!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
			metadata_relid = InvalidOid;
	}
	return relid;
}
