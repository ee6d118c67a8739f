/*
 * attach_args.c
 *		The arguments of attaching functions, as layouts.
 *
 * Model: names are looked up in the table, what is left out is filled in; an
 * argument that makes no sense is an ERROR.  Whether the table is fit for the
 * layout is fitness.c's question.
 *
 * Locking: the caller has the table locked.
 *
 * Limits: none.
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "attach_args.h"
#include "compat.h"

/* The arguments of mdbatch_attach, in their order. */
enum
{
	ATTACH_TARGET,
	ATTACH_KEY,
	ATTACH_VERSION,
	ATTACH_COLUMNS,
	ATTACH_MERGE,
	ATTACH_MODE,
	ATTACH_CHANNEL,
	ATTACH_NOTIFY,
	ATTACH_BATCH_SIZE,
	ATTACH_FLUSH_INTERVAL
};

/* The arguments of mdbatch_set_target, in their order. */
enum
{
	SET_TARGET,
	SET_AGENT_ID,
	SET_KEY,
	SET_VALUE,
	SET_ERROR,
	SET_COLLECTED_AT,
	SET_MODE,
	SET_CHANNEL
};

static const char *const set_target_names[] = {
	"target", "agent_id", "key", "value", "error", "collected_at", "mode",
	"channel"
};

static void
check_not_null(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

/* ERROR if an argument is null that mdbatch_attach cannot do without. */
void
mdb_attach_args_check(FunctionCallInfo fcinfo)
{
	check_not_null(fcinfo, ATTACH_TARGET, "target");
	check_not_null(fcinfo, ATTACH_MODE, "mode");
}

/* ERROR if an argument is null that mdbatch_set_target cannot do without. */
void
mdb_attach_args_check_five(FunctionCallInfo fcinfo)
{
	for (int i = SET_TARGET; i <= SET_MODE; i++)
		check_not_null(fcinfo, i, set_target_names[i]);
}

static MdbMode
get_mode(Datum argument)
{
	char	   *name = TextDatumGetCString(argument);
	MdbMode		mode;

	if (!mdb_label_mode(name, strlen(name), &mode))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid mode \"%s\"", name),
				 errhint("Valid modes are \"upsert\" and \"update\".")));
	return mode;
}

static void
check_channel(const char *channel)
{
	if (channel[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("channel name must not be empty"),
				 errhint("Use NULL for no notification.")));
	if (strlen(channel) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("channel name is too long"),
				 errdetail("It may have at most %d bytes.", NAMEDATALEN - 1)));
}

/* The channel of an argument, if it is not null. */
static void
get_channel(FunctionCallInfo fcinfo, int argument, char *target)
{
	const char *channel;

	if (PG_ARGISNULL(argument))
		return;
	channel = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	check_channel(channel);
	strlcpy(target, channel, NAMEDATALEN);
}

/* The columns that an argument of type name[] names. */
static List *
get_columns(Relation rel, Datum argument, const char *name)
{
	ArrayType  *array = DatumGetArrayTypeP(argument);
	List	   *columns = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("array \"%s\" must not have more than one dimension",
						name)));
	deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("array \"%s\" must not contain nulls", name)));
		columns = lappend_int(columns,
							  mdb_layout_column(rel, NameStr(*DatumGetName(elements[i]))));
	}
	return columns;
}

/* The columns of the primary key, in its order. */
static List *
primary_key(Relation rel)
{
	List	   *columns = NIL;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indisprimary)
			for (int i = 0; i < index->rd_index->indnkeyatts; i++)
				columns = lappend_int(columns, index->rd_index->indkey.values[i]);
		index_close(index, AccessShareLock);
	}
	if (columns == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("table \"%s\" has no primary key",
						RelationGetRelationName(rel)),
				 errhint("Name the columns of the key.")));
	return columns;
}

static List *
get_key(Relation rel, FunctionCallInfo fcinfo)
{
	List	   *columns;

	if (PG_ARGISNULL(ATTACH_KEY))
		return primary_key(rel);
	columns = get_columns(rel, PG_GETARG_DATUM(ATTACH_KEY), "key");
	if (columns == NIL || list_length(columns) > INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key has 1 to %d columns", INDEX_MAX_KEYS)));
	return columns;
}

/* All columns that can be written and are not among those. */
static List *
other_columns(Relation rel, const List *taken)
{
	List	   *columns = NIL;

	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (!att->attisdropped && att->attgenerated == '\0' &&
			att->attidentity != ATTRIBUTE_IDENTITY_ALWAYS &&
			!list_member_int(taken, att->attnum))
			columns = lappend_int(columns, att->attnum);
	}
	return columns;
}

/* How the carried columns merge. */
static void
get_merge(Relation rel, MdbLayout *layout, Jsonb *merge)
{
	int			n = mdb_layout_ncolumns(&layout->label);
	JsonbIterator *iterator = JsonbIteratorInit(&merge->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	int			place = 0;

	if (!JB_ROOT_IS_OBJECT(merge))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be a JSON object", "merge")));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *name = pnstrdup(value.val.string.val,
										value.val.string.len);
			AttrNumber	attnum = mdb_layout_column(rel, name);

			place = n - layout->label.ncarried;
			while (place < n && layout->columns[place].attnum != attnum)
				place++;
			if (place == n)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("column \"%s\" cannot be merged", name),
						 errdetail("It is not among the carried columns.")));
		}
		else if (token == WJB_VALUE &&
				 (value.type != jbvString ||
				  !mdb_label_merge(value.val.string.val, value.val.string.len,
								   &layout->columns[place].role)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid merge policy for column \"%s\"",
							get_attname(RelationGetRelid(rel),
										layout->columns[place].attnum, false)),
					 errhint("Valid policies are \"sum\", \"min\" and \"max\".")));
	}
}

/* The target's own sizes, within the ranges of the settings. */
static void
get_sizes(FunctionCallInfo fcinfo, MdbTableLabel *label)
{
	if (!PG_ARGISNULL(ATTACH_BATCH_SIZE))
	{
		label->batch_size = PG_GETARG_INT32(ATTACH_BATCH_SIZE);
		if (label->batch_size < MDB_MIN_BATCH_SIZE ||
			label->batch_size > MDB_MAX_BATCH_SIZE)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("batch size %d is out of range", label->batch_size),
					 errdetail("It must be between %d and %d.",
							   MDB_MIN_BATCH_SIZE, MDB_MAX_BATCH_SIZE)));
	}
	if (!PG_ARGISNULL(ATTACH_FLUSH_INTERVAL))
	{
		Interval   *interval = PG_GETARG_INTERVAL_P(ATTACH_FLUSH_INTERVAL);

		/* More days than one do not fit anyway, and might overflow. */
		if (interval->month == 0 && abs(interval->day) <= 1)
			label->flush_interval = interval->time +
				interval->day * USECS_PER_DAY;
		if (label->flush_interval < MDB_MIN_INTERVAL ||
			label->flush_interval > MDB_MAX_INTERVAL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("flush interval is out of range"),
					 errdetail("It must be between 10 ms and 1 day.")));
	}
}

/* What is announced, if anything is. */
static AttrNumber
get_notify(Relation rel, FunctionCallInfo fcinfo, const MdbLayout *layout)
{
	bool		named = !PG_ARGISNULL(ATTACH_NOTIFY);

	if (layout->label.channel[0] == '\0')
	{
		if (named)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a column to announce needs a channel")));
		return InvalidAttrNumber;
	}
	return named ?
		mdb_layout_column(rel, NameStr(*PG_GETARG_NAME(ATTACH_NOTIFY))) :
		layout->columns[0].attnum;
}

/* The layout that the arguments of mdbatch_attach describe; palloc'd. */
MdbLayout *
mdb_attach_args_layout(Relation rel, FunctionCallInfo fcinfo)
{
	List	   *columns = get_key(rel, fcinfo);
	MdbTableLabel label = {0};
	MdbLayout  *layout;
	int			n;

	label.mode = get_mode(PG_GETARG_DATUM(ATTACH_MODE));
	get_channel(fcinfo, ATTACH_CHANNEL, label.channel);
	get_sizes(fcinfo, &label);
	label.nkeys = list_length(columns);
	label.has_version = !PG_ARGISNULL(ATTACH_VERSION);
	if (label.has_version)
		columns = lappend_int(columns,
							  mdb_layout_column(rel, NameStr(*PG_GETARG_NAME(ATTACH_VERSION))));
	n = list_length(columns);
	columns = list_concat(columns, PG_ARGISNULL(ATTACH_COLUMNS) ?
						  other_columns(rel, columns) :
						  get_columns(rel, PG_GETARG_DATUM(ATTACH_COLUMNS),
									  "columns"));
	label.ncarried = list_length(columns) - n;
	label.since = GetCurrentTimestamp();

	layout = mdb_layout_make(&label);
	for (int i = 0; i < list_length(columns); i++)
		layout->columns[i].attnum = list_nth_int(columns, i);
	if (!PG_ARGISNULL(ATTACH_MERGE))
		get_merge(rel, layout, PG_GETARG_JSONB_P(ATTACH_MERGE));
	layout->notify = get_notify(rel, fcinfo, layout);
	return layout;
}

/* The layout that those of mdbatch_set_target describe; palloc'd. */
MdbLayout *
mdb_attach_args_layout_five(Relation rel, FunctionCallInfo fcinfo)
{
	static const int columns[] = {SET_AGENT_ID, SET_KEY, SET_COLLECTED_AT,
	SET_VALUE, SET_ERROR};
	MdbTableLabel label = {0};
	MdbLayout  *layout;

	label.metadata = true;
	label.mode = get_mode(PG_GETARG_DATUM(SET_MODE));
	get_channel(fcinfo, SET_CHANNEL, label.channel);
	label.nkeys = 2;
	label.has_version = true;
	label.ncarried = 2;
	label.since = GetCurrentTimestamp();
	layout = mdb_layout_make(&label);
	for (int i = 0; i < (int) lengthof(columns); i++)
		layout->columns[i].attnum =
			mdb_layout_column(rel, NameStr(*PG_GETARG_NAME(columns[i])));
	layout->notify = layout->columns[0].attnum;
	return layout;
}

/* mdbatch_metadata is what it is: ERROR if an argument is not the default. */
void
mdb_attach_args_check_defaults(FunctionCallInfo fcinfo)
{
	bool		defaults = !PG_ARGISNULL(SET_CHANNEL);

	for (int i = SET_AGENT_ID; i <= SET_COLLECTED_AT; i++)
		defaults &= strcmp(NameStr(*PG_GETARG_NAME(i)), set_target_names[i]) == 0;
	defaults = defaults &&
		strcmp(text_to_cstring(PG_GETARG_TEXT_PP(SET_MODE)), "upsert") == 0 &&
		strcmp(text_to_cstring(PG_GETARG_TEXT_PP(SET_CHANNEL)),
			   MDB_DEFAULT_CHANNEL) == 0;
	if (!defaults)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" can be the target with default arguments only",
						"mdbatch_metadata"),
				 errhint("Use a table of your own.")));
}
