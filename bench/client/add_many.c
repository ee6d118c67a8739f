/*
 * add_many.c
 *		mdbatch_add_many over and over, as a client with binary parameters
 *		(pgx, Npgsql, psycopg 3) sends it; prints entries per second.
 *
 * usage: add_many SECONDS ENTRIES
 *
 * Each call has so many entries, one of each agent; four sets of agents take
 * turns.  The connection is as libpq's environment has it.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

#define UUID 2950
#define TEXT 25
#define UUID_ARRAY 2951
#define TEXT_ARRAY 1009
#define SETS 4

typedef struct Array
{
	char	   *bytes;
	int			length;
} Array;

static void
put(Array *array, const void *bytes, int length)
{
	array->bytes = realloc(array->bytes, array->length + length);
	if (array->bytes == NULL)
		exit(1);
	memcpy(array->bytes + array->length, bytes, length);
	array->length += length;
}

static void
put_int(Array *array, int32_t number)
{
	number = htonl(number);
	put(array, &number, sizeof(number));
}

/* One dimension, no nulls, type, length, lower bound; elements come next. */
static Array
start(int type, int n)
{
	Array		array = {NULL, 0};

	put_int(&array, 1);
	put_int(&array, 0);
	put_int(&array, type);
	put_int(&array, n);
	put_int(&array, 1);
	return array;
}

static Array
agents(int first, int n)
{
	Array		array = start(UUID, n);

	for (int i = 0; i < n; i++)
	{
		uint64_t	id[2];

		id[0] = id[1] = (uint64_t) (first + i) * UINT64_C(0x9E3779B97F4A7C15);
		put_int(&array, sizeof(id));
		put(&array, id, sizeof(id));
	}
	return array;
}

static Array
texts(const char *format, int n)
{
	Array		array = start(TEXT, n);

	for (int i = 0; i < n; i++)
	{
		char		text[64];
		int			length = snprintf(text, sizeof(text), format, i);

		put_int(&array, length);
		put(&array, text, length);
	}
	return array;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void
check(PGconn *connection, PGresult *result, ExecStatusType expected)
{
	if (PQresultStatus(result) != expected)
	{
		fprintf(stderr, "%s", PQerrorMessage(connection));
		exit(1);
	}
	PQclear(result);
}

int
main(int argc, char **argv)
{
	double		seconds = argc == 3 ? atof(argv[1]) : 0;
	int			n = argc == 3 ? atoi(argv[2]) : 0;
	const Oid	types[] = {UUID_ARRAY, TEXT_ARRAY, TEXT_ARRAY};
	const int	formats[] = {1, 1, 1};
	Array		sets[SETS];
	Array		keys;
	Array		vals;
	PGconn	   *connection;
	double		began;
	long		calls = 0;

	if (seconds <= 0 || n <= 0)
	{
		fprintf(stderr, "usage: add_many SECONDS ENTRIES\n");
		return 2;
	}
	keys = texts("key0", n);
	vals = texts("value %d", n);
	for (int i = 0; i < SETS; i++)
		sets[i] = agents(1 + i * n, n);

	connection = PQconnectdb("");
	check(connection, PQprepare(connection, "add",
								"SELECT public.mdbatch_add_many($1, $2, $3)",
								3, types), PGRES_COMMAND_OK);
	began = now();
	do
	{
		const Array *set = &sets[calls++ % SETS];
		const char *const values[] = {set->bytes, keys.bytes, vals.bytes};
		const int	lengths[] = {set->length, keys.length, vals.length};

		check(connection, PQexecPrepared(connection, "add", 3, values, lengths,
										 formats, 1), PGRES_TUPLES_OK);
	} while (now() - began < seconds);
	printf("%.0f\n", (double) calls * n / (now() - began));
	PQfinish(connection);
	return 0;
}
