/*
 * slot.c
 *		Merge slots: a column that sums or keeps an extreme.
 *
 * Model: a slot tells by itself how it merges, so that merging needs no
 * definition, allocates nothing and cannot fail: it happens in commit
 * callbacks.  NULL counts as absent.  Integers are summed with a carry, so
 * that a sum is exact in whatever order its parts come; whether it fits the
 * column is asked when it is written (R21).  Float sums are double precision.
 *
 * Locking: none; callers protect what they pass.
 *
 * Limits: the sum of one entry must fit its column, also where the stored
 * value would bring it back into the range.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "slot.h"

/* The number that orders values of a version or merge type, but floats. */
int64
mdb_slot_ordinal(Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case DATEOID:
			return DatumGetDateADT(value);
		default:				/* bigint, timestamp, timestamptz */
			return DatumGetInt64(value);
	}
}

/* The value of such a number, which must be in the type's range. */
Datum
mdb_slot_from_ordinal(Oid type, int64 ordinal)
{
	switch (type)
	{
		case INT2OID:
			return Int16GetDatum((int16) ordinal);
		case INT4OID:
			return Int32GetDatum((int32) ordinal);
		case DATEOID:
			return DateADTGetDatum((DateADT) ordinal);
		default:
			return Int64GetDatum(ordinal);
	}
}

/* Are there slots of that role for a base type (R21)? */
bool
mdb_slot_can_merge(MdbRole role, Oid type)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
			return true;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return role != MDB_SUM;
		default:
			return false;
	}
}

/* The slot of a value. */
MdbSlot
mdb_slot_make(const MdbColumn *column, Datum value, bool isnull)
{
	MdbSlot		slot = {0};

	slot.role = column->role;
	slot.is_null = isnull;
	slot.is_float = column->type == FLOAT4OID || column->type == FLOAT8OID;
	if (isnull)
		slot.value.i = 0;
	else if (column->type == FLOAT4OID)
		slot.value.f = DatumGetFloat4(value);
	else if (column->type == FLOAT8OID)
		slot.value.f = DatumGetFloat8(value);
	else
		slot.value.i = mdb_slot_ordinal(column->type, value);
	return slot;
}

static void
add_integer(MdbSlot *into, const MdbSlot *from)
{
	int64		a = into->value.i;
	int64		b = from->value.i;
	int64		sum = (int64) ((uint64) a + (uint64) b);

	into->carry += from->carry;
	if (a >= 0 && b >= 0 && sum < 0)
		into->carry++;
	else if (a < 0 && b < 0 && sum >= 0)
		into->carry--;
	into->value.i = sum;
}

static void
add_float(MdbSlot *into, const MdbSlot *from)
{
	float8		sum = into->value.f + from->value.f;

	into->overflow |= from->overflow ||
		(isinf(sum) && !isinf(into->value.f) && !isinf(from->value.f));
	into->value.f = sum;
}

/* Combine one slot into another of the same column; cannot fail. */
void
mdb_slot_merge(MdbSlot *into, const MdbSlot *from)
{
	if (from->is_null)
		return;
	if (into->is_null)
	{
		*into = *from;
		return;
	}
	if (into->role == MDB_SUM)
	{
		if (into->is_float)
			add_float(into, from);
		else
			add_integer(into, from);
		return;
	}

	/* An extreme; NaN is above everything, as in PostgreSQL's order. */
	if (into->is_float)
	{
		bool		from_is_more = isnan(from->value.f) ||
			(!isnan(into->value.f) && from->value.f > into->value.f);

		if (from_is_more == (into->role == MDB_MAX))
			into->value.f = from->value.f;
	}
	else if ((from->value.i > into->value.i) == (into->role == MDB_MAX))
		into->value.i = from->value.i;
}

static bool
integer_fits(const MdbSlot *slot, Oid type)
{
	if (slot->carry != 0)
		return false;
	switch (type)
	{
		case INT2OID:
			return slot->value.i >= PG_INT16_MIN && slot->value.i <= PG_INT16_MAX;
		case INT4OID:
			return slot->value.i >= PG_INT32_MIN && slot->value.i <= PG_INT32_MAX;
		default:
			return true;
	}
}

/*
 * The value of a slot that is not null, as its column has it; false if it
 * does not fit.
 */
bool
mdb_slot_get(const MdbSlot *slot, const MdbColumn *column, Datum *value)
{
	*value = (Datum) 0;
	if (!slot->is_float)
	{
		if (!integer_fits(slot, column->type))
			return false;
		*value = mdb_slot_from_ordinal(column->type, slot->value.i);
	}
	else if (slot->overflow)
		return false;
	else if (column->type == FLOAT4OID)
	{
		float4		narrow = (float4) slot->value.f;

		if (isinf(narrow) && !isinf(slot->value.f))
			return false;
		*value = Float4GetDatum(narrow);
	}
	else
		*value = Float8GetDatum(slot->value.f);
	return true;
}

/* A type that every sum of the column fits. */
Oid
mdb_slot_wide_type(const MdbColumn *column)
{
	if (column->role != MDB_SUM)
		return column->type;
	return column->type == FLOAT4OID || column->type == FLOAT8OID ?
		FLOAT8OID : NUMERICOID;
}

/* The value of a slot that is not null, in that type; palloc'd. */
Datum
mdb_slot_get_wide(const MdbSlot *slot, const MdbColumn *column)
{
	Datum		value;
	Datum		carry;
	Datum		unit;

	switch (mdb_slot_wide_type(column))
	{
		case FLOAT8OID:
			return Float8GetDatum(slot->value.f);
		case NUMERICOID:
			break;
		default:
			(void) mdb_slot_get(slot, column, &value);
			return value;
	}
	value = NumericGetDatum(int64_to_numeric(slot->value.i));
	if (slot->carry == 0)
		return value;

	/* 2^64 is 2^32 squared. */
	unit = NumericGetDatum(int64_to_numeric(INT64CONST(1) << 32));
	carry = NumericGetDatum(int64_to_numeric(slot->carry));
	carry = DirectFunctionCall2(numeric_mul, carry, unit);
	carry = DirectFunctionCall2(numeric_mul, carry, unit);
	return DirectFunctionCall2(numeric_add, value, carry);
}
