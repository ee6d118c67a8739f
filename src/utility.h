/*
 * utility.h
 *		Commands that a worker's connection must not stand in the way of.
 */
#ifndef MDB_UTILITY_H
#define MDB_UTILITY_H

extern void mdb_utility_register(void);

#endif							/* MDB_UTILITY_H */
