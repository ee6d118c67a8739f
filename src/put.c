/*
 * put.c
 *		The front end for any table: mdbatch_put and its relatives.
 *
 * Model: a JSON object becomes the values of an entry as jsonb_to_record does
 * it, which is what jsonb_populate_record does, for just the columns of an
 * entry (R22); a row of the table has them already.
 *
 * Locking: none.
 *
 * Limits: see rows.c.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "barrier.h"
#include "enqueue.h"
#include "put.h"
#include "rows.h"

PG_FUNCTION_INFO_V1(mdbatch_put);
PG_FUNCTION_INFO_V1(mdbatch_put_row);
PG_FUNCTION_INFO_V1(mdbatch_put_sync);

/* Conversion of JSON objects to rows of one kind. */
typedef struct Converter
{
	FmgrInfo	function;
	ReturnSetInfo rsinfo;
	Datum	   *values;
	bool	   *isnull;
} Converter;

static void
init_converter(Converter *converter, TupleDesc row)
{
	memset(converter, 0, sizeof(*converter));
	fmgr_info(F_JSONB_TO_RECORD, &converter->function);
	converter->rsinfo.type = T_ReturnSetInfo;
	converter->rsinfo.expectedDesc = row;
	converter->values = palloc(row->natts * sizeof(Datum));
	converter->isnull = palloc(row->natts * sizeof(bool));
}

static bool
has_column(TupleDesc row, const JsonbValue *name)
{
	for (int i = 0; i < row->natts; i++)
	{
		const char *column = NameStr(TupleDescAttr(row, i)->attname);

		if (strncmp(column, name->val.string.val, name->val.string.len) == 0 &&
			column[name->val.string.len] == '\0')
			return true;
	}
	return false;
}

/* ERROR unless every name in the object is one of a column. */
static void
check_names(const MdbRows *rows, Jsonb *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY &&
			(value.val.string.len >= NAMEDATALEN ||
			 !has_column(rows->row, &value)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("\"%s\" is not a column of the entries of table \"%s\"",
							pnstrdup(value.val.string.val,
									 value.val.string.len),
							get_rel_name(rows->relid))));
}

static void
convert_object(MdbRows *rows, Converter *converter, Jsonb *object)
{
	LOCAL_FCINFO(fcinfo, 1);
	HeapTupleHeader header;
	HeapTupleData tuple;
	Datum		result;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an entry must be a JSON object")));
	check_names(rows, object);
	InitFunctionCallInfoData(*fcinfo, &converter->function, 1, InvalidOid,
							 NULL, (Node *) &converter->rsinfo);
	fcinfo->args[0].value = JsonbPGetDatum(object);
	fcinfo->args[0].isnull = false;
	result = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		elog(ERROR, "function %u returned NULL", F_JSONB_TO_RECORD);

	header = DatumGetHeapTupleHeader(result);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, rows->row, converter->values, converter->isnull);
	mdb_rows_push(rows, converter->values, converter->isnull);
}

/* The entries of a JSON object, or of an array of them. */
static MdbRows *
convert(Oid relid, Jsonb *entries)
{
	bool		is_array = JB_ROOT_IS_ARRAY(entries) && !JB_ROOT_IS_SCALAR(entries);
	int			count = is_array ? JB_ROOT_COUNT(entries) : 1;
	MdbRows    *rows = mdb_rows_begin(relid, true, count);
	Converter	converter;

	init_converter(&converter, rows->row);
	if (!is_array)
		convert_object(rows, &converter, entries);
	for (int i = 0; is_array && i < count; i++)
		convert_object(rows, &converter,
					   JsonbValueToJsonb(getIthJsonbValueFromContainer(&entries->root,
																	   i)));
	return rows;
}

static void
check_arguments(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"target", "entries"};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null", names[i])));
}

/*
 * Convert a JSON object or an array of them, and enqueue; returns how many
 * were accepted.
 */
int
mdb_put(Oid relid, Jsonb *entries, int on_full)
{
	MdbRows    *rows;

	do
	{
		rows = convert(relid, entries);
	} while (!mdb_rows_are_current(rows));
	return mdb_rows_enqueue(rows, on_full);
}

/* Enqueue JSON objects, with the columns of entries by name. */
Datum
mdbatch_put(PG_FUNCTION_ARGS)
{
	mdb_enqueue_begin("mdbatch_put()");
	check_arguments(fcinfo);
	PG_RETURN_INT32(mdb_put(PG_GETARG_OID(0), PG_GETARG_JSONB_P(1), mdb_on_full));
}

/*
 * The acknowledged way: put, commit, and wait until each entry is durably
 * written, superseded, or skipped.
 */
Datum
mdbatch_put_sync(PG_FUNCTION_ARGS)
{
	Oid			relid;

	mdb_enqueue_begin("mdbatch_put_sync()");
	mdb_barrier_begin_sync(fcinfo, "mdbatch_put_sync()");
	check_arguments(fcinfo);
	relid = PG_GETARG_OID(0);
	(void) mdb_put(relid, PG_GETARG_JSONB_P(1), mdb_barrier_on_full());
	mdb_barrier_commit_and_wait(relid);
	PG_RETURN_VOID();
}

/* The columns of an entry from a row of the table. */
static void
push_row(MdbRows *rows, HeapTupleHeader header)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));
	Datum	   *all = palloc(desc->natts * sizeof(Datum));
	bool	   *allnull = palloc(desc->natts * sizeof(bool));
	int			n = rows->row->natts;
	Datum	   *values = palloc(n * sizeof(Datum));
	bool	   *isnull = palloc(n * sizeof(bool));
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, all, allnull);
	for (int i = 0; i < n; i++)
	{
		int			at = rows->definition->columns[i].attnum - 1;

		values[i] = at < desc->natts ? all[at] : (Datum) 0;
		isnull[i] = at < desc->natts ? allnull[at] : true;
	}
	ReleaseTupleDesc(desc);
	mdb_rows_push(rows, values, isnull);
}

/* Enqueue a row of the target, whose type names the target. */
Datum
mdbatch_put_row(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header;
	MdbRows    *rows;
	Oid			relid;

	mdb_enqueue_begin("mdbatch_put_row()");
	relid = mdb_target_of_row(get_fn_expr_argtype(fcinfo->flinfo, 0));
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "entry")));
	header = PG_GETARG_HEAPTUPLEHEADER(0);
	if (get_typ_typrelid(HeapTupleHeaderGetTypeId(header)) != relid)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("argument must be a row of table \"%s\"",
						get_rel_name(relid))));
	do
	{
		rows = mdb_rows_begin(relid, true, 1);
		push_row(rows, header);
	} while (!mdb_rows_are_current(rows));
	PG_RETURN_INT32(mdb_rows_enqueue(rows, mdb_on_full));
}
