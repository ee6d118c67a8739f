/*
 * sound.c
 *		Are bytes that were kept outside of memory what they should be?
 *
 * Model: definitions are made by layout.c and entries by entry.c, and stay as
 * they were made.  Bytes that come back from a file could have been written by
 * something else: every length in them is followed here, so that nothing that
 * reads them later reads beyond their end.
 *
 * Locking: none.
 *
 * Limits: whether the catalogs still agree with a definition is not asked
 * here.  plan.c asks it at each flush.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"

#include "slot.h"
#include "sound.h"

static bool
is_bool(const bool *value)
{
	return *(const uint8 *) value <= 1;
}

/* What a place of a definition must be. */
static bool
role_fits_place(const MdbDefinition *definition, int i)
{
	const MdbColumn *column = &definition->columns[i];

	if (i < definition->nkeys)
		return column->role == MDB_KEY && !column->has_rows;
	if (i == mdb_definition_version(definition))
		return column->role == MDB_VERSION;
	return column->role == MDB_LAST ||
		(column->role > MDB_LAST && column->role <= MDB_MAX &&
		 mdb_slot_can_merge(column->role, column->type));
}

static bool
is_sound_column(const MdbDefinition *definition, int i)
{
	const MdbColumn *column = &definition->columns[i];

	if (!is_bool(&column->typbyval) || !is_bool(&column->has_rows) ||
		column->attnum < 1 || column->attnum > MaxHeapAttributeNumber ||
		!role_fits_place(definition, i))
		return false;
	if (!column->typbyval)
		return column->typlen == -1 || column->typlen > 0;
	return column->typlen == 1 || column->typlen == 2 ||
		column->typlen == 4 || column->typlen == 8;
}

/* Do the row types fill their bytes? */
static bool
row_types_are_sound(const MdbDefinition *definition)
{
	const char *at = (const char *) mdb_definition_row_types(definition);
	Size		left = definition->row_types_size;

	for (int i = 0; i < definition->nrow_types; i++)
	{
		const MdbRowType *row = (const MdbRowType *) at;

		if (left < mdb_row_type_size(0) ||
			row->nattributes > MaxHeapAttributeNumber ||
			left < mdb_row_type_size(row->nattributes))
			return false;
		left -= mdb_row_type_size(row->nattributes);
		at += mdb_row_type_size(row->nattributes);
	}
	return left == 0;
}

/* Are these bytes a definition? */
bool
mdb_sound_definition(const void *bytes, Size nbytes)
{
	const MdbDefinition *definition = bytes;

	if (nbytes < mdb_definition_fixed(0) ||
		definition->row_types_size > MDB_MAX_ROW_TYPES ||
		definition->row_types_size % MAXIMUM_ALIGNOF != 0 ||
		nbytes != mdb_definition_size(definition) ||
		definition->mode > MDB_UPDATE || !is_bool(&definition->metadata) ||
		!is_bool(&definition->has_version) ||
		!is_bool(&definition->has_merge) || definition->nkeys < 1 ||
		mdb_definition_carried(definition) > definition->ncolumns ||
		memchr(definition->channel, '\0', NAMEDATALEN) == NULL)
		return false;
	for (int i = 0; i < definition->ncolumns; i++)
		if (!is_sound_column(definition, i))
			return false;
	return row_types_are_sound(definition);
}

static bool
is_sound_slot(const char *bytes, const MdbColumn *column)
{
	MdbSlot		slot;

	memcpy(&slot, bytes, sizeof(slot));
	return slot.role == column->role && is_bool(&slot.is_float) &&
		is_bool(&slot.is_null) && is_bool(&slot.overflow) &&
		slot.is_float == (column->type == FLOAT4OID ||
						  column->type == FLOAT8OID);
}

/* Is there a slot for each column that merges, and no other? */
static bool
slots_are_sound(const char *contents, int nslots,
				const MdbDefinition *definition)
{
	int			n = 0;

	for (int i = mdb_definition_carried(definition);
		 i < definition->ncolumns; i++)
	{
		const MdbColumn *column = &definition->columns[i];

		if (column->role == MDB_LAST)
			continue;
		if (n == nslots ||
			!is_sound_slot(contents + n * MDB_SLOT_SIZE, column))
			return false;
		n++;
	}
	return n == nslots;
}

/* Step over a value; false if it does not end before the end. */
static bool
skip_value(const char **at, const char *end, const MdbColumn *column)
{
	uint32		nbytes = column->typlen;

	if (column->typlen < 0)
	{
		if (end - *at < (ptrdiff_t) sizeof(nbytes))
			return false;
		memcpy(&nbytes, *at, sizeof(nbytes));
		*at += sizeof(nbytes);
	}
	if (nbytes > end - *at)
		return false;
	*at += nbytes;
	return true;
}

/* Are bytes of these sizes the contents of an entry of a sound definition? */
bool
mdb_sound_entry(const char *contents, const MdbEntryShape *shape,
				const MdbDefinition *definition)
{
	int			carried = mdb_definition_carried(definition);
	const char *at = contents + shape->nslots * MDB_SLOT_SIZE;
	const char *end = at + shape->keylen;
	const uint8 *nulls;
	uint32		nnulls = (definition->ncolumns - carried + BITS_PER_BYTE - 1) /
		BITS_PER_BYTE;

	if (!slots_are_sound(contents, shape->nslots, definition))
		return false;
	for (int i = 0; i < definition->nkeys; i++)
		if (!skip_value(&at, end, &definition->columns[i]))
			return false;
	if (at != end || shape->vallen < nnulls)
		return false;
	end += shape->vallen;
	nulls = (const uint8 *) at;
	at += nnulls;
	for (int i = carried; i < definition->ncolumns; i++)
	{
		int			bit = i - carried;
		bool		isnull = (nulls[bit / BITS_PER_BYTE] &
							  (1 << (bit % BITS_PER_BYTE))) != 0;

		if (definition->columns[i].role == MDB_LAST && !isnull &&
			!skip_value(&at, end, &definition->columns[i]))
			return false;
	}
	return at == end;
}
