/*
 * save_check.c
 *		Does a saved file hold batches, and nothing else?
 *
 * Model: a checksum finds what went wrong by accident.  This finds what is
 * wrong in itself: it walks over the file as save.c will when it loads it.
 *
 * Locking: none, the postmaster alone runs.
 *
 * Limits: whether the tables and types still are what the file says is asked
 * when the entries are written (plan.c).
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "save_check.h"
#include "sound.h"

/* Bytes of the file that have not been walked over. */
typedef struct Rest
{
	FILE	   *file;
	uint64		nbytes;
} Rest;

static bool
take_checked(Rest *rest, void *bytes, uint64 nbytes)
{
	if (nbytes > rest->nbytes ||
		fread(bytes, 1, nbytes, rest->file) != nbytes)
		return false;
	rest->nbytes -= nbytes;
	return true;
}

static bool
check_entry(Rest *rest, const MdbDefinition *definition)
{
	MdbEntryShape shape;
	int64		version;
	uint64		length;
	char	   *contents;
	bool		sound;

	if (!take_checked(rest, &shape, sizeof(shape)) ||
		!take_checked(rest, &version, sizeof(version)))
		return false;
	length = (uint64) shape.nslots * MDB_SLOT_SIZE + shape.keylen +
		shape.vallen;
	if (length > MDB_MAX_CONTENTS || length > rest->nbytes)
		return false;
	contents = palloc(length);
	sound = take_checked(rest, contents, length) &&
		mdb_sound_entry(contents, &shape, definition);
	pfree(contents);
	return sound;
}

static bool
check_definition(Rest *rest, Oid relid)
{
	SavedDefinition saved;
	MdbDefinition *definition;
	bool		sound;

	if (!take_checked(rest, &saved, sizeof(saved)) ||
		saved.nbytes > rest->nbytes || saved.nbytes > MaxAllocSize)
		return false;
	definition = palloc(saved.nbytes);
	sound = take_checked(rest, definition, saved.nbytes) &&
		mdb_sound_definition(definition, saved.nbytes) &&
		definition->relid == relid;
	for (uint32 i = 0; sound && i < saved.nentries; i++)
		sound = check_entry(rest, definition);
	pfree(definition);
	return sound;
}

static bool
check_batch(Rest *rest)
{
	SavedBatch	saved;

	if (!take_checked(rest, &saved, sizeof(saved)) ||
		!OidIsValid(saved.dboid) || !OidIsValid(saved.relid) ||
		saved.own_batch_size < 0 || saved.own_interval < 0 ||
		*(const uint8 *) &saved.detached > 1 ||
		memchr(saved.target, '\0', sizeof(saved.target)) == NULL)
		return false;
	for (uint32 i = 0; i < saved.ndefinitions; i++)
		if (!check_definition(rest, saved.relid))
			return false;
	return true;
}

/* Can a file be loaded that is at the end of its header?  Cannot ERROR. */
bool
mdb_save_check(FILE *file, const SaveHeader *header)
{
	Rest		rest = {file, header->length};

	for (uint32 i = 0; i < header->nbatches; i++)
		if (!check_batch(&rest))
			return false;
	return rest.nbytes == 0;
}
