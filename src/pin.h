/*
 * pin.h
 *		The settings that the processes of mdbatch decide about themselves.
 */
#ifndef MDB_PIN_H
#define MDB_PIN_H

extern void mdb_pin_process(void);
extern void mdb_pin_connect(Oid dboid);
extern void mdb_pin_code(void);

#endif							/* MDB_PIN_H */
