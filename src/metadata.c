/*
 * metadata.c
 *		The front end for agent metadata: mdbatch_add and its relatives.
 *
 * Model: five parallel arrays are walked side by side, one entry of five
 * known columns at a time.  An error in the middle aborts the (sub)transaction
 * and so takes back what the call has enqueued.
 *
 * Locking: none.
 *
 * Limits: arrays have at most one dimension.
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "barrier.h"
#include "batch.h"
#include "compat.h"
#include "enqueue.h"
#include "entry.h"
#include "note.h"
#include "rights.h"
#include "snapshot.h"

PG_FUNCTION_INFO_V1(mdbatch_add);
PG_FUNCTION_INFO_V1(mdbatch_add_many);
PG_FUNCTION_INFO_V1(mdbatch_add_sync);
PG_FUNCTION_INFO_V1(mdbatch_pending);

/* The columns of an entry, as the definition has them. */
enum
{
	AGENT_ID,
	KEY,
	COLLECTED_AT,
	VALUE,
	ERROR_TEXT,
	NCOLUMNS
};

static const char *const array_names[NCOLUMNS] = {
	[AGENT_ID] = "agent_ids",
	[KEY] = "keys",
	[COLLECTED_AT] = "collected_at",
	[VALUE] = "vals",
	[ERROR_TEXT] = "errors"
};

/* An array on its way from its first to its last element. */
typedef struct Walk
{
	ArrayType  *array;			/* NULL: every element is "all" */
	Datum		all;
	const char *next;
	int			number;			/* of the next element */
} Walk;

typedef struct Input
{
	Walk		walks[NCOLUMNS];
	int			count;
	MdbTarget  *target;
} Input;

static int
element_count(const ArrayType *array)
{
	return ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
}

static void
null_not_allowed(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("\"%s\" must not be null", name)));
}

/* Take an array argument; ERROR if it is not as long as the others. */
static void
take_array(Input *input, int column, FunctionCallInfo fcinfo, int argument)
{
	Walk	   *walk = &input->walks[column];
	ArrayType  *array;

	if (PG_ARGISNULL(argument))
		null_not_allowed(array_names[column]);
	array = PG_GETARG_ARRAYTYPE_P(argument);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("array \"%s\" must not have more than one dimension",
						array_names[column])));
	if (input->count >= 0 && element_count(array) != input->count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arrays have different lengths"),
				 errdetail("Array \"%s\" has length %d, but the one before it has length %d.",
						   array_names[column], element_count(array),
						   input->count)));
	input->count = element_count(array);
	walk->array = array;
}

/* The next element; false if it is null. */
static bool
next_element(Walk *walk, int typlen, bool typbyval, char typalign,
			 Datum *element)
{
	bits8	   *nulls;
	int			i = walk->number++;

	if (walk->array == NULL)
	{
		*element = walk->all;
		return true;
	}
	nulls = ARR_NULLBITMAP(walk->array);
	if (nulls != NULL && (nulls[i / 8] & (1 << (i % 8))) == 0)
		return false;
	*element = fetch_att(walk->next, typbyval, typlen);
	walk->next = att_addlength_pointer(walk->next, typlen, walk->next);
	walk->next = (const char *) att_align_nominal(walk->next, typalign);
	return true;
}

static Datum
required(Walk *walk, int column, int typlen, bool typbyval, char typalign)
{
	Datum		element;

	if (!next_element(walk, typlen, typbyval, typalign, &element))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("array \"%s\" must not contain nulls",
						array_names[column])));
	return element;
}

/* What the column makes of a text: varchar(n) refuses or cuts blanks. */
static Datum
coerce(const MdbTarget *target, int column, Datum value)
{
	int32		typmod = target->typmods[column];

	if (typmod < (int32) VARHDRSZ ||
		VARSIZE_ANY_EXHDR(DatumGetPointer(value)) <= (Size) (typmod - VARHDRSZ))
		return value;
	return DirectFunctionCall3(varchar, value, Int32GetDatum(typmod),
							   BoolGetDatum(false));
}

/* The values of the next entry (MdbNext). */
static void
next_entry(void *state, int number, Datum *values, bool *isnull)
{
	Input	   *input = state;
	Walk	   *walks = input->walks;

	if (number == 0)
	{
		for (int i = 0; i < NCOLUMNS; i++)
		{
			walks[i].number = 0;
			if (walks[i].array != NULL)
				walks[i].next = ARR_DATA_PTR(walks[i].array);
		}
	}

	memset(isnull, false, NCOLUMNS * sizeof(bool));
	values[AGENT_ID] = required(&walks[AGENT_ID], AGENT_ID, UUID_LEN, false,
								TYPALIGN_CHAR);
	values[KEY] = required(&walks[KEY], KEY, -1, false, TYPALIGN_INT);
	values[VALUE] = required(&walks[VALUE], VALUE, -1, false, TYPALIGN_INT);
	values[COLLECTED_AT] = required(&walks[COLLECTED_AT], COLLECTED_AT,
									sizeof(TimestampTz), FLOAT8PASSBYVAL,
									TYPALIGN_DOUBLE);
	if (!next_element(&walks[ERROR_TEXT], -1, false, TYPALIGN_INT,
					  &values[ERROR_TEXT]))
		values[ERROR_TEXT] = CStringGetTextDatum("");

	if (VARSIZE_ANY_EXHDR(DatumGetPointer(values[KEY])) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("key must not be empty")));
	values[KEY] = coerce(input->target, KEY, values[KEY]);
	values[VALUE] = coerce(input->target, VALUE, values[VALUE]);
	values[ERROR_TEXT] = coerce(input->target, ERROR_TEXT, values[ERROR_TEXT]);
}

/* The arguments that all functions share, from the second one on. */
static void
take_arrays(Input *input, FunctionCallInfo fcinfo)
{
	take_array(input, KEY, fcinfo, 1);
	take_array(input, VALUE, fcinfo, 2);
	if (PG_ARGISNULL(3))
		input->walks[ERROR_TEXT].all = CStringGetTextDatum("");
	else
		take_array(input, ERROR_TEXT, fcinfo, 3);
	if (PG_ARGISNULL(4))
		input->walks[COLLECTED_AT].all =
			TimestampTzGetDatum(GetCurrentTimestamp());
	else
		take_array(input, COLLECTED_AT, fcinfo, 4);
}

/* One agent and four arrays. */
static Input
take_one_agent(FunctionCallInfo fcinfo)
{
	Input		input = {0};

	input.count = -1;
	if (PG_ARGISNULL(0))
		null_not_allowed("agent_id");
	input.walks[AGENT_ID].all = PG_GETARG_DATUM(0);
	take_arrays(&input, fcinfo);
	return input;
}

static int
enqueue(Input *input, int on_full)
{
	input->target = mdb_target_metadata();
	mdb_target_check_add(input->target);
	return mdb_enqueue(input->target, on_full, input->count, next_entry, input);
}

/* Enqueue keys and values of one agent; returns how many were accepted. */
Datum
mdbatch_add(PG_FUNCTION_ARGS)
{
	Input		input;

	mdb_enqueue_begin("mdbatch_add()");
	input = take_one_agent(fcinfo);
	PG_RETURN_INT32(enqueue(&input, mdb_on_full));
}

/* The same of many agents: five parallel arrays. */
Datum
mdbatch_add_many(PG_FUNCTION_ARGS)
{
	Input		input = {0};

	mdb_enqueue_begin("mdbatch_add_many()");
	input.count = -1;
	take_array(&input, AGENT_ID, fcinfo, 0);
	take_arrays(&input, fcinfo);
	PG_RETURN_INT32(enqueue(&input, mdb_on_full));
}

/*
 * The acknowledged way: add, commit, and wait until each entry is durably
 * written, superseded, or skipped.
 */
Datum
mdbatch_add_sync(PG_FUNCTION_ARGS)
{
	bool		atomic = fcinfo->context == NULL ||
	!IsA(fcinfo->context, CallContext) ||
	castNode(CallContext, fcinfo->context)->atomic;
	Input		input;
	Oid			relid;

	mdb_enqueue_begin("mdbatch_add_sync()");
	if (atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("invalid transaction termination"),
				 errdetail("mdbatch_add_sync() commits, which it cannot do in a transaction block.")));
	mdb_wait_refuse("a flush");
	input = take_one_agent(fcinfo);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	(void) enqueue(&input, mdb_on_full == MDB_ON_FULL_WAIT ?
				   MDB_ON_FULL_WAIT : MDB_ON_FULL_ERROR);
	relid = input.target->relid;
	SPI_commit();
	mdb_barrier_sync(relid);
	SPI_finish();
	PG_RETURN_VOID();
}

static void
check_right_to_see(const MdbTarget *target, const MdbDefinition *definition)
{
	if (!mdb_rights_see_pending(definition))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s",
						get_rel_name(target->relid)),
				 errdetail("Looking at what is pending needs SELECT on the columns of an entry.")));
	if (check_enable_rls(target->relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot look at what is pending for table \"%s\"",
						get_rel_name(target->relid)),
				 errdetail("Row-level security applies to role \"%s\".",
						   GetUserNameFromId(GetUserId(), false))));
}

/* What waits for the metadata target, in flush order. */
Datum
mdbatch_pending(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbTarget  *target;
	MdbSnapshot snapshot;
	MdbDefinition *definition = NULL;
	MdbRef		definition_ref = MDB_NO_REF;
	int			number;

	mdb_batch_require();
	target = mdb_target_metadata();
	check_right_to_see(target, target->definition);
	InitMaterializedSRF(fcinfo, 0);
	number = mdb_note_hold_target(MyDatabaseId, target->relid);
	if (number < 0)
		return (Datum) 0;

	snapshot = mdb_snapshot_take(number);
	for (int i = 0; i < snapshot.count; i++)
	{
		const MdbSnapshotEntry *entry = &snapshot.entries[i];
		Datum		values[NCOLUMNS];
		bool		isnull[NCOLUMNS];
		Datum		row[6];
		bool		nulls[6] = {0};

		if (entry->definition != definition_ref)
		{
			definition_ref = entry->definition;
			definition = mdb_batch_read_definition(definition_ref);
			check_right_to_see(target, definition);
		}
		if (!definition->metadata)
			continue;
		mdb_entry_decode(entry->contents, entry->version, definition,
						 values, isnull);
		row[0] = values[AGENT_ID];
		row[1] = values[KEY];
		row[2] = values[VALUE];
		row[3] = values[ERROR_TEXT];
		row[4] = values[COLLECTED_AT];
		row[5] = BoolGetDatum(entry->in_flight);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row, nulls);
	}
	return (Datum) 0;
}
