/*
 * layout.c
 *		Which columns of a table make up its entries, and is it fit for that?
 *
 * Model: a layout comes from the arguments of an attaching function or from
 * the labels of the table; it is checked against R20 and turned into a
 * definition.  mdbatch_metadata never has labels: its layout is known.
 *
 * Locking: the caller has the table locked, ACCESS SHARE at least.
 *
 * Limits: nothing is cached here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "extension.h"
#include "layout.h"

static int
ncolumns(const MdbTableLabel *label)
{
	return label->nkeys + (label->has_version ? 1 : 0) + label->ncarried;
}

/* A layout whose columns are to be filled in. */
MdbLayout *
mdb_layout_make(const MdbTableLabel *label)
{
	MdbLayout  *layout = palloc0(offsetof(MdbLayout, columns) +
								 ncolumns(label) * sizeof(AttrNumber));

	layout->label = *label;
	return layout;
}

/* A column by name, which must exist. */
AttrNumber
mdb_layout_column(Relation rel, const char *name)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						name, RelationGetRelationName(rel))));
	return attnum;
}

static MdbLayout *
default_layout(Relation rel)
{
	static const char *const names[] = {"agent_id", "key", "collected_at",
	"value", "error"};
	MdbTableLabel label = {0};
	MdbLayout  *layout;

	label.metadata = true;
	label.mode = MDB_UPSERT;
	strlcpy(label.channel, MDB_DEFAULT_CHANNEL, NAMEDATALEN);
	label.nkeys = 2;
	label.has_version = true;
	label.ncarried = 2;
	layout = mdb_layout_make(&label);
	for (int i = 0; i < (int) lengthof(names); i++)
		layout->columns[i] = mdb_layout_column(rel, names[i]);
	layout->notify = layout->columns[0];
	return layout;
}

static void
no_longer_usable(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" can no longer be a target",
					RelationGetRelationName(rel)),
			 errdetail("A column that its entries need was dropped or has no label."),
			 errhint("Attach the table again, with %s().",
					 "mdbatch_set_target")));
}

/* Put a labelled column in its place. */
static void
place_column(MdbLayout *layout, AttrNumber attnum,
			 const MdbColumnLabel *label)
{
	int			version = layout->label.has_version ? 1 : 0;
	int			place;

	if (label->role == MDB_KEY && label->position <= layout->label.nkeys)
		place = label->position - 1;
	else if (label->role == MDB_VERSION && layout->label.has_version)
		place = layout->label.nkeys;
	else if (label->role == MDB_LAST &&
			 label->position <= layout->label.ncarried)
		place = layout->label.nkeys + version + label->position - 1;
	else
		return;
	layout->columns[place] = attnum;
	if (label->notify)
		layout->notify = attnum;
}

/*
 * The layout of an attached table; NULL if it is not attached.  ERROR if one
 * of its columns was dropped.
 */
MdbLayout *
mdb_layout_read(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	MdbTableLabel label;
	MdbLayout  *layout;

	if (!mdb_label_read_table(relid, &label))
	{
		if (relid == mdb_extension_metadata_table(true) &&
			!OidIsValid(mdb_labels_metadata_target()))
			return default_layout(rel);
		return NULL;
	}

	layout = mdb_layout_make(&label);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		MdbColumnLabel column;

		if (!att->attisdropped &&
			mdb_label_read_column(relid, att->attnum, &column))
			place_column(layout, att->attnum, &column);
	}
	for (int i = 0; i < ncolumns(&label); i++)
		if (layout->columns[i] == InvalidAttrNumber)
			no_longer_usable(rel);
	if (label.channel[0] != '\0' && layout->notify == InvalidAttrNumber)
		no_longer_usable(rel);
	return layout;
}

/* Write a layout as labels, in place of any the table has. */
void
mdb_layout_write(Relation rel, const MdbLayout *layout)
{
	Oid			relid = RelationGetRelid(rel);
	int			carried = ncolumns(&layout->label) - layout->label.ncarried;

	mdb_labels_clear(relid);
	CommandCounterIncrement();
	mdb_label_write_table(relid, &layout->label);
	for (int i = 0; i < ncolumns(&layout->label); i++)
	{
		MdbColumnLabel column;

		column.role = i < layout->label.nkeys ? MDB_KEY :
			i < carried ? MDB_VERSION : MDB_LAST;
		column.position = column.role == MDB_KEY ? i + 1 : i - carried + 1;
		column.notify = layout->columns[i] == layout->notify;
		mdb_label_write_column(relid, layout->columns[i], &column);
	}
	CommandCounterIncrement();
}

/* ERROR unless it is an ordinary table whose rows are what it says they are. */
void
mdb_layout_check_kind(Relation rel)
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
	if (pg_namespace_aclcheck(schema, owner, ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for schema %s",
						get_namespace_name(schema)),
				 errdetail("Role \"%s\", which owns the table, needs USAGE on the schema, as entries are written with its rights.",
						   GetUserNameFromId(owner, false))));
}

/* The owner must reach all that its statement names. */
static void
check_owner(Relation rel, const MdbLayout *layout)
{
	Oid			owner = rel->rd_rel->relowner;

	check_schema_usage(RelationGetNamespace(rel), owner);
	check_schema_usage(mdb_extension_schema(false), owner);
	for (int i = 0; i < ncolumns(&layout->label); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
											  layout->columns[i] - 1);
		HeapTuple	type = SearchSysCache1(TYPEOID,
										   ObjectIdGetDatum(att->atttypid));
		Oid			schema;

		if (!HeapTupleIsValid(type))
			elog(ERROR, "cache lookup failed for type %u", att->atttypid);
		schema = ((Form_pg_type) GETSTRUCT(type))->typnamespace;
		ReleaseSysCache(type);
		check_schema_usage(schema, owner);
	}
}

/* Is an index the kind that ON CONFLICT can rely on, on exactly the key? */
static bool
index_is_on_key(Relation index, const MdbLayout *layout)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indisvalid || !form->indimmediate ||
		index->rd_rel->relam != BTREE_AM_OID ||
		RelationGetIndexPredicate(index) != NIL ||
		form->indnkeyatts != layout->label.nkeys)
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		bool		found = false;

		for (int k = 0; k < layout->label.nkeys; k++)
			found |= form->indkey.values[i] == layout->columns[k];
		if (!found)
			return false;		/* an expression is column 0 */
	}
	return true;
}

/*
 * The name of a key column of the index for which equal is not bytewise
 * equal, or whose collation is not the column's; NULL if there is none.
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
			!OidIsValid(function) ||
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

	for (int i = 0; i < layout->label.nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
											  layout->columns[i] - 1);

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

			if (column == NULL)
				fit = true;
			else if (!collation)
				unfit = pstrdup(column);
		}
		index_close(index, AccessShareLock);
	}
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

	for (int i = 0; i < ncolumns(&layout->label); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
											  layout->columns[i] - 1);

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
		Form_pg_attribute att =
		TupleDescAttr(RelationGetDescr(rel),
					  layout->columns[layout->label.nkeys] - 1);

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
		layout->label.ncarried != 2 || layout->notify != layout->columns[0])
		no_longer_usable(rel);
	for (int i = 0; i < (int) lengthof(types); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
											  layout->columns[i] - 1);

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

/* Payloads are made of uuids. */
static void
check_notify(Relation rel, const MdbLayout *layout)
{
	Form_pg_attribute att;

	if (layout->label.channel[0] == '\0')
		return;
	att = TupleDescAttr(RelationGetDescr(rel), layout->notify - 1);
	if (getBaseType(att->atttypid) != UUIDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" cannot be announced",
						NameStr(att->attname), RelationGetRelationName(rel)),
				 errdetail("It has type %s, but uuid is needed.",
						   format_type_be(att->atttypid))));
}

/* Is the table fit to be a target of that layout (R20)?  ERROR if not. */
void
mdb_layout_check(Relation rel, const MdbLayout *layout)
{
	mdb_layout_check_kind(rel);
	if (layout->label.metadata)
		check_metadata(rel, layout);
	check_columns(rel, layout);
	check_notify(rel, layout);
	check_key(rel, layout);
	check_owner(rel, layout);
}

/* The definition of entries of a layout that was checked; palloc'd. */
MdbDefinition *
mdb_layout_define(Relation rel, const MdbLayout *layout)
{
	const MdbTableLabel *label = &layout->label;
	int			n = ncolumns(label);
	MdbDefinition *definition = palloc0(mdb_definition_size(n));

	definition->relid = RelationGetRelid(rel);
	definition->mode = label->mode;
	definition->metadata = label->metadata;
	definition->has_version = label->has_version;
	definition->nkeys = label->nkeys;
	definition->ncolumns = n;
	definition->notify = -1;
	definition->since = label->since;
	strlcpy(definition->channel, label->channel, NAMEDATALEN);
	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
											  layout->columns[i] - 1);
		MdbColumn  *column = &definition->columns[i];

		column->type = getBaseType(att->atttypid);
		column->collation = att->attcollation;
		column->attnum = att->attnum;
		get_typlenbyvalalign(column->type, &column->typlen, &column->typbyval,
							 &column->typalign);
		column->role = i < label->nkeys ? MDB_KEY :
			i < n - label->ncarried ? MDB_VERSION : MDB_LAST;
		if (label->channel[0] != '\0' && att->attnum == layout->notify)
			definition->notify = i;
	}
	return definition;
}
