/*
 * fuzz_entry.c
 *		The codec and the merge slots, in chains of the pool, against a model
 *		that keeps values as they are and sums in 128 bits (R21).
 */
#include "pool.c"
#include "entry.c"
#include "slot.c"

#include <float.h>

#include "entry_model.h"

/* What a carried column of a key shall be. */
typedef struct Expected
{
	bool		isnull;
	Datum		last;			/* MDB_LAST */
	__int128	integer;		/* the sum, or the extreme */
	double		number;
	bool		overflow;		/* of a float sum */
} Expected;

static bool
is_float(const MdbColumn *column)
{
	return column->type == FLOAT4OID || column->type == FLOAT8OID;
}

static Expected
expect_value(const MdbColumn *column, Datum value, bool isnull)
{
	Expected	expected = {isnull, value};

	if (isnull || column->role == MDB_LAST)
		return expected;
	if (column->type == FLOAT4OID)
		expected.number = DatumGetFloat4(value);
	else if (column->type == FLOAT8OID)
		expected.number = DatumGetFloat8(value);
	else if (column->type == INT2OID)
		expected.integer = DatumGetInt16(value);
	else if (column->type == INT4OID || column->type == DATEOID)
		expected.integer = DatumGetInt32(value);
	else
		expected.integer = DatumGetInt64(value);
	return expected;
}

/* PostgreSQL's order: NaN is above all. */
static bool
float_less(double a, double b)
{
	return isnan(b) ? !isnan(a) : a < b;
}

static void
expect_merge(const MdbColumn *column, Expected *into, const Expected *from)
{
	if (from->isnull)
		return;
	if (into->isnull)
	{
		*into = *from;
		return;
	}
	if (column->role == MDB_SUM)
	{
		double		sum = into->number + from->number;

		into->integer += from->integer;
		into->overflow |= from->overflow ||
			(isinf(sum) && !isinf(into->number) && !isinf(from->number));
		into->number = sum;
	}
	else if (is_float(column) ?
			 (column->role == MDB_MAX ? float_less(into->number, from->number) :
			  float_less(from->number, into->number)) :
			 (column->role == MDB_MAX ? into->integer < from->integer :
			  from->integer < into->integer))
		*into = *from;
}

static bool
same_float(double a, double b)
{
	return (isnan(a) && isnan(b)) || a == b;
}

/* Does a value that does not fit its column show as such? */
static bool
fits(const MdbColumn *column, const Expected *expected)
{
	switch (column->type)
	{
		case INT2OID:
			return expected->integer == (int16) expected->integer;
		case INT4OID:
		case DATEOID:
			return expected->integer == (int32) expected->integer;
		case FLOAT4OID:
			return !expected->overflow && (isinf(expected->number) ||
										   isnan(expected->number) ||
										   !isinf((float4) expected->number));
		case FLOAT8OID:
			return !expected->overflow;
		default:
			return expected->integer == (int64) expected->integer;
	}
}

static void
check_merged(const MdbColumn *column, const Expected *expected, Datum value,
			 bool isnull, bool wide, bool *misfit)
{
	if (!wide && !expected->isnull && !fits(column, expected))
	{
		CHECK(isnull);
		*misfit = true;
		return;
	}
	CHECK(isnull == expected->isnull);
	if (isnull)
		return;
	if (is_float(column))
	{
		bool		narrow = column->type == FLOAT4OID &&
			(!wide || column->role != MDB_SUM);

		CHECK(narrow ?
			  same_float(DatumGetFloat4(value), (float4) expected->number) :
			  same_float(DatumGetFloat8(value), expected->number));
	}
	else if (wide && column->role == MDB_SUM)
		CHECK(memcmp(DatumGetPointer(value), &expected->integer,
					 sizeof(__int128)) == 0);
	else
		CHECK(mdb_slot_ordinal(column->type, value) == expected->integer);
}

static void
check_entry(const MdbDefinition *definition, MdbRef ref, const Datum *values,
			int64 version, const Expected *expected, bool wide)
{
	Datum		got[MOST_COLUMNS];
	bool		isnull[MOST_COLUMNS];
	bool		misfit = false;
	int			at;

	CHECK(mdb_entry(ref)->version == version);
	at = mdb_entry_decode(contents_of(ref), version, definition, wide, got,
						  isnull);
	for (int i = 0; i < definition->ncolumns; i++)
	{
		const MdbColumn *column = &definition->columns[i];

		if (i < mdb_definition_carried(definition))
			CHECK(!isnull[i] && (i >= definition->nkeys ||
								 same_value(column, got[i], values[i])));
		else if (column->role == MDB_LAST)
			CHECK(isnull[i] == expected[i].isnull &&
				  (isnull[i] || same_value(column, got[i], expected[i].last)));
		else
			check_merged(column, &expected[i], got[i], isnull[i], wide,
						 &misfit);
	}
	if (definition->has_version)
		CHECK(mdb_slot_ordinal(definition->columns[definition->nkeys].type,
							   got[definition->nkeys]) == version);
	CHECK(misfit == (at >= 0));
}

/* An entry made of the bytes of another is the same. */
static void
check_rebuilt(MdbRef ref, const MdbDefinition *definition,
			  MdbAccount *account)
{
	const MdbEntry *entry = mdb_entry(ref);
	MdbEntryShape shape = {0};
	MdbRef		again;

	shape.keylen = entry->keylen;
	shape.vallen = entry->vallen;
	shape.nslots = entry->nslots;
	again = mdb_entry_rebuild(account, &shape, entry->version,
							  contents_of(ref), definition, 1, 2);
	if (again == MDB_NO_REF)
		return;
	CHECK(mdb_entry(again)->hash == entry->hash);
	CHECK(mdb_pool_equal(mdb_pool_start(ref), mdb_pool_start(again),
						 mdb_entry_length(entry)));
	mdb_pool_free(account, again);
}

static uint32
count_free(void)
{
	uint32		n = 0;

	for (int i = 0; i < NLISTS; i++)
		for (MdbRef ref = pool->lists[i].list.first; ref != MDB_NO_REF;
			 ref = chunks[ref].next)
			n++;
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	Input		input = {bytes, length};
	MdbDefinition *definition = random_definition(&input);
	MdbAccount	account;
	Datum		values[MOST_COLUMNS];
	bool		isnull[MOST_COLUMNS];
	Expected	expected[MOST_COLUMNS];
	int			carried = mdb_definition_carried(definition);
	MdbRef		survivor = MDB_NO_REF;

	/* At times so small that not everything fits. */
	fuzz_pool(take_below(&input, 4) == 0 ? 1 : 64, 1);
	pg_atomic_init_u32(&account.used, 0);
	random_values(&input, definition, values, isnull, true);

	for (int n = 0; n < 50 && (n == 0 || input.left > 0); n++)
	{
		Expected	mine[MOST_COLUMNS];
		int64		version;
		MdbRef		ref;

		if (n > 0)
			random_values(&input, definition, values, isnull, false);
		ref = make_entry(definition, &account, 1, 2, values, isnull);
		if (ref == MDB_NO_REF)
			continue;
		version = mdb_entry(ref)->version;
		for (int i = carried; i < definition->ncolumns; i++)
			mine[i] = expect_value(&definition->columns[i], values[i],
								   isnull[i]);
		check_entry(definition, ref, values, version, mine, false);
		check_rebuilt(ref, definition, &account);
		if (survivor == MDB_NO_REF)
		{
			survivor = ref;
			memcpy(expected, mine, sizeof(mine));
			continue;
		}
		CHECK(mdb_entry(ref)->hash == mdb_entry(survivor)->hash);

		/* The older one goes, or the newer one. */
		if (take_below(&input, 2) == 0)
		{
			mdb_entry_merge(survivor, ref);
			mdb_pool_free(&account, ref);
			version = mdb_entry(survivor)->version;
			for (int i = carried; i < definition->ncolumns; i++)
				if (definition->columns[i].role != MDB_LAST)
					expect_merge(&definition->columns[i], &expected[i], &mine[i]);
		}
		else
		{
			mdb_entry_merge(ref, survivor);
			mdb_pool_free(&account, survivor);
			survivor = ref;
			for (int i = carried; i < definition->ncolumns; i++)
			{
				if (definition->columns[i].role != MDB_LAST)
					expect_merge(&definition->columns[i], &mine[i],
								 &expected[i]);
				expected[i] = mine[i];
			}
		}
		check_entry(definition, survivor, values, version, expected, true);
		check_entry(definition, survivor, values, version, expected, false);
	}
	if (survivor != MDB_NO_REF)
	{
		check_rebuilt(survivor, definition, &account);
		mdb_pool_free(&account, survivor);
	}

	/* Everything has been given back. */
	CHECK(pg_atomic_read_u32(&account.used) == 0);
	CHECK(pg_atomic_read_u32(&pool->shared.used) == 0);
	CHECK(count_free() == pool->nchunks);
	fuzz_free_all();
	return 0;
}
