/*
 * stubs.h
 *		What the harnesses need of the server, and what stands for it.
 *
 * Memory is malloc'd, so that AddressSanitizer sees each palloc by itself;
 * everything that is palloc'd is freed at the end of an input.  An error of
 * the server jumps to where the harness waits for it.
 */
#ifndef FUZZ_STUBS_H
#define FUZZ_STUBS_H

#include <setjmp.h>

extern sigjmp_buf fuzz_error;
extern bool fuzz_expects_error;
extern int	fuzz_error_level;
extern char fuzz_message[1024];

extern void fuzz_free_all(void);

/* Bytes of the input, taken from its front; zeros when there are no more. */
typedef struct Input
{
	const uint8_t *bytes;
	size_t		left;
} Input;

extern uint64 take_number(Input *input, int nbytes);
extern uint32 take_below(Input *input, uint32 limit);

/* The input is all right, and the code is not. */
#define CHECK(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: failed: %s\n", \
					__FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#endif							/* FUZZ_STUBS_H */
