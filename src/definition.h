/*
 * definition.h
 *		What the entries of a target look like, as bytes.
 *
 * A definition is what was resolved when a target was attached: the columns,
 * their types, and what is announced.  It is compared and stored byte by
 * byte (so it is zeroed before it is filled), beside the batch, as what is
 * pending may outlive the target's attachment.  Columns are known by number:
 * a rename needs no new definition.
 */
#ifndef MDB_DEFINITION_H
#define MDB_DEFINITION_H

#include "access/attnum.h"
#include "c.h"

typedef enum MdbRole
{
	MDB_KEY,
	MDB_VERSION,
	MDB_LAST,					/* carried, the newer value wins */
	MDB_SUM,					/* carried, merged (R21) */
	MDB_MIN,
	MDB_MAX
} MdbRole;

typedef enum MdbMode
{
	MDB_UPSERT,
	MDB_UPDATE
} MdbMode;

typedef struct MdbColumn
{
	Oid			type;			/* base type: never a domain */
	Oid			collation;
	AttrNumber	attnum;			/* of the target */
	int16		typlen;
	bool		typbyval;
	char		typalign;
	uint8		role;			/* MdbRole */
	uint8		pad;
	uint32		shape;			/* of row types in its type; 0: there is none */
} MdbColumn;

typedef struct MdbDefinition
{
	Oid			relid;
	uint8		mode;			/* MdbMode */
	bool		metadata;		/* mdbatch_add goes here */
	bool		has_version;
	bool		has_merge;
	uint16		nkeys;
	uint16		ncolumns;		/* keys, version and carried ones */
	AttrNumber	notify;			/* announced; InvalidAttrNumber: nothing */
	int16		pad;
	int32		batch_size;		/* 0: the setting's */
	uint32		pad2;
	int64		flush_interval; /* us; 0: the setting's */
	int64		since;			/* when it was attached: a new attachment is a
								 * new definition */
	char		channel[NAMEDATALEN];	/* empty: no notification */
	MdbColumn	columns[FLEXIBLE_ARRAY_MEMBER]; /* keys, version, carried */

	/* After the columns: what made each what it is, see below. */
} MdbDefinition;

/* Bytes that tell two definitions apart. */
static inline Size
mdb_definition_compared(int ncolumns)
{
	return offsetof(MdbDefinition, columns) + ncolumns * sizeof(MdbColumn);
}

/* Bytes in all. */
static inline Size
mdb_definition_size(int ncolumns)
{
	return mdb_definition_compared(ncolumns) + ncolumns * sizeof(TransactionId);
}

/* The transactions that last altered the columns. */
static inline TransactionId *
mdb_definition_altered(const MdbDefinition *definition)
{
	return (TransactionId *) ((char *) definition +
							  mdb_definition_compared(definition->ncolumns));
}

/* The version is the column after the keys. */
static inline int
mdb_definition_version(const MdbDefinition *definition)
{
	return definition->has_version ? definition->nkeys : -1;
}

/* The first carried column. */
static inline int
mdb_definition_carried(const MdbDefinition *definition)
{
	return definition->nkeys + (definition->has_version ? 1 : 0);
}

#endif							/* MDB_DEFINITION_H */
