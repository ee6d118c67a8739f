/*
 * reject_merge.c
 *		Merging a rejected entry into the one of its key that is kept.
 *
 * Model: the result is what it would be had both been pending: the newer
 * version has the columns that carry the last value, the later entry if
 * versions are equal or there are none (R1); sums add up and extremes stay
 * extreme (R21).  Both entries are texts here (shown.c).  Numbers are compared
 * and added as numeric, so that a sum does not overflow: it becomes too large
 * for its column, and stays when it is retried.  Floats are added as doubles,
 * as they are while they are pending, unless the sum is too large for that.
 *
 * Fields of the kept entry for which the table has no column, or none that is
 * carried, stay as they are.
 *
 * Locking: the caller has the kept row locked.
 *
 * Limits: a field that an administrator has edited, or of a column that was
 * retyped, can be none that its column could hold.  Then the version is older
 * than any, and instead of a sum or an extreme the newer one counts.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "isolate.h"
#include "reject_merge.h"
#include "slot.h"

/* Two texts of a type that are compared, or added. */
typedef struct Pair
{
	Oid			type;
	const char *ours;
	const char *kept;
	bool		add;

	int			order;			/* of ours and the kept one */
	char	   *sum;
} Pair;

static Datum
read_numeric(const char *text)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum(text),
							   ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

static int64
read_ordinal(Oid type, const char *text)
{
	Oid			input;
	Oid			parameter;

	getTypeInputInfo(type, &input, &parameter);
	return mdb_slot_ordinal(type,
							OidInputFunctionCall(input,
												 unconstify(char *, text),
												 parameter, -1));
}

/* A double; false if the text is that of none, or of a larger number. */
static bool
read_double(const char *text, float8 *value)
{
	char	   *end;

	*value = strtod(text, &end);
	return end != text && *end == '\0' &&
		(!isinf(*value) || strpbrk(text, "0123456789") == NULL);
}

/* The sum of floats, as it is while they are pending; NULL if too large. */
static char *
add_doubles(const Pair *pair)
{
	float8		ours;
	float8		kept;

	if (!read_double(pair->ours, &ours) || !read_double(pair->kept, &kept) ||
		(isinf(ours + kept) && !isinf(ours) && !isinf(kept)))
		return NULL;
	return DatumGetCString(DirectFunctionCall1(float8out,
											   Float8GetDatum(ours + kept)));
}

static char *
add(const Pair *pair)
{
	char	   *sum = NULL;

	if (pair->type == FLOAT4OID || pair->type == FLOAT8OID)
		sum = add_doubles(pair);
	if (sum != NULL)
		return sum;
	return DatumGetCString(DirectFunctionCall1(numeric_out,
											   DirectFunctionCall2(numeric_add,
																   read_numeric(pair->ours),
																   read_numeric(pair->kept))));
}

static void
work_out(void *state)
{
	Pair	   *pair = state;

	if (pair->add)
		pair->sum = add(pair);
	else if (mdb_shown_is_number(pair->type))
		pair->order = DatumGetInt32(DirectFunctionCall2(numeric_cmp,
														read_numeric(pair->ours),
														read_numeric(pair->kept)));
	else
	{
		int64		ours = read_ordinal(pair->type, pair->ours);
		int64		kept = read_ordinal(pair->type, pair->kept);

		pair->order = ours < kept ? -1 : ours > kept;
	}
}

/* False, if careful, if one of the texts is none of the type. */
static bool
compute(Pair *pair, bool careful)
{
	ErrorData  *error;

	if (!careful)
	{
		work_out(pair);
		return true;
	}
	error = mdb_isolate_try(work_out, pair, CurrentMemoryContext);
	if (error == NULL)
		return true;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) !=
		ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION))
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

/* A field of an object, which may be NULL; false if there is none. */
static bool
get_field(Jsonb *object, const char *name, JsonbValue *value)
{
	return object != NULL && JB_ROOT_IS_OBJECT(object) &&
		getKeyJsonValueFromContainer(&object->root, name, strlen(name),
									 value) != NULL;
}

/* True if the kept entry has a newer version. */
static bool
is_kept_newer(const MdbShown *shown, Jsonb *entry, bool careful)
{
	const MdbDefinition *definition = shown->plan->definition;
	int			version = mdb_definition_version(definition);
	JsonbValue	value;
	Pair		pair = {0};

	if (version < 0 || shown->names[version] == NULL ||
		!get_field(entry, shown->names[version], &value))
		return false;
	pair.type = definition->columns[version].type;
	pair.ours = shown->values[version].text;
	pair.kept = mdb_shown_input(&value);
	return pair.ours != NULL && pair.kept != NULL &&
		compute(&pair, careful) && pair.order < 0;
}

/* The kept value takes the place of ours. */
static void
take_kept(MdbShownValue *ours, const JsonbValue *kept)
{
	ours->text = mdb_shown_input(kept);
	ours->json = mdb_shown_fragment(kept);
	ours->hex = NULL;
}

/* Both are there, and not null: a sum or an extreme. */
static bool
combine(MdbShownValue *ours, MdbRole role, Oid type, const JsonbValue *kept,
		bool careful)
{
	Pair		pair = {0};

	pair.type = type;
	pair.ours = ours->text;
	pair.kept = mdb_shown_input(kept);
	pair.add = role == MDB_SUM;
	if (pair.add && strcmp(pair.ours, MDB_SHOWN_OVERFLOW) == 0)
		return true;
	if (pair.add && strcmp(pair.kept, MDB_SHOWN_OVERFLOW) == 0)
	{
		take_kept(ours, kept);
		return true;
	}
	if (!compute(&pair, careful))
		return false;
	if (pair.add)
	{
		ours->text = pair.sum;
		ours->json = mdb_shown_json(type, pair.sum);
	}
	else if ((pair.order < 0) == (role == MDB_MAX))
		take_kept(ours, kept);
	return true;
}

static void
merge_column(MdbShown *shown, int i, Jsonb *entry, Jsonb *bytes,
			 bool kept_is_newer, bool careful)
{
	const MdbColumn *column = &shown->plan->definition->columns[i];
	MdbShownValue *ours = &shown->values[i];
	JsonbValue	kept;

	if (get_field(entry, shown->names[i], &kept))
	{
		if (column->role > MDB_LAST)
		{
			/* NULL counts as absent; bytes cannot be merged, and stay. */
			if (kept.type == jbvNull || ours->hex != NULL)
				return;
			if (ours->text == NULL)
			{
				take_kept(ours, &kept);
				return;
			}
			if (combine(ours, column->role, column->type, &kept, careful))
				return;
		}
		if (kept_is_newer)
			take_kept(ours, &kept);
	}
	else if (kept_is_newer && get_field(bytes, shown->names[i], &kept))
	{
		ours->text = ours->json = NULL;
		ours->hex = mdb_shown_input(&kept);
	}
}

static bool
is_column(const MdbShown *shown, const JsonbValue *name)
{
	for (int i = 0; i < shown->plan->definition->ncolumns; i++)
	{
		const char *column = shown->names[i];

		if (column != NULL && strlen(column) == name->val.string.len &&
			memcmp(column, name->val.string.val, name->val.string.len) == 0)
			return true;
	}
	return false;
}

/* The fields of a kept object that are no columns, as they are. */
static const char *
more_fields(const MdbShown *shown, Jsonb *object)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;
	StringInfoData text;

	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	iterator = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (!is_column(shown, &name))
			mdb_shown_append_field(&text, name.val.string.val,
								   name.val.string.len,
								   mdb_shown_fragment(&value));
	}
	return text.data + 1;
}

/*
 * Merge the entry that is kept for a key into one that was rejected later.
 * ERROR if a kept value is none of its column; if careful, the newer one
 * counts.
 */
void
mdb_reject_merge(MdbShown *shown, Jsonb *entry, Jsonb *bytes, bool careful)
{
	const MdbDefinition *definition = shown->plan->definition;
	bool		kept_is_newer = is_kept_newer(shown, entry, careful);

	for (int i = definition->nkeys; i < definition->ncolumns; i++)
		if (shown->names[i] != NULL)
			merge_column(shown, i, entry, bytes, kept_is_newer, careful);
	shown->more = more_fields(shown, entry);
	shown->more_hex = more_fields(shown, bytes);
}
