/*
 * view_insert.c
 *		mdbatch_enqueue(): plain INSERT and COPY into a view enqueue.
 *
 * Model: an INSTEAD OF INSERT trigger.  Columns of the view match those of an
 * entry by name; their values are assigned to the target's types, as an INSERT
 * into the target would, by expressions that are made once in a statement and
 * again if the target is altered meanwhile.  A dropped entry leaves the row
 * count lower.
 *
 * Locking: none.
 *
 * Limits: the role that inserts needs the rights of an add on the target,
 * and it does not matter who owns the view.  USAGE on the schema of the target
 * is needed by the view's owner, unless the role has it.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "enqueue.h"
#include "rights.h"
#include "rows.h"

PG_FUNCTION_INFO_V1(mdbatch_enqueue);

/* What is kept from row to row of a statement. */
typedef struct Mapping
{
	Oid			relid;			/* of the target */
	uint64		resolved;		/* 0: nothing is mapped yet */
	MemoryContext context;		/* of what follows */
	ExprState **assigned;		/* of an entry's columns; NULL: not in the
								 * view */
	bool	   *used;			/* columns of the view that are in an entry */
	ExprContext *econtext;
} Mapping;

static void
check_call(FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_INSTEAD(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by an INSTEAD OF INSERT trigger",
						"mdbatch_enqueue")));
	if (data->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\" must have one argument, the target",
						data->tg_trigger->tgname)));
}

/* The place of a column of an entry in the view; -1 if it has none. */
static int
find_in_view(TupleDesc view, const char *name)
{
	for (int i = 0; i < view->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(view, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return i;
	}
	return -1;
}

/* A column of the view, assigned to one of the target. */
static ExprState *
make_assignment(Form_pg_attribute from, Form_pg_attribute to)
{
	Node	   *var = (Node *) makeVar(1, from->attnum, from->atttypid,
									   from->atttypmod, from->attcollation, 0);
	Node	   *expression = coerce_to_target_type(NULL, var, from->atttypid,
												   to->atttypid, to->atttypmod,
												   COERCION_ASSIGNMENT,
												   COERCE_IMPLICIT_CAST, -1);

	if (expression == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s but the view's is of type %s",
						NameStr(to->attname), format_type_be(to->atttypid),
						format_type_be(from->atttypid)),
				 errhint("You will need to cast it in the view.")));
	assign_expr_collations(NULL, expression);
	return ExecInitExpr(expression_planner((Expr *) expression), NULL);
}

/* Map the columns of the view to those of an entry. */
static void
map_columns(Mapping *mapping, TupleDesc view, const MdbRows *rows)
{
	TupleDesc	row = rows->row;
	MemoryContext old;

	mapping->resolved = 0;
	MemoryContextReset(mapping->context);
	old = MemoryContextSwitchTo(mapping->context);
	mapping->econtext = CreateStandaloneExprContext();
	mapping->assigned = palloc0(row->natts * sizeof(ExprState *));
	mapping->used = palloc0(view->natts * sizeof(bool));
	for (int i = 0; i < row->natts; i++)
	{
		int			at = find_in_view(view, NameStr(TupleDescAttr(row, i)->attname));

		if (at >= 0)
		{
			mapping->assigned[i] = make_assignment(TupleDescAttr(view, at),
												   TupleDescAttr(row, i));
			mapping->used[at] = true;
		}
		else if (i < rows->nkeys)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the view has no key column \"%s\"",
							NameStr(TupleDescAttr(row, i)->attname))));
	}
	MemoryContextSwitchTo(old);
	mapping->resolved = rows->resolved;
}

/* Nothing that is inserted may be lost quietly. */
static void
check_unused(const Mapping *mapping, TupleDesc view, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	for (int i = 0; i < view->natts; i++)
		if (!mapping->used[i] && !slot->tts_isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("\"%s\" is not a column of the entries of table \"%s\"",
							NameStr(TupleDescAttr(view, i)->attname),
							get_rel_name(mapping->relid))));
}

/* The row that is inserted into a view, as an entry. */
static MdbRows *
convert(Mapping *mapping, TupleDesc view, TupleTableSlot *slot)
{
	MdbRows    *rows = mdb_rows_begin(mapping->relid, false, 1);
	int			n = rows->row->natts;
	Datum	   *values = palloc0(n * sizeof(Datum));
	bool	   *isnull = palloc(n * sizeof(bool));

	if (mapping->resolved != rows->resolved)
		map_columns(mapping, view, rows);
	check_unused(mapping, view, slot);
	mapping->econtext->ecxt_scantuple = slot;
	for (int i = 0; i < n; i++)
	{
		isnull[i] = true;
		if (mapping->assigned[i] != NULL)
			values[i] = ExecEvalExpr(mapping->assigned[i], mapping->econtext,
									 &isnull[i]);
		else if (get_typtype(TupleDescAttr(rows->row, i)->atttypid) == TYPTYPE_DOMAIN)
			domain_check((Datum) 0, true, TupleDescAttr(rows->row, i)->atttypid,
						 NULL, NULL);
	}
	mdb_rows_push(rows, values, isnull);
	return rows;
}

/*
 * The table that the argument of a view's trigger names.  The role that
 * inserts needs no right on its schema, as for a view that selects from it.
 */
static Oid
find_target(const char *name, Relation view)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(name));
	Oid			relid = InvalidOid;

	if (list_length(names) == 2)
		relid = get_relname_relid(strVal(lsecond(names)),
								  get_namespace_oid(strVal(linitial(names)),
													true));
	if (!OidIsValid(relid))
		relid = DatumGetObjectId(DirectFunctionCall1(regclassin,
													 CStringGetDatum(name)));
	mdb_rights_check_named_by(relid, view->rd_rel->relowner);
	return relid;
}

static Mapping *
get_mapping(FunctionCallInfo fcinfo, const TriggerData *data)
{
	Mapping    *mapping = fcinfo->flinfo->fn_extra;

	if (mapping == NULL)
	{
		Oid			relid = find_target(data->tg_trigger->tgargs[0],
										data->tg_relation);

		mapping = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt,
										 sizeof(Mapping));
		mapping->relid = relid;
		mapping->context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt,
												 "mdbatch view",
												 ALLOCSET_SMALL_SIZES);
		fcinfo->flinfo->fn_extra = mapping;
	}
	return mapping;
}

/* Enqueue what is inserted into a view; the target is the argument. */
Datum
mdbatch_enqueue(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	Mapping    *mapping;
	MdbRows    *rows;

	check_call(fcinfo);
	mdb_enqueue_begin("INSERT");
	mapping = get_mapping(fcinfo, data);
	do
	{
		rows = convert(mapping, RelationGetDescr(data->tg_relation),
					   data->tg_trigslot);
	} while (!mdb_rows_are_current(rows));
	if (mdb_rows_enqueue(rows, mdb_on_full) == 0)
		PG_RETURN_POINTER(NULL);	/* dropped: no row was inserted */
	PG_RETURN_POINTER(data->tg_trigtuple);
}
