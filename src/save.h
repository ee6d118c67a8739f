/*
 * save.h
 *		What is pending survives a clean stop of the server (R14).
 */
#ifndef MDB_SAVE_H
#define MDB_SAVE_H

extern void mdb_save_attach(void);
extern void mdb_save_remove(void);

#endif							/* MDB_SAVE_H */
