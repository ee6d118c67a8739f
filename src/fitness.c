/*
 * fitness.c
 *		Is a table fit to be a target of some layout (R20)?
 *
 * Model: checked when a table is attached, and again when its labels are
 * resolved, as both the table and hand-written labels may have changed.  Each
 * check is an ERROR that names what is wrong.
 *
 * Locking: the caller has the table locked, ACCESS SHARE at least.
 *
 * Limits: nothing is cached here.  No code of the table may run here, as the
 * current role can be one that must not run it, a superuser for instance.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "extension.h"
#include "fitness.h"
#include "shape.h"
#include "slot.h"

/* The column at a place of the layout. */
static Form_pg_attribute
attribute(Relation rel, const MdbLayout *layout, int place)
{
	return TupleDescAttr(RelationGetDescr(rel),
						 layout->columns[place].attnum - 1);
}

/* ERROR unless it is an ordinary table whose rows are what it says they are. */
void
mdb_fitness_check_kind(Relation rel)
{
	const char *name = RelationGetRelationName(rel);
	const char *reason = NULL;

	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an ordinary or partitioned table", name)));

	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		reason = _("It is a temporary table.");
	else if (IsSystemRelation(rel))
		reason = _("It is a system table.");
	else if (RelationGetRelid(rel) != mdb_extension_metadata_table(true) &&
			 getExtensionOfObject(RelationRelationId, RelationGetRelid(rel)) ==
			 get_extension_oid("mdbatch", true))
		reason = _("It belongs to the extension itself.");
	else if (rel->rd_rel->relkind == RELKIND_RELATION &&
			 has_subclass(RelationGetRelid(rel)) &&
			 find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL)
		reason = _("It has inheritance children.");
	else if (rel->rd_rel->relhasrules && rel->rd_rules != NULL)
		reason = _("It has rules.");
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" cannot be a target", name),
				 errdetail_internal("%s", reason)));
}

static void
check_schema_usage(Oid schema, Oid owner)
{
	if (object_aclcheck(NamespaceRelationId, schema, owner, ACL_USAGE) !=
		ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for schema %s",
						get_namespace_name(schema)),
				 errdetail("Role \"%s\", which owns the table, needs USAGE on the schema, as entries are written with its rights.",
						   GetUserNameFromId(owner, false))));
}

static void
check_type_usage(Oid type, Oid owner)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid			schema;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	schema = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
	ReleaseSysCache(tuple);
	check_schema_usage(schema, owner);
}

/* The owner must reach all that its statement names. */
static void
check_owner(Relation rel, const MdbLayout *layout)
{
	Oid			owner = rel->rd_rel->relowner;

	check_schema_usage(RelationGetNamespace(rel), owner);
	check_schema_usage(mdb_extension_schema(false), owner);
	for (int i = 0; i < mdb_layout_ncolumns(&layout->label); i++)
	{
		Oid			type = attribute(rel, layout, i)->atttypid;

		check_type_usage(type, owner);
		check_type_usage(getBaseType(type), owner);
	}
}

/*
 * Is an index one that ON CONFLICT takes to be meant, on exactly the key?  Its
 * predicate must not be fetched from the relation cache, which simplifies it:
 * that runs functions of the table's owner as whatever role we are.
 */
static bool
index_is_on_key(Relation index, const MdbLayout *layout)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indisvalid ||
		index->rd_rel->relam != BTREE_AM_OID ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		form->indnkeyatts != layout->label.nkeys)
		return false;
	for (int k = 0; k < layout->label.nkeys; k++)
	{
		bool		found = false;

		for (int i = 0; i < form->indnkeyatts; i++)
			found |= form->indkey.values[i] == layout->columns[k].attnum;
		if (!found)
			return false;		/* an expression is column 0 */
	}
	return true;
}

/*
 * The name of a key column of the index for which equal is not bytewise
 * equal, or whose collation is not the column's; NULL if there is none.  Rows
 * are never: the bytes of one tell when its type was altered last.
 */
static const char *
unfit_index_column(Relation rel, Relation index, bool *collation)
{
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
		Oid			type = index->rd_opcintype[i];
		Oid			function = get_opfamily_proc(index->rd_opfamily[i],
												 type, type, BTEQUALIMAGE_PROC);

		*collation = index->rd_indcollation[i] != att->attcollation;
		if (*collation || getBaseType(att->atttypid) == BPCHAROID ||
			mdb_shape_has_rows(att->atttypid) || !OidIsValid(function) ||
			!DatumGetBool(OidFunctionCall1Coll(function, att->attcollation,
											   ObjectIdGetDatum(type))))
			return NameStr(att->attname);
	}
	return NULL;
}

static void
check_key(Relation rel, const MdbLayout *layout)
{
	const char *name = RelationGetRelationName(rel);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	const char *unfit = NULL;
	bool		fit = false;
	bool		deferrable = false;

	for (int i = 0; i < layout->label.nkeys; i++)
	{
		Form_pg_attribute att = attribute(rel, layout, i);

		if (!att->attnotnull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					 errmsg("key column \"%s\" of table \"%s\" is nullable",
							NameStr(att->attname), name),
					 errhint("Use ALTER TABLE ... ALTER COLUMN ... SET NOT NULL.")));
	}

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		bool		collation = false;

		if (index_is_on_key(index, layout))
		{
			const char *column = unfit_index_column(rel, index, &collation);

			if (!index->rd_index->indimmediate)
				deferrable |= !collation;
			else if (column == NULL)
				fit = true;
			else if (!collation)
				unfit = pstrdup(column);
		}
		index_close(index, AccessShareLock);
	}
	if (fit && deferrable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("table \"%s\" has a deferrable unique constraint on the key columns",
						name),
				 errdetail("An upsert cannot tell it from the other unique index.")));
	if (fit)
		return;
	if (unfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the key of table \"%s\" cannot be a target's key", name),
				 errdetail("Values of column \"%s\" can be equal without being the same bytes.",
						   unfit)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
			 errmsg("table \"%s\" has no unique index on the key columns", name),
			 errdetail("The index must be unique, valid, immediate, without predicate or expressions, on exactly the key columns and with their collations.")));
}

static bool
is_version_type(Oid type)
{
	return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID ||
		type == INT2OID || type == INT4OID || type == INT8OID;
}

static void
check_columns(Relation rel, const MdbLayout *layout)
{
	const char *name = RelationGetRelationName(rel);
	Bitmapset  *seen = NULL;

	for (int i = 0; i < mdb_layout_ncolumns(&layout->label); i++)
	{
		Form_pg_attribute att = attribute(rel, layout, i);

		if (bms_is_member(att->attnum, seen))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" specified more than once",
							NameStr(att->attname))));
		seen = bms_add_member(seen, att->attnum);
		if (att->attgenerated != '\0' ||
			att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("column \"%s\" of table \"%s\" cannot be written",
							NameStr(att->attname), name),
					 errdetail("It is a generated or an identity column.")));
	}
	if (layout->label.has_version)
	{
		Form_pg_attribute att = attribute(rel, layout, layout->label.nkeys);

		if (!is_version_type(getBaseType(att->atttypid)))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" cannot be a version",
							NameStr(att->attname)),
					 errdetail("A version is a timestamp, a date, or an integer.")));
	}
}

/* mdbatch_add enqueues five columns of known types. */
static void
check_metadata(Relation rel, const MdbLayout *layout)
{
	static const Oid types[] = {UUIDOID, TEXTOID, TIMESTAMPTZOID, TEXTOID,
	TEXTOID};

	if (layout->label.nkeys != 2 || !layout->label.has_version ||
		layout->label.ncarried != 2 || mdb_layout_merges(layout) ||
		layout->notify != layout->columns[0].attnum)
		mdb_layout_unusable(rel, &layout->label);
	for (int i = 0; i < (int) lengthof(types); i++)
	{
		Form_pg_attribute att = attribute(rel, layout, i);

		if (att->atttypid != types[i] &&
			!(types[i] == TEXTOID && att->atttypid == VARCHAROID))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table \"%s\" has type %s, but %s is needed",
							NameStr(att->attname),
							RelationGetRelationName(rel),
							format_type_be(att->atttypid),
							types[i] == TEXTOID ? "text or varchar" :
							format_type_be(types[i]))));
	}
}

/* What is merged must be of a type that can be (R21). */
static void
check_merge(Relation rel, const MdbLayout *layout)
{
	for (int i = 0; i < mdb_layout_ncolumns(&layout->label); i++)
	{
		Form_pg_attribute att = attribute(rel, layout, i);
		MdbRole		role = layout->columns[i].role;

		if (role > MDB_LAST &&
			!mdb_slot_can_merge(role, getBaseType(att->atttypid)))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table \"%s\" cannot be merged by \"%s\"",
							NameStr(att->attname), RelationGetRelationName(rel),
							mdb_label_merge_name(role)),
					 errdetail("It has type %s.", format_type_be(att->atttypid))));
	}
	if (layout->label.mode == MDB_UPDATE &&
		mdb_layout_ncolumns(&layout->label) == layout->label.nkeys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table \"%s\" cannot be a target in mode \"update\"",
						RelationGetRelationName(rel)),
				 errdetail("Its entries have no column but the key, so there is nothing to write.")));
}

/* Is the table fit to be a target of that layout (R20)?  ERROR if not. */
void
mdb_fitness_check(Relation rel, const MdbLayout *layout)
{
	mdb_fitness_check_kind(rel);
	if (layout->label.metadata)
		check_metadata(rel, layout);
	check_columns(rel, layout);
	check_merge(rel, layout);
	check_key(rel, layout);
	check_owner(rel, layout);
}
