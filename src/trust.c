/*
 * trust.c
 *		Whose code can a flush run, and does the owner of the target trust it?
 *
 * Purpose: a flush runs as the owner of the target.  No code may run then that
 * a lesser role can put there or replace (R18).
 *
 * Model: a role is trusted by an owner if it has the owner's privileges or can
 * SET ROLE to the owner: it could do the same without a flush.  From the
 * tables that a flush can write (reach.c) we follow pg_depend: defaults,
 * constraints, indexes and triggers depend on functions, operators and types,
 * these on further ones.  Each function and each type that we meet must belong
 * to a trusted role.  A function is where we stop: what it calls is the affair
 * of its owner.
 *
 * The owner of a type is judged, and not only what the type depends on, since
 * that role can bring code while a flush runs, which takes no lock on the
 * tables that use the type: a constraint of a domain, an attribute of a
 * composite, a cast of an enum, which the check of a foreign key looks up when
 * it runs.  For the same reason extensions do not help: a function belongs to
 * its owner, and it does not matter who made the extension.
 *
 * The check of a foreign key runs as the owner of the other table, and what
 * its code sets, search_path for instance, stays set for the code of the
 * target's owner.  So that owner is judged, too.
 *
 * Two kinds of code leave no dependency.  An operator that the planner can put
 * in place of another one is found through its commutator and negator.  The
 * functions of an operator class are members of its family.
 *
 * Not followed: policies and rules.  A flush is refused while either would
 * apply (verdict.c).
 *
 * Locking: none.  The catalogs are read, no table is opened, so that a locked
 * partition does not stop the check.
 *
 * Limits: objects of initdb are not in pg_depend; they are trusted.  A superuser
 * who makes an operator class of a lesser role's functions in a family of
 * initdb is not noticed.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "reach.h"
#include "rights.h"
#include "trust.h"

/* Objects of one catalog that belong to an object of another one. */
typedef struct Members
{
	Oid			catalog;
	Oid			index;			/* on the column that names the other one */
	AttrNumber	attnum;			/* that column */
	Oid			class_id;		/* what the rows are */
	AttrNumber	oid_attnum;		/* which of them */
} Members;

/* What a look at a table can run: the planner computes some of it. */
static const Members read_members[] = {
	{ConstraintRelationId, ConstraintRelidTypidNameIndexId,
		Anum_pg_constraint_conrelid, ConstraintRelationId,
	Anum_pg_constraint_oid},
	{IndexRelationId, IndexIndrelidIndexId, Anum_pg_index_indrelid,
	RelationRelationId, Anum_pg_index_indexrelid},
	{StatisticExtRelationId, StatisticExtRelidIndexId,
		Anum_pg_statistic_ext_stxrelid, StatisticExtRelationId,
	Anum_pg_statistic_ext_oid}
};

/* What a write runs, too. */
static const Members write_members[] = {
	{AttrDefaultRelationId, AttrDefaultIndexId, Anum_pg_attrdef_adrelid,
	AttrDefaultRelationId, Anum_pg_attrdef_oid},
	{TriggerRelationId, TriggerRelidNameIndexId, Anum_pg_trigger_tgrelid,
	TriggerRelationId, Anum_pg_trigger_oid}
};

static const Members domain_members = {
	ConstraintRelationId, ConstraintTypidIndexId, Anum_pg_constraint_contypid,
	ConstraintRelationId, Anum_pg_constraint_oid
};

static const Members family_members[] = {
	{AccessMethodProcedureRelationId, AccessMethodProcedureIndexId,
		Anum_pg_amproc_amprocfamily, AccessMethodProcedureRelationId,
	Anum_pg_amproc_oid},
	{AccessMethodOperatorRelationId, AccessMethodStrategyIndexId,
		Anum_pg_amop_amopfamily, AccessMethodOperatorRelationId,
	Anum_pg_amop_oid}
};

typedef struct TrustWalk
{
	Oid			target;
	Oid			owner;			/* of the target */
	ObjectAddresses *seen;
	List	   *relations;		/* a change of one can change the verdict */
	List	   *objects;		/* hash values of functions, types, operators */
} TrustWalk;

static void visit(TrustWalk *walk, Oid class_id, Oid object_id);
static void visit_members(TrustWalk *walk, const Members *members,
						  Oid owner_id);

/* ERROR unless the object belongs to a role that the owner trusts. */
static void
check_owner(const TrustWalk *walk, Oid class_id, Oid object_id, Oid role)
{
	ObjectAddress object;

	if (mdb_rights_is_trusted(role, walk->owner))
		return;
	ObjectAddressSet(object, class_id, object_id);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("table \"%s\" depends on code of role \"%s\", which its owner does not trust",
					get_rel_name(walk->target), GetUserNameFromId(role, true)),
			 errdetail("Entries are written as role \"%s\", but %s %s belongs to role \"%s\".",
					   GetUserNameFromId(walk->owner, true),
					   getObjectTypeDescription(&object, true),
					   getObjectIdentity(&object, true),
					   GetUserNameFromId(role, true)),
			 errhint("Make a role its owner that has the privileges of role \"%s\".",
					 GetUserNameFromId(walk->owner, true))));
}

static void
check_table_owner(const TrustWalk *walk, Oid relid)
{
	Oid			owner = mdb_rights_owner(relid);

	if (OidIsValid(owner))
		check_owner(walk, RelationRelationId, relid, owner);
}

/* Visit what an object depends on. */
static void
follow(TrustWalk *walk, Oid class_id, Oid object_id)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(class_id));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object_id));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2,
							  keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		switch (form->refclassid)
		{
			case RelationRelationId:
			case NamespaceRelationId:
			case ExtensionRelationId:
			case LanguageRelationId:
				break;			/* no code of its own that a flush runs */
			default:
				visit(walk, form->refclassid, form->refobjid);
		}
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
}

/* A table that is looked at: its owner, and all code that this runs. */
static void
visit_read(TrustWalk *walk, Oid relid)
{
	if (list_member_oid(walk->relations, relid))
		return;
	walk->relations = lappend_oid(walk->relations, relid);
	check_table_owner(walk, relid);
	follow(walk, RelationRelationId, relid);
	for (int i = 0; i < (int) lengthof(read_members); i++)
		visit_members(walk, &read_members[i], relid);
}

/* A foreign key of a table that is written reads another table. */
static void
visit_referenced(TrustWalk *walk, Form_pg_constraint constraint)
{
	ListCell   *cell;

	if (constraint->contype == CONSTRAINT_FOREIGN)
		foreach(cell, mdb_reach_with_partitions(constraint->confrelid))
	{
		visit_read(walk, lfirst_oid(cell));
	}
}

/* Visit the rows of a catalog that belong to an object. */
static void
visit_members(TrustWalk *walk, const Members *members, Oid owner_id)
{
	Relation	catalog = table_open(members->catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, members->attnum, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(owner_id));
	scan = systable_beginscan(catalog, members->index, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Oid			object_id =
			DatumGetObjectId(heap_getattr(tuple, members->oid_attnum,
										  RelationGetDescr(catalog), &isnull));

		/* A trigger that is disabled does not fire in a worker. */
		if (members->catalog == TriggerRelationId &&
			!mdb_reach_trigger_fires((Form_pg_trigger) GETSTRUCT(tuple)))
			continue;
		if (members->catalog == ConstraintRelationId)
			visit_referenced(walk, (Form_pg_constraint) GETSTRUCT(tuple));
		visit(walk, members->class_id, object_id);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/* The default operator classes of a type sort and compare its values. */
static void
visit_default_class(TrustWalk *walk, Oid type, Oid method)
{
	Oid			opclass = GetDefaultOpClass(type, method);

	if (opclass >= FirstUnpinnedObjectId)
		visit(walk, OperatorClassRelationId, opclass);
}

static void
visit_type(TrustWalk *walk, Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	FormData_pg_type form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = *(Form_pg_type) GETSTRUCT(tuple);
	ReleaseSysCache(tuple);

	if (IsTrueArrayType(&form))
	{
		visit(walk, TypeRelationId, form.typelem);
		return;
	}
	check_owner(walk, TypeRelationId, type, form.typowner);
	if (form.typtype == TYPTYPE_DOMAIN)
	{
		visit(walk, TypeRelationId, form.typbasetype);
		visit_members(walk, &domain_members, type);
	}
	else if (form.typtype == TYPTYPE_COMPOSITE)
	{
		/* ALTER TYPE ADD ATTRIBUTE changes nothing but this relation. */
		walk->relations = list_append_unique_oid(walk->relations,
												 form.typrelid);
		follow(walk, RelationRelationId, form.typrelid);
	}
	follow(walk, TypeRelationId, type);
	visit_default_class(walk, type, BTREE_AM_OID);
	visit_default_class(walk, type, HASH_AM_OID);
}

static void
visit_operator(TrustWalk *walk, Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Oid			commutator;
	Oid			negator;

	if (!HeapTupleIsValid(tuple))
		return;
	commutator = ((Form_pg_operator) GETSTRUCT(tuple))->oprcom;
	negator = ((Form_pg_operator) GETSTRUCT(tuple))->oprnegate;
	ReleaseSysCache(tuple);

	follow(walk, OperatorRelationId, operator);
	if (OidIsValid(commutator))
		visit(walk, OperatorRelationId, commutator);
	if (OidIsValid(negator))
		visit(walk, OperatorRelationId, negator);
}

static void
visit_function(const TrustWalk *walk, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));

	if (!HeapTupleIsValid(tuple))
		return;
	check_owner(walk, ProcedureRelationId, function,
				((Form_pg_proc) GETSTRUCT(tuple))->proowner);
	ReleaseSysCache(tuple);
}

static void
visit_class(TrustWalk *walk, Oid opclass)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));

	if (!HeapTupleIsValid(tuple))
		return;
	visit(walk, OperatorFamilyRelationId,
		  ((Form_pg_opclass) GETSTRUCT(tuple))->opcfamily);
	ReleaseSysCache(tuple);
}

/* A change of the object can change the verdict. */
static void
note_object(TrustWalk *walk, int cache, Oid object_id)
{
	walk->objects =
		lappend_int(walk->objects,
					(int) GetSysCacheHashValue1(cache,
												ObjectIdGetDatum(object_id)));
}

/* Judge an object, and what it depends on, once. */
static void
visit(TrustWalk *walk, Oid class_id, Oid object_id)
{
	ObjectAddress object;

	if (object_id < FirstUnpinnedObjectId)
		return;
	ObjectAddressSet(object, class_id, object_id);
	if (object_address_present(&object, walk->seen))
		return;
	add_exact_object_address(&object, walk->seen);
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();

	switch (class_id)
	{
		case ProcedureRelationId:
			note_object(walk, PROCOID, object_id);
			visit_function(walk, object_id);
			break;
		case TypeRelationId:
			note_object(walk, TYPEOID, object_id);
			visit_type(walk, object_id);
			break;
		case OperatorRelationId:
			note_object(walk, OPEROID, object_id);
			visit_operator(walk, object_id);
			break;
		case OperatorClassRelationId:
			visit_class(walk, object_id);
			break;
		case OperatorFamilyRelationId:
			for (int i = 0; i < (int) lengthof(family_members); i++)
				visit_members(walk, &family_members[i], object_id);
			break;
		default:
			follow(walk, class_id, object_id);
	}
}

/* A rule does with the write whatever it likes, so there must be none. */
static void
check_rules(const TrustWalk *walk, Oid relid)
{
	if (!mdb_reach_has_rules(relid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("table \"%s\" cannot be a target",
					get_rel_name(walk->target)),
			 errdetail("Table \"%s\", which is written with it, has rules.",
					   get_rel_name(relid))));
}

/*
 * A table that a flush writes: its owner, and all code that a write runs.  The
 * keys of the partitioned tables above it are checked, too, and what their
 * owners add to these comes down to it.
 */
static void
visit_table(TrustWalk *walk, Oid relid)
{
	ListCell   *cell;

	check_rules(walk, relid);
	visit_read(walk, relid);
	for (int i = 0; i < (int) lengthof(write_members); i++)
		visit_members(walk, &write_members[i], relid);
	foreach(cell, mdb_reach_ancestors(relid))
	{
		check_table_owner(walk, lfirst_oid(cell));
		follow(walk, RelationRelationId, lfirst_oid(cell));
		walk->relations = list_append_unique_oid(walk->relations,
												 lfirst_oid(cell));
	}
}

static TrustWalk
begin_walk(Oid relid, Oid owner)
{
	TrustWalk	walk;

	walk.target = relid;
	walk.owner = owner;
	walk.seen = new_object_addresses();
	walk.relations = NIL;
	walk.objects = NIL;
	return walk;
}

/*
 * ERROR (42501) if a flush of the target, whose key has these columns, could
 * run code of a role that the owner does not trust.
 */
MdbTrusted
mdb_trust_check_target(Oid relid, Oid owner, Bitmapset *key)
{
	TrustWalk	walk = begin_walk(relid, owner);
	MdbTrusted	trusted;
	ListCell   *cell;

	trusted.tables = mdb_reach_tables(relid, key);
	foreach(cell, trusted.tables)
	{
		visit_table(&walk, lfirst_oid(cell));
	}
	free_object_addresses(walk.seen);
	trusted.relations = list_concat_unique_oid(walk.relations, trusted.tables);
	trusted.objects = walk.objects;
	return trusted;
}

/*
 * ERROR (42501) if values of a type that a column had once, or their cast to
 * the type that it has now, bring code of a role that the owner does not
 * trust.
 */
void
mdb_trust_check_cast(Oid relid, Oid owner, Oid from, Oid to)
{
	TrustWalk	walk = begin_walk(relid, owner);
	Oid			function = InvalidOid;

	/* Values of a type that was dropped can be shown as bytes alone. */
	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(from)))
		return;
	visit(&walk, TypeRelationId, from);
	visit(&walk, TypeRelationId, to);
	while (find_coercion_pathway(to, from, COERCION_EXPLICIT, &function) ==
		   COERCION_PATH_ARRAYCOERCE)
	{
		to = getBaseType(get_element_type(to));
		from = getBaseType(get_element_type(from));
	}
	if (OidIsValid(function))
		visit(&walk, ProcedureRelationId, function);
	free_object_addresses(walk.seen);
}
