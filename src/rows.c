/*
 * rows.c
 *		Entries of a call, as values, before they are enqueued.
 *
 * Model: making values can run code of types, domains and casts, which may
 * do anything, so all values of a call are made before the first is enqueued;
 * if the target was altered meanwhile, they are made again.  A key must not be
 * null; a missing version is the time of the call, where it is a timestamp.
 *
 * Locking: none.
 *
 * Limits: all values of a call are in memory at once.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "enqueue.h"
#include "rows.h"

/*
 * Begin with no entry; ERROR if the caller may not add to the target, or has
 * named it and may not do that.
 */
MdbRows *
mdb_rows_begin(Oid relid, bool named, int expected)
{
	MdbTarget  *target = mdb_target_resolve(relid);
	MdbRows    *rows = palloc0(sizeof(MdbRows));
	Size		n;

	if (named)
		mdb_target_check_named(target);
	mdb_target_check_add(target);
	rows->target = target;
	rows->relid = relid;
	rows->resolved = target->resolved;

	/* These stay in this transaction, whatever becomes of the target. */
	rows->row = target->input;
	rows->columns = target->row;
	rows->definition = target->definition;
	rows->attributes = target->attributes;
	rows->changes = mdb_target_changes();
	rows->nkeys = target->definition->nkeys;
	rows->version = mdb_definition_version(target->definition);
	rows->allocated = Max(expected, 1);
	n = (Size) rows->allocated * rows->row->natts;
	rows->values = MemoryContextAllocHuge(CurrentMemoryContext,
										  n * sizeof(Datum));
	rows->isnull = MemoryContextAllocHuge(CurrentMemoryContext,
										  n * sizeof(bool));
	return rows;
}

/* The time of the call, as the version column has it. */
static Datum
default_version(const MdbRows *rows)
{
	Form_pg_attribute att = TupleDescAttr(rows->row, rows->version);
	Datum		typmod = Int32GetDatum(att->atttypmod);
	Datum		value = TimestampTzGetDatum(GetCurrentTimestamp());

	if (att->atttypid == TIMESTAMPTZOID)
		return att->atttypmod < 0 ? value :
			DirectFunctionCall2(timestamptz_scale, value, typmod);
	if (att->atttypid != TIMESTAMPOID)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("version column \"%s\" must not be null",
						NameStr(att->attname)),
				 errdetail("Only a timestamp defaults to the time of the call.")));
	value = DirectFunctionCall1(timestamptz_timestamp, value);
	return att->atttypmod < 0 ? value :
		DirectFunctionCall2(timestamp_scale, value, typmod);
}

/* Now that keys and version are there, do their domains take them? */
static void
check_domains(const MdbRows *rows, const Datum *values)
{
	for (int i = 0; i < rows->nkeys + (rows->version >= 0 ? 1 : 0); i++)
	{
		Oid			type = TupleDescAttr(rows->columns, i)->atttypid;

		if (type != TupleDescAttr(rows->row, i)->atttypid)
			domain_check(values[i], false, type, NULL, NULL);
	}
}

/*
 * Add an entry; the values must live as long as the call.  Code that ran
 * meanwhile may have altered the target: nothing of that is looked at here.
 */
void
mdb_rows_push(MdbRows *rows, const Datum *values, const bool *isnull)
{
	int			n = rows->row->natts;
	Datum	   *to;

	if (rows->count == rows->allocated)
	{
		rows->allocated *= 2;
		rows->values = repalloc_huge(rows->values, (Size) rows->allocated * n *
									 sizeof(Datum));
		rows->isnull = repalloc_huge(rows->isnull, (Size) rows->allocated * n *
									 sizeof(bool));
	}
	for (int i = 0; i < rows->nkeys; i++)
		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("key column \"%s\" must not be null",
							NameStr(TupleDescAttr(rows->row, i)->attname))));
	to = rows->values + (Size) rows->count * n;
	memcpy(to, values, n * sizeof(Datum));
	memcpy(rows->isnull + (Size) rows->count * n, isnull, n * sizeof(bool));
	if (rows->version >= 0 && isnull[rows->version])
	{
		to[rows->version] = default_version(rows);
		rows->isnull[(Size) rows->count * n + rows->version] = false;
	}
	rows->count++;
	check_domains(rows, to);
}

/*
 * Have the row types of a definition stayed the same all the time, while
 * values were made?  They are looked up then, so it does not suffice that they
 * are described as before.  Each change makes other rows in the catalogs,
 * unless this transaction takes it back.
 */
static bool
row_types_are_current(const MdbRows *rows, const MdbTarget *target)
{
	return rows->definition->nrow_types == 0 ||
		(rows->changes == mdb_target_changes() &&
		 memcmp(rows->attributes, target->attributes,
				mdb_definition_nattributes(rows->definition) *
				sizeof(MdbAltered)) == 0);
}

/* Is the target still the one that the values were made for? */
bool
mdb_rows_are_current(const MdbRows *rows)
{
	const MdbTarget *target = mdb_target_resolve(rows->relid);
	Size		size = mdb_definition_size(rows->definition);

	return target->resolved == rows->resolved ||
		(mdb_definition_size(target->definition) == size &&
		 memcmp(target->definition, rows->definition, size) == 0 &&
		 equalTupleDescs(target->row, rows->columns) &&
		 row_types_are_current(rows, target));
}

/* The values of the next entry (MdbNext). */
static void
next_entry(void *state, int number, Datum *values, bool *isnull)
{
	const MdbRows *rows = state;
	int			n = rows->row->natts;

	memcpy(values, rows->values + (Size) number * n, n * sizeof(Datum));
	memcpy(isnull, rows->isnull + (Size) number * n, n * sizeof(bool));
}

/* Enqueue them all, and return how many were accepted. */
int
mdb_rows_enqueue(MdbRows *rows, int on_full)
{
	return mdb_enqueue(rows->target, on_full, rows->count, next_entry, rows);
}
