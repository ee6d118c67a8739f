/*
 * sound.h
 *		Are bytes that were kept outside of memory what they should be?
 */
#ifndef MDB_SOUND_H
#define MDB_SOUND_H

#include "entry.h"

extern bool mdb_sound_definition(const void *bytes, Size nbytes);
extern bool mdb_sound_entry(const char *contents, const MdbEntryShape *shape,
							const MdbDefinition *definition);

#endif							/* MDB_SOUND_H */
