/*
 * statement.c
 *		The text of the statements that write a batch.
 *
 * Model: made from the definition and the names that the catalogs have now.
 * The rows come from mdbatch_flushing(), never from the text.  Every name is
 * qualified and quoted.  Columns are declared with their base types, so that
 * the assignment to the target checks lengths and domains.
 *
 *	upsert:	INSERT INTO s.t AS t (k, ver, c) SELECT s.k, s.ver, s.c
 *			FROM x.mdbatch_flushing() AS s (...) ORDER BY s.k
 *			ON CONFLICT (k) DO UPDATE SET ver = excluded.ver, c = excluded.c
 *			WHERE (t.ver <= excluded.ver) IS NOT FALSE RETURNING t.n
 *	update:	UPDATE s.t AS t SET ver = s.ver, c = s.c
 *			FROM (SELECT s.* FROM x.mdbatch_flushing() AS s (...) ORDER BY s.k) s
 *			WHERE t.k = s.k AND (t.ver <= s.ver) IS NOT FALSE RETURNING t.n
 *
 * A stale entry still counts where columns merge (R21): then the guard against
 * newer rows (R2) moves from the WHERE into the SET of the other columns.
 *
 * Locking: the caller has the target locked.
 *
 * Limits: none of its own; plan.c says what cannot be written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "extension.h"
#include "slot.h"
#include "statement.h"

static const char *
type_name(Oid type)
{
	/* Without a typmod "char" and "bit" would be of length 1. */
	return format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY |
								FORMAT_TYPE_TYPEMOD_GIVEN);
}

/* COLLATE, if the type has collations; palloc'd. */
static const char *
collate(Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	const char *clause;

	if (!HeapTupleIsValid(tuple))
		return "";
	form = (Form_pg_collation) GETSTRUCT(tuple);
	clause = psprintf(" COLLATE %s",
					  quote_qualified_identifier(get_namespace_name(form->collnamespace),
												 NameStr(form->collname)));
	ReleaseSysCache(tuple);
	return clause;
}

/* The columns that are there, from first to last - 1, separated by commas. */
static void
append_columns(StringInfo text, const MdbPlan *plan, int first, int last,
			   const char *prefix)
{
	const char *separator = "";

	for (int i = first; i < last; i++)
	{
		if (plan->columns[i].name == NULL)
			continue;
		appendStringInfo(text, "%s%s%s", separator, prefix,
						 plan->columns[i].name);
		separator = ", ";
	}
}

/* The entries, with the columns' base types, or wide ones. */
static void
append_function(StringInfo text, const MdbPlan *plan, bool wide)
{
	Oid			schema = mdb_extension_schema(false);
	const char *separator = "";

	if (!OidIsValid(mdb_extension_function("mdbatch_flushing", 0, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s of extension \"%s\" does not exist",
						"mdbatch_flushing()", "mdbatch")));
	appendStringInfo(text, "%s() AS (",
					 quote_qualified_identifier(get_namespace_name(schema),
												"mdbatch_flushing"));
	for (int i = 0; i < plan->definition->ncolumns; i++)
	{
		const MdbColumn *column = &plan->definition->columns[i];

		if (plan->columns[i].name == NULL)
			continue;
		appendStringInfo(text, "%s%s %s", separator, plan->columns[i].name,
						 type_name(wide ? mdb_slot_wide_type(column) :
								   column->type));
		separator = ", ";
	}
	appendStringInfoChar(text, ')');
}

/* FROM: the entries as s. */
static void
append_source(StringInfo text, const MdbPlan *plan, bool wide)
{
	appendStringInfoString(text, " FROM ROWS FROM (");
	append_function(text, plan, wide);
	appendStringInfoString(text, ") AS s");
}

static void
append_order(StringInfo text, const MdbPlan *plan)
{
	for (int i = 0; i < plan->definition->nkeys; i++)
		appendStringInfo(text, "%ss.%s%s", i > 0 ? ", " : " ORDER BY ",
						 plan->columns[i].name,
						 plan->definition->columns[i].collation != InvalidOid ?
						 " COLLATE pg_catalog.\"C\"" : "");
}

/*
 * The new value of a column, palloc'd.  "excluded" has the types of the table
 * already; an entry's own value is cast if the column was retyped.
 */
static char *
new_value(const MdbPlan *plan, int i, const char *source)
{
	const MdbPlanColumn *planned = &plan->columns[i];

	if (strcmp(source, "s") == 0 &&
		plan->definition->columns[i].type != planned->type)
		return psprintf("CAST(s.%s AS %s)", planned->name,
						type_name(planned->type));
	return psprintf("%s.%s", source, planned->name);
}

/* Is the row not newer?  A stored NULL is older than any (R2). */
static char *
guard(const MdbPlan *plan, const char *source)
{
	int			version = mdb_definition_version(plan->definition);

	return psprintf("(t.%s OPERATOR(pg_catalog.<=) %s) IS NOT FALSE",
					plan->columns[version].name,
					new_value(plan, version, source));
}

/* What a column is set to. */
static void
append_assignment(StringInfo text, const MdbPlan *plan, int i,
				  const char *source)
{
	const char *name = plan->columns[i].name;
	char	   *value = new_value(plan, i, source);

	appendStringInfo(text, "%s = ", name);
	switch (plan->definition->columns[i].role)
	{
		case MDB_SUM:
			appendStringInfo(text, "COALESCE(t.%s OPERATOR(pg_catalog.+) %s, t.%s, %s)",
							 name, value, name, value);
			break;
		case MDB_MIN:
			appendStringInfo(text, "LEAST(t.%s, %s)", name, value);
			break;
		case MDB_MAX:
			appendStringInfo(text, "GREATEST(t.%s, %s)", name, value);
			break;
		default:
			if (plan->has_merge && plan->has_version)
				appendStringInfo(text, "CASE WHEN %s THEN %s ELSE t.%s END",
								 guard(plan, source), value, name);
			else
				appendStringInfoString(text, value);
	}
}

/*
 * SET: everything but the key.  Nothing if there is nothing else, which mode
 * update does not know: then the key, which stays what it is.
 */
static bool
append_set(StringInfo text, const MdbPlan *plan, const char *source)
{
	const char *separator = " SET ";

	for (int i = plan->definition->nkeys; i < plan->definition->ncolumns; i++)
	{
		if (plan->columns[i].name == NULL)
			continue;
		appendStringInfoString(text, separator);
		append_assignment(text, plan, i, source);
		separator = ", ";
	}
	return separator[0] == ',';
}

static void
append_guard(StringInfo text, const MdbPlan *plan, const char *keyword,
			 const char *source)
{
	if (plan->has_version && !plan->has_merge)
		appendStringInfo(text, " %s %s", keyword, guard(plan, source));
}

/* The key, so that no other unique index of those columns is meant. */
static void
append_key(StringInfo text, const MdbPlan *plan)
{
	for (int i = 0; i < plan->definition->nkeys; i++)
		appendStringInfo(text, "%s%s%s", i > 0 ? ", " : "",
						 plan->columns[i].name,
						 collate(plan->columns[i].collation));
}

static void
append_upsert(StringInfo text, const MdbPlan *plan)
{
	int			n = plan->definition->ncolumns;
	StringInfoData set;

	appendStringInfo(text, "INSERT INTO %s AS t (", plan->target);
	append_columns(text, plan, 0, n, "");
	appendStringInfoString(text, ") SELECT ");
	append_columns(text, plan, 0, n, "s.");
	append_source(text, plan, false);
	append_order(text, plan);
	appendStringInfoString(text, " ON CONFLICT (");
	append_key(text, plan);
	appendStringInfoString(text, ") DO ");
	initStringInfo(&set);
	if (!append_set(&set, plan, "excluded"))
	{
		appendStringInfoString(text, "NOTHING");
		return;
	}
	appendStringInfo(text, "UPDATE%s", set.data);
	append_guard(text, plan, "WHERE", "excluded");
}

/*
 * The stored value of a key column, as a value of its base type.  An operator
 * for a domain itself, which any role can make, would fit better than that of
 * the base type, which is meant.
 */
static char *
stored_key(const MdbPlan *plan, int i)
{
	return psprintf("CAST(t.%s AS %s)", plan->columns[i].name,
					type_name(plan->columns[i].type));
}

/* The name of the operator that a key's index calls equal. */
static const char *
equality(Oid type)
{
	Oid			operator = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	const char *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

static void
append_update(StringInfo text, const MdbPlan *plan)
{
	appendStringInfo(text, "UPDATE %s AS t", plan->target);
	if (!append_set(text, plan, "s"))
		appendStringInfo(text, " SET %s = t.%s", plan->columns[0].name,
						 plan->columns[0].name);
	appendStringInfoString(text, " FROM (SELECT s.*");
	append_source(text, plan, false);
	append_order(text, plan);
	appendStringInfoString(text, ") AS s WHERE ");
	for (int i = 0; i < plan->definition->nkeys; i++)
		appendStringInfo(text, "%s%s %s %s%s", i > 0 ? " AND " : "",
						 stored_key(plan, i),
						 equality(plan->columns[i].type),
						 new_value(plan, i, "s"),
						 collate(plan->columns[i].collation));
	append_guard(text, plan, "AND", "s");
}

/*
 * The statement that writes entries and returns the notify column of each row
 * written, if there is one; palloc'd.
 */
char *
mdb_statement_write(const MdbPlan *plan)
{
	StringInfoData text;

	initStringInfo(&text);
	if (plan->definition->mode == MDB_UPSERT)
		append_upsert(&text, plan);
	else
		append_update(&text, plan);
	if (plan->notify != NULL)
		appendStringInfo(&text, " RETURNING t.%s", plan->notify);
	return text.data;
}

/*
 * The query that finds the rows of entries, as numbers of entries from 1 on;
 * or, locking, those that nobody else has locked.  palloc'd.
 */
char *
mdb_statement_find(const MdbPlan *plan, bool lock)
{
	int			n = plan->definition->ncolumns;
	StringInfoData text;
	const char *separator = "";

	initStringInfo(&text);
	appendStringInfoString(&text, "SELECT s.n FROM ROWS FROM (");
	append_function(&text, plan, true);
	appendStringInfoString(&text, ") WITH ORDINALITY AS s(");
	for (int i = 0; i < n; i++)
	{
		if (plan->columns[i].name == NULL)
			continue;
		appendStringInfo(&text, "%sc%d", separator, i);
		separator = ", ";
	}
	appendStringInfo(&text, ", n) JOIN %s AS t ON ", plan->target);
	for (int i = 0; i < plan->definition->nkeys; i++)
		appendStringInfo(&text, "%s%s %s CAST(s.c%d AS %s)%s",
						 i > 0 ? " AND " : "", stored_key(plan, i),
						 equality(plan->columns[i].type), i,
						 type_name(plan->columns[i].type),
						 collate(plan->columns[i].collation));
	if (lock)
		appendStringInfoString(&text, " FOR NO KEY UPDATE OF t SKIP LOCKED");
	return text.data;
}
