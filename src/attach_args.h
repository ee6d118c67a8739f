/*
 * attach_args.h
 *		The arguments of attaching functions, as layouts.
 */
#ifndef MDB_ATTACH_ARGS_H
#define MDB_ATTACH_ARGS_H

#include "fmgr.h"
#include "layout.h"

extern void mdb_attach_args_check(FunctionCallInfo fcinfo);
extern MdbLayout *mdb_attach_args_layout(Relation rel, FunctionCallInfo fcinfo);
extern void mdb_attach_args_check_five(FunctionCallInfo fcinfo);
extern void mdb_attach_args_check_defaults(FunctionCallInfo fcinfo);
extern MdbLayout *mdb_attach_args_layout_five(Relation rel, FunctionCallInfo fcinfo);

#endif							/* MDB_ATTACH_ARGS_H */
