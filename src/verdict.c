/*
 * verdict.c
 *		Can a flush write its target now?
 *
 * Purpose: a table can change after it was attached, and labels can be written
 * by hand.  So each flush asks again what mdbatch_attach has asked: is it still
 * a table whose rows are what they seem (R20), does row-level security leave
 * the owner alone, and does the owner trust all code that the flush can run
 * (R18)?
 *
 * Model: a worker keeps the verdict on each target that it writes, and asks
 * anew when the owner or the key is another one, or after an invalidation: of
 * any of the relations that were looked at, or of a catalog in which code and its
 * owners are found.
 *
 * Locking: the caller has the target locked for writing.  That keeps triggers,
 * rules, policies, constraints and indexes as they are; trust.c says why
 * domains and functions may change meanwhile.  Partitions are not locked:
 * guard.c lets no lesser role give them code.
 *
 * Limits: a verdict that an invalidation meets while it is reached is used for
 * this flush, not for the next one.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "fitness.h"
#include "trust.h"
#include "verdict.h"

typedef struct Verdict
{
	Oid			relid;			/* of the target, must be first */
	bool		valid;			/* false: ask again */
	Oid			owner;
	MemoryContext context;		/* of what follows */
	Bitmapset  *key;
	List	   *relations;		/* that were looked at; NIL: not known yet, a
								 * change of any counts */
	List	   *objects;		/* functions, types and operators: hash values
								 * of their caches' entries */
} Verdict;

static HTAB *verdicts;

/* A relation changed, or (InvalidOid) any may have. */
static void
relation_changed(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	Verdict    *verdict;

	hash_seq_init(&scan, verdicts);
	while ((verdict = hash_seq_search(&scan)) != NULL)
		if (!OidIsValid(relid) || verdict->relations == NIL ||
			list_member_oid(verdict->relations, relid))
			verdict->valid = false;
}

/* A role, an operator class or the like changed. */
static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	relation_changed(arg, InvalidOid);
}

/*
 * A function, a type or an operator changed, or (0) any may have.  Any role
 * can make new ones, all the time: only those that were looked at count.
 */
static void
object_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS scan;
	Verdict    *verdict;

	hash_seq_init(&scan, verdicts);
	while ((verdict = hash_seq_search(&scan)) != NULL)
		if (hashvalue == 0 || verdict->relations == NIL ||
			list_member_int(verdict->objects, (int) hashvalue))
			verdict->valid = false;
}

static void
make_cache(void)
{
	static const int caches[] = {CLAOID, OPFAMILYOID, AMPROCNUM, AMOPSTRATEGY,
		FOREIGNSERVEROID, FOREIGNDATAWRAPPEROID, AUTHOID, AUTHMEMROLEMEM,
	DATABASEOID};
	HASHCTL		info = {0};

	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(Verdict);
	verdicts = hash_create("mdbatch verdicts", 16, &info,
						   HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	for (int i = 0; i < (int) lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], catalog_changed, (Datum) 0);

	/* A new constraint of a domain is announced as a change of its type. */
	CacheRegisterSyscacheCallback(PROCOID, object_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, object_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(OPEROID, object_changed, (Datum) 0);
}

static Verdict *
find_verdict(Oid relid)
{
	Verdict    *verdict;
	bool		found;

	if (verdicts == NULL)
		make_cache();
	verdict = hash_search(verdicts, &relid, HASH_ENTER, &found);
	if (!found)
	{
		verdict->valid = false;
		verdict->context = NULL;
		verdict->relations = NIL;
		verdict->objects = NIL;
	}
	return verdict;
}

/* Is it a table, and is the owner free to write all of its rows? */
static void
check_table(Oid relid, Oid owner)
{
	Relation	rel = table_open(relid, NoLock);

	mdb_fitness_check_kind(rel);
	if (check_enable_rls(relid, owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" cannot be a target",
						RelationGetRelationName(rel)),
				 errdetail("Row-level security applies to the owner of the table.")));
	table_close(rel, NoLock);
}

/* Ask all questions; ERROR if the answer to one of them is no. */
static void
reach_verdict(Verdict *verdict, Oid owner, Bitmapset *key)
{
	MemoryContext old;
	MdbTrusted	trusted;

	if (verdict->context != NULL)
		MemoryContextDelete(verdict->context);
	verdict->context = NULL;
	verdict->key = NULL;
	verdict->relations = NIL;
	verdict->objects = NIL;

	/* Set first: an invalidation meanwhile clears it again. */
	verdict->valid = true;
	PG_TRY();
	{
		check_table(verdict->relid, owner);
		trusted = mdb_trust_check_target(verdict->relid, owner, key);
	}
	PG_CATCH();
	{
		verdict->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();

	verdict->owner = owner;
	verdict->context = AllocSetContextCreate(TopMemoryContext,
											 "mdbatch verdict",
											 ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(verdict->context);
	verdict->key = bms_copy(key);
	verdict->relations = list_copy(trusted.relations);
	verdict->objects = list_copy(trusted.objects);
	MemoryContextSwitchTo(old);
}

/* Values that wait since before their column was retyped need a cast. */
static void
check_casts(const MdbPlan *plan, Oid owner)
{
	const MdbDefinition *definition = plan->definition;

	for (int i = 0; i < definition->ncolumns; i++)
		if (plan->columns[i].name != NULL &&
			plan->columns[i].type != definition->columns[i].type)
			mdb_trust_check_cast(definition->relid, owner,
								 definition->columns[i].type,
								 plan->columns[i].type);
}

/*
 * ERROR if entries cannot be written by that plan as the owner of the target,
 * which the caller has locked.  To be called before anything of the target is
 * run or shown.
 */
void
mdb_verdict_check(const MdbPlan *plan, Oid owner)
{
	const MdbDefinition *definition = plan->definition;
	Verdict    *verdict = find_verdict(definition->relid);
	Bitmapset  *key = NULL;

	for (int i = 0; i < definition->nkeys; i++)
		key = bms_add_member(key, definition->columns[i].attnum);
	if (!verdict->valid || verdict->owner != owner ||
		!bms_equal(verdict->key, key))
		reach_verdict(verdict, owner, key);
	bms_free(key);
	check_casts(plan, owner);
}
