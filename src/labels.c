/*
 * labels.c
 *		Attachments, stored as security labels of the target.
 *
 * Model: a label of the provider "mdbatch" on the table says what concerns it
 * as a whole, one on each of its columns what that column is in an entry.
 * (label.c has their form).  So an attachment follows renames, goes with DROP,
 * rolls back, and is dumped with its table.  The table's label counts the
 * columns that must have labels, so that a dropped one is noticed.
 *
 * A restore and the table's owner write labels through SECURITY LABEL
 * (label_hook.c).  Whether the table is fit is checked when the label is read
 * to some purpose (target.c), as a restore makes labels before primary keys.
 *
 * Locking: SECURITY LABEL and our own functions take SHARE UPDATE EXCLUSIVE
 * on the table; marking the metadata target takes it on mdbatch_metadata too.
 * Changes send relcache invalidations; those of a mark one of mdbatch_metadata
 * as well, which stands for the question which table is the metadata target.
 *
 * Limits: a label in the catalog may be anything: written by an older version,
 * restored by pg_upgrade, or changed by a superuser.  One that cannot be read
 * is an ERROR when that table is used, and is passed over otherwise.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_seclabel.h"
#include "commands/seclabel.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "extension.h"
#include "labels.h"

#define ALL_PARTS	(-1)		/* a table and its columns */

static ObjectAddress
address(Oid relid, AttrNumber attnum)
{
	ObjectAddress object;

	ObjectAddressSubSet(object, RelationRelationId, relid, attnum);
	return object;
}

typedef bool (*Visitor) (Oid relid, int subid, const char *text, void *state);

/*
 * Look through labels of the provider in this database, of one table or of
 * all, of tables and columns or (subid) just one of them, until the visitor
 * returns true.  A text that is too long for a label is not fetched, the
 * visitor gets NULL.
 *
 * The index begins with the object, so without one it is read from end to end;
 * still, labels of columns and those of other providers are not fetched.
 */
static void
scan_labels(Oid relid, int subid, Visitor visit, void *state)
{
	Relation	catalog = table_open(SecLabelRelationId, AccessShareLock);
	ScanKeyData keys[4];
	int			nkeys = 0;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		done = false;

	if (OidIsValid(relid))
		ScanKeyInit(&keys[nkeys++], Anum_pg_seclabel_objoid,
					BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[nkeys++], Anum_pg_seclabel_classoid,
				BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	if (subid != ALL_PARTS)
		ScanKeyInit(&keys[nkeys++], Anum_pg_seclabel_objsubid,
					BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(subid));
	ScanKeyInit(&keys[nkeys++], Anum_pg_seclabel_provider,
				BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(MDB_PROVIDER));

	scan = systable_beginscan(catalog, SecLabelObjectIndexId, true, NULL,
							  nkeys, keys);
	while (!done && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		FormData_pg_seclabel *form = (FormData_pg_seclabel *) GETSTRUCT(tuple);
		bool		isnull;
		Datum		label = heap_getattr(tuple, Anum_pg_seclabel_label,
										 RelationGetDescr(catalog), &isnull);
		char	   *read = NULL;

		if (!mdb_label_is_too_long(label, form->objsubid == 0))
			read = TextDatumGetCString(label);
		done = visit(form->objoid, form->objsubid, read, state);
		if (read != NULL)
			pfree(read);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

typedef struct Found
{
	bool		found;
	char	   *text;			/* NULL: too long */
} Found;

static bool
visit_any(Oid relid, int subid, const char *text, void *state)
{
	Found	   *found = state;

	found->found = true;
	found->text = text != NULL ? pstrdup(text) : NULL;
	return true;
}

static Found
find_label(Oid relid, int subid)
{
	Found		found = {0};

	scan_labels(relid, subid, visit_any, &found);
	return found;
}

/*
 * What the label of a table says, if it has one; what is wrong with it, or
 * NULL.
 */
static const char *
read_table(Oid relid, bool *found, MdbTableLabel *label)
{
	Found		stored = find_label(relid, 0);

	memset(label, 0, sizeof(*label));
	*found = stored.found;
	if (!stored.found)
		return NULL;
	return stored.text != NULL ? mdb_label_parse_table(stored.text, label) :
		mdb_label_too_long(true);
}

/*
 * Can it be attached?  A table that has become a view keeps its labels, and so
 * does the view in a dump (R36).
 */
bool
mdb_labels_is_table(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	return relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE;
}

static void
bad_stored_label(Oid relid, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" has an invalid label of provider \"%s\"",
					get_rel_name(relid), MDB_PROVIDER),
			 errdetail_internal("%s", problem),
			 errhint("Attach the table again, with %s().", "mdbatch_attach")));
}

/*
 * The label of an attached table; false if it is not attached.  ERROR if the
 * label cannot be read.
 */
bool
mdb_labels_read_table(Oid relid, MdbTableLabel *label)
{
	bool		found;
	const char *problem = read_table(relid, &found, label);

	if (!mdb_labels_is_table(relid))
		return false;
	if (problem != NULL)
		bad_stored_label(relid, problem);
	return found && label->attached;
}

/*
 * The label of a column; false if it has none.  ERROR if it cannot be read.
 */
bool
mdb_labels_read_column(Oid relid, AttrNumber attnum, MdbColumnLabel *label)
{
	Found		stored = find_label(relid, attnum);
	const char *problem;

	if (!stored.found)
		return false;
	problem = stored.text != NULL ? mdb_label_parse_column(stored.text, label) :
		mdb_label_too_long(false);
	if (problem != NULL)
		bad_stored_label(relid, problem);
	return true;
}

/*
 * The identity of a table's attachment, also of a former one; false if it has
 * none.  mdbatch_metadata, which has no label, has the nil uuid.
 */
bool
mdb_labels_identity(Oid relid, pg_uuid_t *identity)
{
	MdbTableLabel label;
	bool		found;

	memset(identity, 0, sizeof(*identity));
	if (relid == mdb_extension_metadata_table(true))
		return true;
	if (read_table(relid, &found, &label) != NULL || !label.has_identity)
		return false;
	*identity = label.identity;
	return true;
}

/* Does a table have the mark of the metadata target? */
bool
mdb_labels_is_marked(Oid relid)
{
	MdbTableLabel label;
	bool		found;

	return read_table(relid, &found, &label) == NULL && label.metadata;
}

/*
 * The label of a table is about to be one with this mark: backends that cached
 * something about the table look again.  Which table is the metadata target is
 * asked again only if the mark changes, so that relabelling other tables does
 * not disturb each mdbatch_add.
 */
void
mdb_labels_invalidate(Oid relid, bool marked)
{
	Oid			metadata = mdb_labels_is_marked(relid) != marked ?
		mdb_extension_metadata_table(true) : InvalidOid;

	CacheInvalidateRelcacheByRelid(relid);
	if (OidIsValid(metadata) && metadata != relid)
		CacheInvalidateRelcacheByRelid(metadata);
}

/*
 * Label a table as attached; not checked here.  The caller has it locked.  It
 * keeps the identity that it has.
 */
void
mdb_labels_write_table(Oid relid, const MdbTableLabel *label)
{
	ObjectAddress object = address(relid, 0);
	MdbTableLabel written = *label;

	written.attached = true;
	written.has_identity = true;
	if (!mdb_labels_identity(relid, &written.identity))
		written.identity = *DatumGetUUIDP(OidFunctionCall0(F_GEN_RANDOM_UUID));
	mdb_labels_invalidate(relid, label->metadata);
	SetSecurityLabel(&object, MDB_PROVIDER, mdb_label_format_table(&written));
}

/* Label a column of a table, whose lock the caller has. */
void
mdb_labels_write_column(Oid relid, AttrNumber attnum,
						const MdbColumnLabel *label)
{
	ObjectAddress object = address(relid, attnum);

	SetSecurityLabel(&object, MDB_PROVIDER, mdb_label_format_column(label));
}

static bool
visit_marked(Oid relid, int subid, const char *text, void *state)
{
	List	  **marked = state;
	MdbTableLabel label;

	/* Most labels have no mark, and this is asked about all tables. */
	if (text == NULL || strstr(text, "\"" MDB_LABEL_MARK "\"") == NULL)
		return false;
	if (mdb_label_parse_table(text, &label) == NULL && label.metadata &&
		mdb_labels_is_table(relid))
		*marked = lappend_oid(*marked, relid);
	return false;
}

/*
 * The tables that are marked as the metadata target; palloc'd.  With one it is
 * that one, with none it is mdbatch_metadata, and of several it is none (R36).
 */
List *
mdb_labels_marked(void)
{
	List	   *marked = NIL;

	scan_labels(InvalidOid, 0, visit_marked, &marked);
	return marked;
}

static bool
visit_clear(Oid relid, int subid, const char *text, void *state)
{
	ObjectAddress object = address(relid, subid);
	const pg_uuid_t *identity = state;
	MdbTableLabel kept = {0};

	if (subid == 0 && identity != NULL)
	{
		kept.has_identity = true;
		kept.identity = *identity;
	}
	SetSecurityLabel(&object, MDB_PROVIDER,
					 kept.has_identity ? mdb_label_format_table(&kept) : NULL);
	return false;
}

/*
 * Take all labels off a table but its identity, as its rejected entries still
 * belong to it.  The caller has it locked.
 */
void
mdb_labels_clear(Oid relid)
{
	pg_uuid_t	identity;

	mdb_labels_invalidate(relid, false);
	scan_labels(relid, ALL_PARTS, visit_clear,
				mdb_labels_identity(relid, &identity) ? &identity : NULL);
	CommandCounterIncrement();
}

/*
 * Is a table attached, or the metadata target since no other is?  A table with
 * a label that cannot be read is, so that it can be detached.
 */
bool
mdb_labels_is_attached(Oid relid)
{
	MdbTableLabel label;
	bool		found;
	const char *problem = read_table(relid, &found, &label);

	if (!found)
		return relid == mdb_extension_metadata_table(true) &&
			mdb_labels_marked() == NIL;
	return mdb_labels_is_table(relid) && (problem != NULL || label.attached);
}

/*
 * Take all labels off, with the extension, which is locked: no new ones come.
 * Tables are not locked, so that no lock on one stops DROP EXTENSION; if a table
 * is being dropped, its labels are gone when that has committed.
 */
void
mdb_labels_clear_all(void)
{
	Relation	catalog = table_open(SecLabelRelationId, RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_seclabel_classoid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_seclabel_provider, BTEqualStrategyNumber,
				F_TEXTEQ, CStringGetTextDatum(MDB_PROVIDER));
	scan = systable_beginscan(catalog, SecLabelObjectIndexId, true, NULL,
							  lengthof(keys), keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			relid = ((FormData_pg_seclabel *) GETSTRUCT(tuple))->objoid;
		TM_FailureData failure;

		if (heap_delete(catalog, &tuple->t_self, GetCurrentCommandId(true),
						InvalidSnapshot, true, &failure,
						false) == TM_Updated)
			elog(ERROR, "label of table %u was changed while it was removed",
				 relid);
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
			CacheInvalidateRelcacheByRelid(relid);
	}
	systable_endscan(scan);
	table_close(catalog, RowExclusiveLock);
}

typedef struct Twin
{
	Oid			relid;			/* of another table */
	const pg_uuid_t *identity;
	const char *text;			/* of the identity */
} Twin;

static bool
visit_twin(Oid relid, int subid, const char *text, void *state)
{
	Twin	   *twin = state;
	MdbTableLabel label;

	if (relid == twin->relid || text == NULL ||
		strstr(text, twin->text) == NULL ||
		mdb_label_parse_table(text, &label) != NULL || !label.has_identity ||
		memcmp(&label.identity, twin->identity, sizeof(pg_uuid_t)) != 0)
		return false;
	twin->relid = relid;
	return true;
}

/* A table beside this one that has the identity; InvalidOid if none has. */
Oid
mdb_labels_twin(Oid relid, const pg_uuid_t *identity)
{
	Datum		text = DirectFunctionCall1(uuid_out, UUIDPGetDatum(identity));
	Twin		twin = {relid, identity, DatumGetCString(text)};

	scan_labels(InvalidOid, 0, visit_twin, &twin);
	return twin.relid == relid ? InvalidOid : twin.relid;
}

/* A table as messages call it; palloc'd. */
char *
mdb_labels_table_name(Oid relid)
{
	return DatumGetCString(DirectFunctionCall1(regclassout,
											   ObjectIdGetDatum(relid)));
}
