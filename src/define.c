/*
 * define.c
 *		The definitions of a batch's entries.
 *
 * Model: a batch has a list of definitions, oldest first; each is a chain of
 * the pool and has its own flush order, so that entries of an older definition
 * are written first.  All but the newest go when they have no entries.
 *
 * Locking: the list under the lock of the batch; the bytes of a definition
 * never change, and stay as long as the batch is held (note.c).
 *
 * Limits: definitions are compared byte by byte.
 */
#include "postgres.h"

#include "define.h"

MdbDefinitionHead *
mdb_define_head(MdbRef ref)
{
	return (MdbDefinitionHead *) mdb_pool_head(ref);
}

/* The bytes of a definition, palloc'd.  The caller holds the batch. */
MdbDefinition *
mdb_define_read(MdbRef ref)
{
	uint32		nbytes = mdb_define_head(ref)->nbytes;
	MdbCursor	cursor = mdb_pool_start(ref);
	MdbDefinition *definition = palloc(nbytes);

	mdb_pool_read(&cursor, definition, nbytes);
	return definition;
}

/*
 * The definition whose entries are flushed next, under the batch's lock; none
 * if none may be now.  Unless the same version tells which of two entries of a
 * key is newer, nothing overtakes an older definition's entries that wait for
 * locked rows.  (What waits for another reason may never be written, so it
 * holds up nothing.)
 */
MdbRef
mdb_define_next(const MdbBatch *batch)
{
	const MdbDefinitionHead *waiting = NULL;

	for (MdbRef ref = batch->oldest; ref != MDB_NO_REF;
		 ref = mdb_define_head(ref)->newer)
	{
		const MdbDefinitionHead *head = mdb_define_head(ref);
		bool		may_overtake = waiting == NULL ||
			(head->version != InvalidAttrNumber &&
			 head->version == waiting->version);

		if (head->ready.first != MDB_NO_REF)
			return may_overtake ? ref : MDB_NO_REF;
		if (head->nlocked > 0 &&
			(waiting == NULL || !may_overtake))
			waiting = head;
	}
	return MDB_NO_REF;
}

/*
 * Free all definitions that have no entries but, if asked, the newest.  Under
 * the batch's lock, nobody holding the batch.
 */
void
mdb_define_free(MdbBatch *batch, bool keep_newest)
{
	MdbRef	   *link = &batch->oldest;
	MdbRef		previous = MDB_NO_REF;

	while (*link != MDB_NO_REF)
	{
		MdbRef		ref = *link;
		MdbDefinitionHead *head = mdb_define_head(ref);

		if (head->nentries == 0 && !(keep_newest && ref == batch->newest))
		{
			*link = head->newer;
			if (batch->newest == ref)
				batch->newest = previous;
			mdb_pool_free(&batch->account, ref);
		}
		else
		{
			previous = ref;
			link = &head->newer;
		}
	}
}

/*
 * Under the batch's lock: the definition of these bytes, or none.  A column
 * that was altered and is what it was makes another definition, unless the
 * newest is just that: then there is none in between.
 */
static MdbRef
find_definition(const MdbBatch *batch, const MdbDefinition *wanted,
				uint32 nbytes)
{
	uint32		compared = mdb_definition_compared(wanted);

	if (batch->newest != MDB_NO_REF &&
		mdb_define_head(batch->newest)->nbytes == nbytes &&
		mdb_pool_equal_bytes(mdb_pool_start(batch->newest), wanted, compared))
		return batch->newest;
	for (MdbRef ref = batch->oldest; ref != MDB_NO_REF;
		 ref = mdb_define_head(ref)->newer)
		if (mdb_define_head(ref)->nbytes == nbytes &&
			mdb_pool_equal_bytes(mdb_pool_start(ref), wanted, nbytes))
			return ref;
	return MDB_NO_REF;
}

/* A definition that is in no batch's list yet; none without memory. */
static MdbRef
make_definition(MdbBatch *batch, const MdbDefinition *definition, uint32 nbytes)
{
	MdbRef		ref = mdb_pool_alloc(&batch->account, nbytes);
	MdbDefinitionHead *head;
	MdbCursor	cursor;

	if (ref == MDB_NO_REF)
		return MDB_NO_REF;
	head = mdb_define_head(ref);
	head->nbytes = nbytes;
	head->version = definition->has_version ?
		definition->columns[definition->nkeys].attnum : InvalidAttrNumber;
	head->nlocked = 0;
	head->own_batch_size = definition->batch_size;
	head->own_interval = definition->flush_interval;
	head->newer = MDB_NO_REF;
	memset(&head->ready, 0, sizeof(MdbList));
	memset(&head->deferred, 0, sizeof(MdbList));
	head->nentries = 0;
	cursor = mdb_pool_start(ref);
	mdb_pool_write(&cursor, definition, nbytes);
	return ref;
}

/* Under the batch's lock: it is the newest from now on. */
static void
append_definition(MdbBatch *batch, MdbRef ref)
{
	if (batch->newest == MDB_NO_REF)
		batch->oldest = ref;
	else
		mdb_define_head(batch->newest)->newer = ref;
	batch->newest = ref;
}

/*
 * The definition of a batch that the caller holds, added to it if it is new;
 * none if there is no memory for it.
 */
MdbRef
mdb_define(int number, const MdbDefinition *definition, const char *target)
{
	MdbBatch   *batch = mdb_batch(number);
	LWLock	   *lock = mdb_batch_lock(number);
	uint32		nbytes = mdb_definition_size(definition);
	MdbRef		made = MDB_NO_REF;
	MdbRef		ref;

	/* Most often it is there, and then no memory is needed. */
	LWLockAcquire(lock, LW_SHARED);
	ref = find_definition(batch, definition, nbytes);
	LWLockRelease(lock);
	if (ref == MDB_NO_REF)
	{
		made = make_definition(batch, definition, nbytes);
		if (made == MDB_NO_REF)
			return MDB_NO_REF;
	}

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (made != MDB_NO_REF)
	{
		ref = find_definition(batch, definition, nbytes);
		if (ref == MDB_NO_REF)
		{
			ref = made;
			append_definition(batch, ref);
		}
	}
	if (batch->detached)
	{
		/* It was gone, though nobody needed its slot. */
		if (mdb_batch_is_empty(batch))
			mdb_batch_reset_books(batch);
		batch->detached = false;
	}
	strlcpy(batch->target, target, sizeof(batch->target));
	LWLockRelease(lock);

	if (made != MDB_NO_REF && ref != made)
		mdb_pool_free(&batch->account, made);
	return ref;
}
