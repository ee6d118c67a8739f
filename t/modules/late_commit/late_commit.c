/*
 * late_commit.c
 *		Holds a transaction between its commit and the callbacks of mdbatch,
 *		for t/011_barrier.pl.
 *
 * Callbacks run last registered, first called, so this module's runs before
 * that of a library that was preloaded: the transaction is visible already,
 * its entries are not pending yet.  late_commit(path) makes the next commit of
 * the session wait there until the file is gone.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(late_commit);

void		_PG_init(void);

static char *path = NULL;

static void
transaction_ends(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT || path == NULL)
		return;
	while (access(path, F_OK) == 0)
		pg_usleep(10000L);
	path = NULL;
}

Datum
late_commit(PG_FUNCTION_ARGS)
{
	path = MemoryContextStrdup(TopMemoryContext,
							   text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

void
_PG_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
}
