/*
 * renew.h
 *		Hiding from a target's code what that of others left in the session.
 */
#ifndef MDB_RENEW_H
#define MDB_RENEW_H

extern void mdb_renew_seeds(void);
extern void mdb_renew_drop_temporary(void);

#endif							/* MDB_RENEW_H */
