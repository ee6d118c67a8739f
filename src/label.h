/*
 * label.h
 *		A label: what it says, and how.
 */
#ifndef MDB_LABEL_H
#define MDB_LABEL_H

#include "definition.h"
#include "settings.h"
#include "utils/uuid.h"

#define MDB_PROVIDER	"mdbatch"

/* The field that marks the metadata target. */
#define MDB_LABEL_MARK	"metadata"

/*
 * The most bytes of a label.  A table's can have a channel of 63 characters
 * that take six bytes each, and has some 300 bytes beside it.
 */
#define MDB_TABLE_LABEL_SIZE	2048
#define MDB_COLUMN_LABEL_SIZE	200

/* The label of a table. */
typedef struct MdbTableLabel
{
	bool		has_identity;
	pg_uuid_t	identity;		/* of the attachment, kept when detached */
	bool		attached;		/* false: nothing but the identity is there */
	bool		metadata;		/* mdbatch_add goes here */
	MdbMode		mode;
	char		channel[NAMEDATALEN];	/* empty: no notification */
	int			nkeys;			/* columns that the others' labels must name */
	int			ncarried;		/* positions of carried ones, some dropped */
	bool		has_version;
	int			batch_size;		/* entries; 0: the setting's */
	int64		flush_interval; /* us; 0: the setting's */
	int64		since;			/* when it was attached, us since 2000 */
} MdbTableLabel;

/* The label of a column. */
typedef struct MdbColumnLabel
{
	bool		in_entry;		/* false: it is announced only */
	MdbRole		role;
	int			position;		/* among the keys or the carried, from 1 */
	bool		notify;
} MdbColumnLabel;

/* The range of a flush_interval of its own, us. */
#define MDB_MIN_INTERVAL	(INT64CONST(1000) * MDB_MIN_FLUSH_INTERVAL)
#define MDB_MAX_INTERVAL	(INT64CONST(1000) * MDB_MAX_FLUSH_INTERVAL)

extern bool mdb_label_is_too_long(Datum text, bool of_table);
extern const char *mdb_label_too_long(bool of_table);
extern const char *mdb_label_parse_table(const char *text, MdbTableLabel *label);
extern const char *mdb_label_parse_column(const char *text, MdbColumnLabel *label);
extern char *mdb_label_format_table(const MdbTableLabel *label);
extern char *mdb_label_format_column(const MdbColumnLabel *label);
extern bool mdb_label_mode(const char *name, int len, MdbMode *mode);
extern const char *mdb_label_merge_name(MdbRole role);
extern bool mdb_label_merge(const char *name, int len, MdbRole *role);

#endif							/* MDB_LABEL_H */
