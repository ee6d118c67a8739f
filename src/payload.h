/*
 * payload.h
 *		Values to notification payloads and back.
 */
#ifndef MDB_PAYLOAD_H
#define MDB_PAYLOAD_H

#include "utils/uuid.h"

#define MDB_UUID_CHARS			22	/* base64 of 16 bytes, without padding */
#define MDB_UUIDS_PER_PAYLOAD	363 /* 7,986 of at most 7,999 bytes */
#define MDB_PAYLOAD_MAX			7999	/* bytes */

/* A value of the set, with its count. */
typedef struct MdbValue
{
	const char *bytes;			/* of a uuid, or a string */
	uint32		len;
	int			count;
} MdbValue;

/* Distinct values in order of first appearance. */
typedef struct MdbValueSet
{
	bool		uuids;			/* else strings */
	int			nvalues;
	int			allocated;
	int			ntoo_long;		/* values that no payload takes, so far */
	MdbValue   *values;
	struct valueindex_hash *index;
} MdbValueSet;

extern MdbValueSet *mdb_payload_set(bool uuids, int expected);
extern void mdb_payload_add(MdbValueSet *set, const char *bytes, uint32 len);
extern char *mdb_payload_next(MdbValueSet *set, int *at);
extern bool mdb_payload_decode_uuid(const char *chars, pg_uuid_t *uuid);

#endif							/* MDB_PAYLOAD_H */
