/*
 * report.c
 *		What a flush tells the books and the log about errors.
 *
 * Model: values never go to the log, and primary messages quote them: it gets
 * SQLSTATE, target and constraint (R18).  The books keep the text, for those
 * who may read it.
 *
 * Locking: none.
 *
 * Limits: texts are cut to what the books hold.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/timestamp.h"

#include "report.h"
#include "settings.h"

#define LOG_INTERVAL	(10 * USECS_PER_SEC)

/*
 * Copy a text, which may be NULL, cut to so many bytes, but not in the middle
 * of a character.
 */
void
mdb_report_copy(char *to, const char *from, int size)
{
	int			length = from == NULL ? 0 :
		pg_mbcliplen(from, strlen(from), size - 1);

	if (length > 0)
		memcpy(to, from, length);
	to[length] = '\0';
}

/* What an error says, as the books keep it. */
void
mdb_report_describe(MdbFailure *description, const ErrorData *error)
{
	char		text[2 * MDB_ERROR_LEN + 16];

	/* Either may be longer than anything that can be allocated. */
	snprintf(text, sizeof(text), "%.*s%s%.*s", MDB_ERROR_LEN, error->message,
			 error->detail != NULL ? "  DETAIL:  " : "", MDB_ERROR_LEN,
			 error->detail != NULL ? error->detail : "");

	description->sqlstate = error->sqlerrcode;
	mdb_report_copy(description->constraint, error->constraint_name,
					NAMEDATALEN);
	mdb_report_copy(description->message, text, MDB_ERROR_LEN);
}

/* A flush failed. */
void
mdb_report_failure(const MdbBatch *batch, const ErrorData *error)
{
	ereport(LOG,
			(errmsg("could not flush the batch of table %s: SQLSTATE %s",
					batch->target, unpack_sql_state(error->sqlerrcode)),
			 error->constraint_name != NULL ?
			 errdetail("Constraint \"%s\" refused an entry.",
					   error->constraint_name) : 0,
			 errhint("The entries stay pending; see \"last_error\" in mdbatch_stat.")));
}

/* A flush has committed that did not write all entries. */
void
mdb_report_refusals(const MdbBatch *batch, const MdbOutcome *outcome)
{
	if (outcome->nstepped > 0)
		ereport(LOG,
				(errmsg("stepped over %d entries of table %s: SQLSTATE %s",
						outcome->nstepped, batch->target,
						unpack_sql_state(outcome->step.sqlstate)),
				 errhint("They stay pending, each with a retry of its own.")));
	if (outcome->nrejected > 0)
		ereport(LOG,
				(errmsg_plural("table %s refused %d entry for good",
							   "table %s refused %d entries for good",
							   outcome->nrejected,
							   batch->target, outcome->nrejected),
				 outcome->constraint[0] != '\0' ?
				 errdetail("The last one was refused with SQLSTATE %s, by constraint \"%s\".",
						   unpack_sql_state(outcome->last_rejected),
						   outcome->constraint) :
				 errdetail("The last one was refused with SQLSTATE %s.",
						   unpack_sql_state(outcome->last_rejected)),
				 errhint("See the table mdbatch_rejected.")));
	if (outcome->forgotten > 0)
		ereport(LOG,
				(errmsg_plural("gave up " INT64_FORMAT " rejected entry of table %s",
							   "gave up " INT64_FORMAT " rejected entries of table %s",
							   (unsigned long) outcome->forgotten,
							   outcome->forgotten, batch->target),
				 errdetail("The table mdbatch_rejected keeps at most %d entries of a table, the newest.",
						   mdb_max_rejected),
				 errhint("Increase \"mdbatch.max_rejected\", or retry or delete rows in time.")));
}

/* Values were left out of notifications; tells so at most once every 10 s. */
void
mdb_report_too_long(const MdbBatch *batch, int ntoo_long)
{
	static TimestampTz logged = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (ntoo_long == 0 || now - logged < LOG_INTERVAL)
		return;
	logged = now;
	ereport(LOG,
			(errmsg_plural("left %d value out of the notifications of table %s",
						   "left %d values out of the notifications of table %s",
						   ntoo_long, ntoo_long,
						   batch->target),
			 errdetail("A value is too long for a payload.")));
}
