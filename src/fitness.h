/*
 * fitness.h
 *		Is a table fit to be a target of some layout (R20)?
 */
#ifndef MDB_FITNESS_H
#define MDB_FITNESS_H

#include "layout.h"

extern void mdb_fitness_check_kind(Relation rel);
extern void mdb_fitness_check(Relation rel, const MdbLayout *layout);

#endif							/* MDB_FITNESS_H */
