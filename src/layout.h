/*
 * layout.h
 *		Which columns of a table make up its entries.
 */
#ifndef MDB_LAYOUT_H
#define MDB_LAYOUT_H

#include "definition.h"
#include "labels.h"
#include "utils/rel.h"

/* Where agent metadata is announced unless the target says otherwise. */
#define MDB_DEFAULT_CHANNEL	"workspace_agent_metadata_batch"

typedef struct MdbLayoutColumn
{
	AttrNumber	attnum;
	MdbRole		role;
} MdbLayoutColumn;

typedef struct MdbLayout
{
	MdbTableLabel label;
	AttrNumber	notify;			/* InvalidAttrNumber: nothing */
	MdbLayoutColumn columns[FLEXIBLE_ARRAY_MEMBER]; /* keys, version, carried */
} MdbLayout;

extern MdbLayout *mdb_layout_make(const MdbTableLabel *label);
extern int	mdb_layout_ncolumns(const MdbTableLabel *label);
extern bool mdb_layout_merges(const MdbLayout *layout);
extern MdbLayout *mdb_layout_read(Relation rel);
extern void mdb_layout_write(Relation rel, const MdbLayout *layout);
extern MdbDefinition *mdb_layout_define(Relation rel, const MdbLayout *layout,
										MdbAltered **attributes);
extern AttrNumber mdb_layout_column(Relation rel, const char *name);
extern void mdb_layout_unusable(Relation rel, const MdbTableLabel *label);

#endif							/* MDB_LAYOUT_H */
