/*
 * merge_test.c
 *		Two entries of one key, combined as the queue does it, for t/merge.pl.
 *
 * merge_test(role, is_float, a, a_version, b, b_version): an entry of value a
 * and then one of value b; returns what stays of them: value, version, and
 * whether an integer sum has left its range.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "entry.h"
#include "hash.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(merge_test);

static MdbAccount account;

static MdbDefinition *
define(MdbRole role, bool is_float)
{
	MdbDefinition *definition = palloc0(mdb_definition_size(3));
	MdbColumn	key = {INT4OID, InvalidOid, 1, 4, true, TYPALIGN_INT, MDB_KEY, 0};
	MdbColumn	version = {INT8OID, InvalidOid, 2, 8, true, TYPALIGN_DOUBLE,
	MDB_VERSION, 0};
	MdbColumn	carried = version;

	carried.type = is_float ? FLOAT8OID : INT8OID;
	carried.attnum = 3;
	carried.role = role;
	definition->has_version = true;
	definition->nkeys = 1;
	definition->ncolumns = 3;
	definition->columns[0] = key;
	definition->columns[1] = version;
	definition->columns[2] = carried;
	return definition;
}

static MdbRef
make_entry(const MdbDefinition *definition, Datum *values, bool *isnull)
{
	MdbEntryShape shape = mdb_entry_measure(definition, 0, 1, values, isnull);
	MdbRef		ref = mdb_pool_alloc(&account, mdb_entry_contents(&shape));

	mdb_entry_fill(ref, &shape, definition, 0, 1, values, isnull);
	return ref;
}

Datum
merge_test(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		is_float = PG_GETARG_BOOL(1);
	MdbRole		role = strcmp(name, "sum") == 0 ? MDB_SUM :
	strcmp(name, "min") == 0 ? MDB_MIN : MDB_MAX;
	MdbDefinition *definition = define(role, is_float);
	MdbRef		refs[2];
	MdbCursor	cursor;
	char		contents[64];
	Datum		values[3];
	bool		isnull[3] = {0};

	for (int i = 0; i < 2; i++)
	{
		const char *value = PG_ARGISNULL(2 + 2 * i) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(2 + 2 * i));

		values[0] = Int32GetDatum(42);
		values[1] = PG_GETARG_DATUM(3 + 2 * i);
		isnull[2] = value == NULL;
		if (value != NULL)
			values[2] = is_float ?
				DirectFunctionCall1(float8in, CStringGetDatum(value)) :
				DirectFunctionCall1(int8in, CStringGetDatum(value));
		refs[i] = make_entry(definition, values, isnull);
	}
	if (!mdb_hash_same_key(refs[0], refs[1]) ||
		!mdb_hash_combine(refs[0], refs[1]))
		elog(ERROR, "entries of a merging target must be combined");

	cursor = mdb_pool_start(refs[0]);
	mdb_pool_read(&cursor, contents, mdb_entry_length(mdb_entry(refs[0])));
	mdb_entry_decode(contents, mdb_entry(refs[0])->version, definition,
					 values, isnull);
	mdb_pool_free(&account, refs[0]);
	mdb_pool_free(&account, refs[1]);

	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s " INT64_FORMAT "%s",
											  isnull[2] ? "null" :
											  is_float ? psprintf("%g", DatumGetFloat8(values[2])) :
											  psprintf(INT64_FORMAT, DatumGetInt64(values[2])),
											  DatumGetInt64(values[1]),
											  contents[3] ? " overflow" : "")));
}
