/*
 * layout.c
 *		Which columns of a table make up its entries.
 *
 * Model: a layout comes from the arguments of an attaching function or from
 * the labels of the table; fitness.c checks it, and it is turned into a
 * definition.  mdbatch_metadata never has labels: its layout is known.
 *
 * Locking: the caller has the table locked, ACCESS SHARE at least.
 *
 * Limits: nothing is cached here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/lsyscache.h"

#include "extension.h"
#include "layout.h"
#include "shape.h"

/* How many places a layout of that label has. */
int
mdb_layout_ncolumns(const MdbTableLabel *label)
{
	return label->nkeys + (label->has_version ? 1 : 0) + label->ncarried;
}

/* The role of a place before it is known how a carried column merges. */
static MdbRole
role_of_place(const MdbTableLabel *label, int place)
{
	if (place < label->nkeys)
		return MDB_KEY;
	return place == label->nkeys && label->has_version ? MDB_VERSION : MDB_LAST;
}

/* A layout whose columns are to be filled in; nothing merges. */
MdbLayout *
mdb_layout_make(const MdbTableLabel *label)
{
	int			n = mdb_layout_ncolumns(label);
	MdbLayout  *layout = palloc0(offsetof(MdbLayout, columns) +
								 n * sizeof(MdbLayoutColumn));

	layout->label = *label;
	for (int i = 0; i < n; i++)
		layout->columns[i].role = role_of_place(label, i);
	return layout;
}

/* Does any column merge? */
bool
mdb_layout_merges(const MdbLayout *layout)
{
	for (int i = 0; i < mdb_layout_ncolumns(&layout->label); i++)
		if (layout->columns[i].role > MDB_LAST)
			return true;
	return false;
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
		layout->columns[i].attnum = mdb_layout_column(rel, names[i]);
	layout->notify = layout->columns[0].attnum;
	return layout;
}

/* What a target was attached for is not there any more (R23). */
void
mdb_layout_unusable(Relation rel, const MdbTableLabel *label)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" can no longer be a target",
					RelationGetRelationName(rel)),
			 errdetail("A column that its entries need was dropped or has no label."),
			 errhint("Attach the table again, with %s().",
					 label->metadata ? "mdbatch_set_target" : "mdbatch_attach")));
}

/* Put a labelled column in its place. */
static void
place_column(MdbLayout *layout, AttrNumber attnum,
			 const MdbColumnLabel *label)
{
	int			version = layout->label.has_version ? 1 : 0;
	int			place;

	if (label->notify)
		layout->notify = attnum;
	if (!label->in_entry)
		return;
	if (label->role == MDB_KEY && label->position <= layout->label.nkeys)
		place = label->position - 1;
	else if (label->role == MDB_VERSION && layout->label.has_version)
		place = layout->label.nkeys;
	else if (label->role >= MDB_LAST &&
			 label->position <= layout->label.ncarried)
		place = layout->label.nkeys + version + label->position - 1;
	else
		return;
	layout->columns[place].attnum = attnum;
	layout->columns[place].role = label->role;
}

/* A dropped carried column is dropped from the entries, too (R23). */
static void
close_gaps(MdbLayout *layout)
{
	int			n = mdb_layout_ncolumns(&layout->label);
	int			kept = n - layout->label.ncarried;

	for (int i = kept; i < n; i++)
		if (layout->columns[i].attnum != InvalidAttrNumber)
			layout->columns[kept++] = layout->columns[i];
	layout->label.ncarried -= n - kept;
}

/*
 * The layout of an attached table; NULL if it is not attached.  ERROR if a
 * column was dropped that it cannot do without.
 */
MdbLayout *
mdb_layout_read(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	MdbTableLabel label;
	MdbLayout  *layout;

	if (!mdb_labels_read_table(relid, &label))
	{
		if (relid == mdb_extension_metadata_table(true) &&
			mdb_labels_marked() == NIL)
			return default_layout(rel);
		return NULL;
	}

	layout = mdb_layout_make(&label);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		MdbColumnLabel column;

		if (!att->attisdropped &&
			mdb_labels_read_column(relid, att->attnum, &column))
			place_column(layout, att->attnum, &column);
	}
	close_gaps(layout);
	for (int i = 0; i < mdb_layout_ncolumns(&layout->label); i++)
		if (layout->columns[i].attnum == InvalidAttrNumber)
			mdb_layout_unusable(rel, &label);
	if (label.channel[0] != '\0' && layout->notify == InvalidAttrNumber)
		mdb_layout_unusable(rel, &label);
	return layout;
}

/* Write a layout as labels, in place of any the table has. */
void
mdb_layout_write(Relation rel, const MdbLayout *layout)
{
	Oid			relid = RelationGetRelid(rel);
	int			n = mdb_layout_ncolumns(&layout->label);
	int			carried = n - layout->label.ncarried;
	MdbColumnLabel column;
	bool		announced = false;

	mdb_labels_clear(relid);
	mdb_labels_write_table(relid, &layout->label);
	for (int i = 0; i < n; i++)
	{
		column.in_entry = true;
		column.role = layout->columns[i].role;
		column.position = column.role == MDB_KEY ? i + 1 : i - carried + 1;
		column.notify = layout->columns[i].attnum == layout->notify;
		announced |= column.notify;
		mdb_labels_write_column(relid, layout->columns[i].attnum, &column);
	}
	if (!announced && layout->notify != InvalidAttrNumber)
	{
		memset(&column, 0, sizeof(column));
		column.notify = true;
		mdb_labels_write_column(relid, layout->notify, &column);
	}
	CommandCounterIncrement();
}

static void
define_column(MdbColumn *column, Form_pg_attribute att, MdbRole role,
			  MdbShape *shape)
{
	column->type = getBaseType(att->atttypid);
	column->collation = att->attcollation;
	column->attnum = att->attnum;
	get_typlenbyvalalign(column->type, &column->typlen, &column->typbyval,
						 &column->typalign);
	column->role = role;
	column->has_rows = mdb_shape_add(shape, column->type);
}

/* Put what comes after the columns behind them; returns it all, palloc'd. */
static MdbDefinition *
append_row_types(MdbDefinition *definition, const MdbShape *shape)
{
	MdbDefinition *whole;

	definition->nrow_types = shape->nrow_types;
	definition->row_types_size = shape->bytes.len;
	whole = palloc0(mdb_definition_size(definition));
	memcpy(whole, definition, mdb_definition_fixed(definition->ncolumns));
	memcpy(mdb_definition_row_types(whole), shape->bytes.data,
		   shape->bytes.len);
	for (int i = 0; i < whole->ncolumns; i++)
		mdb_definition_altered(whole)[i] =
			mdb_shape_altered(whole->relid, whole->columns[i].attnum);
	return whole;
}

/*
 * The definition of entries of a layout that was checked, and what altered
 * each attribute of its row types last; palloc'd.  ERROR if it is too large.
 */
MdbDefinition *
mdb_layout_define(Relation rel, const MdbLayout *layout,
				  MdbAltered **attributes)
{
	const MdbTableLabel *label = &layout->label;
	int			n = mdb_layout_ncolumns(label);
	MdbDefinition *definition = palloc0(mdb_definition_fixed(n));
	MdbShape	shape;

	definition->relid = RelationGetRelid(rel);
	definition->mode = label->mode;
	definition->metadata = label->metadata;
	definition->has_version = label->has_version;
	definition->nkeys = label->nkeys;
	definition->ncolumns = n;
	definition->since = label->since;
	definition->batch_size = label->batch_size;
	definition->flush_interval = label->flush_interval;
	strlcpy(definition->channel, label->channel, NAMEDATALEN);
	mdb_shape_begin(&shape, rel);
	for (int i = 0; i < n; i++)
		define_column(&definition->columns[i],
					  TupleDescAttr(RelationGetDescr(rel),
									layout->columns[i].attnum - 1),
					  layout->columns[i].role, &shape);
	if (label->channel[0] != '\0')
		definition->notify = layout->notify;
	definition->has_merge = mdb_layout_merges(layout);
	*attributes = (MdbAltered *) shape.altered.data;
	return append_row_types(definition, &shape);
}
