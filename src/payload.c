/*
 * payload.c
 *		Values to notification payloads and back.
 *
 * Model: pure.  A set collects the distinct values of a batch in order of
 * first appearance and counts each.  Payloads of uuids are 363 of them, 22
 * characters each, the rest in the last (R6); those of strings are JSON arrays
 * of as many as fit (R25).
 *
 * Locking: none.
 *
 * Limits: a string that no payload takes is left out and counted.  Everything
 * lives in the memory context that was current when the set was made.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "utils/json.h"

#include "compat.h"
#include "payload.h"

typedef struct Bytes
{
	const char *bytes;
	uint32		len;
} Bytes;

typedef struct ValueIndexEntry
{
	Bytes		key;
	int			position;		/* in the set's array */
	char		status;
} ValueIndexEntry;

#define SH_PREFIX valueindex
#define SH_ELEMENT_TYPE ValueIndexEntry
#define SH_KEY_TYPE Bytes
#define SH_KEY key
#define SH_HASH_KEY(tb, key) \
	hash_bytes((const unsigned char *) key.bytes, key.len)
#define SH_EQUAL(tb, a, b) \
	(a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* An empty set with room for about as many values. */
MdbValueSet *
mdb_payload_set(bool uuids, int expected)
{
	MdbValueSet *set = palloc0(sizeof(MdbValueSet));

	set->uuids = uuids;
	set->allocated = Max(expected, 16);
	set->values = palloc(set->allocated * sizeof(MdbValue));
	set->index = valueindex_create(CurrentMemoryContext, set->allocated, NULL);
	return set;
}

/* Add a value, which is kept as it is, or count it once more. */
void
mdb_payload_add(MdbValueSet *set, const char *bytes, uint32 len)
{
	Bytes		key = {bytes, len};
	bool		found;
	ValueIndexEntry *entry = valueindex_insert(set->index, key, &found);

	if (!found)
	{
		if (set->nvalues == set->allocated)
		{
			set->allocated *= 2;
			set->values = repalloc(set->values,
								   set->allocated * sizeof(MdbValue));
		}
		entry->position = set->nvalues++;
		set->values[entry->position].bytes = bytes;
		set->values[entry->position].len = len;
		set->values[entry->position].count = 0;
	}
	set->values[entry->position].count++;
}

static char *
next_uuids(const MdbValueSet *set, int *at)
{
	int			n = Min(set->nvalues - *at, MDB_UUIDS_PER_PAYLOAD);
	char	   *text;

	if (n == 0)
		return NULL;

	/* The encoder pads each uuid with "==", which the next one overwrites. */
	text = palloc(n * MDB_UUID_CHARS + 3);
	for (int i = 0; i < n; i++)
		if (mdb_b64_encode(set->values[(*at)++].bytes, UUID_LEN,
						   text + i * MDB_UUID_CHARS, MDB_UUID_CHARS + 2) < 0)
			elog(ERROR, "a uuid has no place");
	text[n * MDB_UUID_CHARS] = '\0';
	return text;
}

static char *
next_strings(MdbValueSet *set, int *at)
{
	StringInfoData text;
	StringInfoData value;

	initStringInfo(&text);
	initStringInfo(&value);
	while (*at < set->nvalues)
	{
		const int	brackets = 2;

		/* Escaped it is no shorter. */
		resetStringInfo(&value);
		if (set->values[*at].len <= MDB_PAYLOAD_MAX)
			escape_json(&value, set->values[*at].bytes);
		if (value.len == 0 || value.len + brackets > MDB_PAYLOAD_MAX)
			set->ntoo_long++;
		else if (text.len + 1 + value.len + 1 > MDB_PAYLOAD_MAX)
			break;
		else
			appendStringInfo(&text, "%c%s", text.len == 0 ? '[' : ',',
							 value.data);
		(*at)++;
	}
	pfree(value.data);
	if (text.len == 0)
		return NULL;
	appendStringInfoChar(&text, ']');
	return text.data;
}

/*
 * The next payload, palloc'd, of the values from *at on, which is to be 0 at
 * first; NULL if there is none.
 */
char *
mdb_payload_next(MdbValueSet *set, int *at)
{
	return set->uuids ? next_uuids(set, at) : next_strings(set, at);
}

/* One uuid from its 22 characters; false if they are not base64. */
bool
mdb_payload_decode_uuid(const char *chars, pg_uuid_t *uuid)
{
	char		padded[MDB_UUID_CHARS + 2];
	char		bytes[UUID_LEN + 2];

	memcpy(padded, chars, MDB_UUID_CHARS);
	memcpy(padded + MDB_UUID_CHARS, "==", 2);

	/* White space, which the decoder skips, leaves less than 16 bytes. */
	if (mdb_b64_decode(padded, sizeof(padded), bytes, sizeof(bytes)) !=
		UUID_LEN)
		return false;
	memcpy(uuid->data, bytes, UUID_LEN);
	return true;
}
