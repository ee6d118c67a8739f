/*
 * label.c
 *		A label: what it says, and how.
 *
 * Model: a label is a JSON object.  A table's says how its entries are
 * written and counts the columns that must have labels of their own; a
 * column's says what the column is in an entry: a key and which one, the
 * version, or carried, at which position and how it merges; and whether its
 * values are announced.  A table's label also holds the identity of the
 * attachment, a random uuid: rejected entries belong to it, whatever the table
 * is called.  It outlives the attachment, so the label of a table that was
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
 * Limits: what a label says is not compared with its table here.  Unknown
 * fields are ignored.
 */
#include "postgres.h"

#include "access/attnum.h"
#include "access/htup_details.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "label.h"

static const char *const mode_names[] = {
	[MDB_UPSERT] = "upsert",
	[MDB_UPDATE] = "update"
};

static const char *const merge_names[] = {
	[MDB_SUM] = "sum",
	[MDB_MIN] = "min",
	[MDB_MAX] = "max"
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

static void
bad_label(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid label of provider \"%s\"", MDB_PROVIDER),
			 errdetail_internal("%s", detail),
			 errhint("Use %s() to attach a table.", "mdbatch_attach")));
}

/* A field of a label; false if it is not there, ERROR if of another type. */
static bool
get_field(Jsonb *label, const char *name, enum jbvType type, JsonbValue *value)
{
	if (getKeyJsonValueFromContainer(&label->root, name, strlen(name),
									 value) == NULL)
		return false;
	if (value->type != type)
		bad_label(_("A field has the wrong type."));
	return true;
}

static bool
get_flag(Jsonb *label, const char *name)
{
	JsonbValue	value;

	return get_field(label, name, jbvBool, &value) && value.val.boolean;
}

static int64
get_number(Jsonb *label, const char *name)
{
	JsonbValue	value;
	int64		number;

	if (!get_field(label, name, jbvNumeric, &value))
		return 0;
	number = DatumGetInt64(DirectFunctionCall1(numeric_int8,
											   NumericGetDatum(value.val.numeric)));

	/* SQL reads labels, too: not even 1.0 will do. */
	if (strcmp(DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value.val.numeric))),
			   psprintf(INT64_FORMAT, number)) != 0)
		bad_label(_("A number is not an integer."));
	return number;
}

static Jsonb *
parse(const char *text)
{
	Jsonb	   *label = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														   CStringGetDatum(text)));

	if (!JB_ROOT_IS_OBJECT(label))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("label of provider \"%s\" must be a JSON object",
						MDB_PROVIDER)));
	return label;
}

/* Is it a uuid as PostgreSQL writes them? */
static bool
is_uuid(const char *text, int len)
{
	if (len != 36)
		return false;
	for (int i = 0; i < len; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' :
			strchr("0123456789abcdef", text[i]) == NULL || text[i] == '\0')
			return false;
	}
	return true;
}

static void
get_identity(Jsonb *json, MdbTableLabel *label)
{
	JsonbValue	value;
	char	   *text;

	if (!get_field(json, "identity", jbvString, &value))
		return;
	if (!is_uuid(value.val.string.val, value.val.string.len))
		bad_label(_("The identity must be a uuid."));
	text = pnstrdup(value.val.string.val, value.val.string.len);
	label->identity = *DatumGetUUIDP(DirectFunctionCall1(uuid_in,
														 CStringGetDatum(text)));
	label->has_identity = true;
}

/* What the label of a table says; ERROR if it has no such form. */
void
mdb_label_parse_table(const char *text, MdbTableLabel *label)
{
	Jsonb	   *json = parse(text);
	JsonbValue	value;
	int64		nkeys = get_number(json, "key");
	int64		ncarried = get_number(json, "columns");
	int64		batch_size = get_number(json, "batch_size");

	memset(label, 0, sizeof(*label));
	get_identity(json, label);
	label->attached = !label->has_identity || JB_ROOT_COUNT(json) > 1;
	if (!label->attached)
		return;
	label->metadata = get_flag(json, "metadata");
	label->has_version = get_flag(json, "version");
	label->since = get_number(json, "since");
	label->flush_interval = get_number(json, "flush_interval");

	if (!get_field(json, "mode", jbvString, &value))
		bad_label(_("The mode is missing."));
	if (!mdb_label_mode(value.val.string.val, value.val.string.len,
						&label->mode))
		bad_label(_("The mode must be \"upsert\" or \"update\"."));

	if (get_field(json, "channel", jbvString, &value))
	{
		if (value.val.string.len == 0 || value.val.string.len >= NAMEDATALEN)
			bad_label(_("The channel must have 1 to 63 bytes."));
		memcpy(label->channel, value.val.string.val, value.val.string.len);
	}
	if (nkeys < 1 || nkeys > INDEX_MAX_KEYS ||
		ncarried < 0 || ncarried > MaxHeapAttributeNumber)
		bad_label(_("The number of columns is out of range."));
	label->nkeys = nkeys;
	label->ncarried = ncarried;

	if (batch_size < 0 || batch_size > MDB_MAX_BATCH_SIZE)
		bad_label(_("The batch size is out of range."));
	label->batch_size = batch_size;
	if (label->flush_interval != 0 &&
		(label->flush_interval < MDB_MIN_INTERVAL ||
		 label->flush_interval > MDB_MAX_INTERVAL))
		bad_label(_("The flush interval is out of range."));
}

/* What the label of a column says; ERROR if it has no such form. */
void
mdb_label_parse_column(const char *text, MdbColumnLabel *label)
{
	Jsonb	   *json = parse(text);
	JsonbValue	value;
	int64		key = get_number(json, "key");
	int64		carried = get_number(json, "column");
	bool		version = get_flag(json, "version");
	int			roles = (key > 0) + (carried > 0) + version;

	memset(label, 0, sizeof(*label));
	label->notify = get_flag(json, "notify");
	label->in_entry = roles == 1;
	if (roles > 1 || (roles == 0 && !label->notify) ||
		key < 0 || key > INDEX_MAX_KEYS ||
		carried < 0 || carried > MaxHeapAttributeNumber)
		bad_label(_("A column is one of key, version, or column."));
	label->role = key > 0 ? MDB_KEY : version ? MDB_VERSION : MDB_LAST;
	label->position = key > 0 ? key : carried;
	if (!get_field(json, "merge", jbvString, &value))
		return;
	if (carried == 0 ||
		!mdb_label_merge(value.val.string.val, value.val.string.len,
						 &label->role))
		bad_label(_("A carried column merges by \"sum\", \"min\" or \"max\"."));
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
