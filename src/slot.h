/*
 * slot.h
 *		Merge slots: a column that sums or keeps an extreme.
 */
#ifndef MDB_SLOT_H
#define MDB_SLOT_H

#include "definition.h"

#define MDB_SLOT_SIZE	16		/* bytes of a merge slot */

/* Eight bytes of a value, and what it takes to merge it by itself. */
typedef struct MdbSlot
{
	uint8		role;			/* MDB_SUM, MDB_MIN, MDB_MAX */
	bool		is_float;
	bool		is_null;
	bool		overflow;		/* a finite float sum became infinite */
	int32		carry;			/* an integer sum's multiples of 2^64 */
	union
	{
		int64		i;
		float8		f;
	}			value;
} MdbSlot;

StaticAssertDecl(sizeof(MdbSlot) == MDB_SLOT_SIZE, "size of a merge slot");

extern int64 mdb_slot_ordinal(Oid type, Datum value);
extern Datum mdb_slot_from_ordinal(Oid type, int64 ordinal);
extern bool mdb_slot_can_merge(MdbRole role, Oid type);
extern MdbSlot mdb_slot_make(const MdbColumn *column, Datum value, bool isnull);
extern void mdb_slot_merge(MdbSlot *into, const MdbSlot *from);
extern bool mdb_slot_get(const MdbSlot *slot, const MdbColumn *column,
						 Datum *value);
extern Oid	mdb_slot_wide_type(const MdbColumn *column);
extern Datum mdb_slot_get_wide(const MdbSlot *slot, const MdbColumn *column);

#endif							/* MDB_SLOT_H */
