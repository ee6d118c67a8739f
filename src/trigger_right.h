/*
 * trigger_right.h
 *		Can a lesser role have made a trigger of a table?
 */
#ifndef MDB_TRIGGER_RIGHT_H
#define MDB_TRIGGER_RIGHT_H

extern void mdb_trigger_right_check(Oid relid, Oid owner);

#endif							/* MDB_TRIGGER_RIGHT_H */
