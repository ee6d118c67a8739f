/*
 * statement.c
 *		The text of the statement that writes a batch.
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
 *			FROM (SELECT * FROM x.mdbatch_flushing() AS s (...) ORDER BY s.k) s
 *			WHERE t.k = s.k AND (t.ver <= s.ver) IS NOT FALSE RETURNING t.n
 *
 * Locking: the caller has the target locked.
 *
 * Limits: a column that was dropped meanwhile is an ERROR.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "extension.h"
#include "statement.h"

static const char *
qualified_target(const MdbDefinition *definition)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(definition->relid)),
									  get_rel_name(definition->relid));
}

/* The name of a column, quoted. */
static const char *
column_name(const MdbDefinition *definition, int i)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM,
										ObjectIdGetDatum(definition->relid),
										Int16GetDatum(definition->columns[i].attnum));
	Form_pg_attribute att = HeapTupleIsValid(tuple) ?
		(Form_pg_attribute) GETSTRUCT(tuple) : NULL;
	const char *name;

	if (att == NULL || att->attisdropped)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("a column of the entries of table %s was dropped",
						qualified_target(definition))));
	name = quote_identifier(pstrdup(NameStr(att->attname)));
	ReleaseSysCache(tuple);
	return name;
}

static void
append_collation(StringInfo text, Oid collation)
{
	HeapTuple	tuple;
	Form_pg_collation form;

	if (!OidIsValid(collation) || collation == DEFAULT_COLLATION_OID)
		return;
	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	appendStringInfo(text, " COLLATE %s",
					 quote_qualified_identifier(get_namespace_name(form->collnamespace),
												NameStr(form->collname)));
	ReleaseSysCache(tuple);
}

/* Columns from first to last - 1, separated by commas. */
static void
append_columns(StringInfo text, const MdbDefinition *definition,
			   int first, int last, const char *prefix)
{
	for (int i = first; i < last; i++)
		appendStringInfo(text, "%s%s%s", i > first ? ", " : "", prefix,
						 column_name(definition, i));
}

/* FROM: the entries as s, with the columns' base types. */
static void
append_source(StringInfo text, const MdbDefinition *definition)
{
	Oid			schema = mdb_extension_schema(false);

	appendStringInfo(text, " FROM %s() AS s (",
					 quote_qualified_identifier(get_namespace_name(schema),
												"mdbatch_flushing"));
	for (int i = 0; i < definition->ncolumns; i++)
	{
		const MdbColumn *column = &definition->columns[i];

		appendStringInfo(text, "%s%s %s", i > 0 ? ", " : "",
						 column_name(definition, i),
						 format_type_extended(column->type, -1,
											  FORMAT_TYPE_FORCE_QUALIFY));
		append_collation(text, column->collation);
	}
	appendStringInfoString(text, ") ORDER BY ");
	append_columns(text, definition, 0, definition->nkeys, "s.");
}

/* SET: everything but the key. */
static void
append_set(StringInfo text, const MdbDefinition *definition,
		   const char *source)
{
	for (int i = definition->nkeys; i < definition->ncolumns; i++)
		appendStringInfo(text, "%s%s = %s%s",
						 i > definition->nkeys ? ", " : " SET ",
						 column_name(definition, i), source,
						 column_name(definition, i));
}

/* Not over a newer row; a stored NULL is older than any (R2). */
static void
append_guard(StringInfo text, const MdbDefinition *definition,
			 const char *keyword, const char *source)
{
	const char *version;

	if (!definition->has_version)
		return;
	version = column_name(definition, mdb_definition_version(definition));
	appendStringInfo(text,
					 " %s (t.%s OPERATOR(pg_catalog.<=) %s%s) IS NOT FALSE",
					 keyword, version, source, version);
}

static void
append_upsert(StringInfo text, const MdbDefinition *definition)
{
	appendStringInfo(text, "INSERT INTO %s AS t (",
					 qualified_target(definition));
	append_columns(text, definition, 0, definition->ncolumns, "");
	appendStringInfoString(text, ") SELECT ");
	append_columns(text, definition, 0, definition->ncolumns, "s.");
	append_source(text, definition);
	appendStringInfoString(text, " ON CONFLICT (");
	append_columns(text, definition, 0, definition->nkeys, "");
	appendStringInfoString(text, ") DO ");
	if (definition->ncolumns == definition->nkeys)
	{
		appendStringInfoString(text, "NOTHING");
		return;
	}
	appendStringInfoString(text, "UPDATE");
	append_set(text, definition, "excluded.");
	append_guard(text, definition, "WHERE", "excluded.");
}

static void
append_update(StringInfo text, const MdbDefinition *definition)
{
	appendStringInfo(text, "UPDATE %s AS t", qualified_target(definition));
	append_set(text, definition, "s.");
	appendStringInfoString(text, " FROM (SELECT s.*");
	append_source(text, definition);
	appendStringInfoString(text, ") AS s WHERE ");
	for (int i = 0; i < definition->nkeys; i++)
		appendStringInfo(text, "%st.%s OPERATOR(pg_catalog.=) s.%s",
						 i > 0 ? " AND " : "", column_name(definition, i),
						 column_name(definition, i));
	append_guard(text, definition, "AND", "s.");
}

/*
 * The statement that writes entries of a definition and returns the notify
 * column of each row written, if there is one; palloc'd.
 */
char *
mdb_statement_make(const MdbDefinition *definition)
{
	StringInfoData text;

	initStringInfo(&text);
	if (definition->mode == MDB_UPSERT)
		append_upsert(&text, definition);
	else
		append_update(&text, definition);
	if (definition->notify >= 0)
		appendStringInfo(&text, " RETURNING t.%s",
						 column_name(definition, definition->notify));
	return text.data;
}
