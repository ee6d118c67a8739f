-- R9: what happens to a new key when queue_size entries wait.
SELECT mdbatch_stat_reset();
ALTER SYSTEM SET mdbatch.queue_size = 3;
SELECT pg_reload_conf();
\c -
SELECT capacity FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;

-- drop
SELECT mdbatch_add(agent(1), '{a,b,c,d,e}', '{1,1,1,1,1}');
SELECT mdbatch_add(agent(1), '{d}', '{2}');
-- a key that is pending is never dropped
SELECT mdbatch_add(agent(1), '{a,f}', '{2,2}');
SELECT key, value FROM mdbatch_pending();
SELECT pending, added, coalesced, dropped, balanced FROM books WHERE pending > 0;

-- reservations take places, too; a rollback to a savepoint gives them back (R8)
SELECT mdbatch_flush();
BEGIN;
SELECT mdbatch_add(agent(5), '{a,b}', '{1,1}');
SAVEPOINT s;
SELECT mdbatch_add(agent(5), '{c,d}', '{1,1}');
SELECT reserved, pending FROM books WHERE target = 'public.mdbatch_metadata';
ROLLBACK TO s;
SELECT reserved FROM books WHERE target = 'public.mdbatch_metadata';
SELECT mdbatch_add(agent(5), '{d,e}', '{1,1}');
-- a key takes a place in each level: a has one in the level above, not here
SELECT mdbatch_add(agent(5), '{a,d,f}', '{2,2,2}');
COMMIT;
SELECT key, value FROM mdbatch_pending();
SELECT dropped, reserved, pending, balanced FROM books WHERE target = 'public.mdbatch_metadata';
SELECT mdbatch_flush();
SELECT mdbatch_add(agent(1), '{a,b,c}', '{2,1,1}');

-- error: nothing of the call is enqueued
SET mdbatch.on_full = 'error';
CALL fails($$SELECT mdbatch_add(agent(1), '{a,g}', '{3,3}')$$);
SELECT mdbatch_add(agent(1), '{a}', '{4}');
SELECT key, value FROM mdbatch_pending();

-- wait: not with a reservation, not for more than there ever is, not in a
-- transaction that may not wait (R13)
SELECT mdbatch_flush();
SET mdbatch.on_full = 'wait';
SELECT mdbatch_add(agent(2), '{a,b,c}', '{1,1,1}');
SELECT mdbatch_flush();
BEGIN;
SELECT mdbatch_add(agent(3), '{a,b}', '{1,1}');
SELECT mdbatch_add(agent(3), '{c,d}', '{1,1}');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
SELECT reserved FROM books WHERE target = 'public.mdbatch_metadata';
SELECT mdbatch_add(agent(3), '{a,b,c,d}', '{1,1,1,1}');
\echo :LAST_ERROR_SQLSTATE
SELECT mdbatch_add(agent(3), '{a,b,c}', '{1,1,1}');
-- what needs no room does not wait, whatever the transaction has done
BEGIN;
CREATE TABLE written (i int);
SELECT mdbatch_add(agent(3), '{c,b,c}', '{2,2,2}');
COMMIT;
DROP TABLE written;
-- a call that needs more than there ever is does not wait for the rest
SELECT mdbatch_add(agent(3), '{d,e,f,g}', '{1,1,1,1}');
\echo :LAST_ERROR_SQLSTATE
BEGIN;
CREATE TABLE written (i int);
SELECT mdbatch_add(agent(3), '{d}', '{1}');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
BEGIN;
LOCK TABLE mdbatch_metadata IN SHARE MODE;
SELECT mdbatch_add(agent(3), '{d}', '{1}');
ROLLBACK;
BEGIN;
SELECT pg_advisory_xact_lock_shared(1, 2);
SELECT mdbatch_add(agent(3), '{d}', '{1}');
ROLLBACK;
SET statement_timeout = '100ms';
SELECT mdbatch_add(agent(3), '{d}', '{1}');
RESET statement_timeout;
SELECT key, value FROM mdbatch_pending();
SELECT pending, reserved, balanced FROM books WHERE target = 'public.mdbatch_metadata';
-- in a savepoint: the reservation of what was rolled back counts no more
BEGIN;
SAVEPOINT s;
SELECT mdbatch_add(agent(3), '{a,b,c}', '{3,3,3}');
ROLLBACK TO s;
SET LOCAL statement_timeout = '100ms';
SELECT mdbatch_add(agent(3), '{d}', '{1}');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
SELECT mdbatch_flush();

-- drop counts as error in an acknowledged add
SET mdbatch.on_full = 'drop';
CALL mdbatch_add_sync(agent(4), '{a,b,c,d}', '{1,1,1,1}');
SELECT max(reserved) AS reserved, bool_and(balanced) AS balanced FROM books;
RESET mdbatch.on_full;
ALTER SYSTEM RESET mdbatch.queue_size;
SELECT pg_reload_conf();
\c -
SHOW mdbatch.queue_size;
TRUNCATE mdbatch_metadata;
