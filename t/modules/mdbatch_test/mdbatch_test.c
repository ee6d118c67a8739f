/*
 * mdbatch_test.c
 *		Stops a transaction that is committed and visible, before the callbacks
 *		of modules that were loaded earlier run.
 *
 * Model: callbacks run last in, first out.  Ours waits as long as there is a
 * file of the name in mdbatch_test.gate.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "fmgr.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static char *gate;

static void
transaction_ends(XactEvent event, void *arg)
{
	while (event == XACT_EVENT_COMMIT && gate[0] != '\0' &&
		   access(gate, F_OK) == 0)
		pg_usleep(1000);
}

void
_PG_init(void)
{
	DefineCustomStringVariable("mdbatch_test.gate",
							   "Sets the file that keeps commits waiting.",
							   NULL,
							   &gate,
							   "",
							   PGC_SUSET, 0,
							   NULL, NULL, NULL);
	RegisterXactCallback(transaction_ends, NULL);
}
