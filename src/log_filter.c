/*
 * log_filter.c
 *		Keeping values out of what processes that flush write to the log.
 *
 * Model: code of a target can put values of an entry into SQL text, and all
 * that the server logs meanwhile has this text in its context; errors quote
 * values in their message, too.  The worker catches errors and reports them
 * itself (report.c), but not one that ends it: a signal to stop, for instance,
 * or an error while it recovers from an error.  So while a flush runs, from
 * its beginning until the worker has recovered from its failure, an
 * emit_log_hook leaves context, statement and internal query out of every
 * message, and replaces an ERROR or a FATAL by a line with its SQLSTATE (R18).
 * A hook may not change the message, only suppress it, so that line is a LOG
 * of its own.
 *
 * A query in a target's code can have parallel workers, which log their errors
 * before they send them to their leader.  The same hook suppresses these: the
 * leader reports the failure of its flush.
 *
 * In a worker the hook is the last one that is installed, hence the first to
 * be called, so that hooks of other libraries do not get the values, either.
 * In parallel workers this depends on the order of the libraries in
 * shared_preload_libraries.
 *
 * Locking: none; a process that fails may hold any lock.
 *
 * Limits: what a target's code says itself at level WARNING or LOG is logged,
 * and so is what a library that it calls warns of.  A PANIC keeps its
 * message: it comes from a critical section, where no code of a target runs,
 * and there is no other trace of it.  A superuser who has auto_explain or
 * pgaudit log the statements of functions gets those of a target's code.  Of a
 * process that crashes the postmaster logs the activity: of a worker that is
 * our own text, of a parallel worker its query.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "postmaster/bgworker.h"

#include "log_filter.h"
#include "roster.h"

static emit_log_hook_type next_in_worker;
static emit_log_hook_type next_in_parallel_worker;
static const MdbBatch *flushing = NULL;

/* A line in place of an error, which must not fail. */
static void
log_instead(const ErrorData *edata)
{
	ErrorContextCallback *callbacks = error_context_stack;

	error_context_stack = NULL;
	ereport(LOG,
			(IsParallelWorker() ?
			 errmsg("a parallel worker of a flush failed: SQLSTATE %s",
					unpack_sql_state(edata->sqlerrcode)) :
			 errmsg("the worker ends during a flush of the batch of table %s: SQLSTATE %s",
					flushing->target, unpack_sql_state(edata->sqlerrcode)),
			 errdetail("The message is left out, because it could contain values of entries."),
			 errhidestmt(true)));
	error_context_stack = callbacks;
}

/* Take out of a message what can have values in it. */
static void
filter(ErrorData *edata)
{
	edata->hide_stmt = true;
	edata->hide_ctx = true;
	if (edata->elevel == ERROR || edata->elevel == FATAL)
	{
		edata->output_to_server = false;
		log_instead(edata);
	}
	else if (edata->internalquery != NULL)
	{
		pfree(edata->internalquery);
		edata->internalquery = NULL;
		edata->internalpos = 0;
	}
}

static void
filter_in_worker(ErrorData *edata)
{
	if (flushing != NULL)
		filter(edata);
	if (next_in_worker != NULL && edata->output_to_server)
		next_in_worker(edata);
}

static void
filter_in_parallel_worker(ErrorData *edata)
{
	if (IsParallelWorker() &&
		mdb_roster_is_worker(MyBgworkerEntry->bgw_notify_pid))
		filter(edata);
	if (next_in_parallel_worker != NULL && edata->output_to_server)
		next_in_parallel_worker(edata);
}

/* To be called from _PG_init, for the parallel workers. */
void
mdb_log_filter_register(void)
{
	next_in_parallel_worker = emit_log_hook;
	emit_log_hook = filter_in_parallel_worker;
}

/* To be called once in a worker. */
void
mdb_log_filter_install(void)
{
	next_in_worker = emit_log_hook;
	emit_log_hook = filter_in_worker;
}

/* A flush of a batch begins.  If the worker ends before its end, it is on. */
void
mdb_log_filter_begin(const MdbBatch *batch)
{
	flushing = batch;
}

/* The flush has ended, or the worker has recovered from its failure. */
void
mdb_log_filter_end(void)
{
	flushing = NULL;
}
