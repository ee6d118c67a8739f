-- What is rejected again for a key is merged into the row that is kept of it,
-- as it would be into a pending entry (R1, R12, R21).
CREATE SCHEMA rejoin;
SET search_path = rejoin, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET client_min_messages = error;

-- Entries, one after the other, each refused by itself; then what is kept, and
-- what comes of it when it is retried.
CREATE PROCEDURE refuse(target regclass, VARIADIC entries text[]) LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  EXECUTE format('ALTER TABLE %s ADD CONSTRAINT shut CHECK (false) NOT VALID', target);
  COMMIT;
  FOR i IN 1 .. cardinality(entries) LOOP
    PERFORM mdbatch_put(target, entries[i]::jsonb);
    COMMIT;
    PERFORM mdbatch_flush(target);
    COMMIT;
  END LOOP;
  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT shut', target);
  FOR line IN SELECT format('kept %s %s', entry, bytes) FROM mdbatch_rejected ORDER BY key LOOP RAISE INFO '%', line; END LOOP;
  COMMIT;
END $$;
CREATE PROCEDURE retry(target regclass) LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  PERFORM mdbatch_retry(target);
  COMMIT;
  PERFORM mdbatch_flush(target);
  FOR line IN EXECUTE format('SELECT format(''written %%s'', t) FROM %s t ORDER BY t', target) LOOP RAISE INFO '%', line; END LOOP;
  EXECUTE format('TRUNCATE %s', target);
  FOR line IN SELECT format('left %s', entry) FROM mdbatch_rejected ORDER BY key LOOP RAISE INFO '%', line; END LOOP;
  DELETE FROM mdbatch_rejected;
  COMMIT;
END $$;

-- Without a version the later one counts; sums add up, extremes stay, NULL is
-- absent, whichever is the later.
CREATE TABLE t (id int, k text, v text, s int, lo int, hi int, PRIMARY KEY (id, k));
SELECT mdbatch_attach('t', merge => '{"s": "sum", "lo": "min", "hi": "max"}');
CALL refuse('t', '{"id": 1, "k": "a", "v": "one", "s": 10, "lo": 5, "hi": 5}', '{"id": 1, "k": "a", "v": "two", "s": 5, "lo": 7, "hi": 7}');
CALL retry('t');
CALL refuse('t', '{"id": 1, "k": "a", "v": "one", "s": 10}', '{"id": 1, "k": "a", "lo": 3, "hi": 2}', '{"id": 1, "k": "a", "v": "three", "s": -4, "lo": 4, "hi": 4}');
CALL retry('t');
-- Another key is another row.
CALL refuse('t', '[{"id": 1, "k": "a", "s": 1}, {"id": 1, "k": "A", "s": 1}, {"id": 2, "k": "a", "s": 1}]', '[{"id": 1, "k": "A", "s": 1}, {"id": 2, "k": "a", "s": 1}, {"id": 2, "k": "\",\"a", "s": 1}]');
CALL retry('t');
-- The error, the time and the name are of the last one.
CALL refuse('t', '[{"id": 1, "k": "a", "s": 1}]');
CREATE TABLE before AS SELECT rejected_at FROM mdbatch_rejected;
ALTER TABLE t ADD CHECK (s <> 2);
ALTER TABLE t RENAME TO "T";
SELECT mdbatch_put('"T"', '{"id": 1, "k": "a", "s": 2}');
SELECT mdbatch_flush('"T"');
SELECT target, key, entry->'s' AS s, message, r.rejected_at > b.rejected_at AS later FROM mdbatch_rejected r, before b;
ALTER TABLE "T" DROP CONSTRAINT t_s_check;
ALTER TABLE "T" RENAME TO t;
CALL retry('t');
DROP TABLE before;
-- What was renamed shows its name in all its rows at the next refusal.
CALL refuse('t', '[{"id": 1, "k": "a", "s": 1}, {"id": 2, "k": "a", "s": 1}, {"id": 3, "k": "a", "s": 1}]');
ALTER TABLE t RENAME TO u;
SELECT DISTINCT target FROM mdbatch_rejected;
CALL refuse('u', '{"id": 2, "k": "a", "s": 1}');
SELECT DISTINCT target FROM mdbatch_rejected;
CREATE SCHEMA "other One";
ALTER TABLE u SET SCHEMA "other One";
CALL refuse('"other One".u', '{"id": 9, "k": "a", "s": 1}');
SELECT DISTINCT target FROM mdbatch_rejected;
ALTER TABLE "other One".u SET SCHEMA rejoin;
ALTER TABLE u RENAME TO t;
DROP SCHEMA "other One";
CALL retry('t');

-- With a version the newer one has the last values, the later one if they are
-- equal; of a version of every type.
CREATE PROCEDURE versions(type text, older text, newer text) LANGUAGE plpgsql AS $$
BEGIN
  RAISE INFO '%', type;
  EXECUTE format('CREATE TABLE v (id int PRIMARY KEY, ver %s, v text, s bigint)', type);
  PERFORM mdbatch_attach('rejoin.v', version => 'ver', merge => '{"s": "sum"}');
  COMMIT;
  CALL refuse('rejoin.v', format('[{"id": 1, "ver": %1$s, "v": "right", "s": 1}, {"id": 2, "ver": %2$s, "v": "wrong", "s": 1}, {"id": 3, "ver": %1$s, "v": "wrong", "s": 1}]', newer, older),
    format('[{"id": 1, "ver": %2$s, "v": "wrong", "s": 1}, {"id": 2, "ver": %1$s, "v": "right", "s": 1}, {"id": 3, "ver": %1$s, "v": "right", "s": 1}]', newer, older));
  CALL retry('rejoin.v');
  DROP TABLE v;
  COMMIT;
END $$;
CALL versions('smallint', '-2', '1');
CALL versions('int', '9', '10');
CALL versions('bigint', '-9223372036854775808', '9223372036854775807');
CALL versions('date', '"0044-03-15 BC"', '"infinity"');
CALL versions('timestamp(0)', '"2020-01-31 10:00"', '"2020-02-01 09:00"');
CALL versions('timestamptz', '"2020-01-01 12:00+02"', '"2020-01-01 11:00+00"');
DROP PROCEDURE versions;

-- Every type that merges
CREATE PROCEDURE numbers(type text, VARIADIC vals text[]) LANGUAGE plpgsql AS $$
BEGIN
  RAISE INFO '%', type;
  EXECUTE format('CREATE TABLE n (id int PRIMARY KEY, s %1$s, lo %1$s, hi %1$s)', type);
  PERFORM mdbatch_attach('rejoin.n', merge => '{"s": "sum", "lo": "min", "hi": "max"}');
  COMMIT;
  vals := ARRAY(SELECT format('{"id": 1, "s": %1$s, "lo": %1$s, "hi": %1$s}', v) FROM unnest(vals) v);
  CALL refuse('rejoin.n', VARIADIC vals);
  CALL retry('rejoin.n');
  DROP TABLE n;
  COMMIT;
END $$;
CALL numbers('smallint', '1', '-3', 'null', '2');
CALL numbers('bigint', '9223372036854775806', '1', '-9223372036854775807', '7');
CALL numbers('real', '0.1', '-0.2', '1e10');
CALL numbers('float8', '0.1', '0.2', '-1e-300');
CALL numbers('float8', '1', '"Infinity"', '2');
CALL numbers('float8', '"NaN"', '1');
CALL numbers('float8', '"-0"', '"-0"');
CALL numbers('float8', '"Infinity"', '"-Infinity"');
-- A sum that is too large stays a number, and comes back to a size that fits.
CALL numbers('int', '2147483647', '1', '5');
CALL numbers('int', '2147483647', '1', '-5');
CALL numbers('bigint', '9223372036854775807', '9223372036854775807');
CALL numbers('float8', '1.7e308', '1.7e308');
CALL numbers('float8', '1.7e308', '1.7e308', '-1.7e308');
DROP PROCEDURE numbers;
CREATE TABLE d (id int PRIMARY KEY, lo timestamptz, hi date);
SELECT mdbatch_attach('d', merge => '{"lo": "min", "hi": "max"}');
CALL refuse('d', '{"id": 1, "lo": "2020-01-01 00:00+00", "hi": "2020-01-01"}', '{"id": 1, "lo": "2020-01-01 01:00+02", "hi": "0010-01-01 BC"}', '{"id": 1, "lo": "infinity", "hi": null}');
CALL retry('d');
DROP TABLE d;
-- A float sum that was too large while it was pending: how large, nobody knows.
CREATE TABLE f (id int PRIMARY KEY, s float8);
SELECT mdbatch_attach('f', merge => '{"s": "sum"}');
CALL refuse('f', '[{"id": 1, "s": 1.7e308}, {"id": 1, "s": 1.7e308}]');
CALL refuse('f', '{"id": 1, "s": 1}', '{"id": 2, "s": 1}', '[{"id": 2, "s": -1.7e308}, {"id": 2, "s": -1.7e308}]', '{"id": 2, "s": 2}');
CALL retry('f');
DROP TABLE f;

-- Kept values that are none of their columns, edited by hand or of a column
-- that was retyped: the later one counts. Fields that are no columns stay.
CALL refuse('t', '{"id": 1, "k": "a", "v": "v", "s": 1, "lo": 1, "hi": 1}');
UPDATE mdbatch_rejected SET entry = '{"id": 1, "k": "a", "v": {"a": [1]}, "s": "one", "lo": true, "hi": [1], "more": [1, {"b": 2}], "e\"x": null}', bytes = '{"v": "00", "gone": "01"}';
CALL refuse('t', '{"id": 1, "k": "a", "v": "later", "s": 2, "lo": 2, "hi": 2}', '{"id": 1, "k": "a", "v": "last", "s": 3, "lo": 3, "hi": 3}');
UPDATE mdbatch_rejected SET bytes = NULL, entry = entry - 'more' - 'e"x';
CALL retry('t');
CALL refuse('t', '{"id": 1, "k": "a", "v": "v", "s": 1}');
UPDATE mdbatch_rejected SET entry = '"no object"';
CALL refuse('t', '{"id": 1, "k": "a", "v": "later", "s": 2}');
CALL retry('t');
-- A column that was renamed: its old values stay, under the old name.
CALL refuse('t', '{"id": 1, "k": "a", "v": "v", "s": 10}');
ALTER TABLE t RENAME s TO total;
CALL refuse('t', '{"id": 1, "k": "a", "v": "w", "total": 5}');
UPDATE mdbatch_rejected SET entry = entry - 's' || jsonb_build_object('total', (entry->>'s')::int + (entry->>'total')::int);
CALL retry('t');
ALTER TABLE t RENAME total TO s;
-- A dropped one goes with its column when the entries are written; what was
-- kept before is not touched.
CALL refuse('t', '{"id": 1, "k": "a", "v": "v", "s": 10}');
ALTER TABLE t DROP v;
CALL refuse('t', '{"id": 1, "k": "a", "s": 5}');
UPDATE mdbatch_rejected SET entry = entry - 'v';
CALL retry('t');
ALTER TABLE t ADD v text;

-- Of two attachments of a table, with keys of their own.
ALTER TABLE t ADD n int NOT NULL DEFAULT 0 UNIQUE;
SELECT mdbatch_attach('t', merge => '{"s": "sum"}');
CALL refuse('t', '{"id": 1, "k": "a", "n": 1, "s": 1}');
SELECT mdbatch_attach('t', key => '{n}', merge => '{"s": "sum"}');
CALL refuse('t', '{"n": 1, "id": 1, "k": "b", "s": 1}');
CALL retry('t');

-- At most mdbatch.max_rejected rows of a table are kept, the newest, and the
-- rows of others do not count.
CREATE TABLE o (id int PRIMARY KEY, v text);
ALTER TABLE t DROP n;
SELECT mdbatch_attach('t', key => '{id,k}', columns => '{}');
SELECT mdbatch_attach('o');
CALL refuse('o', '{"id": 1}');
ALTER SYSTEM SET mdbatch.max_rejected = 5;
SELECT pg_reload_conf();
\c -
SET search_path = rejoin, public;
SET client_min_messages = error;
CALL refuse('t', '[{"id": 1, "k": "a"}, {"id": 2, "k": "a"}, {"id": 3, "k": "a"}]', '[{"id": 4, "k": "a"}, {"id": 5, "k": "a"}, {"id": 1, "k": "a"}]');
CALL refuse('t', '[{"id": 6, "k": "a"}, {"id": 7, "k": "a"}]');
CALL refuse('t', '{"id": 6, "k": "a"}');
-- Rows that were removed make room.
DELETE FROM mdbatch_rejected WHERE key->>'id' IN ('1', '4', '7');
CALL refuse('t', '[{"id": 8, "k": "a"}, {"id": 9, "k": "a"}]');
CALL refuse('t', '[{"id": 10, "k": "a"}, {"id": 11, "k": "a"}, {"id": 12, "k": "a"}, {"id": 13, "k": "a"}, {"id": 14, "k": "a"}, {"id": 15, "k": "a"}, {"id": 16, "k": "a"}, {"id": 17, "k": "a"}]');
ALTER SYSTEM SET mdbatch.max_rejected = 0;
SELECT pg_reload_conf();
\c -
SET search_path = rejoin, public;
SET client_min_messages = error;
CALL refuse('t', '[{"id": 18, "k": "a"}]');
SELECT rejected > 0 AS rejected, pending, balanced FROM books WHERE target = 'rejoin.t';
ALTER SYSTEM RESET mdbatch.max_rejected;
SELECT pg_reload_conf();
\c -
SET search_path = rejoin, public;
SET client_min_messages = error;
SELECT * FROM books WHERE NOT balanced;
RESET search_path;
DROP SCHEMA rejoin CASCADE;
-- With the tables their rows have gone.
SELECT count(*) FROM mdbatch_rejected;
