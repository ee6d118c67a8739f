/*
 * order.c
 *		Lists of entries in the order of their arrival.
 *
 * Model: entries are linked through their headers, so each is in one list at
 * most.
 *
 * Locking: the caller has the lock of the batch.
 *
 * Limits: an insert walks; those that are made in order walk only once.
 */
#include "postgres.h"

#include "entry.h"
#include "order.h"

/* Link an entry in between two, or at an end. */
static void
link_between(MdbList *list, MdbRef before, MdbRef ref, MdbRef after)
{
	mdb_entry(ref)->order_prev = before;
	mdb_entry(ref)->order_next = after;
	if (before != MDB_NO_REF)
		mdb_entry(before)->order_next = ref;
	else
		list->first = ref;
	if (after != MDB_NO_REF)
		mdb_entry(after)->order_prev = ref;
	else
		list->last = ref;
}

/* Add the entry that arrived last. */
void
mdb_order_append(MdbList *list, MdbRef ref)
{
	link_between(list, list->last, ref, MDB_NO_REF);
}

/*
 * Add an entry at its place.  The search begins at the hint, an entry of the
 * list that arrived before, or at the front.
 */
void
mdb_order_insert(MdbList *list, MdbRef ref, MdbRef hint)
{
	MdbRef		before = MDB_NO_REF;
	MdbRef		after = list->first;

	if (hint != MDB_NO_REF &&
		mdb_entry(hint)->arrival < mdb_entry(ref)->arrival)
	{
		before = hint;
		after = mdb_entry(hint)->order_next;
	}
	while (after != MDB_NO_REF &&
		   mdb_entry(after)->arrival < mdb_entry(ref)->arrival)
	{
		before = after;
		after = mdb_entry(after)->order_next;
	}
	link_between(list, before, ref, after);
}

/* Add an entry at its place, which is near the end. */
void
mdb_order_insert_late(MdbList *list, MdbRef ref)
{
	MdbRef		before = list->last;
	MdbRef		after = MDB_NO_REF;

	while (before != MDB_NO_REF &&
		   mdb_entry(before)->arrival > mdb_entry(ref)->arrival)
	{
		after = before;
		before = mdb_entry(before)->order_prev;
	}
	link_between(list, before, ref, after);
}

void
mdb_order_remove(MdbList *list, MdbRef ref)
{
	const MdbEntry *entry = mdb_entry(ref);

	if (entry->order_prev != MDB_NO_REF)
		mdb_entry(entry->order_prev)->order_next = entry->order_next;
	else
		list->first = entry->order_next;
	if (entry->order_next != MDB_NO_REF)
		mdb_entry(entry->order_next)->order_prev = entry->order_prev;
	else
		list->last = entry->order_prev;
}
