/*
 * label_hook.h
 *		SECURITY LABEL FOR mdbatch.
 */
#ifndef MDB_LABEL_HOOK_H
#define MDB_LABEL_HOOK_H

extern void mdb_label_hook_register(void);

#endif							/* MDB_LABEL_HOOK_H */
