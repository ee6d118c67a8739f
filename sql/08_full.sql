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

-- error: nothing of the call is enqueued
SET mdbatch.on_full = 'error';
CALL fails($$SELECT mdbatch_add(agent(1), '{a,g}', '{3,3}')$$);
SELECT mdbatch_add(agent(1), '{a}', '{4}');
SELECT key, value FROM mdbatch_pending();

-- wait: not with a reservation, not for more than there ever is, not in a
-- transaction that may not wait (R13)
SELECT mdbatch_flush();
SET mdbatch.on_full = 'wait';
SELECT mdbatch_add(agent(1), '{a,b,c}', '{1,1,1}');
SELECT mdbatch_flush();
BEGIN;
SELECT mdbatch_add(agent(1), '{a,b}', '{1,1}');
SELECT mdbatch_add(agent(1), '{c,d}', '{1,1}');
ROLLBACK;
SELECT mdbatch_add(agent(1), '{a,b,c,d}', '{1,1,1,1}');
SELECT mdbatch_add(agent(1), '{a,b,c}', '{1,1,1}');
BEGIN;
CREATE TABLE written (i int);
SELECT mdbatch_add(agent(1), '{d}', '{1}');
ROLLBACK;
SET statement_timeout = '100ms';
SELECT mdbatch_add(agent(1), '{d}', '{1}');
RESET statement_timeout;
SELECT count(*) FROM mdbatch_pending();
SELECT mdbatch_flush();

-- drop counts as error in an acknowledged add
SET mdbatch.on_full = 'drop';
CALL mdbatch_add_sync(agent(1), '{a,b,c,d}', '{1,1,1,1}');
SELECT max(reserved) AS reserved, bool_and(balanced) AS balanced FROM books;
RESET mdbatch.on_full;
ALTER SYSTEM RESET mdbatch.queue_size;
SELECT pg_reload_conf();
\c -
SHOW mdbatch.queue_size;
TRUNCATE mdbatch_metadata;
