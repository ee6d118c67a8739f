/*
 * labels.h
 *		Attachments, stored as security labels of the target.
 */
#ifndef MDB_LABELS_H
#define MDB_LABELS_H

#include "definition.h"

/* The label of a table. */
typedef struct MdbTableLabel
{
	bool		metadata;		/* mdbatch_add goes here */
	MdbMode		mode;
	char		channel[NAMEDATALEN];	/* empty: no notification */
	int			nkeys;			/* columns that the others' labels must name */
	int			ncarried;
	bool		has_version;
	int64		since;			/* when it was attached, us since 2000 */
} MdbTableLabel;

/* The label of a column. */
typedef struct MdbColumnLabel
{
	MdbRole		role;
	int			position;		/* among the keys or the carried, from 1 */
	bool		notify;
} MdbColumnLabel;

extern void mdb_labels_register(void);
extern bool mdb_label_read_table(Oid relid, MdbTableLabel *label);
extern bool mdb_label_read_column(Oid relid, AttrNumber attnum,
								  MdbColumnLabel *label);
extern void mdb_label_write_table(Oid relid, const MdbTableLabel *label);
extern void mdb_label_write_column(Oid relid, AttrNumber attnum,
								   const MdbColumnLabel *label);
extern void mdb_labels_clear(Oid relid);
extern void mdb_labels_clear_all(void);
extern Oid	mdb_labels_metadata_target(void);

#endif							/* MDB_LABELS_H */
