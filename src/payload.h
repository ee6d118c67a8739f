/*
 * payload.h
 *		Values to notification payloads and back.
 */
#ifndef MDB_PAYLOAD_H
#define MDB_PAYLOAD_H

#include "utils/uuid.h"

#define MDB_UUID_CHARS			22	/* base64 of 16 bytes, without padding */
#define MDB_UUIDS_PER_PAYLOAD	363 /* 7,986 of at most 7,999 bytes */

/* Distinct uuids in order of first appearance, each with its count. */
typedef struct MdbUuidCount
{
	pg_uuid_t	uuid;
	int			count;
} MdbUuidCount;

typedef struct MdbUuidSet
{
	int			nuuids;
	int			allocated;
	MdbUuidCount *uuids;
	struct uuidindex_hash *index;
} MdbUuidSet;

extern MdbUuidSet *mdb_payload_uuids(int expected);
extern void mdb_payload_add_uuid(MdbUuidSet *set, const pg_uuid_t *uuid);
extern int	mdb_payload_count(const MdbUuidSet *set);
extern char *mdb_payload_text(const MdbUuidSet *set, int number);
extern bool mdb_payload_decode_uuid(const char *chars, pg_uuid_t *uuid);

#endif							/* MDB_PAYLOAD_H */
