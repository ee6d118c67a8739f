/*
 * entry.c
 *		The codec: column values to the bytes of an entry and back.
 *
 * Model: the contents of an entry are its merge slots (16 bytes each, one for
 * each column that sums or keeps an extreme), the bytes of its key, and the
 * bytes of its values: a bitmap of nulls, then each value that is not null.
 * A value of fixed length is stored as it is, one of variable length as its
 * length and its data.  So equal keys are equal bytes (R20), two entries of a
 * key can be merged knowing nothing but their slots, and an entry can be
 * rebuilt from its bytes and its definition.
 *
 * Locking: mdb_entry_merge wants both entries protected as the caller of
 * queue.c does it; the rest works on what no other process sees.
 *
 * Limits: lengths are 32 bits; the caller checks what fits into the pool.
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "common/hashfn.h"

#include "compat.h"
#include "entry.h"

/* What a value looks like in an entry. */
static inline const char *
value_bytes(const MdbColumn *column, const Datum *value, uint32 *nbytes)
{
	if (column->typlen < 0)
	{
		struct varlena *packed = (struct varlena *) DatumGetPointer(*value);

		*nbytes = VARSIZE_ANY_EXHDR(packed);
		return VARDATA_ANY(packed);
	}
	*nbytes = column->typlen;
	return DatumGetPointer(*value);
}

static inline uint32
value_size(const MdbColumn *column, Datum value)
{
	uint32		nbytes;

	if (column->typlen > 0)
		return column->typlen;
	(void) value_bytes(column, &value, &nbytes);
	return sizeof(uint32) + nbytes;
}

static inline void
write_value(MdbCursor *cursor, const MdbColumn *column, Datum value)
{
	uint32		nbytes;
	const char *bytes;

	if (column->typbyval)
	{
		char		stored[sizeof(Datum)];

		store_att_byval(stored, value, column->typlen);
		mdb_pool_write(cursor, stored, column->typlen);
		return;
	}
	bytes = value_bytes(column, &value, &nbytes);
	if (column->typlen < 0)
		mdb_pool_write(cursor, &nbytes, sizeof(nbytes));
	mdb_pool_write(cursor, bytes, nbytes);
}

/* A value passed by value, from where it is stored aligned. */
static Datum
byval_datum(const void *stored, uint32 nbytes)
{
	switch (nbytes)
	{
		case 1:
			return CharGetDatum(*(const char *) stored);
		case 2:
			return Int16GetDatum(*(const int16 *) stored);
		case 4:
			return Int32GetDatum(*(const int32 *) stored);
		default:
			return Int64GetDatum(*(const int64 *) stored);
	}
}

/* Read a value at *bytes into memory of its own and step over it. */
static Datum
read_value(const char **bytes, const MdbColumn *column)
{
	uint32		nbytes = column->typlen;
	char	   *copy;

	if (column->typbyval)
	{
		int64		aligned[1] = {0};

		memcpy(aligned, *bytes, nbytes);
		*bytes += nbytes;
		return byval_datum(aligned, nbytes);
	}
	if (column->typlen < 0)
	{
		memcpy(&nbytes, *bytes, sizeof(nbytes));
		*bytes += sizeof(nbytes);
		copy = palloc(VARHDRSZ + nbytes);
		SET_VARSIZE(copy, VARHDRSZ + nbytes);
		memcpy(VARDATA(copy), *bytes, nbytes);
	}
	else
	{
		copy = palloc(nbytes);
		memcpy(copy, *bytes, nbytes);
	}
	*bytes += nbytes;
	return PointerGetDatum(copy);
}

/* Of the hash, so that no client can look for keys that collide. */
static uint64 hash_seed;

void
mdb_entry_set_seed(uint64 seed)
{
	hash_seed = seed;
}

static inline uint32
hash_one(const char *bytes, uint32 nbytes)
{
	return (uint32) hash_bytes_extended((const unsigned char *) bytes, nbytes,
										hash_seed);
}

static inline uint32
hash_value(const MdbColumn *column, Datum value)
{
	uint32		nbytes;
	const char *bytes;
	char		stored[sizeof(Datum)];

	if (column->typbyval)
	{
		store_att_byval(stored, value, column->typlen);
		return hash_one(stored, column->typlen);
	}
	bytes = value_bytes(column, &value, &nbytes);
	return hash_one(bytes, nbytes);
}

/*
 * The sizes and the hash of an entry.  Values of variable length are
 * replaced by ones that are neither compressed nor stored elsewhere nor
 * expanded.  Can ERROR.
 */
MdbEntryShape
mdb_entry_measure(const MdbDefinition *definition, uint16 batch,
				  MdbRef definition_ref, Datum *values, const bool *isnull)
{
	MdbEntryShape shape = {0};
	int			carried = mdb_definition_carried(definition);
	uint64		vallen;
	uint64		contents;

	shape.hash = hash_combine(batch, definition_ref);
	for (int i = 0; i < definition->nkeys; i++)
	{
		const MdbColumn *column = &definition->columns[i];

		if (column->typlen < 0)
			values[i] = PointerGetDatum(PG_DETOAST_DATUM_PACKED(values[i]));
		shape.keylen += value_size(column, values[i]);
		shape.hash = hash_combine(shape.hash, hash_value(column, values[i]));
	}

	vallen = (definition->ncolumns - carried + BITS_PER_BYTE - 1) / BITS_PER_BYTE;
	for (int i = carried; i < definition->ncolumns; i++)
	{
		const MdbColumn *column = &definition->columns[i];

		if (column->role != MDB_LAST)
			shape.nslots++;
		else if (!isnull[i])
		{
			if (column->typlen < 0)
				values[i] = PointerGetDatum(PG_DETOAST_DATUM_PACKED(values[i]));
			vallen += value_size(column, values[i]);
		}
	}
	contents = vallen + shape.keylen + shape.nslots * MDB_SLOT_SIZE;
	if (contents > MDB_MAX_CONTENTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("entry is too large"),
				 errdetail("It takes " UINT64_FORMAT " bytes, but at most %zu fit into a row.",
						   contents, MDB_MAX_CONTENTS)));
	shape.vallen = vallen;
	return shape;
}

/* Bytes of contents of an entry. */
uint32
mdb_entry_contents(const MdbEntryShape *shape)
{
	return shape->nslots * MDB_SLOT_SIZE + shape->keylen + shape->vallen;
}

static void
write_slots(MdbCursor *cursor, const MdbDefinition *definition,
			const Datum *values, const bool *isnull)
{
	for (int i = mdb_definition_carried(definition);
		 i < definition->ncolumns; i++)
	{
		const MdbColumn *column = &definition->columns[i];
		MdbSlot		slot;

		if (column->role == MDB_LAST)
			continue;
		slot = mdb_slot_make(column, values[i], isnull[i]);
		mdb_pool_write(cursor, &slot, sizeof(slot));
	}
}

/* The header of an entry that is nobody else's yet. */
static void
fill_head(MdbEntry *entry, const MdbEntryShape *shape, uint16 batch,
		  MdbRef definition_ref, int64 version)
{
	entry->definition = definition_ref;
	entry->hash = shape->hash;
	entry->keylen = shape->keylen;
	entry->vallen = shape->vallen;
	entry->batch = batch;
	entry->nslots = shape->nslots;
	entry->version = version;
	entry->state = MDB_STAGED;
	entry->hash_next = MDB_NO_REF;
	entry->order_prev = entry->order_next = MDB_NO_REF;
	entry->arrival = 0;
	entry->retry_at = 0;
	entry->deferrals = 0;
	entry->locked = false;
}

/*
 * Fill an allocated chain.  The entry is nobody else's until it is published.
 * Cannot ERROR.
 */
void
mdb_entry_fill(MdbRef ref, const MdbEntryShape *shape,
			   const MdbDefinition *definition, uint16 batch,
			   MdbRef definition_ref, const Datum *values, const bool *isnull)
{
	MdbEntry   *entry = mdb_entry(ref);
	MdbCursor	cursor = mdb_pool_start(ref);
	int			carried = mdb_definition_carried(definition);
	int			version = mdb_definition_version(definition);
	uint8		nulls = 0;

	fill_head(entry, shape, batch, definition_ref, version < 0 ? 0 :
			  mdb_slot_ordinal(definition->columns[version].type,
							   values[version]));

	write_slots(&cursor, definition, values, isnull);
	for (int i = 0; i < definition->nkeys; i++)
		write_value(&cursor, &definition->columns[i], values[i]);

	for (int i = carried; i < definition->ncolumns; i++)
	{
		if (isnull[i])
			nulls |= 1 << ((i - carried) % BITS_PER_BYTE);
		if ((i - carried) % BITS_PER_BYTE == BITS_PER_BYTE - 1 ||
			i == definition->ncolumns - 1)
		{
			mdb_pool_write(&cursor, &nulls, 1);
			nulls = 0;
		}
	}
	for (int i = carried; i < definition->ncolumns; i++)
	{
		if (definition->columns[i].role == MDB_LAST && !isnull[i])
			write_value(&cursor, &definition->columns[i], values[i]);
	}
}

/* The hash of a key, from its bytes. */
static uint32
hash_key(const char *bytes, const MdbDefinition *definition, uint16 batch,
		 MdbRef definition_ref)
{
	uint32		hash = hash_combine(batch, definition_ref);

	for (int i = 0; i < definition->nkeys; i++)
	{
		uint32		nbytes = definition->columns[i].typlen;

		if (definition->columns[i].typlen < 0)
		{
			memcpy(&nbytes, bytes, sizeof(nbytes));
			bytes += sizeof(nbytes);
		}
		hash = hash_combine(hash, hash_one(bytes, nbytes));
		bytes += nbytes;
	}
	return hash;
}

/*
 * An entry from its bytes; none if the batch may not have the memory.  It is
 * nobody else's until it is published.
 */
MdbRef
mdb_entry_rebuild(MdbAccount *account, const MdbEntryShape *shape,
				  int64 version, const char *contents,
				  const MdbDefinition *definition, uint16 batch,
				  MdbRef definition_ref)
{
	uint32		length = mdb_entry_contents(shape);
	MdbRef		ref = mdb_pool_alloc(account, length);
	MdbCursor	cursor;
	MdbEntryShape full = *shape;

	if (ref == MDB_NO_REF)
		return MDB_NO_REF;
	full.hash = hash_key(contents + shape->nslots * MDB_SLOT_SIZE, definition,
						 batch, definition_ref);
	fill_head(mdb_entry(ref), &full, batch, definition_ref, version);
	cursor = mdb_pool_start(ref);
	mdb_pool_write(&cursor, contents, length);
	return ref;
}

/* Where the values begin that are not in slots, and their null bits. */
static const char *
skip_slots(const char *contents, const MdbDefinition *definition)
{
	for (int i = mdb_definition_carried(definition);
		 i < definition->ncolumns; i++)
		if (definition->columns[i].role != MDB_LAST)
			contents += MDB_SLOT_SIZE;
	return contents;
}

/*
 * The column values of an entry from its contents, copied out of the pool.
 * They are palloc'd.  Wide: sums in their wide type.  Otherwise a sum that
 * does not fit its column is null, and the index of that column is returned;
 * -1 if all fit.
 */
int
mdb_entry_decode(const char *contents, int64 version,
				 const MdbDefinition *definition, bool wide,
				 Datum *values, bool *isnull)
{
	int			carried = mdb_definition_carried(definition);
	const char *slots = contents;
	const char *bytes = skip_slots(contents, definition);
	const uint8 *nulls;
	int			misfit = -1;

	for (int i = 0; i < definition->nkeys; i++)
	{
		values[i] = read_value(&bytes, &definition->columns[i]);
		isnull[i] = false;
	}
	if (definition->has_version)
	{
		int			i = mdb_definition_version(definition);

		values[i] = mdb_slot_from_ordinal(definition->columns[i].type, version);
		isnull[i] = false;
	}

	nulls = (const uint8 *) bytes;
	bytes += (definition->ncolumns - carried + BITS_PER_BYTE - 1) / BITS_PER_BYTE;
	for (int i = carried; i < definition->ncolumns; i++)
	{
		const MdbColumn *column = &definition->columns[i];
		MdbSlot		slot;

		values[i] = (Datum) 0;
		if (column->role == MDB_LAST)
		{
			int			bit = i - carried;

			isnull[i] = (nulls[bit / BITS_PER_BYTE] &
						 (1 << (bit % BITS_PER_BYTE))) != 0;
			if (!isnull[i])
				values[i] = read_value(&bytes, column);
			continue;
		}
		memcpy(&slot, slots, sizeof(slot));
		slots += sizeof(slot);
		isnull[i] = slot.is_null;
		if (slot.is_null)
			continue;
		if (wide)
			values[i] = mdb_slot_get_wide(&slot, column);
		else if (!mdb_slot_get(&slot, column, &values[i]))
		{
			isnull[i] = true;
			misfit = i;
		}
	}
	return misfit;
}

/*
 * Merge the slots of an entry that is about to go into those of the one that
 * stays; both are of the same key and definition.  Allocates nothing, cannot
 * fail.
 */
void
mdb_entry_merge(MdbRef survivor, MdbRef other)
{
	MdbCursor	into = mdb_pool_start(survivor);
	MdbCursor	from = mdb_pool_start(other);

	for (int i = 0; i < mdb_entry(survivor)->nslots; i++)
	{
		MdbCursor	at = into;
		MdbSlot		mine;
		MdbSlot		theirs;

		mdb_pool_read(&into, &mine, sizeof(mine));
		mdb_pool_read(&from, &theirs, sizeof(theirs));
		mdb_slot_merge(&mine, &theirs);
		mdb_pool_write(&at, &mine, sizeof(mine));
	}
}
