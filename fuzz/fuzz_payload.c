/*
 * fuzz_payload.c
 *		Payloads: what goes in comes out, and no payload is too long (R6, R25).
 */
#include "payload.c"

#include <sanitizer/asan_interface.h>

#include "stubs.h"

/* The library's encoder is not instrumented (see --wrap in scripts/check). */
extern int	__real_pg_b64_encode(const char *src, int len, char *dst,
								 int dstlen);
extern int	__wrap_pg_b64_encode(const char *src, int len, char *dst,
								 int dstlen);

int
__wrap_pg_b64_encode(const char *src, int len, char *dst, int dstlen)
{
	CHECK(__asan_region_is_poisoned((void *) src, len) == NULL);
	CHECK(__asan_region_is_poisoned(dst, dstlen) == NULL);
	return __real_pg_b64_encode(src, len, dst, dstlen);
}

/* The way back from a JSON array of strings: what it says, one after another. */
static int
parse_array(const char *json, char **strings, int nstrings)
{
	int			n = 0;

	CHECK(*json++ == '[');
	do
	{
		StringInfoData string;

		initStringInfo(&string);
		CHECK(*json++ == '"');
		while (*json != '"')
		{
			CHECK((unsigned char) *json >= ' ');
			if (*json != '\\')
			{
				appendStringInfoChar(&string, *json++);
				continue;
			}
			json++;
			if (*json == 'u')
			{
				char		hex[5] = {0};

				memcpy(hex, json + 1, 4);
				appendStringInfoChar(&string, (char) strtol(hex, NULL, 16));
				json += 5;
				continue;
			}
			else
			{
				static const char escapes[] = "bfnrt\"\\";
				static const char meanings[] = "\b\f\n\r\t\"\\";
				const char *at = strchr(escapes, *json++);

				CHECK(at != NULL);
				appendStringInfoChar(&string, meanings[at - escapes]);
			}
		}
		json++;
		CHECK(n < nstrings);
		strings[n++] = string.data;
	} while (*json++ == ',');
	CHECK(json[-1] == ']' && *json == '\0');
	return n;
}

static int
escaped_length(const char *string)
{
	StringInfoData text;

	initStringInfo(&text);
	escape_json(&text, string);
	return text.len;
}

/* The values of the set that were added, each once, and how often. */
static void
check_set(const MdbValueSet *set, char **added, const int *lengths, int nadded)
{
	int			nseen = 0;
	int			total = 0;

	for (int i = 0; i < nadded; i++)
	{
		bool		known = false;

		for (int k = 0; k < nseen && !known; k++)
			known = set->values[k].len == lengths[i] &&
				memcmp(set->values[k].bytes, added[i], lengths[i]) == 0;
		if (known)
			continue;
		CHECK(nseen < set->nvalues);
		CHECK(set->values[nseen].len == lengths[i] &&
			  memcmp(set->values[nseen].bytes, added[i], lengths[i]) == 0);
		nseen++;
	}
	CHECK(nseen == set->nvalues);
	for (int i = 0; i < nseen; i++)
		total += set->values[i].count;
	CHECK(total == nadded);
}

static char
take_nonzero(Input *input)
{
	char		byte = (char) take_number(input, 1);

	return byte == '\0' ? 'x' : byte;
}

static void
test_strings(Input *input)
{
	enum
	{
		MOST = 600
	};
	char	   *added[MOST];
	int			lengths[MOST];
	char	   *heard[MOST];
	int			nadded = 0;
	int			nheard = 0;
	int			nlong = 0;
	int			at = 0;
	int			last_length = 0;
	int			room = MDB_PAYLOAD_MAX;
	MdbValueSet *set = mdb_payload_set(false, take_below(input, 100));
	char	   *payload;

	while (input->left > 0 && nadded < MOST)
	{
		/* Long ones are one byte, many times; some fill a payload, or nearly. */
		int			kind = take_below(input, 5);
		int			length = kind == 0 ? (int) take_below(input, 9000) :
			kind == 4 ? room - 6 + (int) take_below(input, 8) :
			(int) take_below(input, kind * kind * 8);
		char	   *string;

		length = Max(length, 0);
		string = palloc(length + 1);
		if (kind == 0 || kind == 4)
			memset(string, take_nonzero(input), length);
		else
			for (int i = 0; i < length; i++)
				string[i] = take_nonzero(input);
		string[length] = '\0';
		added[nadded] = string;
		lengths[nadded++] = length;
		mdb_payload_add(set, string, length);
		room -= length + 3;
		if (room < 0)
			room = MDB_PAYLOAD_MAX;
	}
	check_set(set, added, lengths, nadded);

	while ((payload = mdb_payload_next(set, &at)) != NULL)
	{
		int			from = nheard;

		CHECK(strlen(payload) <= MDB_PAYLOAD_MAX);
		nheard += parse_array(payload, heard + nheard, MOST - nheard);
		/* As many as fit: this one's first did not fit into the last. */
		CHECK(from == 0 || last_length + 1 + escaped_length(heard[from]) >
			  MDB_PAYLOAD_MAX);
		last_length = strlen(payload);
	}
	CHECK(at == set->nvalues);
	for (int i = 0, k = 0; i < set->nvalues; i++)
	{
		if (escaped_length(set->values[i].bytes) + 2 > MDB_PAYLOAD_MAX)
		{
			nlong++;
			continue;
		}
		CHECK(k < nheard && strcmp(heard[k], set->values[i].bytes) == 0);
		k++;
	}
	CHECK(nlong == set->ntoo_long && nheard + nlong == set->nvalues);
}

static void
test_uuids(Input *input)
{
	enum
	{
		MOST = 1000
	};
	char	   *added[MOST];
	int			lengths[MOST];
	int			nadded = 0;
	int			nheard = 0;
	int			at = 0;
	MdbValueSet *set = mdb_payload_set(true, take_below(input, 100));
	int			repeat = 1 + take_below(input, 200);
	char	   *payload;

	while (input->left > 0 && nadded < MOST)
	{
		uint64		number = take_number(input, 2);

		/* A short input makes many of them. */
		for (int i = 0; i < repeat && nadded < MOST; i++)
		{
			char	   *bytes = palloc0(UUID_LEN);

			memcpy(bytes + (number % 9), &number, sizeof(number) - 1);
			bytes[15] = i;
			added[nadded] = bytes;
			lengths[nadded++] = UUID_LEN;
			mdb_payload_add(set, bytes, UUID_LEN);
		}
	}
	check_set(set, added, lengths, nadded);

	while ((payload = mdb_payload_next(set, &at)) != NULL)
	{
		size_t		length = strlen(payload);
		int			n = length / MDB_UUID_CHARS;

		CHECK(length % MDB_UUID_CHARS == 0);
		CHECK(n == Min(set->nvalues - nheard, MDB_UUIDS_PER_PAYLOAD));
		for (int i = 0; i < n; i++)
		{
			pg_uuid_t	uuid;

			CHECK(mdb_payload_decode_uuid(payload + i * MDB_UUID_CHARS, &uuid));
			CHECK(memcmp(uuid.data, set->values[nheard++].bytes, UUID_LEN) == 0);
		}
	}
	CHECK(nheard == set->nvalues);
}

/* Whatever 22 characters are: uuid or refusal; a uuid is of just those. */
static void
test_decode(Input *input)
{
	while (input->left >= MDB_UUID_CHARS)
	{
		char	   *chars = palloc(MDB_UUID_CHARS);
		pg_uuid_t	uuid;
		char		again[MDB_UUID_CHARS + 3];

		memcpy(chars, input->bytes, MDB_UUID_CHARS);
		input->bytes += MDB_UUID_CHARS;
		input->left -= MDB_UUID_CHARS;
		if (!mdb_payload_decode_uuid(chars, &uuid))
			continue;
		CHECK(pg_b64_encode((char *) uuid.data, UUID_LEN, again,
							sizeof(again)) == MDB_UUID_CHARS + 2);
		/* The last character has bits that mean nothing. */
		CHECK(memcmp(again, chars, MDB_UUID_CHARS - 1) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	Input		input = {bytes, length};

	switch (take_below(&input, 3))
	{
		case 0:
			test_strings(&input);
			break;
		case 1:
			test_uuids(&input);
			break;
		default:
			test_decode(&input);
			break;
	}
	fuzz_free_all();
	return 0;
}
