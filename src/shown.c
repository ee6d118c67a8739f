/*
 * shown.c
 *		Entries as text, as mdbatch_rejected keeps them.
 *
 * Model: the value of a column is the text of its type's output function, and
 * its input function reads that text back, so that every type comes back
 * unchanged.  In JSON that text is a string.  Booleans, finite numbers, and
 * jsonb objects and arrays stand as they are, as their JSON text is that same
 * text.  So a reader of a field needs no type: a string is the text itself, of
 * anything else its JSON is the text, null is NULL.
 *
 * Why not to_jsonb: it calls casts to json, which any role can have made for
 * its types, and it changes values: it drops the bounds of arrays and the
 * repeated names of json, and PostGIS's cast drops the M of a geometry.
 *
 * A value whose output function fails, or cannot be called as its type is
 * another one now (shape.c), is kept as its bytes, in hexadecimal, and not in
 * the object of the others.  A sum is shown as it is, even if it
 * does not fit its column.
 *
 * Locking: none; the contents of entries in flight do not change.
 *
 * Limits: the JSON of an entry has at most MAX_JSON bytes, so that pg_dump can
 * write its row (a line of COPY must stay below 1 GB, and escapes double it).
 * A value beyond that counts as one that cannot be shown, and of the bytes of
 * such values MAX_BYTES are kept.
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "common/cryptohash.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "entry.h"
#include "isolate.h"
#include "shown.h"

#define MAX_JSON	(200 * 1024 * 1024)
#define MAX_BYTES	(64 * 1024 * 1024)
#define MAX_OBJECT	(MAX_JSON + 1024 * 1024)	/* with the names */

/* A column that is tried by itself. */
typedef struct Attempt
{
	const MdbPlan *plan;
	int			column;
	Oid			type;
	Datum		value;
	Size		room;			/* bytes of JSON that are left */
	MdbShownValue *shown;
} Attempt;

/*
 * From here on the role runs output and input functions, restricted, with the
 * settings that their text depends on.
 */
void
mdb_shown_enter(MdbAsOwner *before, Oid role)
{
	mdb_as_owner_enter(before, role);
	mdb_as_owner_set("array_nulls", "on");
	mdb_as_owner_set("lc_monetary", "C");
	mdb_as_owner_set("quote_all_identifiers", "off");
	mdb_as_owner_set("xmloption", "content");
}

/* The names of the columns that the table still has. */
const char *const *
mdb_shown_names(const MdbPlan *plan)
{
	const MdbDefinition *definition = plan->definition;
	const char **names = palloc0(definition->ncolumns * sizeof(char *));

	for (int i = 0; i < definition->ncolumns; i++)
		if (plan->columns[i].name != NULL)
			names[i] = get_attname(definition->relid,
								   definition->columns[i].attnum, false);
	return names;
}

/*
 * True if the text of a number is a number in JSON as well.  Infinities and
 * NaN are none, and jsonb does not know the -0 of floats.
 */
static bool
is_json_number(const char *text)
{
	if (strcmp(text, "-0") == 0)
		return false;
	if (*text == '-')
		text++;
	return *text >= '0' && *text <= '9';
}

/* Is it a type of numbers, whose text is that of a numeric? */
bool
mdb_shown_is_number(Oid type)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return true;
		default:
			return false;
	}
}

static bool
is_plain_json(Oid type, const char *text)
{
	if (mdb_shown_is_number(type))
		return is_json_number(text);
	return type == JSONBOID && (*text == '{' || *text == '[');
}

/* The JSON of a value's text. */
const char *
mdb_shown_json(Oid type, const char *text)
{
	StringInfoData json;

	if (type == BOOLOID)
		return *text == 't' ? "true" : "false";
	if (is_plain_json(type, text))
		return text;
	initStringInfo(&json);
	escape_json(&json, text);
	return json.data;
}

/* The JSON of a field of a stored object. */
char *
mdb_shown_fragment(const JsonbValue *value)
{
	StringInfoData json;

	switch (value->type)
	{
		case jbvNull:
			return pstrdup("null");
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvString:
			initStringInfo(&json);
			escape_json(&json, pnstrdup(value->val.string.val,
										value->val.string.len));
			return json.data;
		default:
			Assert(value->type == jbvBinary);
			return JsonbToCString(NULL, value->val.binary.data,
								  value->val.binary.len);
	}
}

/* The text of a field of a stored object, for an input function. */
char *
mdb_shown_input(const JsonbValue *value)
{
	if (value->type == jbvNull)
		return NULL;
	if (value->type == jbvString)
		return pnstrdup(value->val.string.val, value->val.string.len);
	return mdb_shown_fragment(value);
}

/* Show a value; if it is too long, it counts as one that cannot be shown. */
static void
show_value(void *state)
{
	const Attempt *attempt = state;
	MdbShownValue *shown = attempt->shown;
	Oid			output;
	bool		is_varlena;

	getTypeOutputInfo(attempt->type, &output, &is_varlena);
	shown->text = OidOutputFunctionCall(output, attempt->value);
	if (strlen(shown->text) <= attempt->room)
		shown->json = mdb_shown_json(attempt->type, shown->text);
	if (shown->json != NULL && strlen(shown->json) > attempt->room)
		shown->json = NULL;
}

/* The bytes of a value in hexadecimal, as many as there is room for. */
static char *
value_to_hex(const MdbColumn *column, Oid type, Datum value, Size *room)
{
	char		stored[sizeof(Datum)];
	const char *bytes = DatumGetPointer(value);
	int16		typlen = column->typlen;
	bool		typbyval = column->typbyval;
	Size		nbytes;
	char	   *hex;

	/* A sum is of a wider type; the column's own can have been dropped. */
	if (type != column->type)
		get_typlenbyval(type, &typlen, &typbyval);
	nbytes = typlen;
	if (typbyval)
	{
		store_att_byval(stored, value, typlen);
		bytes = stored;
	}
	else if (typlen < 0)
	{
		nbytes = VARSIZE_ANY_EXHDR(DatumGetPointer(value));
		bytes = VARDATA_ANY(DatumGetPointer(value));
	}
	nbytes = Min(nbytes, *room);
	*room -= nbytes;
	hex = palloc(2 * nbytes + 1);
	hex[hex_encode(bytes, nbytes, hex)] = '\0';
	return hex;
}

/*
 * Go on after an error of showing a value.  A cancel, or a server that is out
 * of memory, is not about the value: it is raised again.
 */
static void
check_error(ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	if (category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES))
		ReThrowError(error);
	FreeErrorData(error);
}

/*
 * Show a value that is not null.  If that cannot be, its bytes; but an error of
 * its output function is raised, unless careful.
 */
static void
show_column(Attempt *attempt, bool careful, Size *room_for_bytes)
{
	MdbShownValue *shown = attempt->shown;
	ErrorData  *error = NULL;

	if (careful)
		error = mdb_isolate_try(show_value, attempt, CurrentMemoryContext);
	else
		show_value(attempt);
	if (error != NULL)
		check_error(error);
	if (error != NULL || shown->json == NULL)
	{
		shown->text = shown->json = NULL;
		shown->hex =
			value_to_hex(&attempt->plan->definition->columns[attempt->column],
						 attempt->type, attempt->value, room_for_bytes);
	}
}

/* True if a column has a float sum that was too large for a double. */
static bool
has_overflowed(const MdbDefinition *definition, const char *contents, int i)
{
	MdbSlot		slot;
	int			n = 0;

	for (int k = mdb_definition_carried(definition); k < i; k++)
		n += definition->columns[k].role != MDB_LAST;
	memcpy(&slot, contents + n * MDB_SLOT_SIZE, sizeof(slot));
	return slot.is_float && slot.overflow;
}

static char *
read_contents(MdbRef ref)
{
	uint32		length = mdb_entry_length(mdb_entry(ref));
	char	   *contents = palloc(length);
	MdbCursor	cursor = mdb_pool_start(ref);

	mdb_pool_read(&cursor, contents, length);
	return contents;
}

/*
 * Show an entry in flight, with the names that the caller has set.  ERROR if a
 * value cannot be shown; if careful, it is kept as its bytes.
 */
void
mdb_shown_entry(MdbShown *shown, MdbRef ref, bool careful)
{
	const MdbDefinition *definition = shown->plan->definition;
	int			n = definition->ncolumns;
	char	   *contents = read_contents(ref);
	Datum	   *values = palloc(n * sizeof(Datum));
	bool	   *isnull = palloc(n * sizeof(bool));
	Size		room_for_bytes = MAX_BYTES;
	Attempt		attempt = {0};

	(void) mdb_entry_decode(contents, mdb_entry(ref)->version, definition,
							true, values, isnull);
	shown->values = palloc0(n * sizeof(MdbShownValue));
	shown->more = shown->more_hex = NULL;
	attempt.plan = shown->plan;
	attempt.room = MAX_JSON;
	for (int i = 0; i < n; i++)
	{
		const MdbColumn *column = &definition->columns[i];

		attempt.column = i;
		attempt.type = mdb_slot_wide_type(column);
		attempt.value = values[i];
		attempt.shown = &shown->values[i];
		if (isnull[i])
			attempt.shown->json = "null";
		else if (shown->names[i] == NULL && column->role != MDB_KEY)
			continue;			/* it went with its column (R23) */
		else if (shown->names[i] == NULL ||
				 shown->plan->columns[i].unreadable)
			attempt.shown->hex = value_to_hex(column, attempt.type, values[i],
											  &room_for_bytes);
		else if (column->role == MDB_SUM &&
				 has_overflowed(definition, contents, i))
		{
			attempt.shown->text = MDB_SHOWN_OVERFLOW;
			attempt.shown->json = mdb_shown_json(TEXTOID, MDB_SHOWN_OVERFLOW);
		}
		else
			show_column(&attempt, careful, &room_for_bytes);
		if (attempt.shown->json != NULL)
			attempt.room -= Min(attempt.room, strlen(attempt.shown->json));
	}
}

/* A field of an object that is being written. */
void
mdb_shown_append_field(StringInfo text, const char *name, int len,
					   const char *json)
{
	if (text->len > 1)
		appendStringInfoString(text, ", ");
	escape_json(text, pnstrdup(name, len));
	appendStringInfoString(text, ": ");
	appendStringInfoString(text, json);
}

static Datum
finish_object(StringInfo text, const char *more)
{
	if (more != NULL && *more != '\0')
		appendStringInfo(text, "%s%s", text->len > 1 ? ", " : "", more);
	appendStringInfoChar(text, '}');
	if (text->len > MAX_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("entry is too large to be kept")));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text->data));
}

/*
 * The key, as jsonb: an object; or, if a column of it cannot be shown, a
 * string, the bytes of all that cannot be.
 */
Datum
mdb_shown_key(const MdbShown *shown)
{
	StringInfoData text;
	StringInfoData hex;

	initStringInfo(&text);
	initStringInfo(&hex);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < shown->plan->definition->nkeys; i++)
	{
		if (shown->values[i].hex != NULL)
			appendStringInfo(&hex, "%s ", shown->values[i].hex);
		else
			mdb_shown_append_field(&text, shown->names[i],
								   strlen(shown->names[i]),
								   shown->values[i].json);
	}
	if (hex.len == 0)
		return finish_object(&text, NULL);

	/* What can be shown is part of the key, too. */
	appendStringInfo(&hex, "%s}", text.data);
	resetStringInfo(&text);
	escape_json(&text, hex.data);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}

/* The columns of the entry that can be shown, key and all, as jsonb. */
Datum
mdb_shown_object(const MdbShown *shown)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < shown->plan->definition->ncolumns; i++)
		if (shown->names[i] != NULL && shown->values[i].json != NULL)
			mdb_shown_append_field(&text, shown->names[i],
								   strlen(shown->names[i]),
								   shown->values[i].json);
	return finish_object(&text, shown->more);
}

/* The columns that cannot be shown, in hexadecimal, as jsonb; null if none. */
Datum
mdb_shown_bytes(const MdbShown *shown, bool *isnull)
{
	const MdbDefinition *definition = shown->plan->definition;
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < definition->ncolumns; i++)
	{
		const char *name = shown->names[i];

		if (shown->values[i].hex == NULL)
			continue;
		if (name == NULL)		/* as PostgreSQL calls it, which dropped it */
			name = psprintf("........pg.dropped.%d........",
							definition->columns[i].attnum);
		mdb_shown_append_field(&text, name, strlen(name),
							   mdb_shown_json(TEXTOID, shown->values[i].hex));
	}
	*isnull = text.len == 1 &&
		(shown->more_hex == NULL || *shown->more_hex == '\0');
	return *isnull ? (Datum) 0 : finish_object(&text, shown->more_hex);
}

/*
 * A text in UTF8, so that it is the same in a database of another encoding; as
 * it is, if it cannot be converted.
 */
static const char *
to_utf8(const char *text, int *len)
{
	int			encoding = GetDatabaseEncoding();
	Oid			conversion;
	int			size;
	unsigned char *converted;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII || *len > MAX_JSON)
		return text;
	conversion = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(conversion))
		return text;
	size = *len * MAX_CONVERSION_GROWTH + 1;
	converted = palloc_extended(size, MCXT_ALLOC_HUGE);
	if (pg_do_encoding_conversion_buf(conversion, encoding, PG_UTF8,
									  (unsigned char *) unconstify(char *, text),
									  *len, converted, size, true) != *len)
		return text;
	*len = strlen((char *) converted);
	return (char *) converted;
}

/* What identifies a key of mdb_shown_key: the SHA-256 of its text. */
Datum
mdb_shown_digest(Datum key)
{
	Jsonb	   *jsonb = DatumGetJsonbP(key);
	const char *text = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	int			len = strlen(text);
	bytea	   *bytes;

	text = to_utf8(text, &len);
	bytes = palloc(VARHDRSZ + len);
	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), text, len);
	return DirectFunctionCall1(sha256_bytea, PointerGetDatum(bytes));
}
