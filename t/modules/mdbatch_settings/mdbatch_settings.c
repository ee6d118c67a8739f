/*
 * mdbatch_settings.c
 *		Tells all settings of this server, those that pg_settings hides too.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc_tables.h"

#include "compat.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(all_settings);

/* A line for each setting: its name and the context that may set it. */
Datum
all_settings(PG_FUNCTION_ARGS)
{
	int			count;
	struct config_generic **settings = mdb_guc_variables(&count);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < count; i++)
		appendStringInfo(&text, "%s\t%s\n", settings[i]->name,
						 GucContext_Names[settings[i]->context]);
	PG_RETURN_TEXT_P(cstring_to_text(text.data));
}
