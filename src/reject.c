/*
 * reject.c
 *		Keeping entries that their target refused, in mdbatch_rejected.
 *
 * Model: entries become JSON objects by to_jsonb, which can run casts of the
 * target's owner, so it does that as that owner, restricted (R18); only the
 * finished values are stored, with the rights of the owner of
 * mdbatch_rejected.  An entry that cannot be shown as JSON, or must not be as
 * one of its types is another one now, is kept as its bytes, in hexadecimal.
 * One row per target and key: the newest.
 *
 * Locking: what the statements take.
 *
 * Limits: the row names the target as it is called now.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "as_owner.h"
#include "compat.h"
#include "entry.h"
#include "extension.h"
#include "reject.h"
#include "report.h"
#include "source.h"
#include "statement.h"

#define MAX_SHOWN	(64 * 1024 * 1024)	/* bytes of an entry in hexadecimal */

/* Entries on their way to JSON. */
typedef struct Rendering
{
	const MdbPlan *plan;
	Oid			owner;
	MemoryContext context;		/* of the results */
	Datum	   *keys;
	Datum	   *contents;

	/* Those of one query. */
	const MdbRef *entries;
	int			first;
	int			count;
	bool		keys_only;
} Rendering;

static Datum
copy_result(const Rendering *rendering, uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);
	MemoryContext old;

	if (isnull || SPI_gettypeid(SPI_tuptable->tupdesc, column) != JSONBOID)
		elog(ERROR, "unexpected result of a query");
	old = MemoryContextSwitchTo(rendering->context);
	value = datumCopy(PointerGetDatum(PG_DETOAST_DATUM(value)), false, -1);
	MemoryContextSwitchTo(old);
	return value;
}

static void
render_some(void *state)
{
	Rendering  *rendering = state;

	mdb_source_arm(rendering->plan, rendering->entries + rendering->first,
				   rendering->count, true, rendering->owner);
	if (SPI_execute(mdb_statement_render(rendering->plan,
										 rendering->keys_only), false, 0) !=
		SPI_OK_SELECT ||
		SPI_processed != (uint64) rendering->count)
		elog(ERROR, "unexpected result of a query");
	mdb_source_disarm();
	for (int i = 0; i < rendering->count; i++)
	{
		rendering->keys[rendering->first + i] = copy_result(rendering, i, 1);
		if (!rendering->keys_only)
			rendering->contents[rendering->first + i] =
				copy_result(rendering, i, 2);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* An object with one field, bytes in hexadecimal. */
static Datum
hex_object(const char *field, const char *bytes, uint32 nbytes)
{
	JsonbValue	object;
	JsonbPair	pair = {0};
	char	   *hex;

	nbytes = Min(nbytes, MAX_SHOWN);
	hex = palloc(2 * nbytes + 1);
	pair.key.type = jbvString;
	pair.key.val.string.val = unconstify(char *, field);
	pair.key.val.string.len = strlen(field);
	pair.value.type = jbvString;
	pair.value.val.string.val = hex;
	pair.value.val.string.len = hex_encode(bytes, nbytes, hex);
	object.type = jbvObject;
	object.val.object.nPairs = 1;
	object.val.object.pairs = &pair;
	return JsonbPGetDatum(JsonbValueToJsonb(&object));
}

/* What cannot be shown otherwise, and its key if that cannot be, either. */
static void
render_bytes(Rendering *rendering, int i, bool key)
{
	MdbRef		ref = rendering->entries[i];
	const MdbEntry *entry = mdb_entry(ref);
	uint32		slots = entry->nslots * MDB_SLOT_SIZE;
	uint32		length = mdb_entry_length(entry);
	MdbCursor	cursor = mdb_pool_start(ref);
	MemoryContext old = MemoryContextSwitchTo(rendering->context);
	char	   *bytes = palloc(length);

	mdb_pool_read(&cursor, bytes, length);
	if (key)
		rendering->keys[i] = hex_object("key bytes", bytes + slots,
										entry->keylen);
	rendering->contents[i] = hex_object(MDB_REJECTED_BYTES, bytes, length);
	pfree(bytes);
	MemoryContextSwitchTo(old);
}

/* Is it an error of showing these entries, and of nothing else? */
static void
check_render_error(ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	if (category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES))
		ReThrowError(error);
	FreeErrorData(error);
}

/* Show the keys of entries, if that can be done, and the rest as bytes. */
static void
render_keys(Rendering *rendering, int first, int count)
{
	ErrorData  *error;

	rendering->first = first;
	rendering->count = count;
	rendering->keys_only = true;
	error = mdb_isolate_try(render_some, rendering, rendering->context);
	rendering->keys_only = false;
	if (error != NULL)
		check_render_error(error);
	if (error != NULL && count > 1)
		for (int i = first; i < first + count; i++)
			render_keys(rendering, i, 1);
	else
		for (int i = first; i < first + count; i++)
			render_bytes(rendering, i, error != NULL);
}

static void
render(Rendering *rendering, int first, int count)
{
	ErrorData  *error;

	rendering->first = first;
	rendering->count = count;
	error = mdb_isolate_try(render_some, rendering, rendering->context);
	if (error == NULL)
		return;
	check_render_error(error);
	if (count == 1)
		render_keys(rendering, first, 1);
	else
		for (int i = first; i < first + count; i++)
			render(rendering, i, 1);
}

/* Show the entries as the owner of their target. */
static void
render_all(Rendering *rendering, int count)
{
	MdbAsOwner	before;

	mdb_as_owner_enter(&before, rendering->owner);
	if (!rendering->plan->has_key)
		for (int i = 0; i < count; i++)
			render_bytes(rendering, i, true);
	else if (!rendering->plan->is_readable)
		render_keys(rendering, 0, count);
	else
		render(rendering, 0, count);
	mdb_as_owner_leave(&before);
}

/* The table mdbatch_rejected, qualified and quoted. */
const char *
mdb_reject_table_name(void)
{
	Oid			relid = mdb_extension_relation("mdbatch_rejected", false);

	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

Oid
mdb_reject_table_owner(void)
{
	Oid			relid = mdb_extension_relation("mdbatch_rejected", false);
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static SPIPlanPtr
prepare(const char *format, const char *table)
{
	Oid			types[] = {TEXTOID, JSONBOID, JSONBOID, TEXTOID, TEXTOID};
	SPIPlanPtr	plan = SPI_prepare(psprintf(format, table), lengthof(types),
								   types);

	if (plan == NULL)
		elog(ERROR, "could not prepare a statement");
	return plan;
}

/* Put the finished values into the table. */
static void
store_all(const Rendering *rendering, const MdbBlame *blame)
{
	const char *table = mdb_reject_table_name();
	SPIPlanPtr	remove;
	SPIPlanPtr	insert;
	MdbAsOwner	before;
	Datum		values[5];

	mdb_as_owner_enter(&before, mdb_reject_table_owner());
	remove = prepare("DELETE FROM %s WHERE target OPERATOR(pg_catalog.=) $1"
					 " AND key OPERATOR(pg_catalog.=) $2"
					 " AND pg_catalog.jsonb_hash(key) OPERATOR(pg_catalog.=)"
					 " pg_catalog.jsonb_hash($2)", table);
	insert = prepare("INSERT INTO %s"
					 " (target, key, entry, sqlstate, message, rejected_at)"
					 " VALUES ($1, $2, $3, $4, $5, pg_catalog.clock_timestamp())",
					 table);
	values[0] = CStringGetTextDatum(rendering->plan->target);
	for (int i = 0; i < blame->count; i++)
	{
		const ErrorData *error = blame->errors[i];

		values[1] = rendering->keys[i];
		values[2] = rendering->contents[i];
		values[3] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
		values[4] = CStringGetTextDatum(error->message);
		if (SPI_execute_plan(remove, values, NULL, false, 0) != SPI_OK_DELETE ||
			SPI_execute_plan(insert, values, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "unexpected result of a statement");
	}
	mdb_as_owner_leave(&before);
}

/*
 * Keep entries that a target refused, in this transaction.  ERROR if they
 * cannot be kept; then they must stay pending.
 */
void
mdb_reject_store(const MdbPlan *plan, Oid owner, const MdbBlame *blame)
{
	Rendering	rendering = {0};

	rendering.plan = plan;
	rendering.owner = owner;
	rendering.context = CurrentMemoryContext;
	rendering.entries = blame->entries;
	rendering.keys = MemoryContextAllocHuge(CurrentMemoryContext,
											blame->count * sizeof(Datum));
	rendering.contents = MemoryContextAllocHuge(CurrentMemoryContext,
												blame->count * sizeof(Datum));
	SPI_connect();
	render_all(&rendering, blame->count);
	store_all(&rendering, blame);
	SPI_finish();
}

/* What the books and those who wait are told of them; palloc'd. */
void
mdb_reject_count(const MdbBlame *blame, int64 until, MdbOutcome *outcome)
{
	outcome->rejections = palloc0(blame->count * sizeof(MdbRejection));
	for (int i = 0; i < blame->count; i++)
	{
		MdbRejection *rejection = &outcome->rejections[i];
		const ErrorData *error = blame->errors[i];

		rejection->hash = mdb_entry(blame->entries[i])->hash;
		rejection->sqlstate = error->sqlerrcode;
		rejection->until = until;
		mdb_report_copy(rejection->constraint, error->constraint_name,
						sizeof(rejection->constraint));
		mdb_report_copy(rejection->message, error->message,
						sizeof(rejection->message));
	}
	outcome->nrejected = blame->count;
	outcome->last_rejected = outcome->rejections[blame->count - 1].sqlstate;
	strlcpy(outcome->constraint,
			outcome->rejections[blame->count - 1].constraint, NAMEDATALEN);
}
