/*
 * compat.h
 *		The one place that knows server versions.
 *
 * Wrappers carry the meaning that the rest of mdbatch needs; older or newer
 * spellings are adapted in here.
 */
#ifndef MDB_COMPAT_H
#define MDB_COMPAT_H

#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/acl.h"

#if PG_VERSION_NUM < 150000
#error "mdbatch needs PostgreSQL 15 or newer"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* What saved bytes are good for. */
#define MDB_SERVER_VERSION	(PG_VERSION_NUM / 10000)

/*
 * The number of this process among those that can use shared memory; the
 * postmaster, which is none of them, counts as the first.
 */
static inline int
mdb_proc_number(void)
{
	if (MyProc == NULL)
		return 0;
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	return MyProc->pgprocno;
#endif
}

/*
 * This process's virtual transaction id as one number, so that it can be
 * published and read atomically.  Zero: no transaction.
 */
static inline uint64
mdb_my_vxid(void)
{
#if PG_VERSION_NUM >= 170000
	return ((uint64) (uint32) MyProc->vxid.procNumber << 32) | MyProc->vxid.lxid;
#else
	return ((uint64) (uint32) MyProc->backendId << 32) | MyProc->lxid;
#endif
}

static inline VirtualTransactionId
mdb_unpack_vxid(uint64 packed)
{
	VirtualTransactionId vxid;

#if PG_VERSION_NUM >= 170000
	vxid.procNumber = (ProcNumber) (packed >> 32);
#else
	vxid.backendId = (BackendId) (packed >> 32);
#endif
	vxid.localTransactionId = (LocalTransactionId) packed;
	return vxid;
}

static inline bool
mdb_owns_database(Oid dboid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, dboid, GetUserId());
#else
	return pg_database_ownercheck(dboid, GetUserId());
#endif
}

/* Memory that will be read soon. */
#ifdef __GNUC__
#define mdb_prefetch(address) __builtin_prefetch(address)
#else
#define mdb_prefetch(address) ((void) 0)
#endif

/* A worker may be stopped for the sake of its database (19 on). */
#ifndef BGWORKER_INTERRUPTIBLE
#define BGWORKER_INTERRUPTIBLE 0
#endif

#endif							/* MDB_COMPAT_H */
