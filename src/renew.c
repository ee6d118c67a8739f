/*
 * renew.c
 *		Hiding from a target's code what that of others left in the session.
 *
 * Model: a worker runs the code of many owners in one session, one flush after
 * the other.  What lives longer than a transaction could be a trap for the
 * next owner's code: a random seed, for instance, or a type in pg_temp that is
 * found before the one that was meant.  So the seeds are new for each flush,
 * and nothing stays in pg_temp.
 *
 * The rest is done elsewhere.  In a security-restricted operation PostgreSQL
 * refuses temporary tables (and, in later minor releases, types), cursors WITH
 * HOLD, PREPARE, LISTEN and SET ROLE.  Settings are put back by
 * mdb_as_owner_leave or at the end of the transaction.  flush.c lets advisory
 * locks go.  What the session knows of a sequence needs a right on it.
 *
 * Locking: what DROP takes, on temporary objects.
 *
 * Limits: what extensions keep for a session is not known here: the named
 * connections of dblink, for instance.  The names of settings that code made
 * up stay, without their values.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"
#include "common/pg_prng.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"

#include "renew.h"

/*
 * New seeds, so that no code predicts or steers what random() returns to that
 * of others.  The seed of random() is a double from -1 to 1 that has 52 bits.
 * To be called in each flush, before code of the target runs.  Can ERROR.
 */
void
mdb_renew_seeds(void)
{
	uint64		bits;

	if (!pg_strong_random(&bits, sizeof(bits)) ||
		!pg_prng_strong_seed(&pg_global_prng_state))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	(void) DirectFunctionCall1(setseed,
							   Float8GetDatum(ldexp((double) (bits >> 11), -52) - 1.0));
}

/*
 * Drop what code of the target made in pg_temp; before the commit, with a
 * snapshot.  Can ERROR.
 */
void
mdb_renew_drop_temporary(void)
{
	ResetTempTableNamespace();
}
