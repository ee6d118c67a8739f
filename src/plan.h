/*
 * plan.h
 *		How entries of a definition are written to the table of today.
 */
#ifndef MDB_PLAN_H
#define MDB_PLAN_H

#include "definition.h"

typedef struct MdbPlanColumn
{
	const char *name;			/* quoted; NULL: it was dropped */
	Oid			type;			/* the base type that it has now */
	Oid			collation;
	bool		unreadable;		/* the entries' values are not what their type
								 * says now */
} MdbPlanColumn;

typedef struct MdbPlan
{
	const MdbDefinition *definition;
	const char *target;			/* qualified and quoted */
	const char *notify;			/* quoted; NULL: nothing is announced */
	bool		has_key;		/* all of it */
	bool		has_version;
	bool		has_merge;
	int			sqlstate;		/* why no entry can be written; 0: they can */
	const char *message;
	MdbPlanColumn columns[FLEXIBLE_ARRAY_MEMBER];	/* as the definition's */
} MdbPlan;

extern bool mdb_plan_is_same_type(const MdbDefinition *definition, int i,
								  Oid type);
extern MdbPlan *mdb_plan_make(const MdbDefinition *definition);

#endif							/* MDB_PLAN_H */
