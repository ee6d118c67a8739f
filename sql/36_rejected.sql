-- R12: one entry cannot hold up the others.
SELECT mdbatch_stat_reset();
CREATE TABLE state (id int PRIMARY KEY, v text CHECK (v <> 'bad'));
SELECT mdbatch_attach('state');

-- Wherever the bad ones are in a batch, the others are written.
CREATE PROCEDURE poison(bad int[], n int DEFAULT 7) LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  TRUNCATE state;
  DELETE FROM mdbatch_rejected;
  PERFORM mdbatch_put('state', jsonb_agg(jsonb_build_object('id', i, 'v', CASE WHEN i = ANY (bad) THEN 'bad' ELSE 'v' || i END) ORDER BY i))
  FROM generate_series(1, n) i;
  COMMIT;
  PERFORM mdbatch_flush('state');
  SELECT 'written ' || coalesce(string_agg(format('%s:%s', id, v), ' ' ORDER BY id), 'none') INTO line FROM state;
  RAISE INFO '%', line;
  SELECT string_agg(format('%s %s', key, entry), ', ' ORDER BY key) || ' ' || string_agg(DISTINCT sqlstate || ' ' || message || ' ' || target, ', ')
  INTO line FROM mdbatch_rejected;
  RAISE INFO 'rejected %', line;
END $$;
CALL poison('{1}');
CALL poison('{4}');
CALL poison('{7}');
CALL poison('{1,4,7}');
CALL poison('{2,3,4}');
CALL poison('{1,2,3,4,5,6,7}');
CALL poison('{1}', 1);
SELECT pending, added, flushed, skipped, rejected, balanced FROM books WHERE target = 'public.state';
SELECT batches_requested, flush_failures, last_error FROM mdbatch_stat WHERE relid = 'state'::regclass;
DROP PROCEDURE poison(int[], int);
-- Without any of it there is no warning.
SELECT mdbatch_put('state', '{"id": 1, "v": "good"}');
SELECT mdbatch_flush();

-- A later refusal of a key is merged into the older one, here it takes its
-- place; a good value does not take it away.
TRUNCATE state;
DELETE FROM mdbatch_rejected;
ALTER TABLE state ADD note text, ADD CHECK (note <> 'worse');
SELECT mdbatch_attach('state');
SELECT mdbatch_put('state', '[{"id": 1, "v": "bad"}, {"id": 2, "v": "bad"}]');
SELECT mdbatch_flush('state');
CREATE TEMP TABLE before AS SELECT key, rejected_at FROM mdbatch_rejected;
SELECT mdbatch_put('state', '[{"id": 1, "note": "worse"}, {"id": 2, "v": "good"}]');
SELECT mdbatch_flush('state');
SELECT r.key, r.entry, r.sqlstate, r.message, r.rejected_at > b.rejected_at AS later
FROM mdbatch_rejected r JOIN before b USING (key) ORDER BY key;
SELECT * FROM state;
DROP TABLE before, state;
-- What it refused goes with a table.
SELECT count(*) FROM mdbatch_rejected;

-- Every class of errors about data, from constraints and from triggers.
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE state (
  id int PRIMARY KEY, code text, zero int, needed int NOT NULL, parent int REFERENCES parents, name text UNIQUE, span int4range,
  short varchar(100), num numeric(3,1), CHECK (zero <> 13), EXCLUDE USING gist (span WITH &&));
CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.code = 'P0' THEN RAISE EXCEPTION 'raised for %', NEW.id; END IF;
  IF NEW.code IS NOT NULL THEN RAISE EXCEPTION 'refused %', NEW.id USING ERRCODE = NEW.code; END IF;
  PERFORM 1 / NEW.zero;
  RETURN NEW;
END $$;
CREATE TRIGGER raise BEFORE INSERT OR UPDATE ON state FOR EACH ROW EXECUTE FUNCTION raise();
SELECT mdbatch_attach('state');
SELECT mdbatch_put('state', '[
  {"id": 1, "needed": 1, "name": "a", "span": "[1,10)"},
  {"id": 2, "needed": 1, "zero": 0},
  {"id": 3},
  {"id": 4, "needed": 1, "zero": 13},
  {"id": 5, "needed": 1, "parent": 5},
  {"id": 6, "needed": 1, "name": "a"},
  {"id": 7, "needed": 1, "span": "[5,6)"},
  {"id": 8, "needed": 1, "code": "44000"},
  {"id": 9, "needed": 1, "code": "P0"},
  {"id": 10, "needed": 1, "code": "22023"},
  {"id": 11, "needed": 1, "code": "23000"},
  {"id": 12, "needed": 1, "code": "P0002"},
  {"id": 13, "needed": 1, "zero": 2, "num": 1.5, "short": "end"}]');
SELECT mdbatch_flush('state');
SELECT id, name, span, num FROM state ORDER BY id;
SELECT target, key, sqlstate, message FROM mdbatch_rejected ORDER BY (key->>'id')::int;
SELECT entry FROM mdbatch_rejected WHERE key = '{"id": 8}';
SELECT flushed, rejected, pending, balanced FROM books WHERE target = 'public.state' AND rejected = 11;
DELETE FROM mdbatch_rejected;

-- The same P0 error for all of two or more: a broken trigger, nobody's fault.
SELECT mdbatch_put('state', '[{"id": 21, "needed": 1, "code": "P0"}, {"id": 22, "needed": 1, "code": "P0"}]');
CALL fails($$SELECT mdbatch_flush('state')$$);
SELECT key FROM mdbatch_rejected;
SELECT id, code FROM mdbatch_pending_rows(NULL::state);
SELECT rejected, pending, balanced FROM books WHERE target = 'public.state' AND pending > 0;
-- It is theirs if others fare otherwise. (Without warnings: the worker's own
-- retry may come first.) A good entry,
SET client_min_messages = error;
SELECT mdbatch_put('state', '{"id": 23, "needed": 1}');
SELECT mdbatch_flush('state') IS NOT NULL AS flushed;
SELECT key, sqlstate FROM mdbatch_rejected ORDER BY key;
SELECT id FROM state WHERE id > 20;
DELETE FROM mdbatch_rejected;
-- another P0 error,
SELECT mdbatch_put('state', '[{"id": 21, "needed": 1, "code": "P0"}, {"id": 22, "needed": 1, "code": "P0003"}]');
SELECT mdbatch_flush('state') IS NOT NULL AS flushed;
SELECT key, sqlstate FROM mdbatch_rejected ORDER BY key;
DELETE FROM mdbatch_rejected;
-- or one that is alone.
SELECT mdbatch_put('state', '{"id": 21, "needed": 1, "code": "P0"}');
SELECT mdbatch_flush('state') IS NOT NULL AS flushed;
SELECT key, sqlstate, message FROM mdbatch_rejected ORDER BY key;
DELETE FROM mdbatch_rejected;
RESET client_min_messages;
-- All with the same error of another class are to blame.
SELECT mdbatch_put('state', '[{"id": 21, "needed": 1, "code": "44000"}, {"id": 22, "needed": 1, "code": "44000"}]');
SELECT mdbatch_flush('state') IS NOT NULL AS flushed;
SELECT key, sqlstate FROM mdbatch_rejected ORDER BY key;
DELETE FROM mdbatch_rejected;

-- Errors that are not about data reject nothing, whoever meets them.
CREATE PROCEDURE refuse(codes text[]) LANGUAGE plpgsql AS $$
DECLARE code text; line text;
BEGIN
  FOREACH code IN ARRAY codes LOOP
    PERFORM mdbatch_put('state', jsonb_build_array(jsonb_build_object('id', 31, 'needed', 1, 'code', code),
      jsonb_build_object('id', 32, 'needed', 1, 'code', code)));
    COMMIT;
    CALL fails('SELECT mdbatch_flush(''state'')');
    SELECT format('pending %s, rejected %s', string_agg(id::text, ' '), (SELECT count(*) FROM mdbatch_rejected)) INTO line FROM mdbatch_pending_rows(NULL::state);
    RAISE INFO '  %', line;
    COMMIT;
  END LOOP;
END $$;
CALL refuse('{42501,42P01,0A000,40001,40P01,53100,54000,55000,58030,XX000,26000}');
DROP PROCEDURE refuse(text[]);
SELECT mdbatch_put('state', '[{"id": 31, "needed": 1}, {"id": 32, "needed": 1}]');
SELECT mdbatch_flush('state') IS NOT NULL AS flushed;
SELECT id FROM state WHERE id > 30 ORDER BY id;
-- Nor where only one of them does.
SELECT mdbatch_put('state', '[{"id": 33, "needed": 1, "code": "55000"}, {"id": 34, "needed": 1}]');
CALL fails($$SELECT mdbatch_flush('state')$$);
SELECT id, code FROM mdbatch_pending_rows(NULL::state) WHERE code <> '';
SELECT key FROM mdbatch_rejected;
SELECT mdbatch_discard('state') > 0 AS discarded;
SELECT pending, balanced FROM books WHERE target = 'public.state' AND discarded > 0;

-- An acknowledged call hears of its own entries alone.
SELECT mdbatch_put('state', '{"id": 41, "needed": 1, "code": "44000"}');
CALL mdbatch_put_sync('state', '{"id": 42, "needed": 1}');
SELECT id FROM state WHERE id > 40;
SELECT key, sqlstate FROM mdbatch_rejected;
SELECT mdbatch_put('state', '{"id": 43, "needed": 1, "code": "P0"}');
\set VERBOSITY sqlstate
CALL mdbatch_put_sync('state', '[{"id": 44, "needed": 1}, {"id": 45, "needed": 1, "zero": 0}]');
CALL mdbatch_put_sync('state', '{"id": 46}');
CALL mdbatch_put_sync('state', '{"id": 46, "needed": 1, "code": "P0002"}');
\set VERBOSITY default
CALL mdbatch_put_sync('state', '{"id": 47, "needed": 1, "code": "44000"}');
SELECT id FROM state WHERE id > 40 ORDER BY id;
SELECT key, sqlstate FROM mdbatch_rejected ORDER BY key;
SELECT pending, balanced FROM books WHERE target = 'public.state' AND discarded > 0;
DELETE FROM mdbatch_rejected;
DROP TABLE state, parents;
DROP FUNCTION raise();
-- The same of agent metadata
ALTER TABLE mdbatch_metadata ADD CONSTRAINT no_bad CHECK (value <> 'bad');
SELECT mdbatch_add(agent(1), '{a,b}', '{bad,good}');
CALL mdbatch_add_sync(agent(1), '{c}', '{good}');
CALL mdbatch_add_sync(agent(1), '{d,e}', '{good,bad}', collected_at => ARRAY[timestamptz '2020-01-01', '2020-01-01']);
\echo :LAST_ERROR_SQLSTATE
SELECT key, value FROM mdbatch_metadata ORDER BY key;
SELECT target, key, entry - 'collected_at' AS entry, sqlstate FROM mdbatch_rejected ORDER BY key;
DELETE FROM mdbatch_rejected;
ALTER TABLE mdbatch_metadata DROP CONSTRAINT no_bad;
TRUNCATE mdbatch_metadata;

-- Columns may be called as they like: keys that differ are kept apart.
CREATE TABLE odd (k int, s int, t int, excluded int, v text CHECK (v <> 'bad'), PRIMARY KEY (k, s));
SELECT mdbatch_attach('odd');
SELECT mdbatch_put('odd', '[{"k": 1, "s": 1, "v": "bad"}, {"k": 1, "s": 2, "v": "bad"}, {"k": 1, "s": 3, "t": 4, "excluded": 5}]');
SELECT mdbatch_flush('odd');
SELECT * FROM odd;
SELECT key FROM mdbatch_rejected ORDER BY key;
SELECT entry FROM mdbatch_rejected ORDER BY key;
DELETE FROM mdbatch_rejected;
DROP TABLE odd;

-- Values of all types are kept as their text (a string), or as JSON that is the
-- same text.
CREATE TYPE mood AS ENUM ('sad', 'so "so"');
CREATE TYPE pair AS (a int, "b c" text);
CREATE TABLE state (id text, d date, e mood, a int[], t text[], c pair, cs pair[], r int4range, b bytea, j jsonb, n numeric, ts timestamptz, i interval,
  u uuid, f float8, bo boolean, nothing text, CHECK (id <> 'bad'), PRIMARY KEY (id, d));
SELECT mdbatch_attach('state');
SELECT mdbatch_put_row(ROW('bad', '2020-02-29', 'so "so"', '{{1,NULL},{2,3}}', '{"a b",NULL}', ROW(1, 'x"y'), ARRAY[ROW(2, NULL)::pair], '[1,5]', '\x00ff',
  '{"x": [1, null]}', 1e30, '2020-01-01 12:00+02', '1 day 02:03', '00000000-0000-0000-0000-00000000000a', 'NaN', true, NULL)::state);
SELECT mdbatch_flush('state');
SELECT jsonb_pretty(key) AS key, jsonb_pretty(entry) AS entry FROM mdbatch_rejected;
DELETE FROM mdbatch_rejected;
-- A value of a row type that has changed since: its output function would take
-- it for one of the new type.
SELECT mdbatch_put('state', '{"id": "c", "d": "2020-02-29", "c": {"a": 1, "b c": "x"}, "r": "[1,5]"}');
ALTER TABLE state ALTER c TYPE text USING NULL, ALTER cs TYPE text USING NULL;
ALTER TYPE pair ALTER ATTRIBUTE a TYPE text;
ALTER TABLE state ALTER c TYPE pair USING NULL, ALTER cs TYPE pair[] USING NULL;
SELECT mdbatch_flush('state');
SELECT entry, (SELECT array_agg(c) FROM jsonb_object_keys(bytes) c) AS bytes_of, sqlstate, message FROM mdbatch_rejected;
-- or has gone
SELECT mdbatch_attach('state');
SELECT mdbatch_put('state', '{"id": "d", "d": "2020-02-29", "c": {"a": "1", "b c": "x"}, "e": "sad"}');
ALTER TABLE state ALTER c TYPE text USING NULL, ALTER cs TYPE text USING NULL;
DROP TYPE pair;
SELECT mdbatch_flush('state');
SELECT entry, (SELECT array_agg(c) FROM jsonb_object_keys(bytes) c) AS bytes_of, sqlstate, message FROM mdbatch_rejected WHERE key->>'id' = 'd';
SELECT mdbatch_retry('state');
DROP TABLE state;

-- R18: a cast to json that somebody made does not run. A value that cannot be
-- shown is kept as its bytes, apart from the others.
CREATE ROLE mdb_owner;
GRANT CREATE ON SCHEMA public TO mdb_owner;
CREATE TABLE seen (who text);
GRANT INSERT ON seen TO PUBLIC;
CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.seen VALUES (current_user);
  RETURN '{"not": "the value"}';
END $$;
CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
CREATE DOMAIN moods AS mood[];
SET ROLE mdb_owner;
CREATE TABLE state (id text PRIMARY KEY, e mood, m moods, "entry bytes" text, v text CHECK (v <> 'bad needle'));
CREATE TABLE keyed (e mood, n int, v text CHECK (v <> 'bad needle'), PRIMARY KEY (e, n));
RESET ROLE;
SELECT mdbatch_attach('state'), mdbatch_attach('keyed');
SELECT mdbatch_put('state', '[{"id": "a", "e": "so \"so\"", "m": ["sad"], "v": "bad needle"}, {"id": "b", "entry bytes": "00", "v": "bad needle"}, {"id": "c", "e": "sad"}]');
SELECT mdbatch_flush('state');
SELECT key, entry, bytes, sqlstate FROM mdbatch_rejected ORDER BY key;
SELECT * FROM seen;
DELETE FROM mdbatch_rejected;
-- The output function of an enum fails if the label is gone.
SELECT oid AS sad FROM pg_enum WHERE enumtypid = 'mood'::regtype AND enumlabel = 'sad' \gset
CREATE TEMP TABLE gone AS SELECT * FROM pg_enum WHERE oid = :sad;
SELECT mdbatch_put('state', '[{"id": "d", "e": "sad", "m": ["sad"], "v": "bad needle"}, {"id": "e", "e": "so \"so\"", "v": "bad needle"}, {"id": "f"}]');
SELECT mdbatch_put('keyed', '[{"e": "sad", "n": 1, "v": "bad needle"}, {"e": "sad", "n": 2, "v": "bad needle"}]');
DELETE FROM pg_enum WHERE oid = :sad;
SELECT mdbatch_flush('state');
SELECT mdbatch_flush('keyed');
SELECT id FROM state ORDER BY id;
SELECT target, entry, (SELECT jsonb_object_agg(k, length(v)) FROM jsonb_each_text(bytes) b (k, v)) AS hex_digits, jsonb_typeof(key) AS key, sqlstate
FROM mdbatch_rejected ORDER BY target, entry;
SELECT count(DISTINCT key) AS keys, count(DISTINCT digest) AS digests FROM mdbatch_rejected WHERE target = 'public.keyed';
-- Refused again, they are the same rows; they are not retried.
SELECT mdbatch_retry('state');
SELECT mdbatch_retry('keyed');
INSERT INTO pg_enum SELECT * FROM gone;
SELECT mdbatch_put('keyed', '{"e": "sad", "n": 1, "v": "bad needle"}');
DELETE FROM pg_enum WHERE oid = :sad;
SELECT mdbatch_flush('keyed');
SELECT count(*) FROM mdbatch_rejected WHERE target = 'public.keyed';
INSERT INTO pg_enum SELECT * FROM gone;
-- What was shown since takes the place of the bytes, if it is newer.
SELECT mdbatch_put('state', '{"id": "d", "e": "sad", "v": "bad needle"}');
SELECT mdbatch_flush('state');
SELECT key, entry, bytes FROM mdbatch_rejected WHERE target = 'public.state' ORDER BY key;
-- Not everybody's: entries are values.
SET ROLE mdb_owner;
CALL fails('SELECT * FROM mdbatch_rejected');
CALL fails('DELETE FROM mdbatch_rejected');
RESET ROLE;
SELECT * FROM books WHERE NOT balanced;
DROP TABLE state, keyed, seen, gone;
SELECT count(*) FROM mdbatch_rejected;
DROP CAST (mood AS json);
DROP FUNCTION mood_json(mood);
DROP DOMAIN moods;
DROP TYPE mood;
REVOKE CREATE ON SCHEMA public FROM mdb_owner;
DROP ROLE mdb_owner;

-- To find k bad ones of n takes no more than about 2 k log n statements. A
-- sequence counts them, as nothing rolls it back.
CREATE TABLE state (id int PRIMARY KEY, v text CHECK (v <> 'bad'));
SELECT mdbatch_attach('state', batch_size => 300);
CREATE SEQUENCE statements;
CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM nextval('public.statements'); RETURN NULL; END $$;
CREATE TRIGGER count_it BEFORE INSERT ON state FOR EACH STATEMENT EXECUTE FUNCTION count_it();
CREATE PROCEDURE find(bad int[]) LANGUAGE plpgsql AS $$
DECLARE calls bigint; bound bigint := 2 + 2 * 8 * cardinality(bad);
BEGIN
  PERFORM setval('statements', 1, false);
  PERFORM mdbatch_put('state', jsonb_agg(jsonb_build_object('id', i, 'v', CASE WHEN i = ANY (bad) THEN 'bad' ELSE 'v' END) ORDER BY i)) FROM generate_series(1, 256) i;
  COMMIT;
  PERFORM mdbatch_flush('state');
  SELECT last_value INTO calls FROM statements;
  RAISE INFO '% bad: % written, % rejected, statements %', cardinality(bad), (SELECT count(*) FROM state), (SELECT count(*) FROM mdbatch_rejected),
    CASE WHEN calls BETWEEN 3 AND bound THEN 'few' ELSE calls::text END;
  COMMIT;
  TRUNCATE state;
  DELETE FROM mdbatch_rejected;
END $$;
CALL find('{1}');
CALL find('{256}');
CALL find('{100}');
CALL find('{1,128,256}');
CALL find('{60,61,200}');

DROP TABLE state;
DROP FUNCTION count_it();
DROP PROCEDURE find(int[]);
DROP SEQUENCE statements;
SELECT * FROM books WHERE NOT balanced OR pending > 0;
