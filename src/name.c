/*
 * name.c
 *		The name of a table, as it is stored and compared.
 *
 * Model: qualified, and quoted where it must be.  Sessions with
 * quote_all_identifiers would quote it always, and so not find what others
 * have stored under it.
 *
 * Locking: none.
 *
 * Limits: the name is that of now.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "name.h"

/* The name of a table that exists; palloc'd. */
char *
mdb_name_of_table(Oid relid)
{
	const char *schema = get_namespace_name(get_rel_namespace(relid));
	const char *table = get_rel_name(relid);
	bool		quote_all = quote_all_identifiers;
	char	   *name;

	if (schema == NULL || table == NULL)
		elog(ERROR, "cache lookup failed for relation %u", relid);
	quote_all_identifiers = false;
	PG_TRY();
	{
		name = quote_qualified_identifier(schema, table);
	}
	PG_FINALLY();
	{
		quote_all_identifiers = quote_all;
	}
	PG_END_TRY();
	return name;
}
