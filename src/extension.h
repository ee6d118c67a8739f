/*
 * extension.h
 *		Where this database has the extension.
 */
#ifndef MDB_EXTENSION_H
#define MDB_EXTENSION_H

extern Oid	mdb_extension_schema(bool missing_ok);
extern void mdb_extension_lock(void);
extern Oid	mdb_extension_relation(const char *name, bool missing_ok);
extern Oid	mdb_extension_metadata_table(bool missing_ok);
extern Oid	mdb_extension_function(const char *name, int nargs,
								   const Oid *argtypes);

#endif							/* MDB_EXTENSION_H */
