/*
 * definition.h
 *		What the entries of a target look like, as bytes.
 *
 * A definition is what was resolved when a target was attached: the columns,
 * their types, and what is announced.  It is compared and stored byte by
 * byte (so it is zeroed before it is filled), beside the batch, as what is
 * pending may outlive the target's attachment.  Columns are known by number:
 * a rename needs no new definition.
 *
 * The columns are followed by a description of every row type that values of
 * these columns can hold, at any depth.  A value is read as its type is then,
 * and a row type can be altered while a value waits, so its layout must be
 * known exactly: a hash of it could collide.
 */
#ifndef MDB_DEFINITION_H
#define MDB_DEFINITION_H

#include "access/attnum.h"
#include "c.h"
#include "storage/itemptr.h"

/* The most bytes that the descriptions of a definition's row types take. */
#define MDB_MAX_ROW_TYPES	(64 * 1024)

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
	bool		has_rows;		/* its values hold values of row types */
} MdbColumn;

/* An attribute of a row type. */
typedef struct MdbRowAttribute
{
	Oid			type;			/* InvalidOid: it was dropped */
	Oid			collation;
	int32		typmod;
	int16		typlen;
	bool		typbyval;
	char		typalign;
	uint64		version;		/* see shape.c */
} MdbRowAttribute;

/* A row type: a composite type, or the rows of a table. */
typedef struct MdbRowType
{
	Oid			type;
	uint32		nattributes;
	MdbRowAttribute attributes[FLEXIBLE_ARRAY_MEMBER];
} MdbRowType;

/*
 * The catalog row that made a column what it was.  It puts definitions in
 * order of time: a column that was retyped, and back, is of another
 * definition than before.
 */
typedef struct MdbAltered
{
	TransactionId xid;
	ItemPointerData tid;		/* one transaction can alter it many times */
	uint16		pad;
} MdbAltered;

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
	uint16		nrow_types;
	int32		batch_size;		/* 0: the setting's */
	uint32		row_types_size; /* bytes */
	int64		flush_interval; /* us; 0: the setting's */
	int64		since;			/* when it was attached: a new attachment is a
								 * new definition */
	char		channel[NAMEDATALEN];	/* empty: no notification */
	MdbColumn	columns[FLEXIBLE_ARRAY_MEMBER]; /* keys, version, carried */

	/* After the columns: the row types, then an MdbAltered for each column. */
} MdbDefinition;

static inline Size
mdb_row_type_size(uint32 nattributes)
{
	return offsetof(MdbRowType, attributes) +
		nattributes * sizeof(MdbRowAttribute);
}

/* Bytes of the columns and of what comes before them. */
static inline Size
mdb_definition_fixed(int ncolumns)
{
	return offsetof(MdbDefinition, columns) + ncolumns * sizeof(MdbColumn);
}

/* Bytes that tell two definitions apart. */
static inline Size
mdb_definition_compared(const MdbDefinition *definition)
{
	return mdb_definition_fixed(definition->ncolumns) +
		definition->row_types_size;
}

/* Bytes in all. */
static inline Size
mdb_definition_size(const MdbDefinition *definition)
{
	return mdb_definition_compared(definition) +
		definition->ncolumns * sizeof(MdbAltered);
}

/* The first of the row types. */
static inline MdbRowType *
mdb_definition_row_types(const MdbDefinition *definition)
{
	return (MdbRowType *) ((char *) definition +
						   mdb_definition_fixed(definition->ncolumns));
}

/* Attributes of all row types. */
static inline uint32
mdb_definition_nattributes(const MdbDefinition *definition)
{
	return (definition->row_types_size -
			definition->nrow_types * mdb_row_type_size(0)) /
		sizeof(MdbRowAttribute);
}

/* What last altered each column. */
static inline MdbAltered *
mdb_definition_altered(const MdbDefinition *definition)
{
	return (MdbAltered *) ((char *) definition +
						   mdb_definition_compared(definition));
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
