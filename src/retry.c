/*
 * retry.c
 *		mdbatch_retry(): enqueue again what a target refused.
 *
 * Model: the rows of mdbatch_rejected that belong to the table and were
 * rejected under a role whose privileges the caller has, the oldest first, are
 * read back by the input functions of the columns, as the caller, and
 * enqueued one by one until there is no more room.  Each runs in a
 * subtransaction: an entry that cannot be one of the target any more stays
 * where it is, and a WARNING tells how many do.  The other rows go with this
 * transaction.
 *
 * Locking: ACCESS SHARE on the target until the end of the transaction, so
 * that it is not dropped meanwhile; rows are locked before they are read, and
 * those that others have locked are left out.
 *
 * Limits: an entry of which a value could not be shown stays where it is.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "enqueue.h"
#include "isolate.h"
#include "labels.h"
#include "rejected.h"
#include "rights.h"
#include "rows.h"
#include "shown.h"
#include "trust.h"

PG_FUNCTION_INFO_V1(mdbatch_retry);

typedef struct Candidate
{
	ItemPointerData tid;
	TimestampTz rejected_at;
} Candidate;

typedef struct Retry
{
	Oid			relid;
	MdbRejected table;
	pg_uuid_t	identity;
	MemoryContext context;		/* of the candidates */
	MemoryContext row_context;	/* of one entry */

	Candidate  *candidates;
	int			count;
	int			allocated;

	/* The last owner of a row that was looked up. */
	NameData	owner;
	bool		allowed;

	Jsonb	   *entry;			/* what is tried */
	int64		retried;
	int64		left;			/* that cannot be enqueued */
	int			sqlstate;		/* of the first of those */
} Retry;

/*
 * True if the caller has the privileges of the role that a row names, or, if
 * the role is gone, is a superuser.
 */
static bool
is_allowed(Retry *retry, const char *owner)
{
	Oid			role;

	if (strcmp(NameStr(retry->owner), owner) == 0)
		return retry->allowed;
	role = get_role_oid(owner, true);
	retry->allowed = OidIsValid(role) ?
		has_privs_of_role(GetUserId(), role) : superuser();
	namestrcpy(&retry->owner, owner);
	return retry->allowed;
}

static bool
visit_row(MdbRejected *table, HeapTuple tuple, void *state)
{
	Retry	   *retry = state;
	bool		isnull;
	Datum		owner = mdb_rejected_get(table, tuple, MDB_REJECTED_OWNER,
										 &isnull);
	Candidate  *candidate;

	if (!is_allowed(retry, TextDatumGetCString(owner)))
		return true;
	if (retry->count == retry->allocated)
	{
		MemoryContext old = MemoryContextSwitchTo(retry->context);

		retry->allocated = Max(64, 2 * retry->allocated);
		retry->candidates = retry->candidates == NULL ?
			palloc(retry->allocated * sizeof(Candidate)) :
			repalloc_huge(retry->candidates,
						  (Size) retry->allocated * sizeof(Candidate));
		MemoryContextSwitchTo(old);
	}
	candidate = &retry->candidates[retry->count++];
	candidate->tid = tuple->t_self;
	candidate->rejected_at =
		DatumGetTimestampTz(mdb_rejected_get(table, tuple, MDB_REJECTED_AT,
											 &isnull));
	return true;
}

static int
compare_age(const void *a, const void *b)
{
	const Candidate *ours = a;
	const Candidate *other = b;

	if (ours->rejected_at != other->rejected_at)
		return ours->rejected_at < other->rejected_at ? -1 : 1;
	return ItemPointerCompare((ItemPointer) &ours->tid,
							  (ItemPointer) &other->tid);
}

static Datum
locked(const Retry *retry, int column, bool *isnull)
{
	return mdb_rejected_locked(&retry->table, column, isnull);
}

/*
 * The entry of the row that is locked; NULL if it is none that can be tried:
 * a removal, or one with a value that could not be shown.
 */
static Jsonb *
locked_entry(const Retry *retry)
{
	bool		isnull;
	bool		is_removal = DatumGetBool(locked(retry, MDB_REJECTED_REMOVED,
												 &isnull));
	Datum		entry;

	(void) locked(retry, MDB_REJECTED_BYTES, &isnull);
	if (is_removal || !isnull)
		return NULL;
	entry = locked(retry, MDB_REJECTED_ENTRY, &isnull);
	return isnull ? NULL : DatumGetJsonbPCopy(entry);
}

/*
 * True if the row that is locked belongs to the table and the caller.  It can
 * be a newer version than the one that was found.
 */
static bool
is_ours(Retry *retry)
{
	bool		isnull;
	Datum		identity = locked(retry, MDB_REJECTED_IDENTITY, &isnull);
	Datum		owner = locked(retry, MDB_REJECTED_OWNER, &isnull);

	return memcmp(DatumGetUUIDP(identity), &retry->identity,
				  sizeof(pg_uuid_t)) == 0 &&
		is_allowed(retry, TextDatumGetCString(owner));
}

static int
find_column(const MdbRows *rows, const JsonbValue *name)
{
	for (int i = 0; i < rows->row->natts; i++)
	{
		const char *column = NameStr(TupleDescAttr(rows->row, i)->attname);

		if (strlen(column) == name->val.string.len &&
			memcmp(column, name->val.string.val, name->val.string.len) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("\"%s\" is not a column of the entries of table \"%s\"",
					pnstrdup(name->val.string.val, name->val.string.len),
					get_rel_name(rows->relid))));
	return -1;
}

/* A value of a column from its text; NULL is a null, which domains see too. */
static Datum
read_value(Form_pg_attribute att, char *text)
{
	Oid			input;
	Oid			parameter;

	getTypeInputInfo(att->atttypid, &input, &parameter);
	return OidInputFunctionCall(input, text, parameter, att->atttypmod);
}

/* The entry that is tried, as values for the target. */
static MdbRows *
read_entry(const Retry *retry)
{
	MdbRows    *rows = mdb_rows_begin(retry->relid, true, 1);
	int			n = rows->row->natts;
	Datum	   *values = palloc0(n * sizeof(Datum));
	bool	   *isnull = palloc(n * sizeof(bool));
	char	  **texts = palloc0(n * sizeof(char *));
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(retry->entry))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an entry must be a JSON object")));
	iterator = JsonbIteratorInit(&retry->entry->root);
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		texts[find_column(rows, &name)] = mdb_shown_input(&value);
	}
	for (int i = 0; i < n; i++)
	{
		values[i] = read_value(TupleDescAttr(rows->row, i), texts[i]);
		isnull[i] = texts[i] == NULL;
	}
	mdb_rows_push(rows, values, isnull);
	return rows;
}

static void
enqueue_entry(void *state)
{
	const Retry *retry = state;
	MdbRows    *rows;

	do
	{
		rows = read_entry(retry);
	} while (!mdb_rows_are_current(rows));
	(void) mdb_rows_enqueue(rows, MDB_ON_FULL_ERROR);
}

/* True if an error is about the entry, not about the call or the server. */
static bool
is_about_entry(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES):
		case ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_INVALID_TRANSACTION_STATE):
		case ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK):
		case ERRCODE_TO_CATEGORY(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE):
			return false;
		default:
			return sqlstate != ERRCODE_INSUFFICIENT_PRIVILEGE;
	}
}

static void
leave(Retry *retry, int sqlstate)
{
	if (retry->left++ == 0)
		retry->sqlstate = sqlstate;
}

/* Try the row that is locked; false if there is no more room. */
static bool
try_locked(Retry *retry)
{
	MemoryContext old = MemoryContextSwitchTo(retry->row_context);
	ErrorData  *error = NULL;
	bool		go_on = true;

	retry->entry = locked_entry(retry);
	if (retry->entry == NULL)
		leave(retry, ERRCODE_INVALID_TEXT_REPRESENTATION);
	else if ((error = mdb_isolate_try(enqueue_entry, retry, old)) == NULL)
	{
		mdb_rejected_delete(&retry->table);
		retry->retried++;
	}
	else if (is_about_entry(error->sqlerrcode))
		leave(retry, error->sqlerrcode);
	else if (error->sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED &&
			 retry->retried > 0)
		go_on = false;
	else
		ReThrowError(error);
	MemoryContextSwitchTo(old);
	MemoryContextReset(retry->row_context);
	if (error != NULL)
		FreeErrorData(error);
	return go_on;
}

/* Retry the rows of the table, the oldest first. */
static void
retry_rows(Retry *retry)
{
	bool		go_on = true;

	mdb_rejected_open(&retry->table);
	mdb_rejected_walk(&retry->table, &retry->identity, NULL,
					  ForwardScanDirection, visit_row, retry);
	if (retry->count > 0)
		qsort(retry->candidates, retry->count, sizeof(Candidate), compare_age);
	for (int i = 0; go_on && i < retry->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (mdb_rejected_lock(&retry->table, &retry->candidates[i].tid,
							  LockWaitSkip) &&
			is_ours(retry))
			go_on = try_locked(retry);
	}
	mdb_rejected_close(&retry->table);
}

static void
report_left(const Retry *retry)
{
	ereport(WARNING,
			(errmsg_plural(INT64_FORMAT " rejected entry of table \"%s\" cannot be enqueued again",
						   INT64_FORMAT " rejected entries of table \"%s\" cannot be enqueued again",
						   (unsigned long) retry->left, retry->left,
						   get_rel_name(retry->relid)),
			 errdetail("The first one met SQLSTATE %s.",
					   unpack_sql_state(retry->sqlstate)),
			 errhint("Correct or delete these rows of mdbatch_rejected.")));
}

/*
 * Enqueue again what a target refused, as much as there is room for, and
 * remove it from mdbatch_rejected; returns how many entries that were.
 */
Datum
mdbatch_retry(PG_FUNCTION_ARGS)
{
	Retry		retry = {0};
	MdbAsOwner	before;
	MdbTarget  *target;
	Bitmapset  *key = NULL;
	Oid			owner;

	mdb_enqueue_begin("mdbatch_retry()");
	retry.relid = PG_GETARG_OID(0);
	mdb_rights_check_owner(retry.relid);
	LockRelationOid(retry.relid, AccessShareLock);
	target = mdb_target_resolve(retry.relid);
	mdb_target_check_add(target);
	owner = target->owner;
	for (int i = 0; i < target->definition->nkeys; i++)
		key = bms_add_member(key, target->definition->columns[i].attnum);
	if (!mdb_labels_identity(retry.relid, &retry.identity))
		PG_RETURN_INT64(0);

	retry.context = CurrentMemoryContext;
	retry.row_context = AllocSetContextCreate(CurrentMemoryContext,
											  "mdbatch retried entry",
											  ALLOCSET_DEFAULT_SIZES);

	/*
	 * Types and domains of the table read the texts: as its owner, whatever
	 * role calls.  That role cannot get at more rows by it than the owner
	 * has.
	 */
	(void) mdb_trust_check_target(retry.relid, owner, key);
	mdb_shown_enter(&before, owner);
	retry_rows(&retry);
	mdb_as_owner_leave(&before);
	if (retry.left > 0)
		report_left(&retry);
	PG_RETURN_INT64(retry.retried);
}
