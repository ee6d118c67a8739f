/*
 * write.c
 *		Writing entries in flight to their target.
 *
 * Model: a bracket as the owner of the table, restricted (R18), in which one
 * statement, or several if the target refuses some entries, writes them and
 * returns the values to announce.  What a statement has written counts only
 * once it has succeeded to its end, so it may run in a subtransaction.
 *
 * Locking: what the statement takes.
 *
 * Limits: constraints are checked at the end of each statement, deferrable
 * ones included.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "prepared.h"
#include "source.h"
#include "statement.h"
#include "write.h"

/* Begin to write to a target, which the caller has locked. */
void
mdb_write_begin(MdbWriter *writer, int batch, const MdbPlan *plan, Oid owner)
{
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);

	memset(writer, 0, sizeof(*writer));
	writer->batch = batch;
	writer->plan = plan;
	writer->owner = owner;
	writer->context = CurrentMemoryContext;
	SPI_connect();
	mdb_as_owner_enter(&writer->before, owner);

	/*
	 * No trigger may be deferred in a restricted operation: it would run at
	 * the commit, with other rights.
	 */
	AfterTriggerSetState(immediate);
	MemoryContextSwitchTo(writer->context);
	writer->statement = mdb_statement_write(plan);
	debug_query_string = writer->statement;
}

/* The values to announce, one for each row written; NULL for null. */
static MdbValue *
read_values(bool uuids)
{
	MdbValue   *values = palloc0(SPI_processed * sizeof(MdbValue));
	TupleDesc	desc = SPI_tuptable->tupdesc;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		Datum		value = SPI_getbinval(tuple, desc, 1, &isnull);

		if (isnull)
			continue;
		if (uuids)
		{
			values[i].bytes = memcpy(palloc(UUID_LEN), DatumGetPointer(value),
									 UUID_LEN);
			values[i].len = UUID_LEN;
		}
		else
		{
			values[i].bytes = SPI_getvalue(tuple, desc, 1);
			values[i].len = strlen(values[i].bytes);
		}
	}
	return values;
}

/* Collect what is to be announced; its text is made by the owner's code. */
static void
collect(MdbWriter *writer)
{
	bool		uuids = getBaseType(SPI_gettypeid(SPI_tuptable->tupdesc, 1)) ==
		UUIDOID;
	MemoryContext old = MemoryContextSwitchTo(writer->context);
	MdbValue   *values = read_values(uuids);

	if (writer->announced == NULL)
		writer->announced = mdb_payload_set(uuids, SPI_processed);
	for (uint64 i = 0; i < SPI_processed; i++)
		if (values[i].bytes != NULL)
			mdb_payload_add(writer->announced, values[i].bytes, values[i].len);
	pfree(values);
	MemoryContextSwitchTo(old);
}

/* Write entries, in one statement; ERROR if the target refuses any of them. */
void
mdb_write_entries(MdbWriter *writer, const MdbRef *entries, int count)
{
	SPIPlanPtr	plan = mdb_prepared_get(writer->batch, writer->plan,
										writer->statement);
	int			result;

	mdb_source_arm(writer->plan, entries, count, false, writer->owner);
	result = plan != NULL ? SPI_execute_plan(plan, NULL, NULL, false, 0) :
		SPI_execute(writer->statement, false, 0);
	if (result < 0)
		elog(ERROR, "unexpected result of a statement: %s",
			 SPI_result_code_string(result));
	mdb_source_disarm();
	if (SPI_tuptable != NULL)
		collect(writer);
	writer->written += SPI_processed;
	SPI_freetuptable(SPI_tuptable);
}

/* The end of the bracket. */
void
mdb_write_end(MdbWriter *writer)
{
	debug_query_string = NULL;
	mdb_as_owner_leave(&writer->before);
	SPI_finish();
}
