/*
 * save.c
 *		What is pending survives a clean stop of the server (R14).
 *
 * Model: when everything else has stopped, the postmaster writes what is left
 * in the batches to a file in the data directory, provided that the control
 * file says that the server was shut down.  The file carries a checksum, the
 * system identifier and the shutdown checkpoint.  At the start the postmaster
 * loads it only if the control file still says just that, and nothing is to
 * be recovered; anything else is reported, and set aside under another name.
 * The launcher removes the file before the first worker starts, not the
 * postmaster, whose start may still fail: then it is loaded again.
 *
 * The file is a header, then each batch: its identity, its definitions, oldest
 * first, and the entries of each in flush order.  Structs are written as they
 * are: the file is read by the same binary, or refused by its format.  It is
 * checked as a whole before anything of it is loaded.
 *
 * Locking: nobody else is there at both ends; locks are taken all the same
 * where functions of lower layers take them.
 *
 * Limits: whatever starts the data directory in between without mdbatch makes
 * the file one that does not belong.  pg_upgrade does not carry it.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "define.h"
#include "queue.h"
#include "save.h"
#include "save_check.h"

#define SAVE_FILE		"mdbatch.pending"
#define SAVE_TEMPORARY	SAVE_FILE ".tmp"

/* A file while it is written or read. */
typedef struct Stream
{
	FILE	   *file;
	pg_crc32c	crc;
	uint64		length;
	bool		failed;
} Stream;

static bool
read_control(SaveHeader *header)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);
	bool		shut_down = crc_ok && control->state == DB_SHUTDOWNED;

	memset(header, 0, sizeof(*header));
	memcpy(header->magic, SAVE_MAGIC, sizeof(header->magic));
	header->format = SAVE_FORMAT;
	header->server_version = MDB_SERVER_VERSION;
	header->system_identifier = control->system_identifier;
	header->checkpoint = control->checkPoint;
	pfree(control);
	return shut_down;
}

static void
put(Stream *stream, const void *bytes, uint32 nbytes)
{
	if (fwrite(bytes, 1, nbytes, stream->file) != nbytes)
		stream->failed = true;
	COMP_CRC32C(stream->crc, bytes, nbytes);
	stream->length += nbytes;
}

static void
put_entry(Stream *stream, MdbRef ref)
{
	const MdbEntry *entry = mdb_entry(ref);
	MdbEntryShape shape = {0};
	uint32		length = mdb_entry_length(entry);
	MdbCursor	cursor = mdb_pool_start(ref);
	char		buffer[8192];

	shape.keylen = entry->keylen;
	shape.vallen = entry->vallen;
	shape.nslots = entry->nslots;
	put(stream, &shape, sizeof(shape));
	put(stream, &entry->version, sizeof(entry->version));
	for (uint32 done = 0; done < length;)
	{
		uint32		n = Min(length - done, sizeof(buffer));

		mdb_pool_read(&cursor, buffer, n);
		put(stream, buffer, n);
		done += n;
	}
}

static uint32
list_length_of(const MdbList *list)
{
	uint32		n = 0;

	for (MdbRef ref = list->first; ref != MDB_NO_REF;
		 ref = mdb_entry(ref)->order_next)
		n++;
	return n;
}

/* A definition with its entries: the deferred ones are just older. */
static uint32
put_definition(Stream *stream, MdbRef definition)
{
	const MdbDefinitionHead *head = mdb_define_head(definition);
	const MdbList *lists[] = {&head->deferred, &head->ready};
	SavedDefinition saved = {head->nbytes, 0};
	MdbDefinition *bytes = mdb_define_read(definition);

	for (int i = 0; i < (int) lengthof(lists); i++)
		saved.nentries += list_length_of(lists[i]);
	put(stream, &saved, sizeof(saved));
	put(stream, bytes, saved.nbytes);
	pfree(bytes);
	for (int i = 0; i < (int) lengthof(lists); i++)
		for (MdbRef ref = lists[i]->first; ref != MDB_NO_REF;
			 ref = mdb_entry(ref)->order_next)
			put_entry(stream, ref);
	return saved.nentries;
}

static bool
is_worth_saving(const MdbBatch *batch)
{
	return OidIsValid(batch->dboid) && !batch->gone &&
		mdb_batch_waiting(batch) > 0;
}

/* Returns how many entries were written. */
static uint64
put_batch(Stream *stream, const MdbBatch *batch)
{
	SavedBatch	saved = {0};
	uint64		count = 0;

	saved.dboid = batch->dboid;
	saved.relid = batch->relid;
	saved.own_batch_size = batch->own_batch_size;
	saved.own_interval = batch->own_interval;
	saved.detached = batch->detached;
	strlcpy(saved.target, batch->target, sizeof(batch->target));
	for (MdbRef ref = batch->oldest; ref != MDB_NO_REF;
		 ref = mdb_define_head(ref)->newer)
		saved.ndefinitions++;
	put(stream, &saved, sizeof(saved));
	for (MdbRef ref = batch->oldest; ref != MDB_NO_REF;
		 ref = mdb_define_head(ref)->newer)
		count += put_definition(stream, ref);
	return count;
}

/* Write the file under its temporary name; false if that failed. */
static bool
write_file(SaveHeader *header, uint64 *count)
{
	Stream		stream = {0};

	/* What was left by a kill may have other permissions. */
	(void) unlink(SAVE_TEMPORARY);
	stream.file = AllocateFile(SAVE_TEMPORARY, PG_BINARY_W);
	if (stream.file == NULL)
		return false;
	INIT_CRC32C(stream.crc);
	put(&stream, header, sizeof(*header));
	stream.length = 0;
	INIT_CRC32C(stream.crc);
	for (int i = 0; i < mdb_max_batches; i++)
		if (is_worth_saving(mdb_batch(i)))
		{
			*count += put_batch(&stream, mdb_batch(i));
			header->nbatches++;
		}

	/* The checksum of the header comes after that of the rest. */
	header->length = stream.length;
	COMP_CRC32C(stream.crc, header, sizeof(*header));
	FIN_CRC32C(stream.crc);
	header->crc = stream.crc;
	if (fseeko(stream.file, 0, SEEK_SET) != 0 ||
		fwrite(header, 1, sizeof(*header), stream.file) != sizeof(*header) ||
		fflush(stream.file) != 0 || pg_fsync(fileno(stream.file)) != 0)
		stream.failed = true;
	return FreeFile(stream.file) == 0 && !stream.failed;
}

/* The postmaster exits, and everything else has stopped. */
static void
save_at_exit(int code, Datum arg)
{
	SaveHeader	header;
	uint64		count = 0;
	bool		worth = false;

	for (int i = 0; i < mdb_max_batches; i++)
		worth |= is_worth_saving(mdb_batch(i));
	/* Whatever ended a standalone backend, it has shut down like a server. */
	if ((code != 0 && IsPostmasterEnvironment) || !worth ||
		!read_control(&header))
		return;
	errno = 0;
	if (write_file(&header, &count) &&
		durable_rename(SAVE_TEMPORARY, SAVE_FILE, LOG) == 0)
	{
		ereport(LOG,
				(errmsg_plural("saved " UINT64_FORMAT " pending entry",
							   "saved " UINT64_FORMAT " pending entries",
							   (unsigned long) count, count)));
		return;
	}
	ereport(WARNING,
			(errcode_for_file_access(),
			 errmsg("could not save pending entries to file \"%s\": %m",
					SAVE_FILE),
			 errdetail("They are lost.")));
	(void) unlink(SAVE_TEMPORARY);
}

/* Take bytes that have been checked. */
static void
take(Stream *stream, void *bytes, uint32 nbytes)
{
	if (fread(bytes, 1, nbytes, stream->file) != nbytes)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", SAVE_FILE)));
}

/* The file cannot be used: it is kept, and the log tells. */
static void
set_aside(const char *what, const char *detail)
{
	char		name[MAXPGPATH];
	time_t		now = time(NULL);
	struct stat status;

	/* Never over another one. */
	do
	{
		snprintf(name, sizeof(name), "%s.%s.%lld", SAVE_FILE, what,
				 (long long) now++);
	} while (stat(name, &status) == 0);
	if (durable_rename(SAVE_FILE, name, LOG) != 0)
		ereport(FATAL,
				(errmsg("could not set aside file \"%s\"", SAVE_FILE)));
	ereport(WARNING,
			(errmsg("file \"%s\" of pending entries is not loaded", SAVE_FILE),
			 errdetail_internal("%s", detail),
			 errhint("It has been renamed to \"%s\".", name)));
}

/* Does the file hold what its header says? */
static bool
is_intact(Stream *stream, SaveHeader *header)
{
	char		buffer[8192];
	pg_crc32c	expected;
	size_t		n;

	if (fread(header, 1, sizeof(*header), stream->file) != sizeof(*header) ||
		memcmp(header->magic, SAVE_MAGIC, sizeof(header->magic)) != 0)
		return false;
	INIT_CRC32C(stream->crc);
	while ((n = fread(buffer, 1, sizeof(buffer), stream->file)) > 0)
	{
		COMP_CRC32C(stream->crc, buffer, n);
		stream->length += n;
	}
	expected = header->crc;
	header->crc = 0;
	COMP_CRC32C(stream->crc, header, sizeof(*header));
	FIN_CRC32C(stream->crc);
	return stream->length == header->length &&
		EQ_CRC32C(stream->crc, expected);
}

/* Is the data directory in exactly the state that the file belongs to? */
static bool
belongs(const SaveHeader *header)
{
	SaveHeader	now;
	struct stat status;

	return read_control(&now) &&
		header->system_identifier == now.system_identifier &&
		header->checkpoint == now.checkpoint &&
		stat(RECOVERY_SIGNAL_FILE, &status) != 0 &&
		stat(STANDBY_SIGNAL_FILE, &status) != 0 &&
		stat(BACKUP_LABEL_FILE, &status) != 0;
}

static void
does_not_fit(void)
{
	ereport(FATAL,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("pending entries of file \"%s\" do not fit", SAVE_FILE),
			 errhint("Set \"mdbatch.memory\" and \"mdbatch.max_batches\" to what they were when the server was stopped.")));
}

static void
load_entry(Stream *stream, const MdbDefinition *definition, int number,
		   MdbRef definition_ref)
{
	MdbEntryShape shape;
	int64		version;
	int64		arrival;
	uint32		length;
	char	   *contents;
	MdbRef		ref;

	take(stream, &shape, sizeof(shape));
	take(stream, &version, sizeof(version));
	length = mdb_entry_contents(&shape);
	contents = MemoryContextAllocHuge(CurrentMemoryContext, length);
	take(stream, contents, length);
	ref = mdb_entry_rebuild(&mdb_batch(number)->account, &shape, version,
							contents, definition, number, definition_ref);
	if (ref == MDB_NO_REF)
		does_not_fit();
	(void) mdb_queue_publish(ref, false, 0, 0, GetCurrentTimestamp(), &arrival);
	pfree(contents);
}

/* Returns how many entries were loaded. */
static uint64
load_batch(Stream *stream)
{
	SavedBatch	saved;
	uint64		epoch;
	uint64		count = 0;
	int			number;

	take(stream, &saved, sizeof(saved));
	number = mdb_batch_acquire(saved.dboid, saved.relid, &epoch);
	if (number < 0)
		does_not_fit();
	for (uint32 i = 0; i < saved.ndefinitions; i++)
	{
		SavedDefinition head;
		MdbDefinition *definition;
		MdbRef		ref;

		take(stream, &head, sizeof(head));
		definition = palloc(head.nbytes);
		take(stream, definition, head.nbytes);
		ref = mdb_define(number, definition, saved.target);
		if (ref == MDB_NO_REF)
			does_not_fit();
		for (uint32 k = 0; k < head.nentries; k++)
			load_entry(stream, definition, number, ref);
		count += head.nentries;
		pfree(definition);
	}
	mdb_batch(number)->own_batch_size = saved.own_batch_size;
	mdb_batch(number)->own_interval = saved.own_interval;
	mdb_batch(number)->detached = saved.detached;
	mdb_batch(number)->requested = mdb_batch(number)->last_arrival + 1;
	return count;
}

static void
rewind_to_batches(Stream *stream)
{
	if (fseeko(stream->file, sizeof(SaveHeader), SEEK_SET) != 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", SAVE_FILE)));
}

/* Is what an intact file holds what it should be? */
static bool
is_sound(Stream *stream, const SaveHeader *header)
{
	rewind_to_batches(stream);
	return mdb_save_check(stream->file, header);
}

static void
load(void)
{
	Stream		stream = {0};
	SaveHeader	header = {0};
	uint64		count = 0;

	stream.file = AllocateFile(SAVE_FILE, PG_BINARY_R);
	if (stream.file == NULL)
	{
		if (errno != ENOENT)
			ereport(FATAL,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", SAVE_FILE)));
		return;
	}
	if (!is_intact(&stream, &header))
		set_aside("damaged", _("It is damaged."));
	else if (header.format != SAVE_FORMAT ||
			 header.server_version != MDB_SERVER_VERSION)
		set_aside("foreign", _("It was written by another version."));
	else if (!belongs(&header))
		set_aside("foreign", _("It does not belong to this state of the data directory."));
	else if (!is_sound(&stream, &header))
		set_aside("damaged", _("It is damaged."));
	else
	{
		rewind_to_batches(&stream);
		for (uint32 i = 0; i < header.nbatches; i++)
			count += load_batch(&stream);
		ereport(LOG,
				(errmsg_plural("loaded " UINT64_FORMAT " pending entry",
							   "loaded " UINT64_FORMAT " pending entries",
							   (unsigned long) count, count)));
	}
	FreeFile(stream.file);
}

/*
 * Load what was saved, and save what is left when the server stops.  To be
 * called by the postmaster when shared memory has been set up.
 */
void
mdb_save_attach(void)
{
	(void) unlink(SAVE_TEMPORARY);
	load();
	on_shmem_exit(save_at_exit, (Datum) 0);
}

/* What was loaded is about to be flushed: it must not be loaded again. */
void
mdb_save_remove(void)
{
	struct stat status;

	if (stat(SAVE_FILE, &status) == 0 && durable_unlink(SAVE_FILE, LOG) != 0)
		ereport(FATAL,
				(errmsg("could not remove file \"%s\"", SAVE_FILE),
				 errdetail("Nothing is flushed before that.")));
}
