/*
 * metadata.h
 *		The columns of an entry of agent metadata, as its definition has them.
 */
#ifndef MDB_METADATA_H
#define MDB_METADATA_H

enum
{
	MDB_METADATA_AGENT,
	MDB_METADATA_KEY,
	MDB_METADATA_TIME,
	MDB_METADATA_VALUE,
	MDB_METADATA_ERROR,
	MDB_METADATA_COLUMNS
};

#endif							/* MDB_METADATA_H */
