/*
 * source.c
 *		mdbatch_flushing(): the entries in flight, as rows.
 *
 * Model: armed by the flush of this very process for the owner of the target,
 * and disarmed by its first call, as that owner's triggers may call it too.
 * The description of the rows is that of the definition, not what the caller
 * expects: a column list that does not match is an error of the executor.
 *
 * Locking: none; the contents of entries in flight do not change.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "entry.h"
#include "source.h"

PG_FUNCTION_INFO_V1(mdbatch_flushing);

static struct
{
	const MdbPlan *plan;		/* NULL: not armed */
	const MdbRef *entries;
	int			count;
	bool		wide;			/* sums in their wide type */
	Oid			owner;
}			source;

/* The next call by the owner returns these entries. */
void
mdb_source_arm(const MdbPlan *plan, const MdbRef *entries, int count,
			   bool wide, Oid owner)
{
	source.plan = plan;
	source.entries = entries;
	source.count = count;
	source.wide = wide;
	source.owner = owner;
}

void
mdb_source_disarm(void)
{
	source.plan = NULL;
}

/* The columns that the table still has. */
static TupleDesc
describe(const MdbPlan *plan)
{
	const MdbDefinition *definition = plan->definition;
	TupleDesc	desc;
	int			n = 0;

	for (int i = 0; i < definition->ncolumns; i++)
		n += plan->columns[i].name != NULL;
	desc = CreateTemplateTupleDesc(n);
	n = 0;
	for (int i = 0; i < definition->ncolumns; i++)
	{
		const MdbColumn *column = &definition->columns[i];

		if (plan->columns[i].name != NULL)
			TupleDescInitEntry(desc, ++n, NULL,
							   source.wide ? mdb_slot_wide_type(column) :
							   column->type, -1, 0);
	}
	return desc;
}

/* Put an entry's values one after the other, without those that have gone. */
static void
close_gaps(const MdbPlan *plan, Datum *values, bool *isnull)
{
	int			n = 0;

	for (int i = 0; i < plan->definition->ncolumns; i++)
	{
		if (plan->columns[i].name == NULL)
			continue;
		values[n] = values[i];
		isnull[n++] = isnull[i];
	}
}

static void
put_entries(Tuplestorestate *store, TupleDesc desc, const MdbPlan *plan)
{
	const MdbDefinition *definition = plan->definition;
	Datum	   *values = palloc(definition->ncolumns * sizeof(Datum));
	bool	   *isnull = palloc(definition->ncolumns * sizeof(bool));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "mdbatch entry",
												  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < source.count; i++)
	{
		MdbRef		ref = source.entries[i];
		const MdbEntry *entry = mdb_entry(ref);
		uint32		length = mdb_entry_length(entry);
		MdbCursor	cursor = mdb_pool_start(ref);
		MemoryContext old = MemoryContextSwitchTo(context);
		char	   *contents = palloc(length);
		int			misfit;

		mdb_pool_prefetch(source.entries, source.count, i);
		mdb_pool_read(&cursor, contents, length);
		misfit = mdb_entry_decode(contents, entry->version, definition,
								  source.wide, values, isnull);
		if (misfit >= 0)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("a sum is out of range of type %s",
							format_type_be(definition->columns[misfit].type))));
		close_gaps(plan, values, isnull);
		MemoryContextSwitchTo(old);
		tuplestore_putvalues(store, desc, values, isnull);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

/* The entries that this process is flushing. */
Datum
mdbatch_flushing(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const MdbPlan *plan = source.plan;
	MemoryContext old;

	if (plan == NULL || source.owner != GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no batch is being flushed"),
				 errdetail("This function serves the background worker of mdbatch only.")));
	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("materialize mode required, but it is not allowed in this context")));
	mdb_source_disarm();

	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setDesc = describe(plan);
	rsinfo->setResult = tuplestore_begin_heap(false, false, work_mem);
	put_entries(rsinfo->setResult, rsinfo->setDesc, plan);
	MemoryContextSwitchTo(old);
	return (Datum) 0;
}
