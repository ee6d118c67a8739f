-- CALL mdbatch_add_sync: adds, commits, and returns when it is written.
SELECT mdbatch_stat_reset();
CALL mdbatch_add_sync(agent(1), '{a,b}', '{1,2}');
SELECT key, value, error FROM mdbatch_metadata ORDER BY 1;
CALL mdbatch_add_sync(agent(1), keys => '{b,c}', vals => '{3,4}', errors => '{e,NULL}', collected_at => ARRAY[timestamptz 'infinity', 'infinity']);
SELECT key, value, error FROM mdbatch_metadata ORDER BY 1;
CALL mdbatch_add_sync(agent(1), '{}', '{}');

-- It returns when its entries are superseded, or skipped.
CALL mdbatch_add_sync(agent(1), '{b,d,d}', '{skipped,superseded,5}');
SELECT mdbatch_add(agent(1), '{e}', '{6}', NULL, ARRAY[timestamptz 'infinity']);
CALL mdbatch_add_sync(agent(1), '{e}', '{stale}');
SELECT key, value FROM mdbatch_metadata ORDER BY 1;
SELECT pending, added, coalesced, stale, flushed, skipped, balanced FROM books WHERE target = 'public.mdbatch_metadata';
SELECT batches_requested, batches_scheduled, batches_capacity FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;

-- From a procedure, and a DO block, each call a transaction.
CREATE PROCEDURE report(n int) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..n LOOP
    CALL mdbatch_add_sync(agent(2), ARRAY['r' || i], ARRAY[i::text]);
  END LOOP;
END $$;
CALL report(3);
DO $$ BEGIN CALL mdbatch_add_sync(agent(2), '{do}', '{4}'); END $$;
SELECT key, value FROM mdbatch_metadata WHERE agent_id = agent(2) ORDER BY 1;
DROP PROCEDURE report(int);

-- Not where it cannot commit; nothing is enqueued.
BEGIN;
CALL mdbatch_add_sync(agent(3), '{a}', '{1}');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
CALL fails($$CALL mdbatch_add_sync(agent(3), '{a}', '{1}')$$);
DO $$
BEGIN
  CALL mdbatch_add_sync(agent(3), '{a}', '{1}');
EXCEPTION WHEN division_by_zero THEN NULL;
END $$;
CREATE FUNCTION in_function() RETURNS void LANGUAGE plpgsql AS
$$ BEGIN CALL mdbatch_add_sync(agent(3), '{a}', '{1}'); END $$;
SELECT in_function();
DROP FUNCTION in_function();

-- R13: nor where its flush could wait for itself.
SELECT pg_advisory_lock(1);
CALL mdbatch_add_sync(agent(3), '{a}', '{1}');
\echo :LAST_ERROR_SQLSTATE
SELECT pg_advisory_unlock(1);
DO $$
BEGIN
  CREATE TABLE written (i int);
  CALL mdbatch_add_sync(agent(3), '{a}', '{1}');
END $$;

-- Bad input is refused as by mdbatch_add (R17).
CALL mdbatch_add_sync(NULL, '{a}', '{1}');
CALL mdbatch_add_sync(agent(3), '{a,b}', '{1}');
\echo :LAST_ERROR_SQLSTATE
CALL mdbatch_add_sync(agent(3), '{a,""}', '{1,1}');
\echo :LAST_ERROR_SQLSTATE
SET default_transaction_read_only = on;
CALL mdbatch_add_sync(agent(3), '{a}', '{1}');
\echo :LAST_ERROR_SQLSTATE
RESET default_transaction_read_only;
SELECT count(*) AS pending FROM mdbatch_pending();
SELECT count(*) AS written FROM mdbatch_metadata WHERE agent_id = agent(3);

-- An error after the commit says that the entries stay pending.
CREATE TRIGGER refuse_bad BEFORE INSERT ON mdbatch_metadata FOR EACH ROW EXECUTE FUNCTION refuse_bad();
CALL mdbatch_add_sync(agent(4), '{a}', '{bad}', NULL, ARRAY[timestamptz '2020-01-01']);
\echo :LAST_ERROR_SQLSTATE
SELECT key, value FROM mdbatch_pending();
DROP TRIGGER refuse_bad ON mdbatch_metadata;
CALL mdbatch_add_sync(agent(4), '{b}', '{good}');
SELECT key, value FROM mdbatch_metadata WHERE agent_id = agent(4) ORDER BY 1;
-- An entry that is refused for good raises what refused it (R12); the others
-- of the call are written. Nobody hears of the entries of others.
ALTER TABLE mdbatch_metadata ADD CONSTRAINT no_worse CHECK (value <> 'worse');
CALL mdbatch_add_sync(agent(4), '{c,d,e}', '{1,worse,1}', NULL, array_fill(timestamptz '2020-01-01', '{3}'));
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM mdbatch_pending();
SELECT mdbatch_add(agent(4), '{f}', '{worse}');
CALL mdbatch_add_sync(agent(4), '{g}', '{1}');
SELECT key, value FROM mdbatch_metadata WHERE agent_id = agent(4) ORDER BY 1;
SELECT key ->> 'key' AS key, entry ->> 'value' AS value, sqlstate FROM mdbatch_rejected ORDER BY 1;
SELECT pending, rejected, balanced FROM books WHERE target = 'public.mdbatch_metadata';
ALTER TABLE mdbatch_metadata DROP CONSTRAINT no_worse;
TRUNCATE mdbatch_rejected;

-- R9: drop counts as error here.
ALTER SYSTEM SET mdbatch.queue_size = 2;
SELECT pg_reload_conf();
\c -
SELECT mdbatch_add(agent(5), '{a,b}', '{1,1}');
CALL mdbatch_add_sync(agent(5), '{c}', '{1}');
\echo :LAST_ERROR_SQLSTATE
SET mdbatch.on_full = 'error';
CALL mdbatch_add_sync(agent(5), '{a,c}', '{2,2}');
\echo :LAST_ERROR_SQLSTATE
SELECT key, value FROM mdbatch_pending();
-- A key that is pending needs no place.
CALL mdbatch_add_sync(agent(5), '{a}', '{3}');
SELECT key, value FROM mdbatch_metadata WHERE agent_id = agent(5) ORDER BY 1;
SELECT dropped, reserved, pending, balanced FROM books WHERE target = 'public.mdbatch_metadata';
ALTER SYSTEM RESET mdbatch.queue_size;
SELECT pg_reload_conf();
\c -
SELECT * FROM books WHERE NOT balanced;
TRUNCATE mdbatch_metadata;
