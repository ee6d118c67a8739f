/*
 * as_owner.c
 *		Running code of a table with no more rights than its owner has.
 *
 * Model: a security-restricted operation as the owner, with a fixed
 * search_path and settings (R18).  An error needs no leaving: the end of the
 * (sub)transaction restores everything.
 *
 * Locking: none.
 *
 * Limits: triggers must not be deferred beyond the bracket, see write.c.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "as_owner.h"
#include "pin.h"

/* Set something for the rest of the bracket. */
void
mdb_as_owner_set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* The same, a time. */
void
mdb_as_owner_set_ms(const char *name, int ms)
{
	char		value[32];

	snprintf(value, sizeof(value), "%d", ms);
	mdb_as_owner_set(name, value);
}

/* From here on we are the owner, restricted. */
void
mdb_as_owner_enter(MdbAsOwner *before, Oid owner)
{
	GetUserIdAndSecContext(&before->user, &before->context);
	SetUserIdAndSecContext(owner,
						   before->context | SECURITY_RESTRICTED_OPERATION);
	before->nest_level = NewGUCNestLevel();
	mdb_pin_code();
}

/* We are who we were before. */
void
mdb_as_owner_leave(const MdbAsOwner *before)
{
	AtEOXact_GUC(false, before->nest_level);
	SetUserIdAndSecContext(before->user, before->context);
}
