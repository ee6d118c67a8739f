/*
 * fields.h
 *		A JSON object of known fields, taken apart.
 */
#ifndef MDB_FIELDS_H
#define MDB_FIELDS_H

typedef enum MdbFieldType
{
	MDB_FIELD_FLAG,
	MDB_FIELD_NUMBER,			/* an integer */
	MDB_FIELD_STRING
} MdbFieldType;

typedef struct MdbField
{
	const char *name;
	MdbFieldType type;
	int64		min;			/* of the number, or characters of the string */
	int64		max;
} MdbField;

/* A field as an object has it; all zero if it is not given. */
typedef struct MdbFieldValue
{
	bool		given;
	bool		flag;
	int64		number;
	char	   *string;			/* palloc'd */
} MdbFieldValue;

extern const char *mdb_fields_take(const char *text, const MdbField *fields,
								   int nfields, MdbFieldValue *values);

#endif							/* MDB_FIELDS_H */
