/*
 * timer.h
 *		How long a flush may take, and a statement of it.
 */
#ifndef MDB_TIMER_H
#define MDB_TIMER_H

#include "datatype/timestamp.h"

extern void mdb_timer_init(void);
extern void mdb_timer_start(int timeout, TimestampTz until);
extern void mdb_timer_arm(TimestampTz until);
extern void mdb_timer_disarm(void);
extern void mdb_timer_stop(void);
extern bool mdb_timer_ended(const ErrorData *error, TimestampTz until);
extern bool mdb_timer_was_hard(void);
extern TimestampTz mdb_timer_middle(TimestampTz until);

#endif							/* MDB_TIMER_H */
