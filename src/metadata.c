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
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "barrier.h"
#include "compat.h"
#include "enqueue.h"
#include "metadata.h"

PG_FUNCTION_INFO_V1(mdbatch_add);
PG_FUNCTION_INFO_V1(mdbatch_add_many);
PG_FUNCTION_INFO_V1(mdbatch_add_sync);

static const char *const array_names[MDB_METADATA_COLUMNS] = {
	[MDB_METADATA_AGENT] = "agent_ids",
	[MDB_METADATA_KEY] = "keys",
	[MDB_METADATA_TIME] = "collected_at",
	[MDB_METADATA_VALUE] = "vals",
	[MDB_METADATA_ERROR] = "errors"
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
	Walk		walks[MDB_METADATA_COLUMNS];
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

/* '' */
static Datum
empty_text(void)
{
	static int64 empty;			/* as large as the largest header */

	SET_VARSIZE(&empty, VARHDRSZ);
	return PointerGetDatum(&empty);
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
	const uint8 *nulls;
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
	int32		typmod = TupleDescAttr(target->row, column)->atttypmod;

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
		for (int i = 0; i < MDB_METADATA_COLUMNS; i++)
		{
			walks[i].number = 0;
			if (walks[i].array != NULL)
				walks[i].next = ARR_DATA_PTR(walks[i].array);
		}
	}

	memset(isnull, false, MDB_METADATA_COLUMNS * sizeof(bool));
	values[MDB_METADATA_AGENT] = required(&walks[MDB_METADATA_AGENT], MDB_METADATA_AGENT, UUID_LEN, false,
										  TYPALIGN_CHAR);
	values[MDB_METADATA_KEY] = required(&walks[MDB_METADATA_KEY], MDB_METADATA_KEY, -1, false, TYPALIGN_INT);
	values[MDB_METADATA_VALUE] = required(&walks[MDB_METADATA_VALUE], MDB_METADATA_VALUE, -1, false, TYPALIGN_INT);
	values[MDB_METADATA_TIME] = required(&walks[MDB_METADATA_TIME], MDB_METADATA_TIME,
										 sizeof(TimestampTz), FLOAT8PASSBYVAL,
										 TYPALIGN_DOUBLE);
	if (!next_element(&walks[MDB_METADATA_ERROR], -1, false, TYPALIGN_INT,
					  &values[MDB_METADATA_ERROR]))
		values[MDB_METADATA_ERROR] = empty_text();

	if (VARSIZE_ANY_EXHDR(DatumGetPointer(values[MDB_METADATA_KEY])) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("key must not be empty")));
	values[MDB_METADATA_KEY] = coerce(input->target, MDB_METADATA_KEY, values[MDB_METADATA_KEY]);
	values[MDB_METADATA_VALUE] = coerce(input->target, MDB_METADATA_VALUE, values[MDB_METADATA_VALUE]);
	values[MDB_METADATA_ERROR] = coerce(input->target, MDB_METADATA_ERROR, values[MDB_METADATA_ERROR]);
}

/* The arguments that all functions share, from the second one on. */
static void
take_arrays(Input *input, FunctionCallInfo fcinfo)
{
	take_array(input, MDB_METADATA_KEY, fcinfo, 1);
	take_array(input, MDB_METADATA_VALUE, fcinfo, 2);
	if (!PG_ARGISNULL(3))
		take_array(input, MDB_METADATA_ERROR, fcinfo, 3);
	else
	{
		input->walks[MDB_METADATA_ERROR].array = NULL;
		input->walks[MDB_METADATA_ERROR].all = empty_text();
	}
	if (!PG_ARGISNULL(4))
		take_array(input, MDB_METADATA_TIME, fcinfo, 4);
	else
	{
		input->walks[MDB_METADATA_TIME].array = NULL;
		input->walks[MDB_METADATA_TIME].all =
			TimestampTzGetDatum(GetCurrentTimestamp());
	}
}

/* One agent and four arrays. */
static void
take_one_agent(Input *input, FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		null_not_allowed("agent_id");
	input->walks[MDB_METADATA_AGENT].array = NULL;
	input->walks[MDB_METADATA_AGENT].all = PG_GETARG_DATUM(0);
	input->count = -1;
	take_arrays(input, fcinfo);
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
	take_one_agent(&input, fcinfo);
	PG_RETURN_INT32(enqueue(&input, mdb_on_full));
}

/* The same of many agents: five parallel arrays. */
Datum
mdbatch_add_many(PG_FUNCTION_ARGS)
{
	Input		input;

	mdb_enqueue_begin("mdbatch_add_many()");
	input.count = -1;
	take_array(&input, MDB_METADATA_AGENT, fcinfo, 0);
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
	Input		input;

	mdb_enqueue_begin("mdbatch_add_sync()");
	mdb_barrier_begin_sync(fcinfo, "mdbatch_add_sync()");
	take_one_agent(&input, fcinfo);
	(void) enqueue(&input, mdb_barrier_on_full());
	mdb_barrier_commit_and_wait(input.target->relid);
	PG_RETURN_VOID();
}
