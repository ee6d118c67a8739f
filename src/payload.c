/*
 * payload.c
 *		Values to notification payloads and back.
 *
 * Model: pure.  A set collects the distinct uuids of a batch in order of
 * first appearance and counts each; its payloads are 363 uuids of 22
 * characters each, the rest in the last (R6).
 *
 * Locking: none.
 *
 * Limits: everything lives in the memory context that was current when the
 * set was made.
 */
#include "postgres.h"

#include "common/base64.h"
#include "common/hashfn.h"

#include "payload.h"

typedef struct UuidIndexEntry
{
	pg_uuid_t	uuid;
	int			position;		/* in the set's array */
	char		status;
} UuidIndexEntry;

#define SH_PREFIX uuidindex
#define SH_ELEMENT_TYPE UuidIndexEntry
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY uuid
#define SH_HASH_KEY(tb, key) hash_bytes(key.data, UUID_LEN)
#define SH_EQUAL(tb, a, b) (memcmp(a.data, b.data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* An empty set with room for about as many uuids. */
MdbUuidSet *
mdb_payload_uuids(int expected)
{
	MdbUuidSet *set = palloc(sizeof(MdbUuidSet));

	set->nuuids = 0;
	set->allocated = Max(expected, 16);
	set->uuids = palloc(set->allocated * sizeof(MdbUuidCount));
	set->index = uuidindex_create(CurrentMemoryContext, set->allocated, NULL);
	return set;
}

/* Add a uuid, or count it once more. */
void
mdb_payload_add_uuid(MdbUuidSet *set, const pg_uuid_t *uuid)
{
	bool		found;
	UuidIndexEntry *entry = uuidindex_insert(set->index, *uuid, &found);

	if (!found)
	{
		if (set->nuuids == set->allocated)
		{
			set->allocated *= 2;
			set->uuids = repalloc(set->uuids,
								  set->allocated * sizeof(MdbUuidCount));
		}
		entry->position = set->nuuids++;
		set->uuids[entry->position].uuid = *uuid;
		set->uuids[entry->position].count = 0;
	}
	set->uuids[entry->position].count++;
}

/* How many payloads the set makes. */
int
mdb_payload_count(const MdbUuidSet *set)
{
	return (set->nuuids + MDB_UUIDS_PER_PAYLOAD - 1) / MDB_UUIDS_PER_PAYLOAD;
}

/* Payload number 0 to count - 1, palloc'd. */
char *
mdb_payload_text(const MdbUuidSet *set, int number)
{
	int			first = number * MDB_UUIDS_PER_PAYLOAD;
	int			n = Min(set->nuuids - first, MDB_UUIDS_PER_PAYLOAD);

	/* The encoder pads each uuid with "==", which the next one overwrites. */
	char	   *text = palloc(n * MDB_UUID_CHARS + 3);

	for (int i = 0; i < n; i++)
		(void) pg_b64_encode((const char *) set->uuids[first + i].uuid.data,
							 UUID_LEN, text + i * MDB_UUID_CHARS,
							 MDB_UUID_CHARS + 2);
	text[n * MDB_UUID_CHARS] = '\0';
	return text;
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
	if (pg_b64_decode(padded, sizeof(padded), bytes, sizeof(bytes)) != UUID_LEN)
		return false;
	memcpy(uuid->data, bytes, UUID_LEN);
	return true;
}
