/*
 * labels.h
 *		Attachments, stored as security labels of the target.
 */
#ifndef MDB_LABELS_H
#define MDB_LABELS_H

#include "label.h"

extern void mdb_labels_register(void);
extern bool mdb_labels_read_table(Oid relid, MdbTableLabel *label);
extern bool mdb_labels_read_column(Oid relid, AttrNumber attnum,
								   MdbColumnLabel *label);
extern bool mdb_labels_identity(Oid relid, pg_uuid_t *identity);
extern void mdb_labels_write_table(Oid relid, const MdbTableLabel *label);
extern void mdb_labels_write_column(Oid relid, AttrNumber attnum,
									const MdbColumnLabel *label);
extern bool mdb_labels_is_attached(Oid relid);
extern void mdb_labels_clear(Oid relid);
extern void mdb_labels_clear_all(void);
extern Oid	mdb_labels_metadata_target(void);

#endif							/* MDB_LABELS_H */
