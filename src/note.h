/*
 * note.h
 *		What every backend tells the others about its transaction.
 */
#ifndef MDB_NOTE_H
#define MDB_NOTE_H

#include "batch.h"

extern Size mdb_note_size(void);
extern void mdb_note_attach(void);

extern bool mdb_note_hold(int number, uint64 epoch);
extern int	mdb_note_hold_target(Oid dboid, Oid relid);
extern bool mdb_note_hold_gone(int number);
extern void mdb_note_reserved(int number);
extern void mdb_note_unreserved(void);
extern void mdb_note_committing(void);
extern void mdb_note_clear(void);

extern bool mdb_note_is_held(int number);
extern VirtualTransactionId mdb_note_holder(int number);
extern VirtualTransactionId *mdb_note_committers(int number, int *count);

#endif							/* MDB_NOTE_H */
