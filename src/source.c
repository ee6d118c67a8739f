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
#include "utils/tuplestore.h"

#include "compat.h"
#include "entry.h"
#include "source.h"

PG_FUNCTION_INFO_V1(mdbatch_flushing);

static struct
{
	const MdbDefinition *definition;	/* NULL: not armed */
	const MdbFlight *flight;
	Oid			owner;
}			source;

/* The next call by the owner returns the entries of the flight. */
void
mdb_source_arm(const MdbDefinition *definition, const MdbFlight *flight,
			   Oid owner)
{
	source.definition = definition;
	source.flight = flight;
	source.owner = owner;
}

void
mdb_source_disarm(void)
{
	source.definition = NULL;
}

static TupleDesc
describe(const MdbDefinition *definition)
{
	TupleDesc	desc = CreateTemplateTupleDesc(definition->ncolumns);

	for (int i = 0; i < definition->ncolumns; i++)
		TupleDescInitEntry(desc, i + 1, NULL, definition->columns[i].type,
						   -1, 0);
	return desc;
}

static void
put_entries(Tuplestorestate *store, TupleDesc desc,
			const MdbDefinition *definition, const MdbFlight *flight)
{
	Datum	   *values = palloc(definition->ncolumns * sizeof(Datum));
	bool	   *isnull = palloc(definition->ncolumns * sizeof(bool));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "mdbatch entry",
												  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < flight->count; i++)
	{
		MdbRef		ref = flight->entries[i];
		const MdbEntry *entry = mdb_entry(ref);
		uint32		length = mdb_entry_length(entry);
		MdbCursor	cursor = mdb_pool_start(ref);
		MemoryContext old = MemoryContextSwitchTo(context);
		char	   *contents = palloc(length);

		mdb_pool_read(&cursor, contents, length);
		mdb_entry_decode(contents, entry->version, definition, values, isnull);
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
	const MdbDefinition *definition = source.definition;
	MemoryContext old;

	if (definition == NULL || source.owner != GetUserId())
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
	rsinfo->setDesc = describe(definition);
	rsinfo->setResult = tuplestore_begin_heap(false, false, work_mem);
	put_entries(rsinfo->setResult, rsinfo->setDesc, definition, source.flight);
	MemoryContextSwitchTo(old);
	return (Datum) 0;
}
