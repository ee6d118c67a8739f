/*
 * prepared.c
 *		The statements of this worker, planned once.
 *
 * Model: for each batch the last statement that wrote it is kept with its
 * plan, as long as the text is the same.  What the plan depends on, the role
 * and the search path included, is PostgreSQL's plan cache's business; here it
 * is only seen to that an update, which joins, is planned anew when its table
 * has grown to twice the size: a plan that was made for an empty table reads
 * the whole of it.
 *
 * Locking: none; the caller has locked the table.
 *
 * Limits: very long statements are planned each time, so that idle plans of
 * wide tables take no memory; and so are updates of partitioned tables, whose
 * size is not at hand.
 */
#include "postgres.h"

#include "access/relation.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "prepared.h"
#include "settings.h"

#define MAX_KEPT_LENGTH 32768	/* bytes of a statement */

typedef struct Prepared
{
	char	   *statement;		/* NULL: none */
	SPIPlanPtr	plan;
	Oid			relid;
	BlockNumber blocks;			/* of the table when it was planned */
} Prepared;

static Prepared *prepared;		/* one for each batch */

/* How large is a table?  InvalidBlockNumber: nobody knows. */
static BlockNumber
blocks_of(Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);
	BlockNumber blocks = InvalidBlockNumber;

	if (rel->rd_rel->relkind == RELKIND_RELATION)
		blocks = RelationGetNumberOfBlocks(rel);
	relation_close(rel, NoLock);
	return blocks;
}

/* A plan that lives to the end of SPI's bracket, unless it is kept. */
static SPIPlanPtr
prepare(const char *statement)
{
	SPIPlanPtr	plan = SPI_prepare(statement, 0, NULL);

	if (plan == NULL)
		elog(ERROR, "could not prepare a statement: %s",
			 SPI_result_code_string(SPI_result));
	return plan;
}

static void
forget(Prepared *kept)
{
	char	   *statement = kept->statement;

	if (statement == NULL)
		return;
	kept->statement = NULL;
	pfree(statement);
	(void) SPI_freeplan(kept->plan);
}

/*
 * The plan of the statement that writes a batch, which the caller holds, as the
 * lock of its table; NULL if it is to be executed without one.  Can ERROR.
 */
SPIPlanPtr
mdb_prepared_get(int batch, const MdbPlan *plan, const char *statement)
{
	Oid			relid = plan->definition->relid;
	bool		joins = plan->definition->mode == MDB_UPDATE;
	BlockNumber blocks = joins ? blocks_of(relid) : 0;
	Prepared   *kept;
	SPIPlanPtr	made;

	if (prepared == NULL)
		prepared = MemoryContextAllocZero(TopMemoryContext,
										  mdb_max_batches * sizeof(Prepared));
	kept = &prepared[batch];
	if (kept->statement != NULL && kept->relid == relid &&
		strcmp(kept->statement, statement) == 0 && blocks / 2 <= kept->blocks)
		return kept->plan;

	forget(kept);
	if (blocks == InvalidBlockNumber || strlen(statement) > MAX_KEPT_LENGTH)
		return NULL;
	made = prepare(statement);
	statement = MemoryContextStrdup(TopMemoryContext, statement);
	if (SPI_keepplan(made) != 0)
		elog(ERROR, "could not keep a plan");
	kept->statement = unconstify(char *, statement);
	kept->plan = made;
	kept->relid = relid;
	kept->blocks = blocks;
	return made;
}
