/*
 * label.c
 *		A label: what it says, and how.
 *
 * Model: a label is a JSON object.  A table's says how its entries are
 * written and counts the columns that must have labels of their own; a
 * column's says what the column is in an entry: a key and which one, the
 * version, or carried, at which position and how it merges; and whether its
 * values are announced.  A table's label also holds the identity of the
 * attachment, a random uuid: rejected entries belong to it, not to the name of
 * the table.  It outlives the attachment, so the label of a table that was
 * detached holds the identity alone.
 *
 *	table:	{"mode": "upsert", "key": 1, "columns": 2, "since": 0,
 *			 "version": true, "channel": "c", "metadata": true,
 *			 "batch_size": 100, "flush_interval": 60000000,
 *			 "identity": "0b0b7c1e-7d34-4a2a-9c1d-3f4b9a5e6d70"}
 *	column: {"key": 1}, {"version": true}, {"column": 1, "merge": "sum"},
 *			{"notify": true}, alone or with one of the others
 *
 * Locking: none.
 *
 * Limits: what a label says is not compared with its table here.  A label has
 * no field but these, none twice, and is not longer than it must be: each
 * session reads labels of other roles.  No content of a label raises an ERROR
 * here: the caller decides.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "fields.h"
#include "label.h"

PG_FUNCTION_INFO_V1(mdbatch_is_label);

#define UUID_TEXT_LEN	36

static const char *const mode_names[] = {
	[MDB_UPSERT] = "upsert",
	[MDB_UPDATE] = "update"
};

static const char *const merge_names[] = {
	[MDB_SUM] = "sum",
	[MDB_MIN] = "min",
	[MDB_MAX] = "max"
};

enum
{
	TABLE_MODE,
	TABLE_KEY,
	TABLE_COLUMNS,
	TABLE_SINCE,
	TABLE_METADATA,
	TABLE_VERSION,
	TABLE_CHANNEL,
	TABLE_BATCH_SIZE,
	TABLE_FLUSH_INTERVAL,
	TABLE_IDENTITY,
	TABLE_FIELDS
};

static const MdbField table_fields[TABLE_FIELDS] = {
	[TABLE_MODE] = {"mode", MDB_FIELD_STRING, 0, NAMEDATALEN},
	[TABLE_KEY] = {"key", MDB_FIELD_NUMBER, 1, INDEX_MAX_KEYS},
	[TABLE_COLUMNS] = {"columns", MDB_FIELD_NUMBER, 0, MaxHeapAttributeNumber},
	[TABLE_SINCE] = {"since", MDB_FIELD_NUMBER, PG_INT64_MIN, PG_INT64_MAX},
	[TABLE_METADATA] = {MDB_LABEL_MARK, MDB_FIELD_FLAG},
	[TABLE_VERSION] = {"version", MDB_FIELD_FLAG},
	[TABLE_CHANNEL] = {"channel", MDB_FIELD_STRING, 1, NAMEDATALEN - 1},
	[TABLE_BATCH_SIZE] = {"batch_size", MDB_FIELD_NUMBER, 0, MDB_MAX_BATCH_SIZE},
	[TABLE_FLUSH_INTERVAL] = {"flush_interval", MDB_FIELD_NUMBER, 0, MDB_MAX_INTERVAL},
	[TABLE_IDENTITY] = {"identity", MDB_FIELD_STRING, UUID_TEXT_LEN, UUID_TEXT_LEN}
};

enum
{
	COLUMN_KEY,
	COLUMN_COLUMN,
	COLUMN_VERSION,
	COLUMN_MERGE,
	COLUMN_NOTIFY,
	COLUMN_FIELDS
};

static const MdbField column_fields[COLUMN_FIELDS] = {
	[COLUMN_KEY] = {"key", MDB_FIELD_NUMBER, 0, INDEX_MAX_KEYS},
	[COLUMN_COLUMN] = {"column", MDB_FIELD_NUMBER, 0, MaxHeapAttributeNumber},
	[COLUMN_VERSION] = {"version", MDB_FIELD_FLAG},
	[COLUMN_MERGE] = {"merge", MDB_FIELD_STRING, 0, NAMEDATALEN},
	[COLUMN_NOTIFY] = {"notify", MDB_FIELD_FLAG}
};

/* The place of a name among some; -1 if it is none of them. */
static int
find_name(const char *const *names, int first, int last,
		  const char *name, int len)
{
	for (int i = first; i <= last; i++)
		if (strlen(names[i]) == (size_t) len &&
			strncmp(names[i], name, len) == 0)
			return i;
	return -1;
}

/* The mode of that name; false if there is none. */
bool
mdb_label_mode(const char *name, int len, MdbMode *mode)
{
	int			found = find_name(mode_names, MDB_UPSERT, MDB_UPDATE, name, len);

	*mode = (MdbMode) found;
	return found >= 0;
}

/* The name of a way to merge. */
const char *
mdb_label_merge_name(MdbRole role)
{
	return merge_names[role];
}

/* The way to merge of that name; false if there is none. */
bool
mdb_label_merge(const char *name, int len, MdbRole *role)
{
	int			found = find_name(merge_names, MDB_SUM, MDB_MAX, name, len);

	*role = (MdbRole) found;
	return found >= 0;
}

static Size
limit(bool of_table)
{
	return of_table ? MDB_TABLE_LABEL_SIZE : MDB_COLUMN_LABEL_SIZE;
}

/* Is a stored text longer than a label can be?  It is not fetched for that. */
bool
mdb_label_is_too_long(Datum text, bool of_table)
{
	return toast_raw_datum_size(text) - VARHDRSZ > limit(of_table);
}

/* What is wrong with a label that is too long. */
const char *
mdb_label_too_long(bool of_table)
{
	return psprintf(_("It must have at most %d bytes."),
					(int) limit(of_table));
}

/* The fields of a label.  Returns what is wrong with it, or NULL. */
static const char *
take_fields(const char *text, bool of_table, const MdbField *fields,
			int nfields, MdbFieldValue *values)
{
	if (strlen(text) > limit(of_table))
		return mdb_label_too_long(of_table);
	return mdb_fields_take(text, fields, nfields, values);
}

/* Is it a uuid as PostgreSQL writes them? */
static bool
is_uuid(const char *text)
{
	for (int i = 0; i < UUID_TEXT_LEN; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' :
			(text[i] < '0' || text[i] > '9') &&
			(text[i] < 'a' || text[i] > 'f'))
			return false;
	}
	return text[UUID_TEXT_LEN] == '\0';
}

static const char *
take_identity(const char *text, MdbTableLabel *label)
{
	if (!is_uuid(text))
		return _("The identity must be a uuid.");
	label->has_identity = true;
	label->identity = *DatumGetUUIDP(DirectFunctionCall1(uuid_in,
														 CStringGetDatum(text)));
	for (int i = 0; i < UUID_LEN; i++)
		if (label->identity.data[i] != 0)
			return NULL;
	return _("The identity must not be nil.");
}

/* What the label of a table says.  Returns what is wrong with it, or NULL. */
const char *
mdb_label_parse_table(const char *text, MdbTableLabel *label)
{
	MdbFieldValue values[TABLE_FIELDS] = {0};
	const char *problem;
	const char *mode;

	memset(label, 0, sizeof(*label));
	problem = take_fields(text, true, table_fields, TABLE_FIELDS, values);
	if (problem == NULL && values[TABLE_IDENTITY].given)
		problem = take_identity(values[TABLE_IDENTITY].string, label);
	if (problem != NULL)
		return problem;
	for (int i = 0; i < TABLE_FIELDS; i++)
		label->attached |= values[i].given && i != TABLE_IDENTITY;
	if (!label->attached && label->has_identity)
		return NULL;

	if (!values[TABLE_MODE].given)
		return _("The mode is missing.");
	mode = values[TABLE_MODE].string;
	if (!mdb_label_mode(mode, strlen(mode), &label->mode))
		return _("The mode must be \"upsert\" or \"update\".");
	if (!values[TABLE_KEY].given)
		return _("The number of key columns is missing.");
	label->nkeys = values[TABLE_KEY].number;
	label->ncarried = values[TABLE_COLUMNS].number;
	label->metadata = values[TABLE_METADATA].flag;
	label->has_version = values[TABLE_VERSION].flag;
	label->since = values[TABLE_SINCE].number;
	label->batch_size = values[TABLE_BATCH_SIZE].number;
	label->flush_interval = values[TABLE_FLUSH_INTERVAL].number;
	if (label->flush_interval != 0 && label->flush_interval < MDB_MIN_INTERVAL)
		return _("The flush interval is out of range.");

	/*
	 * A database of another encoding, which the label came from, can have had
	 * fewer bytes for the characters.  LISTEN cuts such a name in this way.
	 */
	if (values[TABLE_CHANNEL].given)
		strlcpy(label->channel, values[TABLE_CHANNEL].string,
				pg_mbcliplen(values[TABLE_CHANNEL].string,
							 strlen(values[TABLE_CHANNEL].string),
							 NAMEDATALEN - 1) + 1);
	return NULL;
}

/* What the label of a column says.  Returns what is wrong with it, or NULL. */
const char *
mdb_label_parse_column(const char *text, MdbColumnLabel *label)
{
	MdbFieldValue values[COLUMN_FIELDS] = {0};
	const char *problem;
	const char *merge;
	int			key;
	int			carried;
	bool		version;
	int			roles;

	memset(label, 0, sizeof(*label));
	problem = take_fields(text, false, column_fields, COLUMN_FIELDS, values);
	if (problem != NULL)
		return problem;
	key = values[COLUMN_KEY].number;
	carried = values[COLUMN_COLUMN].number;
	version = values[COLUMN_VERSION].flag;
	roles = (key > 0) + (carried > 0) + version;
	label->notify = values[COLUMN_NOTIFY].flag;
	label->in_entry = roles == 1;
	if (roles > 1 || (roles == 0 && !label->notify))
		return _("A column is one of key, version, or column.");
	label->role = key > 0 ? MDB_KEY : version ? MDB_VERSION : MDB_LAST;
	label->position = key > 0 ? key : carried;
	merge = values[COLUMN_MERGE].string;
	if (values[COLUMN_MERGE].given &&
		(carried == 0 || !mdb_label_merge(merge, strlen(merge), &label->role)))
		return _("A carried column merges by \"sum\", \"min\" or \"max\".");
	return NULL;
}

/*
 * Is that a label that can be read?  The view mdbatch_target asks, before it
 * reads one as JSON.
 */
Datum
mdbatch_is_label(PG_FUNCTION_ARGS)
{
	bool		of_table = PG_GETARG_BOOL(1);
	const char *label;
	MdbTableLabel table;
	MdbColumnLabel column;

	/* One that is too long is not fetched. */
	if (mdb_label_is_too_long(PG_GETARG_DATUM(0), of_table))
		PG_RETURN_BOOL(false);
	label = text_to_cstring(PG_GETARG_TEXT_PP(0));
	PG_RETURN_BOOL((of_table ? mdb_label_parse_table(label, &table) :
					mdb_label_parse_column(label, &column)) == NULL);
}

static char *
format_identity(const MdbTableLabel *label)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out,
											   UUIDPGetDatum(&label->identity)));
}

/* The text of a table's label; palloc'd. */
char *
mdb_label_format_table(const MdbTableLabel *label)
{
	StringInfoData text;

	if (!label->attached)
		return psprintf("{\"identity\": \"%s\"}", format_identity(label));
	initStringInfo(&text);
	appendStringInfo(&text, "{\"mode\": \"%s\", \"key\": %d, \"columns\": %d, "
					 "\"since\": " INT64_FORMAT,
					 mode_names[label->mode], label->nkeys, label->ncarried,
					 label->since);
	if (label->metadata)
		appendStringInfoString(&text, ", \"metadata\": true");
	if (label->has_version)
		appendStringInfoString(&text, ", \"version\": true");
	if (label->channel[0] != '\0')
	{
		appendStringInfoString(&text, ", \"channel\": ");
		escape_json(&text, label->channel);
	}
	if (label->batch_size > 0)
		appendStringInfo(&text, ", \"batch_size\": %d", label->batch_size);
	if (label->flush_interval > 0)
		appendStringInfo(&text, ", \"flush_interval\": " INT64_FORMAT,
						 label->flush_interval);
	if (label->has_identity)
		appendStringInfo(&text, ", \"identity\": \"%s\"",
						 format_identity(label));
	appendStringInfoChar(&text, '}');
	return text.data;
}

/* The text of a column's label; palloc'd. */
char *
mdb_label_format_column(const MdbColumnLabel *label)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	if (label->in_entry && label->role == MDB_VERSION)
		appendStringInfoString(&text, "\"version\": true");
	else if (label->in_entry)
		appendStringInfo(&text, "\"%s\": %d",
						 label->role == MDB_KEY ? "key" : "column",
						 label->position);
	if (label->in_entry && label->role > MDB_LAST)
		appendStringInfo(&text, ", \"merge\": \"%s\"",
						 merge_names[label->role]);
	if (label->notify)
		appendStringInfo(&text, "%s\"notify\": true",
						 label->in_entry ? ", " : "");
	appendStringInfoChar(&text, '}');
	return text.data;
}
