/*
 * plan.c
 *		How entries of a definition are written to the table of today.
 *
 * Model: entries may have waited while their table was altered (R23).  Columns
 * are looked up by number, so renames do not matter; dropped ones are left
 * out, but for the key; retyped ones must take the entries' values by an
 * assignment.  If that cannot be, no entry of the definition can be written,
 * and the plan says why.
 *
 * Locking: the caller has the target locked.
 *
 * Limits: a unique index that is gone is noticed by the statement.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "name.h"
#include "plan.h"
#include "shape.h"
#include "slot.h"

/*
 * The quoted name of a column, its type and collation; NULL if it was dropped.
 */
static const char *
column_name(Oid relid, AttrNumber attnum, Oid *type, Oid *collation)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid),
										Int16GetDatum(attnum));
	Form_pg_attribute att;
	const char *name = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	att = (Form_pg_attribute) GETSTRUCT(tuple);
	if (!att->attisdropped)
	{
		name = quote_identifier(pstrdup(NameStr(att->attname)));
		*type = getBaseType(att->atttypid);
		*collation = att->attcollation;
	}
	ReleaseSysCache(tuple);
	return name;
}

static void
refuse(MdbPlan *plan, int sqlstate, const char *message)
{
	plan->sqlstate = sqlstate;
	plan->message = message;
}

/* Are values of the entries still values of the column's type? */
bool
mdb_plan_is_same_type(const MdbDefinition *definition, int i, Oid type)
{
	return definition->columns[i].type == type &&
		mdb_shape_fits(definition, i, false);
}

/* Can values of the entries still be assigned, and merged, to the column? */
static bool
is_assignable(const MdbDefinition *definition, int i, Oid type)
{
	const MdbColumn *column = &definition->columns[i];

	if (column->type == type || column->has_rows)
		return mdb_plan_is_same_type(definition, i, type);
	if (column->role > MDB_LAST && !mdb_slot_can_merge(column->role, type))
		return false;
	return SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(column->type)) &&
		can_coerce_type(1, &column->type, &type, COERCION_ASSIGNMENT);
}

/*
 * A column cannot take the entries' values.  Can they be shown, at least?  A
 * row type that the column has no more can be altered at any time, so it is
 * locked.
 */
static void
refuse_column(MdbPlan *plan, int i)
{
	refuse(plan, ERRCODE_DATATYPE_MISMATCH,
		   psprintf("column \"%s\" has another type than in the entry, whose value cannot be assigned",
					get_attname(plan->definition->relid,
								plan->definition->columns[i].attnum, false)));
	if (!mdb_shape_fits(plan->definition, i, true))
		plan->columns[i].unreadable = true;
}

static void
plan_column(MdbPlan *plan, int i)
{
	const MdbColumn *column = &plan->definition->columns[i];
	MdbPlanColumn *planned = &plan->columns[i];

	planned->name = column_name(plan->definition->relid, column->attnum,
								&planned->type, &planned->collation);
	if (planned->name == NULL)
	{
		if (column->role == MDB_KEY)
		{
			plan->has_key = false;
			refuse(plan, ERRCODE_UNDEFINED_COLUMN,
				   "a key column of the entry was dropped");
		}
		return;
	}
	if (!is_assignable(plan->definition, i, planned->type))
		refuse_column(plan, i);
	if (column->role == MDB_VERSION)
		plan->has_version = true;
	else if (column->role > MDB_LAST)
		plan->has_merge = true;
}

/* The plan for entries of a definition; palloc'd. */
MdbPlan *
mdb_plan_make(const MdbDefinition *definition)
{
	MdbPlan    *plan = palloc0(offsetof(MdbPlan, columns) +
							   definition->ncolumns * sizeof(MdbPlanColumn));
	Oid			relid = definition->relid;
	Oid			type;
	Oid			collation;

	plan->definition = definition;
	plan->has_key = true;
	plan->target = mdb_name_of_table(relid);
	if (definition->notify != InvalidAttrNumber)
		plan->notify = column_name(relid, definition->notify, &type, &collation);
	for (int i = 0; i < definition->ncolumns; i++)
		plan_column(plan, i);
	return plan;
}
