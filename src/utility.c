/*
 * utility.c
 *		Commands that a worker's connection must not stand in the way of, or
 *		that nobody is allowed.
 *
 * Model: a hook sees commands before they run.  Those that want a database
 * without connections, or alone, have its worker stopped first, and none
 * starts until the transaction ends (R16).  DROP DATABASE is not here: drop.c
 * sees it when it has been checked and locked.
 *
 * Locking: none while waiting for the worker to go.
 *
 * Limits: a role that may not do it to the database is left to the command's
 * own error; so is whatever else is wrong with the command.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "compat.h"
#include "drop.h"
#include "guard.h"
#include "utility.h"

static ProcessUtility_hook_type next_hook;

/* An option of a command, or NULL. */
static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

static bool
is_template(Oid dboid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		result = HeapTupleIsValid(tuple) &&
		((Form_pg_database) GETSTRUCT(tuple))->datistemplate;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

/* May the current role copy the database (as CREATE DATABASE sees it)? */
static bool
may_copy(Oid dboid)
{
	HeapTuple	tuple;
	bool		may;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	may = HeapTupleIsValid(tuple) &&
		((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb &&
		(is_template(dboid) ||
		 object_ownercheck(DatabaseRelationId, dboid, GetUserId()));
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

/* The database that a command wants for itself, if any, by its name. */
static const char *
wanted_database(Node *command, bool *copied)
{
	*copied = false;
	if (IsA(command, RenameStmt) &&
		((RenameStmt *) command)->renameType == OBJECT_DATABASE)
		return ((RenameStmt *) command)->subname;
	if (IsA(command, AlterDatabaseStmt))
	{
		AlterDatabaseStmt *alter = (AlterDatabaseStmt *) command;
		DefElem    *option = find_option(alter->options, "allow_connections");

		return find_option(alter->options, "tablespace") != NULL ||
			(option != NULL && !defGetBoolean(option)) ?
			alter->dbname : NULL;
	}
	if (IsA(command, CreatedbStmt))
	{
		DefElem    *option = find_option(((CreatedbStmt *) command)->options,
										 "template");

		*copied = true;
		return option != NULL && option->arg != NULL ? defGetString(option) :
			"template1";
	}
	return NULL;
}

static void
stop_worker_for(Node *command)
{
	bool		copied;
	const char *name = wanted_database(command, &copied);
	Oid			dboid = name == NULL ? InvalidOid : get_database_oid(name, true);

	if (!OidIsValid(dboid))
		return;
	if (copied ? may_copy(dboid) :
		object_ownercheck(DatabaseRelationId, dboid, GetUserId()))
		mdb_drop_hold_database(dboid);
}

static void
before_utility(PlannedStmt *statement, const char *query_string,
			   bool read_only_tree, ProcessUtilityContext context,
			   ParamListInfo params, QueryEnvironment *environment,
			   DestReceiver *receiver, QueryCompletion *completion)
{
	/* In a function or a transaction block such a command fails anyway. */
	if (!IsA(statement->utilityStmt, CreatedbStmt) ||
		(context == PROCESS_UTILITY_TOPLEVEL && !IsTransactionBlock()))
		stop_worker_for(statement->utilityStmt);
	mdb_guard_command(statement->utilityStmt);
	if (next_hook != NULL)
		next_hook(statement, query_string, read_only_tree, context, params,
				  environment, receiver, completion);
	else
		standard_ProcessUtility(statement, query_string, read_only_tree,
								context, params, environment, receiver,
								completion);
}

/* Watch commands; to be called once in each backend, from _PG_init. */
void
mdb_utility_register(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = before_utility;
}
