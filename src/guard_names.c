/*
 * guard_names.c
 *		Names of our functions in our schema are ours.
 *
 * Purpose: a second function of such a name makes calls ambiguous, those of
 * clients that send untyped parameters and those of the worker.  So a role that
 * can create objects in our schema could stop all adds and flushes.
 *
 * Locking: none of its own.
 *
 * Limits: superusers can do it (guard.c).
 */
#include "postgres.h"

#include "utils/lsyscache.h"

#include "extension.h"
#include "guard_names.h"

/*
 * ERROR if a function that is made or renamed is one that calls of ours could
 * mean, too: one that has our names, in our schema.
 */
void
mdb_guard_check_function(Form_pg_proc form)
{
	if (strncmp(NameStr(form->proname), "mdbatch_", 8) == 0 &&
		form->pronamespace == mdb_extension_schema(true))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("functions of schema \"%s\" whose names begin with \"mdbatch_\" belong to extension \"mdbatch\"",
						get_namespace_name(form->pronamespace)),
				 errhint("Choose another name or schema: calls would be ambiguous.")));
}
