/*
 * entry_model.h
 *		Random definitions and values, for the harnesses of entry.c and save.c.
 *
 * Included after entry.c, slot.c and pool.c.
 */
#ifndef FUZZ_ENTRY_MODEL_H
#define FUZZ_ENTRY_MODEL_H

#include <float.h>
#include <math.h>

#include "settings.h"
#include "stubs.h"

#define MOST_COLUMNS	40

typedef struct ModelType
{
	Oid			oid;
	int16		typlen;
	bool		typbyval;
} ModelType;

static const ModelType model_types[] = {
	{INT2OID, 2, true}, {INT4OID, 4, true}, {INT8OID, 8, true},
	{FLOAT4OID, 4, true}, {FLOAT8OID, 8, true}, {DATEOID, 4, true},
	{TIMESTAMPOID, 8, true}, {TIMESTAMPTZOID, 8, true},
	/* From here on nothing merges. */
	{BOOLOID, 1, true}, {TEXTOID, -1, false}, {UUIDOID, 16, false},
	{NAMEOID, NAMEDATALEN, false}, {MACADDROID, 6, false}
};

/* Some of the first, which can be versions. */
static const int version_types[] = {0, 1, 2, 5, 6, 7};

/* An empty pool. */
static void
fuzz_pool(int kilobytes, int batches)
{
	mdb_memory = kilobytes;
	mdb_max_batches = batches;
	mdb_pool_attach();
}

/* Some bytes where a definition has the row types of its columns. */
static MdbDefinition *
append_row_types(Input *input, MdbDefinition *definition)
{
	int			nattributes[3];
	MdbDefinition *whole;
	char	   *at;

	definition->nrow_types = take_below(input, lengthof(nattributes) + 1);
	for (int i = 0; i < definition->nrow_types; i++)
	{
		nattributes[i] = take_below(input, 5);
		definition->row_types_size += mdb_row_type_size(nattributes[i]);
	}
	whole = palloc0(mdb_definition_size(definition));
	memcpy(whole, definition, mdb_definition_fixed(definition->ncolumns));
	at = (char *) mdb_definition_row_types(whole);
	for (int i = 0; i < definition->nrow_types; i++)
	{
		MdbRowType *row = (MdbRowType *) at;

		row->type = take_number(input, 1);
		row->nattributes = nattributes[i];
		for (int k = 0; k < nattributes[i]; k++)
			row->attributes[k].type = take_number(input, 1);
		at += mdb_row_type_size(nattributes[i]);
	}
	mdb_definition_altered(whole)[0].xid = take_number(input, 1);
	return whole;
}

static MdbDefinition *
random_definition(Input *input)
{
	int			nkeys = 1 + take_below(input, 3);
	bool		has_version = take_below(input, 2) == 1;
	int			ncarried = take_below(input, MOST_COLUMNS - 4);
	int			ncolumns = nkeys + has_version + ncarried;
	MdbDefinition *definition = palloc0(mdb_definition_fixed(ncolumns));

	definition->relid = 1;
	definition->has_version = has_version;
	definition->nkeys = nkeys;
	definition->ncolumns = ncolumns;
	for (int i = 0; i < ncolumns; i++)
	{
		MdbColumn  *column = &definition->columns[i];
		const ModelType *type =
			&model_types[take_below(input, lengthof(model_types))];

		column->role = i < nkeys ? MDB_KEY : MDB_LAST;
		if (has_version && i == nkeys)
		{
			type = &model_types[version_types[take_below(input,
														 lengthof(version_types))]];
			column->role = MDB_VERSION;
		}
		else if (i >= nkeys)
		{
			MdbRole		role = MDB_LAST + take_below(input, 4);

			if (role == MDB_LAST || mdb_slot_can_merge(role, type->oid))
				column->role = role;
			definition->has_merge |= column->role != MDB_LAST;
		}
		column->type = type->oid;
		column->typlen = type->typlen;
		column->typbyval = type->typbyval;
		column->attnum = i + 1;
	}
	return append_row_types(input, definition);
}

static Datum
random_float(Input *input, bool single)
{
	static const double some[] = {0.0, 1.5, -3.0e38, 3.0e38, 1.7e308, -1.7e308,
	NAN, INFINITY, -INFINITY};
	uint32		which = take_below(input, lengthof(some) + 1);
	double		number;

	if (which < lengthof(some))
		number = some[which];
	else
	{
		uint64		bits = take_number(input, 8);

		memcpy(&number, &bits, sizeof(number));
	}
	if (!single)
		return Float8GetDatum(number);
	return Float4GetDatum(fabs(number) <= FLT_MAX || isnan(number) ||
						  isinf(number) ? (float4) number : 1.0f);
}

static int64
random_integer(Input *input)
{
	switch (take_below(input, 4))
	{
		case 0:
			return PG_INT64_MAX - (int64) take_below(input, 3);
		case 1:
			return PG_INT64_MIN + (int64) take_below(input, 3);
		case 2:
			return (int64) take_number(input, 8);
		default:
			return (int8) take_number(input, 1);
	}
}

static Datum
random_value(Input *input, const MdbColumn *column)
{
	uint32		length = column->typlen;
	char	   *bytes;
	char	   *data;

	switch (column->type)
	{
		case INT2OID:
			return Int16GetDatum((int16) random_integer(input));
		case INT4OID:
		case DATEOID:
			return Int32GetDatum((int32) random_integer(input));
		case INT8OID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return Int64GetDatum(random_integer(input));
		case BOOLOID:
			return BoolGetDatum(take_below(input, 2) == 1);
		case FLOAT4OID:
			return random_float(input, true);
		case FLOAT8OID:
			return random_float(input, false);
		default:
			break;
	}
	if (column->typlen > 0)
		data = bytes = palloc(length);
	else
	{
		length = take_below(input, 4) == 0 ? take_below(input, 3000) :
			take_below(input, 30);
		/* With a short header, as a table has it, or a long one. */
		if (length + 1 <= VARATT_SHORT_MAX && take_below(input, 2) == 1)
		{
			bytes = palloc(length + VARHDRSZ_SHORT);
			SET_VARSIZE_SHORT(bytes, length + VARHDRSZ_SHORT);
		}
		else
		{
			bytes = palloc(length + VARHDRSZ);
			SET_VARSIZE(bytes, length + VARHDRSZ);
		}
		data = VARDATA_ANY(bytes);
	}
	if (length > 100)
		memset(data, take_number(input, 1), length);
	else
		for (uint32 i = 0; i < length; i++)
			data[i] = take_number(input, 1);
	return PointerGetDatum(bytes);
}

static void
random_values(Input *input, const MdbDefinition *definition, Datum *values,
			  bool *isnull, bool keys_too)
{
	for (int i = keys_too ? 0 : definition->nkeys; i < definition->ncolumns; i++)
	{
		isnull[i] = i >= mdb_definition_carried(definition) &&
			take_below(input, 4) == 0;
		values[i] = isnull[i] ? (Datum) 0 :
			random_value(input, &definition->columns[i]);
	}
}

static bool
same_value(const MdbColumn *column, Datum a, Datum b)
{
	if (column->typlen < 0)
		return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
			memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
	if (!column->typbyval)
		return memcmp(DatumGetPointer(a), DatumGetPointer(b),
					  column->typlen) == 0;
	return a == b;
}

/* An entry of these values in the pool; none if it does not fit. */
static MdbRef
make_entry(const MdbDefinition *definition, MdbAccount *account, int batch,
		   MdbRef definition_ref, Datum *values, bool *isnull)
{
	MdbEntryShape shape = mdb_entry_measure(definition, batch, definition_ref,
											values, isnull);
	MdbRef		ref = mdb_pool_alloc(account, mdb_entry_contents(&shape));

	if (ref == MDB_NO_REF)
		return ref;
	mdb_entry_fill(ref, &shape, definition, batch, definition_ref, values,
				   isnull);
	CHECK(mdb_entry_length(mdb_entry(ref)) == mdb_entry_contents(&shape));
	return ref;
}

/* The contents of an entry, in memory of just their size. */
static char *
contents_of(MdbRef ref)
{
	uint32		length = mdb_entry_length(mdb_entry(ref));
	char	   *contents = palloc(length);
	MdbCursor	cursor = mdb_pool_start(ref);

	mdb_pool_read(&cursor, contents, length);
	return contents;
}

#endif							/* FUZZ_ENTRY_MODEL_H */
