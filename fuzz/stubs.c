/*
 * stubs.c
 *		What stands for the server in the harnesses.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/s_lock.h"
#include "storage/shmem.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "pool.h"
#include "stubs.h"

sigjmp_buf	fuzz_error;
bool		fuzz_expects_error;
int			fuzz_error_level;
char		fuzz_message[1024];

MemoryContext CurrentMemoryContext;
MemoryContext TopMemoryContext;
PGPROC	   *MyProc;
char	   *DataDir = ".";
bool		IsPostmasterEnvironment = true;
int			mdb_memory;			/* as settings.c defines them */
int			mdb_max_batches;

/*
 * Memory: a doubly linked list of what is allocated.
 */
typedef struct Block
{
	struct Block *previous;
	struct Block *next;
	void	   *unused[2];		/* keeps what follows aligned */
} Block;

static Block blocks = {&blocks, &blocks};

void *
palloc(Size size)
{
	Block	   *block;

	CHECK(size < MaxAllocHugeSize);
	block = malloc(sizeof(Block) + size);
	CHECK(block != NULL);
	block->previous = &blocks;
	block->next = blocks.next;
	blocks.next->previous = block;
	blocks.next = block;
	return block + 1;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void
pfree(void *pointer)
{
	Block	   *block = (Block *) pointer - 1;

	block->previous->next = block->next;
	block->next->previous = block->previous;
	free(block);
}

void *
repalloc(void *pointer, Size size)
{
	Block	   *block = (Block *) pointer - 1;

	block = realloc(block, sizeof(Block) + size);
	CHECK(block != NULL);
	block->previous->next = block;
	block->next->previous = block;
	return block + 1;
}

void
fuzz_free_all(void)
{
	while (blocks.next != &blocks)
		pfree(blocks.next + 1);
}

void *
MemoryContextAllocExtended(MemoryContext context, Size size, int flags)
{
	return (flags & MCXT_ALLOC_ZERO) != 0 ? palloc0(size) : palloc(size);
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return palloc0(size);
}

void *
MemoryContextAllocHuge(MemoryContext context, Size size)
{
	return palloc(size);
}

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	return palloc(size);
}

/* Nothing is compressed or stored elsewhere here. */
struct varlena *
pg_detoast_datum_packed(struct varlena *datum)
{
	return datum;
}

/*
 * Errors
 */
bool
errstart(int elevel, const char *domain)
{
	fuzz_error_level = elevel;
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	if (fuzz_error_level < ERROR)
		return;
	if (fuzz_expects_error)
		siglongjmp(fuzz_error, 1);
	fprintf(stderr, "%s:%d: error: %s\n", filename, lineno, fuzz_message);
	abort();
}

#define KEEP_MESSAGE(format) \
	do { \
		va_list		args; \
		\
		va_start(args, format); \
		vsnprintf(fuzz_message, sizeof(fuzz_message), format, args); \
		va_end(args); \
	} while (0)

int
errmsg(const char *format,...)
{
	KEEP_MESSAGE(format);
	return 0;
}

int
errmsg_internal(const char *format,...)
{
	KEEP_MESSAGE(format);
	return 0;
}

int
errmsg_plural(const char *one, const char *many, unsigned long n,...)
{
	strlcpy(fuzz_message, many, sizeof(fuzz_message));
	return 0;
}

int
errdetail_plural(const char *one, const char *many, unsigned long n,...)
{
	return 0;
}

int
errdetail(const char *format,...)
{
	return 0;
}

int
errdetail_internal(const char *format,...)
{
	return 0;
}

int
errhint(const char *format,...)
{
	return 0;
}

int
errcode(int sqlerrcode)
{
	return 0;
}

int
errcode_for_file_access(void)
{
	return 0;
}

void
ExceptionalCondition(const char *condition, const char *type,
					 const char *file, int line)
{
	fprintf(stderr, "%s:%d: assertion: %s\n", file, line, condition);
	abort();
}

/*
 * Shared memory and the pool in it
 */
Size
add_size(Size a, Size b)
{
	CHECK(a + b >= a);
	return a + b;
}

Size
mul_size(Size a, Size b)
{
	CHECK(a == 0 || a * b / a == b);
	return a * b;
}

static void *shared;

void *
ShmemInitStruct(const char *name, Size size, bool *found)
{
	free(shared);
	/* What nobody has written is garbage. */
	shared = malloc(size + MDB_CACHE_LINES);
	CHECK(shared != NULL);
	memset(shared, 0x7f, size + MDB_CACHE_LINES);
	*found = false;
	return (void *) TYPEALIGN(MDB_CACHE_LINES, shared);
}

int
s_lock(volatile slock_t *lock, const char *file, int line, const char *func)
{
	CHECK(!"a spinlock was held twice");
	return 0;
}

/*
 * As PostgreSQL's, for the purpose
 */
void
escape_json(StringInfo buf, const char *str)
{
	appendStringInfoCharMacro(buf, '"');
	for (const char *p = str; *p; p++)
	{
		switch (*p)
		{
			case '\b':
				appendStringInfoString(buf, "\\b");
				break;
			case '\f':
				appendStringInfoString(buf, "\\f");
				break;
			case '\n':
				appendStringInfoString(buf, "\\n");
				break;
			case '\r':
				appendStringInfoString(buf, "\\r");
				break;
			case '\t':
				appendStringInfoString(buf, "\\t");
				break;
			case '"':
				appendStringInfoString(buf, "\\\"");
				break;
			case '\\':
				appendStringInfoString(buf, "\\\\");
				break;
			default:
				if ((unsigned char) *p < ' ')
					appendStringInfo(buf, "\\u%04x", (int) *p);
				else
					appendStringInfoCharMacro(buf, *p);
				break;
		}
	}
	appendStringInfoCharMacro(buf, '"');
}

/* A "numeric" of ours is a number of 128 bits. */
static Numeric
wide(__int128 number)
{
	__int128   *copy = palloc(sizeof(number));

	memcpy(copy, &number, sizeof(number));
	return (Numeric) copy;
}

static __int128
narrow(Datum datum)
{
	__int128	number;

	memcpy(&number, DatumGetPointer(datum), sizeof(number));
	return number;
}

Numeric
int64_to_numeric(int64 value)
{
	return wide(value);
}

Datum
numeric_mul(PG_FUNCTION_ARGS)
{
	abort();
}

Datum
numeric_add(PG_FUNCTION_ARGS)
{
	abort();
}

Datum
DirectFunctionCall2Coll(PGFunction function, Oid collation, Datum a, Datum b)
{
	CHECK(function == numeric_mul || function == numeric_add);
	return NumericGetDatum(function == numeric_mul ?
						   wide(narrow(a) * narrow(b)) :
						   wide(narrow(a) + narrow(b)));
}

/*
 * Input
 */
uint64
take_number(Input *input, int nbytes)
{
	uint64		number = 0;

	for (; nbytes > 0; nbytes--)
	{
		number <<= 8;
		if (input->left > 0)
		{
			number |= *input->bytes++;
			input->left--;
		}
	}
	return number;
}

uint32
take_below(Input *input, uint32 limit)
{
	return take_number(input, limit > 256 ? 4 : 1) % limit;
}
