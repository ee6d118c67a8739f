-- R11: a flush that fails leaves its entries pending; whoever asked hears why.
-- Between two statements the worker may have tried again by itself.
SELECT mdbatch_stat_reset();
CREATE TRIGGER refuse_bad BEFORE INSERT ON mdbatch_metadata FOR EACH ROW EXECUTE FUNCTION refuse_bad();
SELECT mdbatch_add(agent(1), '{a,b}', '{bad,bad}', NULL, ARRAY[timestamptz 'infinity', 'infinity']);
SELECT mdbatch_flush();
SELECT pending, flush_failures > 0 AS failed, flushed, batches_requested, batches_scheduled, last_flush, last_error, last_failure > stats_reset AS has_time
FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;
SELECT count(*) FROM mdbatch_metadata;
SELECT * FROM books WHERE NOT balanced;
-- The worker tries again by itself,
CALL wait_until('(SELECT flush_failures > 1 FROM mdbatch_stat WHERE relid = ''mdbatch_metadata''::regclass)');
-- and at once if it is asked to.
SELECT flush_failures FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass \gset
CALL fails('SELECT mdbatch_flush()');
SELECT flush_failures > :flush_failures AS failed_again FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;
-- A newer value that arrives meanwhile wins; an older one does not.
SELECT mdbatch_add(agent(1), '{a}', '{mended}', NULL, ARRAY[timestamptz 'infinity']);
SELECT mdbatch_add(agent(1), '{b}', '{older}');
-- After mending the table the same entries are written.
DROP TRIGGER refuse_bad ON mdbatch_metadata;
SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT key, value FROM mdbatch_metadata ORDER BY 1;
SELECT pending, in_flight, reserved, added, coalesced, stale, flushed, balanced FROM books WHERE target = 'public.mdbatch_metadata';
SELECT last_flush > last_failure AS mended FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;
TRUNCATE mdbatch_metadata;

-- R12: a value that no longer fits is rejected, and nothing else; mending the
-- table does not bring it back.
CREATE TABLE state (agent_id uuid, key text, value varchar(10), error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state');
SELECT mdbatch_add(agent(1), '{a,b}', '{0123456789,b}');
ALTER TABLE state ALTER value TYPE varchar(5);
SELECT mdbatch_flush('state');
SELECT target, key ->> 'key' AS key, entry ->> 'value' AS value, sqlstate, message FROM mdbatch_rejected;
ALTER TABLE state ALTER value TYPE varchar(20);
SELECT mdbatch_flush('state');
SELECT key, value FROM state ORDER BY 1;
SELECT pending, flushed, rejected, balanced FROM books WHERE target = 'public.state' AND flushed > 0;
SELECT flush_failures, last_failure, last_error FROM mdbatch_stat WHERE relid = 'state'::regclass;
TRUNCATE mdbatch_rejected;

-- A deferred constraint refuses an entry, it does not fail the commit.
CREATE TABLE agents (agent_id uuid PRIMARY KEY);
ALTER TABLE state ADD CONSTRAINT known FOREIGN KEY (agent_id) REFERENCES agents DEFERRABLE INITIALLY DEFERRED NOT VALID;
INSERT INTO agents VALUES (agent(1)), (agent(2));
SELECT mdbatch_add_many(ARRAY[agent(2), agent(3)], '{a,a}', '{1,1}');
SELECT mdbatch_flush('state');
SELECT agent_id, value FROM state WHERE agent_id <> agent(1);
SELECT key, entry ->> 'value' AS value, sqlstate, message FROM mdbatch_rejected;
TRUNCATE mdbatch_rejected;
-- One whose trigger is broken fails the flush, not the commit.
CREATE CONSTRAINT TRIGGER refuse_bad AFTER INSERT ON state DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_bad();
SELECT mdbatch_add(agent(1), '{c}', '{bad}', NULL, '{infinity}');
CALL fails($$SELECT mdbatch_flush('state')$$);
DROP TRIGGER refuse_bad ON state;
SELECT mdbatch_flush('state') IS NOT NULL AS flushed;
SELECT value FROM state WHERE key = 'c';

-- So does what needs a lock that somebody has for longer than lock_timeout: a
-- prepared transaction here.
BEGIN;
LOCK TABLE state IN SHARE MODE;
PREPARE TRANSACTION 'locker';
ALTER SYSTEM SET mdbatch.lock_timeout = '10ms';
SELECT pg_reload_conf();
\c -
SELECT mdbatch_add(agent(2), '{a}', '{2}');
CALL fails($$SELECT mdbatch_flush('state')$$);
COMMIT PREPARED 'locker';
ALTER SYSTEM SET mdbatch.lock_timeout = '10s';
SELECT pg_reload_conf();
\c -
SELECT mdbatch_flush('state') IS NOT NULL AS flushed;
SELECT value FROM state WHERE agent_id = agent(2);

-- A flush that takes longer than flush_timeout is cut short.
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE UPDATE ON state FOR EACH ROW EXECUTE FUNCTION slow();
ALTER SYSTEM SET mdbatch.flush_timeout = '10ms';
SELECT pg_reload_conf();
\c -
SELECT mdbatch_add(agent(2), '{a}', '{3}');
SELECT mdbatch_flush('state');
\echo :LAST_ERROR_SQLSTATE
ALTER SYSTEM RESET mdbatch.flush_timeout;
SELECT pg_reload_conf();
\c -
DROP TRIGGER slow ON state;
SELECT mdbatch_flush('state') IS NOT NULL AS flushed;
SELECT agent_id, key, value FROM state ORDER BY 1, 2;
SELECT pending, flushed, balanced FROM books WHERE target = 'public.state' AND flushed > 0;

-- The failure of one batch is not that of another (R24).
CREATE TRIGGER refuse_bad BEFORE INSERT ON state FOR EACH ROW EXECUTE FUNCTION refuse_bad();
SELECT mdbatch_add(agent(2), '{a}', '{bad}', NULL, ARRAY[timestamptz 'infinity']);
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT mdbatch_add(agent(1), '{a}', '{good}');
SELECT mdbatch_flush('mdbatch_metadata');
CALL fails($$SELECT mdbatch_flush('state')$$);
CALL fails('SELECT mdbatch_flush()');
DROP TABLE state, agents;
CALL wait_until($$NOT EXISTS (SELECT FROM books WHERE pending > 0)$$);
DROP FUNCTION slow();
SELECT * FROM books WHERE NOT balanced;
TRUNCATE mdbatch_metadata;
