/*
 * agent_ids.c
 *		Agent ids to notification payloads and back, for SQL.
 *
 * Model: payload.c as set-returning functions, with the checks of input.
 *
 * Locking: none; works without the library being preloaded.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "compat.h"
#include "payload.h"

PG_FUNCTION_INFO_V1(mdbatch_encode_agent_ids);
PG_FUNCTION_INFO_V1(mdbatch_decode_agent_ids);

/* The payloads for some agents, as the worker makes them (R6). */
Datum
mdbatch_encode_agent_ids(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	MdbValueSet *set;
	char	   *payload;
	int			at = 0;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("array of agent ids must not have more than one dimension")));
	deconstruct_array(array, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR,
					  &elements, &nulls, &n);
	set = mdb_payload_set(true, n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("array of agent ids must not contain nulls")));
		mdb_payload_add(set, DatumGetPointer(elements[i]), UUID_LEN);
	}

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	while ((payload = mdb_payload_next(set, &at)) != NULL)
	{
		Datum		value = CStringGetTextDatum(payload);
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 &value, &isnull);
	}
	return (Datum) 0;
}

/* The agents that a payload names. */
Datum
mdbatch_decode_agent_ids(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	text	   *payload = PG_GETARG_TEXT_PP(0);
	const char *chars = VARDATA_ANY(payload);
	int			length = VARSIZE_ANY_EXHDR(payload);

	if (length % MDB_UUID_CHARS != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid payload of agent ids"),
				 errdetail("Its length is %d bytes, which is no multiple of %d.",
						   length, MDB_UUID_CHARS)));

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int at = 0; at < length; at += MDB_UUID_CHARS)
	{
		pg_uuid_t	uuid;
		Datum		value;
		bool		isnull = false;

		if (!mdb_payload_decode_uuid(chars + at, &uuid))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid payload of agent ids"),
					 errdetail("It is not base64 at byte %d.", at + 1)));
		value = UUIDPGetDatum(&uuid);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 &value, &isnull);
	}
	return (Datum) 0;
}
