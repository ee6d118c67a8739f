-- R3: every entry is written as its target was defined at its add, and those
-- that were there before a new definition ahead of any of it.
SELECT current_database() AS here \gset
SELECT mdbatch_stat_reset();
CREATE TABLE state (id int PRIMARY KEY, a text, b text, n int, ver int);
-- What was written, in order
CREATE TABLE log (number serial, what text);
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO public.log (what) VALUES (TG_OP || ' ' || NEW); RETURN NULL; END $$;
CREATE TRIGGER log AFTER INSERT OR UPDATE ON state FOR EACH ROW EXECUTE FUNCTION log();
CREATE PROCEDURE flush_all() LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  RAISE INFO 'flushed %', mdbatch_flush();
  FOR line IN SELECT what FROM log ORDER BY number LOOP
    RAISE INFO '%', line;
  END LOOP;
  COMMIT;
  TRUNCATE log;
END $$;

-- Other columns
SELECT mdbatch_attach('state', columns => '{a}');
SELECT mdbatch_put('state', '[{"id": 2, "a": "a2"}, {"id": 1, "a": "a1"}]');
SELECT mdbatch_attach('state', columns => '{b}', version => 'ver');
SELECT mdbatch_put('state', '[{"id": 3, "b": "b3", "ver": 1}, {"id": 1, "b": "b1", "ver": 1}]');
SELECT * FROM mdbatch_pending_rows(NULL::state);
CALL flush_all();
-- Back to the first one while all wait: that is not the old one's place.
SELECT mdbatch_attach('state', columns => '{a}');
SELECT mdbatch_put('state', '{"id": 1, "a": "1"}');
SELECT mdbatch_attach('state', columns => '{a,b}');
SELECT mdbatch_put('state', '{"id": 1, "a": "2", "b": "2"}');
SELECT mdbatch_attach('state', columns => '{a}');
SELECT mdbatch_put('state', '{"id": 1, "a": "3"}');
SELECT * FROM mdbatch_pending_rows(NULL::state);
CALL flush_all();
-- The same again: both are written, the last one last.
SELECT mdbatch_put('state', '{"id": 1, "a": "4"}');
SELECT mdbatch_attach('state', columns => '{a}');
SELECT mdbatch_put('state', '{"id": 1, "a": "5"}');
CALL flush_all();

-- Another merge: 10 + 1 + 2, at least 12, at most 5, 7.
UPDATE state SET n = 10 WHERE id = 1;
TRUNCATE log;
SELECT mdbatch_attach('state', columns => '{n}', merge => '{"n": "sum"}');
SELECT mdbatch_put('state', '[{"id": 1, "n": 1}, {"id": 1, "n": 2}]');
SELECT mdbatch_attach('state', columns => '{n}', merge => '{"n": "max"}');
SELECT mdbatch_put('state', '{"id": 1, "n": 12}');
SELECT mdbatch_attach('state', columns => '{n}', merge => '{"n": "min"}');
SELECT mdbatch_put('state', '{"id": 1, "n": 5}');
SELECT mdbatch_attach('state', columns => '{n}');
SELECT mdbatch_put('state', '{"id": 1, "n": 7}');
CALL flush_all();

-- Another mode: missing first (7), made then, and found at last (8).
SELECT mdbatch_attach('state', columns => '{a}', mode => 'update');
SELECT mdbatch_put('state', '{"id": 7, "a": "missing"}');
SELECT mdbatch_attach('state', columns => '{a}');
SELECT mdbatch_put('state', '[{"id": 7, "a": "made"}, {"id": 8, "a": "made"}]');
SELECT mdbatch_attach('state', columns => '{a}', mode => 'update');
SELECT mdbatch_put('state', '{"id": 8, "a": "found"}');
CALL flush_all();

-- With a version and without; on a channel and without.
SELECT mdbatch_attach('state', columns => '{a}', version => 'ver');
SELECT mdbatch_put('state', '{"id": 1, "a": "newest", "ver": 100}');
SELECT mdbatch_attach('state', columns => '{a,ver}', channel => 'c');
SELECT mdbatch_put('state', '{"id": 1, "a": "last", "ver": 1}');
SELECT mdbatch_attach('state', columns => '{a}', version => 'ver');
SELECT mdbatch_put('state', '{"id": 1, "a": "newer than the last", "ver": 50}');
SELECT notifications AS before FROM mdbatch_stat WHERE relid = 'state'::regclass \gset
CALL flush_all();
SELECT notifications - :before AS notifications FROM mdbatch_stat WHERE relid = 'state'::regclass;

-- Another key: an entry of each.
CREATE UNIQUE INDEX state_a ON state (a);
DELETE FROM state WHERE a IS NULL;
ALTER TABLE state ALTER a SET NOT NULL;
SELECT mdbatch_attach('state', columns => '{a,b}');
SELECT mdbatch_put('state', '{"id": 20, "a": "twenty", "b": "by id"}');
SELECT mdbatch_attach('state', '{a}', columns => '{b}', mode => 'update');
SELECT mdbatch_put('state', '{"a": "twenty", "b": "by a"}');
CALL flush_all();

ALTER TABLE state ALTER a DROP NOT NULL;
DROP INDEX state_a;

-- Its own batch size and interval hold for entries that wait, too.
SELECT mdbatch_attach('state', columns => '{a}');
SELECT mdbatch_put('state', '{"id": 1, "a": "waits"}');
SELECT mdbatch_attach('state', columns => '{a}', batch_size => 10, flush_interval => '1 day');
SELECT mdbatch_put('state', '{"id": 1, "a": "follows"}');
SELECT pending, capacity FROM mdbatch_stat WHERE relid = 'state'::regclass;
CALL flush_all();

-- In one transaction, before and after; and rolled back.
SELECT mdbatch_attach('state', columns => '{a}');
BEGIN;
SELECT mdbatch_put('state', '{"id": 30, "a": "before"}');
SELECT mdbatch_attach('state', columns => '{a,b}');
SELECT mdbatch_put('state', '{"id": 30, "a": "after", "b": "after"}');
COMMIT;
CALL flush_all();
BEGIN;
SELECT mdbatch_attach('state', columns => '{b}');
SELECT mdbatch_put('state', '{"id": 30, "b": "gone"}');
ROLLBACK;
SELECT columns FROM mdbatch_target WHERE target = 'state'::regclass;
SELECT count(*) FROM mdbatch_pending_rows(NULL::state);
BEGIN;
SELECT mdbatch_put('state', '{"id": 30, "a": "first", "b": "first"}');
SAVEPOINT s;
SELECT mdbatch_attach('state', columns => '{b}');
SELECT mdbatch_put('state', '{"id": 30, "b": "gone"}');
CALL fails($$SELECT mdbatch_put('state', '{"id": 30, "a": "gone"}')$$);
ROLLBACK TO s;
SELECT mdbatch_put('state', '{"id": 31, "a": "second", "b": "second"}');
SAVEPOINT s;
SELECT mdbatch_detach('state');
CALL fails($$SELECT mdbatch_put('state', '{"id": 30, "b": "gone"}')$$);
ROLLBACK TO s;
SELECT mdbatch_put('state', '{"id": 30, "a": "third", "b": "third"}');
COMMIT;
CALL flush_all();
SELECT pending, reserved, balanced FROM books WHERE target = 'public.state' AND flushed > 0;

-- Detached: no more adds, but what is pending is written, then the batch is
-- gone; so is what was added before in the transaction that detaches.
BEGIN;
SELECT mdbatch_put('state', '{"id": 40, "a": "pending"}');
SELECT mdbatch_detach('state');
CALL fails($$SELECT mdbatch_put('state', '{"id": 41}')$$);
ROLLBACK;
SELECT mdbatch_put('state', '{"id": 41, "a": "before"}');
BEGIN;
SELECT mdbatch_put('state', '{"id": 42, "a": "in it"}');
SELECT mdbatch_detach('state');
COMMIT;
SELECT count(*) FROM mdbatch_target WHERE target = 'state'::regclass;
CALL fails($$SELECT mdbatch_put('state', '{"id": 43}')$$);
CALL fails($$SELECT mdbatch_put_row(ROW(43, NULL, NULL, NULL, NULL)::state)$$);
CALL fails($$SELECT mdbatch_detach('state')$$);
SELECT pending, in_flight FROM mdbatch_stat WHERE relid = 'state'::regclass;
CALL flush_all();
CALL wait_until($$NOT EXISTS (SELECT FROM mdbatch_stat WHERE relid = 'state'::regclass)$$);
CALL fails($$SELECT mdbatch_flush('state')$$);
SELECT mdbatch_flush();
-- Attached again, it works again.
SELECT mdbatch_attach('state', columns => '{a}');
SELECT mdbatch_put('state', '{"id": 40, "a": "again"}');
CALL flush_all();
-- Attached again while the old entries wait: those first.
SELECT mdbatch_put('state', '{"id": 40, "a": "old"}');
SELECT mdbatch_detach('state');
SELECT mdbatch_attach('state', columns => '{b}');
SELECT mdbatch_put('state', '{"id": 40, "b": "new"}');
CALL flush_all();
-- Detached with nothing pending, it is gone at once.
SELECT mdbatch_detach('state');
CALL wait_until($$NOT EXISTS (SELECT FROM mdbatch_stat WHERE relid = 'state'::regclass)$$);
CALL fails($$SELECT mdbatch_detach('mdbatch_metadata')$$);
CALL fails($$SELECT mdbatch_detach('books')$$);
CALL fails($$SELECT mdbatch_detach(0)$$);
SELECT mdbatch_detach(NULL) IS NULL AS nothing;

-- Dropped with entries of two definitions: all of them are discarded.
SELECT mdbatch_attach('state', columns => '{a}');
SELECT mdbatch_put('state', '{"id": 50, "a": "a"}');
SELECT mdbatch_attach('state', columns => '{b}');
SELECT mdbatch_put('state', '[{"id": 50, "b": "b"}, {"id": 51, "b": "b"}]');
SELECT 'state'::regclass::oid AS relid \gset
DROP TABLE state;
CALL wait_until(format('NOT EXISTS (SELECT FROM mdbatch_stat WHERE relid = %s AND pending > 0)', :relid));
SELECT discarded, flushed, balanced FROM books WHERE target = 'public.state' AND discarded > 0;
\set VERBOSITY sqlstate
SELECT mdbatch_put(:relid, '{"id": 50}');
\set VERBOSITY default

-- A table is the metadata target or another one, whichever came last.
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, n int, PRIMARY KEY (agent_id, key));
SELECT mdbatch_attach('state', version => 'collected_at', channel => 'c', notify => 'n');
SELECT mdbatch_put('state', format('{"agent_id": "%s", "key": "k", "value": "put", "n": 1}', agent(1))::jsonb);
SELECT mdbatch_set_target('state');
SELECT target, metadata, columns, channel, notify FROM mdbatch_target;
SELECT mdbatch_add(agent(1), '{k}', '{added}');
SELECT mdbatch_put('state', format('{"agent_id": "%s", "key": "l", "value": "put", "error": ""}', agent(1))::jsonb);
CALL fails($$SELECT mdbatch_put('state', '{"n": 1}')$$);
-- Entries of another definition are none of agents' metadata.
SELECT key, value FROM mdbatch_pending();
SELECT mdbatch_flush();
SELECT key, value, n FROM state ORDER BY key;
SELECT mdbatch_attach('state', columns => '{value}', version => 'collected_at');
SELECT target, metadata, columns FROM mdbatch_target ORDER BY metadata;
SELECT mdbatch_add(agent(1), '{k}', '{elsewhere}');
SELECT mdbatch_put('state', format('{"agent_id": "%s", "key": "k", "value": "here"}', agent(1))::jsonb);
SELECT mdbatch_flush();
SELECT key, value, n FROM state ORDER BY key;
SELECT key, value FROM mdbatch_metadata;
TRUNCATE mdbatch_metadata;
-- Detached as the metadata target, too.
SELECT mdbatch_set_target('state');
SELECT mdbatch_detach('state');
SELECT target, metadata FROM mdbatch_target;
CALL fails($$SELECT mdbatch_put('state', '{}')$$);
CALL fails($$SELECT mdbatch_attach('mdbatch_metadata')$$);
DROP TABLE state;

-- SECURITY LABEL by hand: what a dump has makes the same attachment (R27).
CREATE ROLE mdb_other;
CREATE TABLE state (id int PRIMARY KEY, a text, n bigint, ver int);
CREATE TABLE copied (LIKE state INCLUDING ALL);
SELECT mdbatch_attach('state', version => 'ver', merge => '{"n": "sum"}', mode => 'update', channel => 'c', notify => 'a', batch_size => 7, flush_interval => '90s');
DO $$
DECLARE l record;
BEGIN
  FOR l IN SELECT CASE objsubid WHEN 0 THEN 'TABLE copied' ELSE 'COLUMN copied.' || attname END AS what, label
    FROM pg_seclabel LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
    WHERE objoid = 'state'::regclass ORDER BY objsubid DESC LOOP
    EXECUTE format('SECURITY LABEL FOR mdbatch ON %s IS %L', l.what, l.label);
  END LOOP;
END $$;
SELECT key, version, columns, merge, mode, channel, notify, batch_size, flush_interval FROM mdbatch_target WHERE target IN ('state'::regclass, 'copied'::regclass);
INSERT INTO copied VALUES (1, 'row', 40, 1);
SELECT mdbatch_put('copied', '[{"id": 1, "a": "new", "n": 2, "ver": 2}, {"id": 2, "ver": 1}]');
SELECT mdbatch_flush('copied');
SELECT * FROM copied;
-- Without its label a table is detached.
SELECT mdbatch_put('copied', '{"id": 1, "a": "last", "n": 1, "ver": 3}');
SECURITY LABEL FOR mdbatch ON TABLE copied IS NULL;
SELECT count(*) FROM mdbatch_target WHERE target = 'copied'::regclass;
CALL fails($$SELECT mdbatch_put('copied', '{"id": 1, "ver": 4}')$$);
SELECT mdbatch_flush();
SELECT * FROM copied;
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE copied IS 'nonsense'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE copied IS '{"mode": "nonsense"}'$$);
SET ROLE mdb_other;
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE state IS NULL$$);
RESET ROLE;
-- A column whose label is gone is missed.
SECURITY LABEL FOR mdbatch ON COLUMN state.a IS NULL;
CALL fails($$SELECT mdbatch_put('state', '{"id": 1, "ver": 4}')$$);
DROP TABLE state, copied;
DROP ROLE mdb_other;

-- The extension dropped takes labels and entries along; made again it knows
-- nothing of them.
CREATE DATABASE mdb_again;
\c mdb_again
CREATE EXTENSION mdbatch;
CREATE TABLE state (id int PRIMARY KEY, v text);
SELECT mdbatch_attach('state');
SELECT mdbatch_put('state', '{"id": 1, "v": "old"}');
DROP EXTENSION mdbatch;
SELECT count(*) FROM pg_seclabel WHERE provider = 'mdbatch';
CREATE EXTENSION mdbatch;
SELECT target FROM mdbatch_target;
SELECT mdbatch_flush();
SELECT mdbatch_put('state', '{"id": 2}');
\echo :LAST_ERROR_SQLSTATE
SELECT mdbatch_attach('state');
SELECT mdbatch_put('state', '{"id": 2, "v": "new"}');
SELECT mdbatch_flush('state');
SELECT * FROM state;
-- In one transaction: what is added after it is for the new attachment.
SELECT mdbatch_put('state', '{"id": 3, "v": "old"}');
BEGIN;
DROP EXTENSION mdbatch;
CREATE EXTENSION mdbatch;
SELECT mdbatch_attach('state', columns => '{}');
SELECT mdbatch_put('state', '{"id": 4}');
COMMIT;
SELECT mdbatch_flush();
SELECT * FROM state ORDER BY id;
\c :here
CALL wait_until($$NOT EXISTS (SELECT FROM mdbatch_stat WHERE datname = 'mdb_again' AND pending > 0)$$);
SELECT target, sum(discarded) AS discarded, bool_and(added = coalesced + stale + flushed + skipped + rejected + discarded + pending) AS balanced
FROM mdbatch_stat WHERE datname = 'mdb_again' AND discarded > 0 GROUP BY target ORDER BY target;
DROP DATABASE mdb_again;
-- An entry of the metadata target that lacks a value, which JSON can make.
SELECT mdbatch_put('mdbatch_metadata', format('{"agent_id": "%s", "key": "k"}', agent(1))::jsonb);
SELECT key, value, error FROM mdbatch_pending();
SELECT mdbatch_discard('mdbatch_metadata');
SELECT key FROM mdbatch_rejected;
SELECT * FROM books WHERE NOT balanced;
DROP TABLE log;
DROP FUNCTION log();
DROP PROCEDURE flush_all();
