/*
 * fuzz_save.c
 *		The saved file: what was saved is loaded, all of it, once; anything
 *		else is set aside, and nothing of it is loaded (R14).
 *
 * The pool, the codec and save.c are the real ones; batches, definitions and
 * lists are simple ones, in the order that save.c wants.
 */
#include "pool.c"
#include "entry.c"
#include "slot.c"
#include "sound.c"
#include "save_check.c"
#include "save.c"

#include <fcntl.h>

#include "entry_model.h"

#define NBATCHES		4
#define NDEFINITIONS	3

static MdbBatch batches[NBATCHES];
static ControlFileData control;

/* What became of the file, beside what the file system says. */
static int	nset_aside;

MdbBatch *
mdb_batch(int number)
{
	return &batches[number];
}

uint32
mdb_batch_waiting(const MdbBatch *batch)
{
	return pg_atomic_read_u64((pg_atomic_uint64 *) &batch->load) >> 32;
}

int
mdb_batch_acquire(Oid dboid, Oid relid, uint64 *epoch)
{
	for (int i = 0; i < mdb_max_batches; i++)
		if (!OidIsValid(batches[i].dboid))
		{
			batches[i].dboid = dboid;
			batches[i].relid = relid;
			return i;
		}
	return -1;
}

MdbDefinitionHead *
mdb_define_head(MdbRef ref)
{
	return (MdbDefinitionHead *) mdb_pool_head(ref);
}

MdbDefinition *
mdb_define_read(MdbRef ref)
{
	MdbDefinition *definition = palloc(mdb_define_head(ref)->nbytes);
	MdbCursor	cursor = mdb_pool_start(ref);

	mdb_pool_read(&cursor, definition, mdb_define_head(ref)->nbytes);
	return definition;
}

MdbRef
mdb_define(int number, const MdbDefinition *definition, const char *target)
{
	MdbBatch   *batch = &batches[number];
	uint32		nbytes = mdb_definition_size(definition);
	MdbRef		ref = mdb_pool_alloc(&batch->account, nbytes);
	MdbDefinitionHead *head;
	MdbCursor	cursor;

	if (ref == MDB_NO_REF)
		return ref;
	head = mdb_define_head(ref);
	memset((char *) head + sizeof(MdbRef), 0, sizeof(*head) - sizeof(MdbRef));
	head->nbytes = nbytes;
	cursor = mdb_pool_start(ref);
	mdb_pool_write(&cursor, definition, nbytes);
	if (batch->oldest == MDB_NO_REF)
		batch->oldest = ref;
	else
		mdb_define_head(batch->newest)->newer = ref;
	batch->newest = ref;
	strlcpy(batch->target, target, sizeof(batch->target));
	return ref;
}

static void
append(MdbList *list, MdbRef ref)
{
	mdb_entry(ref)->order_next = MDB_NO_REF;
	if (list->first == MDB_NO_REF)
		list->first = ref;
	else
		mdb_entry(list->last)->order_next = ref;
	list->last = ref;
}

bool
mdb_queue_publish(MdbRef ref, bool reserved, uint32 coalesced, uint32 stale,
				  TimestampTz now, int64 *arrival)
{
	MdbBatch   *batch = &batches[mdb_entry(ref)->batch];

	append(&mdb_define_head(mdb_entry(ref)->definition)->ready, ref);
	pg_atomic_fetch_add_u64(&batch->load, MDB_WAITING_ONE);
	*arrival = ++batch->last_arrival;
	return true;
}

/*
 * Files
 */
static FILE *allocated;			/* one at a time; an error leaves it open */

FILE *
AllocateFile(const char *name, const char *mode)
{
	CHECK(allocated == NULL);
	return allocated = fopen(name, mode);
}

int
FreeFile(FILE *file)
{
	CHECK(file == allocated);
	allocated = NULL;
	return fclose(file);
}

int
pg_fsync(int fd)
{
	return 0;
}

int
durable_rename(const char *from, const char *to, int elevel)
{
	if (strcmp(from, SAVE_FILE) == 0)
	{
		nset_aside++;
		return unlink(from);
	}
	return rename(from, to);
}

int
durable_unlink(const char *name, int elevel)
{
	return unlink(name);
}

ControlFileData *
get_controlfile(const char *directory, bool *crc_ok)
{
	ControlFileData *copy = palloc(sizeof(control));

	*copy = control;
	*crc_ok = true;
	return copy;
}

TimestampTz
GetCurrentTimestamp(void)
{
	return 1;
}

void
on_shmem_exit(pg_on_exit_callback function, Datum arg)
{
}

char *
dcgettext(const char *domain, const char *message, int category)
{
	return (char *) message;
}

/*
 * The state
 */

/* An empty state, with so much memory. */
static void
reset(int kilobytes, int nbatches)
{
	fuzz_pool(kilobytes, nbatches);
	memset(batches, 0, sizeof(batches));
	for (int i = 0; i < NBATCHES; i++)
	{
		pg_atomic_init_u64(&batches[i].load, 0);
		pg_atomic_init_u32(&batches[i].account.used, 0);
	}
}

/* Everything that must come back, as one string of bytes. */
static void
describe_list(StringInfo text, const MdbList *list)
{
	for (MdbRef ref = list->first; ref != MDB_NO_REF;
		 ref = mdb_entry(ref)->order_next)
	{
		const MdbEntry *entry = mdb_entry(ref);
		char	   *contents = contents_of(ref);

		appendBinaryStringInfo(text, (const char *) &entry->keylen,
							   sizeof(entry->keylen));
		appendBinaryStringInfo(text, (const char *) &entry->vallen,
							   sizeof(entry->vallen));
		appendBinaryStringInfo(text, (const char *) &entry->version,
							   sizeof(entry->version));
		appendBinaryStringInfo(text, contents, mdb_entry_length(entry));
		pfree(contents);
	}
}

static StringInfoData
describe(void)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < mdb_max_batches; i++)
	{
		const MdbBatch *batch = &batches[i];

		if (mdb_batch_waiting(batch) == 0)
			continue;
		appendStringInfo(&text, "%u %u %s %d %lld %d: ", batch->dboid,
						 batch->relid, batch->target, batch->own_batch_size,
						 (long long) batch->own_interval, batch->detached);
		for (MdbRef ref = batch->oldest; ref != MDB_NO_REF;
			 ref = mdb_define_head(ref)->newer)
		{
			MdbDefinition *definition = mdb_define_read(ref);

			appendBinaryStringInfo(&text, (const char *) definition,
								   mdb_define_head(ref)->nbytes);
			describe_list(&text, &mdb_define_head(ref)->deferred);
			describe_list(&text, &mdb_define_head(ref)->ready);
		}
	}
	return text;
}

static bool
is_empty(void)
{
	for (int i = 0; i < mdb_max_batches; i++)
		if (OidIsValid(batches[i].dboid))
			return false;
	return pg_atomic_read_u32(&pool->shared.used) == 0;
}

static void
random_entry(Input *input, int number, MdbRef definition_ref)
{
	MdbDefinition *definition = mdb_define_read(definition_ref);
	MdbDefinitionHead *head = mdb_define_head(definition_ref);
	Datum		values[MOST_COLUMNS];
	bool		isnull[MOST_COLUMNS];
	MdbRef		ref;

	random_values(input, definition, values, isnull, true);
	ref = make_entry(definition, &batches[number].account, number,
					 definition_ref, values, isnull);
	if (ref == MDB_NO_REF)
		return;
	append(take_below(input, 4) == 0 ? &head->deferred : &head->ready, ref);
	pg_atomic_fetch_add_u64(&batches[number].load, MDB_WAITING_ONE);
}

static void
random_state(Input *input)
{
	int			nbatches = 1 + take_below(input, NBATCHES);

	for (int i = 0; i < nbatches; i++)
	{
		int			ndefinitions = 1 + take_below(input, NDEFINITIONS);

		batches[i].dboid = 1 + take_number(input, 1);
		batches[i].relid = 1 + i;
		batches[i].gone = take_below(input, 8) == 7;
		batches[i].detached = take_below(input, 2) == 1;
		batches[i].own_batch_size = take_below(input, 3);
		batches[i].own_interval = take_number(input, 8) & PG_INT64_MAX;
		for (int k = 0; k < ndefinitions; k++)
		{
			char		target[sizeof(batches[i].target)];
			MdbDefinition *definition;
			MdbRef		ref;
			int			nentries = take_below(input, 12);

			memset(target, 'a' + k, sizeof(target));
			target[take_below(input, sizeof(target))] = '\0';
			definition = random_definition(input);
			definition->relid = batches[i].relid;
			ref = mdb_define(i, definition, target);
			if (ref == MDB_NO_REF)
				continue;
			for (; nentries > 0; nentries--)
				random_entry(input, i, ref);
		}
		if (batches[i].gone)
			pg_atomic_write_u64(&batches[i].load, 0);
	}
}

/* Load the file; false if that was an error that keeps the server down. */
static bool
try_load(void)
{
	bool		loaded = false;

	nset_aside = 0;
	fuzz_expects_error = true;
	if (sigsetjmp(fuzz_error, 0) == 0)
	{
		load();
		loaded = true;
	}
	fuzz_expects_error = false;
	if (allocated != NULL)
		FreeFile(allocated);
	return loaded;
}

static bool
exists(void)
{
	return access(SAVE_FILE, F_OK) == 0;
}

static void
write_bytes(const char *bytes, size_t length)
{
	FILE	   *file = fopen(SAVE_FILE, "wb");

	CHECK(file != NULL && fwrite(bytes, 1, length, file) == length);
	CHECK(fclose(file) == 0);
}

static StringInfoData
read_bytes(void)
{
	FILE	   *file = fopen(SAVE_FILE, "rb");
	StringInfoData text;
	char		buffer[4096];
	size_t		n;

	CHECK(file != NULL);
	initStringInfo(&text);
	while ((n = fread(buffer, 1, sizeof(buffer), file)) > 0)
		appendBinaryStringInfo(&text, buffer, n);
	fclose(file);
	return text;
}

static void
expect_set_aside(void)
{
	reset(64, NBATCHES);
	CHECK(try_load());
	CHECK(nset_aside == 1 && !exists() && is_empty());
}

/* One mistake in the file, of a kind that a checksum of 32 bits always sees. */
static void
damage(uint32 kind, uint32 where, uint32 what, const StringInfoData *file)
{
	StringInfoData damaged;

	initStringInfo(&damaged);
	appendBinaryStringInfo(&damaged, file->data, file->len);
	switch (kind)
	{
		case 0:
			damaged.len = where % damaged.len;
			break;
		case 1:
			appendStringInfoChar(&damaged, (char) what);
			break;
		default:
			damaged.data[where % damaged.len] ^= 1 + what;
			break;
	}
	write_bytes(damaged.data, damaged.len);
	expect_set_aside();
}

/* Decode all entries: nothing may read beyond the bytes of one. */
static void
decode_all(void)
{
	for (int i = 0; i < mdb_max_batches; i++)
		for (MdbRef ref = batches[i].oldest; ref != MDB_NO_REF;
			 ref = mdb_define_head(ref)->newer)
		{
			MdbDefinition *definition = mdb_define_read(ref);
			Datum	   *values = palloc(definition->ncolumns * sizeof(Datum));
			bool	   *isnull = palloc(definition->ncolumns * sizeof(bool));

			for (MdbRef entry = mdb_define_head(ref)->ready.first;
				 entry != MDB_NO_REF; entry = mdb_entry(entry)->order_next)
				(void) mdb_entry_decode(contents_of(entry),
										mdb_entry(entry)->version, definition,
										true, values, isnull);
		}
}

/*
 * A mistake with the checksum of a file that has none: all is loaded and can
 * be decoded, or nothing is.
 */
static void
forge(uint32 where, uint32 what, const StringInfoData *file)
{
	StringInfoData forged;
	SaveHeader	header;
	uint32		rest = file->len - sizeof(header);
	pg_crc32c	crc;

	initStringInfo(&forged);
	appendBinaryStringInfo(&forged, file->data, file->len);
	forged.data[sizeof(header) + where % rest] ^= 1 + what;
	memcpy(&header, forged.data, sizeof(header));
	header.crc = 0;
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, forged.data + sizeof(header), rest);
	COMP_CRC32C(crc, &header, sizeof(header));
	FIN_CRC32C(crc);
	header.crc = crc;
	memcpy(forged.data, &header, sizeof(header));
	write_bytes(forged.data, forged.len);
	reset(64, NBATCHES);
	if (!try_load())
		CHECK(strstr(fuzz_message, "do not fit") != NULL);
	else if (nset_aside == 1)
		CHECK(!exists() && is_empty());
	else
		decode_all();
}

static void
round_trip(Input *input)
{
	StringInfoData before;
	StringInfoData after;
	StringInfoData file;

	/* Before the state takes all that there is of the input. */
	uint32		kind = take_below(input, 3);
	uint32		where = take_number(input, 3);
	uint32		what = take_below(input, 255);
	int			kilobytes = 1 + take_below(input, 64);
	int			nbatches = 1 + take_below(input, NBATCHES);

	reset(64, NBATCHES);
	random_state(input);
	before = describe();
	save_at_exit(0, (Datum) 0);
	CHECK(exists() == (before.len > 0));
	if (before.len == 0)
		return;
	file = read_bytes();

	reset(64, NBATCHES);
	CHECK(try_load() && nset_aside == 0 && exists());
	after = describe();
	CHECK(before.len == after.len &&
		  memcmp(before.data, after.data, before.len) == 0);

	/* Saved again, it is the same file. */
	save_at_exit(0, (Datum) 0);
	after = read_bytes();
	CHECK(file.len == after.len &&
		  memcmp(file.data, after.data, file.len) == 0);

	damage(kind, where, what, &file);
	forge(where, what, &file);

	/* It belongs to this state of the data directory alone. */
	write_bytes(file.data, file.len);
	control.checkPoint++;
	expect_set_aside();
	write_bytes(file.data, file.len);
	control.checkPoint--;
	control.system_identifier++;
	expect_set_aside();
	control.system_identifier--;
	write_bytes(file.data, file.len);
	control.state = DB_IN_PRODUCTION;
	expect_set_aside();
	control.state = DB_SHUTDOWNED;

	/* Without the memory it keeps the server down, and waits. */
	write_bytes(file.data, file.len);
	reset(kilobytes, nbatches);
	if (try_load())
	{
		after = describe();
		CHECK(before.len == after.len &&
			  memcmp(before.data, after.data, before.len) == 0);
	}
	else
		CHECK(strstr(fuzz_message, "do not fit") != NULL);
	CHECK(nset_aside == 0 && exists());
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char directory[] = "scratch.XXXXXX";

	CHECK(mkdtemp(directory) != NULL && chdir(directory) == 0);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	Input		input = {bytes, length};

	control.state = DB_SHUTDOWNED;
	control.system_identifier = 42;
	control.checkPoint = 17;
	(void) unlink(SAVE_FILE);
	if (take_below(&input, 8) > 0)
		round_trip(&input);
	else
	{
		/* Whatever bytes. */
		write_bytes((const char *) input.bytes, input.left);
		expect_set_aside();
	}
	(void) unlink(SAVE_FILE);
	fuzz_free_all();
	return 0;
}
