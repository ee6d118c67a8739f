/*
 * define.h
 *		The definitions of a batch's entries.
 */
#ifndef MDB_DEFINE_H
#define MDB_DEFINE_H

#include "batch.h"

/* The header of a definition, a chain whose contents are its bytes. */
typedef struct MdbDefinitionHead
{
	MdbRef		next;			/* the chain's */

	/* Set when made, then read-only. */
	uint32		nbytes;
	AttrNumber	version;		/* its column; InvalidAttrNumber: none */
	int			own_batch_size; /* 0: the setting's */
	int64		own_interval;	/* us; 0: the setting's */

	/* Under the lock of the batch. */
	MdbRef		newer;			/* the next of the batch's definitions */
	MdbList		ready;			/* its waiting entries, in flush order */
	MdbList		deferred;		/* those that wait for their own retry */
	uint32		nlocked;		/* of the deferred, those whose rows were
								 * locked */
	uint32		nentries;		/* waiting and in flight */
} MdbDefinitionHead;

StaticAssertDecl(sizeof(MdbDefinitionHead) <= MDB_HEAD_SIZE,
				 "definition header too large");

extern MdbDefinitionHead *mdb_define_head(MdbRef ref);
extern MdbDefinition *mdb_define_read(MdbRef ref);
extern MdbRef mdb_define_next(const MdbBatch *batch);
extern MdbRef mdb_define(int number, const MdbDefinition *definition,
						 const char *target);
extern void mdb_define_free(MdbBatch *batch, bool keep_newest);

#endif							/* MDB_DEFINE_H */
