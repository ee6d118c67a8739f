/*
 * shape.c
 *		Are values of row types still laid out as when they were made?
 *
 * Model: a composite value is read by the attributes that its type has when it
 * is read, and its type can be altered while the value waits in a batch.  So a
 * definition describes, exactly, every row type whose values can be in values
 * of its columns: the type of the column itself, of the elements of an array,
 * of the bounds of a range, behind a domain, or of an attribute of another row
 * type, at any depth.  Arrays, ranges and domains need no description: what
 * they are made of never changes.  Each row type is described once.
 *
 * Values fit the type of today if the attributes that they were made with are
 * the first ones that it has now: each is the same, or was dropped since.
 * Dropped attributes stay in pg_attribute, and attributes that were added at
 * the end are null in older values.  As long as a column has the type,
 * PostgreSQL allows no other changes.
 *
 * The latest minor releases keep a version of each attribute, among its
 * options, and refuse to read a value if an attribute was given another one
 * since, even if it is of the old type again.  So the version is part of the
 * description.  It is read from the catalog, and not by the functions that
 * these releases have for it, as one library serves all minor releases.
 *
 * Locking: the caller has the table locked.  A row type in a column that it
 * has now can then be altered only in ways that older values survive; any
 * other one is safe to read only if it is locked, too.
 *
 * Limits: the description of a target's row types is at most
 * MDB_MAX_ROW_TYPES bytes.  It is made without locks on the types: a backend
 * that keeps one must look whether an invalidation is of a row type that was
 * described (mdb_shape_was_described).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "shape.h"

/* Where servers keep the version of an attribute. */
#define ATTRIBUTE_VERSION	"pg_attver="

/* The relations of all row types that were described in this process. */
static HTAB *described;

static MdbAltered
altered_by(HeapTuple tuple)
{
	MdbAltered	altered = {0};

	altered.xid = HeapTupleHeaderGetRawXmin(tuple->t_data);
	altered.tid = tuple->t_self;
	return altered;
}

/* The catalog row that made a column what it is now. */
MdbAltered
mdb_shape_altered(Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid),
										Int16GetDatum(attnum));
	MdbAltered	altered = {0};

	if (HeapTupleIsValid(tuple))
	{
		altered = altered_by(tuple);
		ReleaseSysCache(tuple);
	}
	return altered;
}

/* The row type whose values are in values of a type; InvalidOid: none. */
static Oid
row_type_in(Oid type)
{
	for (;;)
	{
		Oid			element;

		type = getBaseType(type);
		element = get_element_type(type);
		if (OidIsValid(element))
		{
			type = element;
			continue;
		}
		switch (get_typtype(type))
		{
			case TYPTYPE_COMPOSITE:
				return type;
			case TYPTYPE_RANGE:
				type = get_range_subtype(type);
				break;
			case TYPTYPE_MULTIRANGE:
				type = get_multirange_range(type);
				break;
			default:
				return InvalidOid;
		}
	}
}

/* Do values of a type hold values of row types? */
bool
mdb_shape_has_rows(Oid type)
{
	return OidIsValid(row_type_in(type));
}

/* The version that the server gave an attribute; 0: none. */
static uint64
attribute_version(HeapTuple tuple)
{
	bool		isnull;
	Datum		options = SysCacheGetAttr(ATTNUM, tuple,
										  Anum_pg_attribute_attoptions,
										  &isnull);
	Datum	   *values;
	int			n;
	uint64		version = 0;

	if (isnull)
		return 0;
	deconstruct_array(DatumGetArrayTypeP(options), TEXTOID, -1, false,
					  TYPALIGN_INT, &values, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *option = TextDatumGetCString(values[i]);

		if (strncmp(option, ATTRIBUTE_VERSION, strlen(ATTRIBUTE_VERSION)) == 0)
			version = strtou64(option + strlen(ATTRIBUTE_VERSION), NULL, 10);
		pfree(option);
	}
	pfree(values);
	return version;
}

/* An attribute of a row type, and the catalog row that made it so. */
static MdbAltered
describe_attribute(Oid relid, AttrNumber attnum, MdbRowAttribute *attribute)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid),
										Int16GetDatum(attnum));
	Form_pg_attribute att;
	MdbAltered	altered;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for attribute %d of relation %u",
			 attnum, relid);
	att = (Form_pg_attribute) GETSTRUCT(tuple);
	memset(attribute, 0, sizeof(*attribute));
	if (!att->attisdropped)
	{
		attribute->type = att->atttypid;
		attribute->collation = att->attcollation;
		attribute->typmod = att->atttypmod;
	}
	attribute->typlen = att->attlen;
	attribute->typbyval = att->attbyval;
	attribute->typalign = att->attalign;
	attribute->version = attribute_version(tuple);
	altered = altered_by(tuple);
	ReleaseSysCache(tuple);
	return altered;
}

/* How many attributes a row type has, those included that were dropped. */
static int
count_attributes(Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_TUPDESC);

	if (entry->tupDesc == NULL)
		elog(ERROR, "type %u is no row type", type);
	return entry->tupDesc->natts;
}

/* Remember the relation of a row type. */
static void
remember(Oid relid)
{
	if (described == NULL)
	{
		HASHCTL		info = {0};

		info.keysize = info.entrysize = sizeof(Oid);
		info.hcxt = TopMemoryContext;
		described = hash_create("mdbatch row types", 16, &info,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(described, &relid, HASH_ENTER, NULL);
}

/*
 * Was a row type of that relation described in this process?  Then a
 * description that is kept may not be true any more, once the relation is
 * invalidated; those of the tables that use the type are not.
 */
bool
mdb_shape_was_described(Oid relid)
{
	return described != NULL &&
		hash_search(described, &relid, HASH_FIND, NULL) != NULL;
}

static const MdbRowType *
next_row_type(const MdbRowType *row)
{
	return (const MdbRowType *) ((const char *) row +
								 mdb_row_type_size(row->nattributes));
}

/* Begin a description of the row types of a table's columns. */
void
mdb_shape_begin(MdbShape *shape, Relation rel)
{
	memset(shape, 0, sizeof(*shape));
	shape->rel = rel;
	initStringInfo(&shape->bytes);
	initStringInfo(&shape->altered);
}

/* Describe a row type, but not the ones in it, unless that is done. */
static void
describe_row_type(MdbShape *shape, Oid type)
{
	Oid			relid = get_typ_typrelid(type);
	const MdbRowType *known = (const MdbRowType *) shape->bytes.data;
	MdbRowType *row;
	int			n;

	for (int i = 0; i < shape->nrow_types; i++, known = next_row_type(known))
		if (known->type == type)
			return;

	/* First, so that no change is missed. */
	remember(relid);
	n = count_attributes(type);
	if (shape->bytes.len + mdb_row_type_size(n) > MDB_MAX_ROW_TYPES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("row types in the columns of table \"%s\" are too large",
						RelationGetRelationName(shape->rel)),
				 errdetail("Their description takes more than %d bytes.",
						   MDB_MAX_ROW_TYPES),
				 errhint("Leave columns of such types out of the entries.")));
	row = palloc(mdb_row_type_size(n));
	row->type = type;
	row->nattributes = n;
	for (int i = 0; i < n; i++)
	{
		MdbAltered	altered = describe_attribute(relid, i + 1,
												 &row->attributes[i]);

		appendBinaryStringInfo(&shape->altered, (const char *) &altered,
							   sizeof(altered));
	}
	appendBinaryStringInfo(&shape->bytes, (const char *) row,
						   mdb_row_type_size(n));
	shape->nrow_types++;
	pfree(row);
}

/* Describe the row types in a type; false if there are none.  Can ERROR. */
bool
mdb_shape_add(MdbShape *shape, Oid type)
{
	int			at = shape->bytes.len;
	Oid			outer = row_type_in(type);

	if (!OidIsValid(outer))
		return false;
	describe_row_type(shape, outer);

	/* Those that were just added bring the ones in them. */
	while (at < shape->bytes.len)
	{
		int			n = ((MdbRowType *) (shape->bytes.data + at))->nattributes;

		for (int i = 0; i < n; i++)
		{
			const MdbRowType *row = (MdbRowType *) (shape->bytes.data + at);
			Oid			inner = row->attributes[i].type;

			if (OidIsValid(inner))
				inner = row_type_in(inner);
			if (OidIsValid(inner))
				describe_row_type(shape, inner);
		}
		at += mdb_row_type_size(n);
	}
	return true;
}

/* Keep a row type from being altered; false if it was dropped. */
static bool
lock_row_type(Oid type)
{
	Oid			relid = get_typ_typrelid(type);

	if (!OidIsValid(relid))
		return false;
	LockRelationOid(relid, AccessShareLock);
	return SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type));
}

/* Is an attribute of now what it was then, or was it dropped since? */
static bool
attribute_fits(const MdbRowAttribute *then, const MdbRowAttribute *now)
{
	if (!OidIsValid(now->type))
		return then->typlen == now->typlen &&
			then->typbyval == now->typbyval &&
			then->typalign == now->typalign && then->version == now->version;
	return memcmp(then, now, sizeof(*then)) == 0;
}

/* Row types of a definition that are compared with those of now. */
typedef struct Comparison
{
	const MdbDefinition *definition;
	bool		lock;
	bool	   *done;
	const MdbRowType **todo;	/* each of them at most once */
	int			ntodo;
} Comparison;

/* Compare one more, if values of a type hold any; false if it is not known. */
static bool
compare_later(Comparison *comparison, Oid type)
{
	const MdbRowType *row = mdb_definition_row_types(comparison->definition);
	Oid			wanted = row_type_in(type);

	if (!OidIsValid(wanted))
		return true;
	for (int i = 0; i < comparison->definition->nrow_types;
		 i++, row = next_row_type(row))
		if (row->type == wanted)
		{
			if (!comparison->done[i])
				comparison->todo[comparison->ntodo++] = row;
			comparison->done[i] = true;
			return true;
		}
	return false;
}

static bool
row_type_fits(Comparison *comparison, const MdbRowType *row)
{
	Oid			relid = get_typ_typrelid(row->type);

	if ((comparison->lock && !lock_row_type(row->type)) ||
		row->nattributes > count_attributes(row->type))
		return false;
	for (uint32 i = 0; i < row->nattributes; i++)
	{
		MdbRowAttribute now;

		(void) describe_attribute(relid, i + 1, &now);
		if (!attribute_fits(&row->attributes[i], &now) ||
			(OidIsValid(now.type) && !compare_later(comparison, now.type)))
			return false;
	}
	return true;
}

/*
 * Can values of a column of the definition be read as values of their type as
 * it is now?  The type must exist unless it is to be locked, too: then it
 * stays as it is to the end of the transaction.
 */
bool
mdb_shape_fits(const MdbDefinition *definition, int column, bool lock)
{
	Comparison	comparison = {0};
	Oid			type = definition->columns[column].type;
	bool		fits;

	if (!definition->columns[column].has_rows)
		return true;
	if (lock && !SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type)))
		return false;
	comparison.definition = definition;
	comparison.lock = lock;
	comparison.done = palloc0(definition->nrow_types * sizeof(bool));
	comparison.todo = palloc(definition->nrow_types * sizeof(MdbRowType *));
	fits = compare_later(&comparison, type);
	for (int i = 0; fits && i < comparison.ntodo; i++)
		fits = row_type_fits(&comparison, comparison.todo[i]);
	pfree(comparison.done);
	pfree(comparison.todo);
	return fits;
}
