/*
 * pin.c
 *		The settings that the processes of mdbatch decide about themselves.
 *
 * Model: no setting of a database, a role, a file or of a target's code may
 * change how a worker fails or lives (R18).  There are three tables.
 *
 * "locked" are the settings that can end the process, turn an ERROR into a
 * FATAL, or write values to the log.  A value that is set when the process
 * starts is not enough for these: they are PGC_USERSET, so a trigger could
 * set them inside a flush.  So they get the flag of "role",
 * GUC_NOT_WHILE_SEC_REST, too: all code of a target runs in a
 * security-restricted operation, where a SET of such a setting fails with
 * 42501, which is an ordinary failure of that flush.  To make them
 * PGC_INTERNAL would do the same, but a reload would then find errors in a
 * file that sets one of them, and parallel workers expect that leader and
 * worker agree about the context of a setting.
 *
 * "session" are settings that SQL may change, until the end of its flush.
 *
 * Both are set before the worker connects, so that the settings of its
 * database do not hold even while it connects: transaction_timeout = 1ms would
 * end it there.  They have the source PGC_S_OVERRIDE, which a database, a role
 * and a file do not replace, a reload included.
 *
 * "code" are the settings that code of a target sees, in a worker or not, see
 * as_owner.c.
 *
 * t/settings.tsv has all settings of all supported servers, with what a worker
 * does about each; t/045_settings.pl compares.
 *
 * Locking: none.
 *
 * Limits: settings of other extensions are not known here.  A superuser's code
 * can set anything else while its own flush runs.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "compat.h"
#include "pin.h"

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

static const Setting locked[] = {
	{"exit_on_error", "off"},
	{"transaction_timeout", "0"},	/* 17 on */

	/* Plans have constants in them, which can be values of an entry. */
	{"debug_print_parse", "off"},
	{"debug_print_plan", "off"},
	{"debug_print_raw_parse", "off"},	/* 19 on */
	{"debug_print_rewritten", "off"}
};

static const Setting session[] = {
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"session_replication_role", "origin"},
	{"statement_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"idle_session_timeout", "0"},
	{"restrict_nonsystem_relation_kind", ""},
	{"search_path", "pg_catalog, pg_temp"},
	{"quote_all_identifiers", "off"}
};

static const Setting code[] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"DateStyle", "ISO, YMD"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"row_security", "on"},
	{"quote_all_identifiers", "off"}
};

/* A setting of this process; NULL if the server does not have it. */
static struct config_generic *
find_setting(const char *name)
{
	int			count;
	struct config_generic **settings = mdb_guc_variables(&count);

	for (int i = 0; i < count; i++)
		if (pg_strcasecmp(settings[i]->name, name) == 0)
			return settings[i];
	return NULL;
}

static void
pin_setting(const char *name, const char *value)
{
	if (find_setting(name) != NULL)
		SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/* Override what files say; to be called first in the launcher and a worker. */
void
mdb_pin_process(void)
{
	for (int i = 0; i < (int) lengthof(locked); i++)
	{
		struct config_generic *setting = find_setting(locked[i].name);

		if (setting == NULL)
			continue;
		pin_setting(locked[i].name, locked[i].value);
		setting->flags |= GUC_NOT_WHILE_SEC_REST;
	}
	for (int i = 0; i < (int) lengthof(session); i++)
		pin_setting(session[i].name, session[i].value);
	pin_setting("application_name", MyBgworkerEntry->bgw_type);
}

/*
 * Connect to a database as the bootstrap superuser.  A database can have
 * settings that give each of its sessions another role ("role",
 * "session_authorization").  These two cannot be set while the worker
 * connects; the server warns of such a setting and goes on.
 */
void
mdb_pin_connect(Oid dboid)
{
	struct config_generic *role = find_setting("role");
	struct config_generic *authorization = find_setting("session_authorization");
	GucContext	role_context = role->context;
	GucContext	authorization_context = authorization->context;

	role->context = authorization->context = PGC_INTERNAL;
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid,
											  BGWORKER_BYPASS_ALLOWCONN);
	role->context = role_context;
	authorization->context = authorization_context;
}

/* What a target's code sees, to the end of the nest level of settings. */
void
mdb_pin_code(void)
{
	for (int i = 0; i < (int) lengthof(code); i++)
		(void) set_config_option(code[i].name, code[i].value, PGC_SUSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
}
