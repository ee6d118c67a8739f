/*
 * timer.c
 *		How long a flush may take, and a statement of it.
 *
 * Model: a timer cancels a statement, as statement_timeout does.  It is armed
 * again for each statement that can be undone alone, and what is between them
 * is not canceled.  A second timer, for the whole flush, ends the worker.
 *
 * Locking: none.
 *
 * Limits: code of the target can catch a cancel, and can raise an error that
 * looks like one; only the time tells whether it is ours.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "timer.h"

/* How much longer than its timeout a flush may take that cannot be canceled. */
#define HARD_TIMEOUT	1000	/* ms */

static TimeoutId hard_timeout;
static volatile sig_atomic_t hard_stopped = false;

/*
 * Code of the target can catch a cancel and go on; this ends the worker.
 * Another one takes over, after a backoff.
 */
static void
stop_hard(void)
{
	hard_stopped = true;
	ProcDiePending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* To be called once in a worker. */
void
mdb_timer_init(void)
{
	hard_timeout = RegisterTimeout(USER_TIMEOUT, stop_hard);
}

/* Did the flush not end when it was canceled? */
bool
mdb_timer_was_hard(void)
{
	return hard_stopped;
}

/* Cancel the statement that runs then. */
void
mdb_timer_arm(TimestampTz until)
{
	enable_timeout_at(STATEMENT_TIMEOUT, until);
}

/* A flush begins, and may take so many ms, which is until then. */
void
mdb_timer_start(int timeout, TimestampTz until)
{
	mdb_timer_arm(until);
	enable_timeout_after(hard_timeout, timeout + HARD_TIMEOUT);
}

/*
 * Cancel nothing, between statements.  If the timer fired where no statement
 * noticed, its cancel is taken back, or it would end what comes next, and as
 * if a user had asked for that.
 */
void
mdb_timer_disarm(void)
{
	disable_timeout(STATEMENT_TIMEOUT, true);
	if (!get_timeout_indicator(STATEMENT_TIMEOUT, false))
		return;
	QueryCancelPending = false;
	if (ShutdownRequestPending)
	{
		/* That wants the flush to be cut short, see worker.c. */
		QueryCancelPending = true;
		InterruptPending = true;
		return;
	}
	(void) get_timeout_indicator(STATEMENT_TIMEOUT, true);
	(void) get_timeout_indicator(LOCK_TIMEOUT, true);
}

/* From here on nothing may cut into the commit. */
void
mdb_timer_stop(void)
{
	mdb_timer_disarm();
	disable_timeout(hard_timeout, false);
	CHECK_FOR_INTERRUPTS();		/* the second may have fired just now */
}

/*
 * Was it the timer, armed until then, that canceled a statement with this
 * error, and no user and no shutdown?
 */
bool
mdb_timer_ended(const ErrorData *error, TimestampTz until)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		!ShutdownRequestPending && GetCurrentTimestamp() >= until;
}

/* In the middle between now and then. */
TimestampTz
mdb_timer_middle(TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();

	return now + (until - now) / 2;
}
