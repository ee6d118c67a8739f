/*
 * name.h
 *		The name of a table, as it is stored and compared.
 */
#ifndef MDB_NAME_H
#define MDB_NAME_H

extern char *mdb_name_of_table(Oid relid);

#endif							/* MDB_NAME_H */
