/*
 * shown.h
 *		Entries as text, as mdbatch_rejected keeps them.
 */
#ifndef MDB_SHOWN_H
#define MDB_SHOWN_H

#include "utils/jsonb.h"

#include "as_owner.h"
#include "plan.h"
#include "pool.h"

/* The text of a float sum that was too large for a double. */
#define MDB_SHOWN_OVERFLOW	"overflow"

/* The value of a column. */
typedef struct MdbShownValue
{
	const char *text;			/* as its output function writes it; NULL:
								 * null, or it cannot be shown */
	const char *json;			/* the same as JSON; NULL: not shown */
	const char *hex;			/* its bytes, if it cannot be shown */
} MdbShownValue;

/* An entry.  Names and values are in the order of the definition's columns. */
typedef struct MdbShown
{
	const MdbPlan *plan;
	const char *const *names;	/* NULL: the table has no such column */
	MdbShownValue *values;

	/* Fields of a stored entry for which the table has no column, as JSON. */
	const char *more;
	const char *more_hex;
} MdbShown;

extern void mdb_shown_enter(MdbAsOwner *before, Oid role);
extern const char *const *mdb_shown_names(const MdbPlan *plan);
extern void mdb_shown_entry(MdbShown *shown, MdbRef ref, bool careful);
extern bool mdb_shown_is_number(Oid type);
extern const char *mdb_shown_json(Oid type, const char *text);
extern char *mdb_shown_input(const JsonbValue *value);
extern char *mdb_shown_fragment(const JsonbValue *value);
extern void mdb_shown_append_field(StringInfo text, const char *name, int len,
								   const char *json);
extern Datum mdb_shown_key(const MdbShown *shown);
extern Datum mdb_shown_object(const MdbShown *shown);
extern Datum mdb_shown_bytes(const MdbShown *shown, bool *isnull);
extern Datum mdb_shown_digest(Datum key);

#endif							/* MDB_SHOWN_H */
