/*
 * compat.h
 *		The one place that knows server versions.
 *
 * Wrappers carry the meaning that the rest of mdbatch needs; older or newer
 * spellings are adapted in here.
 */
#ifndef MDB_COMPAT_H
#define MDB_COMPAT_H

#include "catalog/pg_class_d.h"
#include "catalog/pg_database_d.h"
#include "catalog/pg_namespace_d.h"
#include "catalog/pg_proc_d.h"
#include "common/base64.h"
#include "common/jsonapi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/wait_event.h"

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

/* Rights, one question for all kinds of objects (16 on); for ours, that is. */
#if PG_VERSION_NUM < 160000
static inline bool
object_ownercheck(Oid classid, Oid objectid, Oid roleid)
{
	Assert(classid == RelationRelationId || classid == DatabaseRelationId);
	return classid == RelationRelationId ?
		pg_class_ownercheck(objectid, roleid) :
		pg_database_ownercheck(objectid, roleid);
}

static inline AclResult
object_aclcheck(Oid classid, Oid objectid, Oid roleid, AclMode mode)
{
	Assert(classid == NamespaceRelationId || classid == ProcedureRelationId);
	return classid == NamespaceRelationId ?
		pg_namespace_aclcheck(objectid, roleid, mode) :
		pg_proc_aclcheck(objectid, roleid, mode);
}
#endif

/* Can a role become another one?  Grants can exclude that (16 on). */
static inline bool
mdb_can_set_role(Oid member, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return member_can_set_role(member, role);
#else
	return is_member_of_role(member, role);
#endif
}

/* Base64; bytes are char or uint8 (18 on). */
static inline int
mdb_b64_encode(const void *src, int len, char *dst, int dstlen)
{
	return pg_b64_encode(src, len, dst, dstlen);
}

static inline int
mdb_b64_decode(const char *src, int len, void *dst, int dstlen)
{
	return pg_b64_decode(src, len, dst, dstlen);
}

/* A lexer of JSON, which keeps strings without their escapes. */
static inline JsonLexContext *
mdb_json_lexer(char *text)
{
#if PG_VERSION_NUM >= 170000
	return makeJsonLexContextCstringLen(NULL, text, strlen(text),
										GetDatabaseEncoding(), true);
#else
	return makeJsonLexContextCstringLen(text, strlen(text),
										GetDatabaseEncoding(), true);
#endif
}

/*
 * What pg_stat_activity calls a wait: by its name, where extensions can name
 * theirs (17 on).
 */
static inline uint32
mdb_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	return PG_WAIT_EXTENSION;
#endif
}

/*
 * All settings of this process, and how many these are (an argument from 16
 * on).  For files that include utils/guc_tables.h.
 */
#if PG_VERSION_NUM >= 160000
#define mdb_guc_variables(count) get_guc_variables(count)
#else
#define mdb_guc_variables(count) \
	(*(count) = GetNumConfigOptions(), get_guc_variables())
#endif

/* Memory that will be read soon. */
#ifdef __GNUC__
#define mdb_prefetch(address) __builtin_prefetch(address)
#else
#define mdb_prefetch(address) ((void) 0)
#endif

/* A function that does not return says so first (18 on). */
#ifndef pg_noreturn
#define pg_noreturn pg_attribute_noreturn()
#endif

/* The library tells its name and version (18 on). */
#ifndef PG_MODULE_MAGIC_EXT
#define PG_MODULE_MAGIC_EXT(...) PG_MODULE_MAGIC
#endif

/* A worker may be stopped for the sake of its database (19 on). */
#ifndef BGWORKER_INTERRUPTIBLE
#define BGWORKER_INTERRUPTIBLE 0
#endif

#endif							/* MDB_COMPAT_H */
