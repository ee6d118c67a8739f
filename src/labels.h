/*
 * labels.h
 *		Attachments, stored as security labels of the target.
 */
#ifndef MDB_LABELS_H
#define MDB_LABELS_H

#include "label.h"
#include "nodes/pg_list.h"

extern bool mdb_labels_is_table(Oid relid);
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
extern void mdb_labels_invalidate(Oid relid, bool marked);
extern bool mdb_labels_is_marked(Oid relid);
extern List *mdb_labels_marked(void);
extern Oid	mdb_labels_twin(Oid relid, const pg_uuid_t *identity);
extern char *mdb_labels_table_name(Oid relid);

#endif							/* MDB_LABELS_H */
