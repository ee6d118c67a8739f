/*
 * rights.h
 *		Who may add to a batch, see it, and flush it (R18).
 */
#ifndef MDB_RIGHTS_H
#define MDB_RIGHTS_H

#include "definition.h"

extern Oid	mdb_rights_owner(Oid relid);
extern void mdb_rights_check_named(Oid relid);
extern void mdb_rights_check_named_by(Oid relid, Oid view_owner);
extern void mdb_rights_check_owner(Oid relid);
extern bool mdb_rights_add(const MdbDefinition *definition);
extern const char *mdb_rights_needed(const MdbDefinition *definition);
extern bool mdb_rights_see_pending(const MdbDefinition *definition);
extern bool mdb_rights_see_outcome(Oid relid, const MdbDefinition *definition);
extern bool mdb_rights_see_errors(Oid relid, Oid ran_as);
extern bool mdb_rights_flush(Oid relid, const MdbDefinition *definition);
extern bool mdb_rights_read_all_stats(void);
extern bool mdb_rights_is_trusted(Oid role, Oid owner);

#endif							/* MDB_RIGHTS_H */
