/*
 * mdbatch_bench.c
 *		What bench/run compares mdbatch with, and loops without a protocol.
 *
 * Model: the no-op functions take the arguments of the real ones, and read
 * them as these must, so that the difference between both is what mdbatch
 * itself costs.  The loops call mdbatch_add as the executor would.
 *
 * Locking: none.
 *
 * Limits: for a throwaway server; arguments are not checked.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "portability/instr_time.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_agent);
PG_FUNCTION_INFO_V1(bench_no_add);
PG_FUNCTION_INFO_V1(bench_no_row);
PG_FUNCTION_INFO_V1(bench_adds);

static void
set_agent(pg_uuid_t *agent, uint32 number)
{
	/* Spread, as real ones are. */
	uint64		bits = pg_hton64(number * UINT64CONST(0x9E3779B97F4A7C15));

	memcpy(agent->data, &bits, sizeof(bits));
	memcpy(agent->data + sizeof(bits), &bits, sizeof(bits));
}

/* The agent of a number. */
Datum
bench_agent(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *agent = palloc(sizeof(pg_uuid_t));

	set_agent(agent, PG_GETARG_INT32(0));
	PG_RETURN_UUID_P(agent);
}

/* mdbatch_add, without doing anything. */
Datum
bench_no_add(PG_FUNCTION_ARGS)
{
	int			n = 0;

	for (int i = 1; i < PG_NARGS(); i++)
	{
		ArrayType  *array;

		if (PG_ARGISNULL(i))
			continue;
		array = PG_GETARG_ARRAYTYPE_P(i);
		if (i == 1)
			n = ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
	}
	PG_RETURN_INT32(n);
}

/* mdbatch_put_row, without doing anything. */
Datum
bench_no_row(PG_FUNCTION_ARGS)
{
	(void) PG_GETARG_HEAPTUPLEHEADER(0);
	PG_RETURN_INT32(1);
}

/* An array of n texts: prefix0, prefix1 and so on. */
static Datum
make_texts(const char *prefix, int n)
{
	Datum	   *texts = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
		texts[i] = CStringGetTextDatum(psprintf("%s%d", prefix, i));
	return PointerGetDatum(construct_array(texts, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

static void
look_up_add(FmgrInfo *flinfo)
{
	bool		isnull;

	if (SPI_execute("SELECT 'mdbatch_add'::regproc::oid", true, 1) !=
		SPI_OK_SELECT)
		elog(ERROR, "cannot find mdbatch_add");
	fmgr_info_cxt(DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
												 SPI_tuptable->tupdesc, 1,
												 &isnull)),
				  flinfo, TopMemoryContext);
}

/*
 * Call mdbatch_add, so many calls in each of so many transactions, with so many
 * keys of one of the agents first to first + agents - 1, in turn or at random.
 * Sets the last argument to nanoseconds per call, commits included.
 */
Datum
bench_adds(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(add, 5);
	int			transactions = PG_GETARG_INT32(0);
	int			calls = PG_GETARG_INT32(1);
	int			nkeys = PG_GETARG_INT32(2);
	int			first = PG_GETARG_INT32(3);
	int			agents = PG_GETARG_INT32(4);
	bool		at_random = PG_GETARG_BOOL(5);
	MemoryContext outer = AllocSetContextCreate(TopMemoryContext, "bench",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext inner = AllocSetContextCreate(outer, "bench call",
												ALLOCSET_DEFAULT_SIZES);
	FmgrInfo	flinfo;
	pg_uuid_t  *ids;
	Datum		keys;
	Datum		vals;
	uint32		next = 0;
	instr_time	start;
	instr_time	end;

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	look_up_add(&flinfo);
	MemoryContextSwitchTo(outer);
	keys = make_texts("key", nkeys);
	vals = make_texts("value ", nkeys);
	ids = palloc(agents * sizeof(pg_uuid_t));
	for (int i = 0; i < agents; i++)
		set_agent(&ids[i], first + i);
	SPI_commit();

	INSTR_TIME_SET_CURRENT(start);
	for (int t = 0; t < transactions; t++)
	{
		MemoryContextSwitchTo(inner);
		for (int i = 0; i < calls; i++)
		{
			uint32		which = at_random ?
				(uint32) pg_prng_uint64_range(&pg_global_prng_state, 0,
											  agents - 1) :
				next++ % agents;

			InitFunctionCallInfoData(*add, &flinfo, 5, InvalidOid, NULL, NULL);
			add->args[0].value = UUIDPGetDatum(&ids[which]);
			add->args[0].isnull = false;
			add->args[1].value = keys;
			add->args[1].isnull = false;
			add->args[2].value = vals;
			add->args[2].isnull = false;
			add->args[3].isnull = true;
			add->args[4].isnull = true;
			(void) FunctionCallInvoke(add);
			MemoryContextReset(inner);
		}
		CHECK_FOR_INTERRUPTS();
		SPI_commit();
	}
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);

	MemoryContextDelete(outer);
	SPI_finish();
	{
		TupleDesc	desc;
		bool		isnull = false;
		Datum		ns = Float8GetDatum(INSTR_TIME_GET_DOUBLE(end) * 1e9 /
										((double) transactions * calls));

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
														  &ns, &isnull)));
	}
}
