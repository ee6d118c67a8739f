/*
 * fields.c
 *		A JSON object of known fields, taken apart.
 *
 * Model: the server's lexer makes tokens, and the grammar is here: no arrays,
 * no objects within the object, each field at most once.  A label is read so:
 * one role writes it, and all sessions read it.  So nothing that is wrong
 * raises an ERROR; the problem is returned as text, and the caller decides.
 * jsonb is no way to do that: its input function raises errors, and takes the
 * last of two fields with the same name.
 *
 * Locking: none.
 *
 * Limits: the caller has measured the text.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "compat.h"
#include "fields.h"

static const char *const not_json = gettext_noop("It is not valid JSON.");

/* The token after this one; JSON_TOKEN_INVALID if there is none. */
static JsonTokenType
next_token(JsonLexContext *lex)
{
	return json_lex(lex) == JSON_SUCCESS ? lex->token_type :
		JSON_TOKEN_INVALID;
}

/*
 * Does the text escape characters beyond ASCII?  escape_json() does not, and
 * where the database has no such character the lexer can raise an ERROR.
 */
static bool
has_other_escapes(const char *text)
{
	for (const char *s = strchr(text, '\\'); s != NULL; s = strchr(s, '\\'))
	{
		if (s[1] == 'u' && strncmp(s + 2, "00", 2) != 0)
			return true;
		if (s[1] == 'u' && strchr("01234567", s[4]) == NULL)
			return true;
		s += s[1] == '\0' ? 1 : 2;
	}
	return false;
}

/* The integer of a token; false if it is none, or out of its field's range. */
static bool
take_number(const JsonLexContext *lex, const MdbField *field, int64 *number)
{
	char		digits[24];
	size_t		length = lex->token_terminator - lex->token_start;

	if (length >= sizeof(digits))
		return false;
	memcpy(digits, lex->token_start, length);
	digits[length] = '\0';

	/* SQL reads labels, too: not even 1.0 will do. */
	if (strspn(digits, "-0123456789") != length)
		return false;
	errno = 0;
	*number = strtoi64(digits, NULL, 10);
	return errno == 0 && *number >= field->min && *number <= field->max;
}

/* Take the value of a field; what is wrong with it, or NULL. */
static const char *
take_value(JsonLexContext *lex, const MdbField *field, MdbFieldValue *value)
{
	JsonTokenType token = next_token(lex);

	if (value->given)
		return psprintf(_("Field \"%s\" is there twice."), field->name);
	value->given = true;
	switch (field->type)
	{
		case MDB_FIELD_FLAG:
			value->flag = token == JSON_TOKEN_TRUE;
			if (token == JSON_TOKEN_TRUE || token == JSON_TOKEN_FALSE)
				return NULL;
			break;
		case MDB_FIELD_NUMBER:
			if (token == JSON_TOKEN_NUMBER &&
				take_number(lex, field, &value->number))
				return NULL;
			break;
		case MDB_FIELD_STRING:
			if (token != JSON_TOKEN_STRING)
				break;
			value->string = pstrdup(lex->strval->data);
			if (pg_mbstrlen(value->string) >= field->min &&
				pg_mbstrlen(value->string) <= field->max)
				return NULL;
			break;
	}
	return psprintf(_("Field \"%s\" has the wrong type or is out of range."),
					field->name);
}

/* The number of the field that a token names; -1 if there is none. */
static int
find_field(const JsonLexContext *lex, const MdbField *fields, int nfields)
{
	/* As it stands there, so that a search for a name finds it, too. */
	const char *name = lex->token_start + 1;
	size_t		length = lex->token_terminator - lex->token_start - 2;

	for (int i = 0; i < nfields; i++)
		if (strlen(fields[i].name) == length &&
			strncmp(fields[i].name, name, length) == 0)
			return i;
	return -1;
}

/*
 * Take an object apart that has some of these fields and no others.  The
 * values are all zero before.  Returns what is wrong with it, or NULL.
 */
const char *
mdb_fields_take(const char *text, const MdbField *fields, int nfields,
				MdbFieldValue *values)
{
	JsonLexContext *lex;
	JsonTokenType token;

	if (has_other_escapes(text))
		return _(not_json);
	lex = mdb_json_lexer(unconstify(char *, text));
	if (next_token(lex) != JSON_TOKEN_OBJECT_START)
		return _("It must be a JSON object.");
	token = next_token(lex);
	while (token == JSON_TOKEN_STRING)
	{
		int			field = find_field(lex, fields, nfields);
		const char *problem;

		if (field < 0)
			return psprintf(_("There is no field \"%s\"."), lex->strval->data);
		if (next_token(lex) != JSON_TOKEN_COLON)
			return _(not_json);
		problem = take_value(lex, &fields[field], &values[field]);
		if (problem != NULL)
			return problem;
		token = next_token(lex);
		if (token != JSON_TOKEN_COMMA)
			break;
		token = next_token(lex);
		if (token != JSON_TOKEN_STRING)
			return _(not_json);
	}
	if (token != JSON_TOKEN_OBJECT_END || next_token(lex) != JSON_TOKEN_END)
		return _(not_json);
	return NULL;
}
