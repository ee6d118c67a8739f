/*
 * marked.h
 *		Which table is the metadata target.
 */
#ifndef MDB_MARKED_H
#define MDB_MARKED_H

extern Oid	mdb_marked_find(void);
extern void mdb_marked_forget(void);
extern void mdb_marked_used(void);

#endif							/* MDB_MARKED_H */
