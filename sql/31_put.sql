-- R22: JSON entries and typed rows.
CREATE SCHEMA put;
SET search_path = put, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
CREATE TABLE t (
  a int, b text, at timestamptz, n int, s varchar(3), d date,
  PRIMARY KEY (a, b));
SELECT mdbatch_attach('t', version => 'at');

-- One object, an array of them, an empty array
SELECT mdbatch_put('t', '{"a": 1, "b": "x", "at": "2020-01-01 00:00:00Z", "n": 1, "s": "abc", "d": "2020-02-03"}');
SELECT mdbatch_put('t', '[{"a": 2, "b": "x", "at": "2020-01-01Z"}, {"b": "y", "a": 2, "at": "2020-01-01Z", "n": null}]');
SELECT mdbatch_put('t', '[]');
SELECT * FROM mdbatch_pending_rows(NULL::t);
-- Twice the same key within one call: one entry, the newer version wins (R1).
SELECT mdbatch_put('t', '[{"a": 3, "b": "", "at": "2020-01-02Z", "n": 2}, {"a": 3, "b": "", "at": "2020-01-01Z", "n": 1}]');
SELECT pending, coalesced, stale FROM books WHERE target = 'put.t';
SELECT mdbatch_flush('t');
SELECT * FROM t ORDER BY a, b;
-- Conversions are those of jsonb_populate_record: of JSON's numbers and text.
SELECT mdbatch_put('t', '{"a": "4", "b": 4.50, "n": " 7 ", "s": 1.0, "at": "2020-01-01Z"}');
SELECT mdbatch_put('t', '{"a": 5, "b": {"k": [1, null]}, "at": "2020-01-01Z"}');
SELECT a, b, n, s FROM mdbatch_pending_rows(NULL::t);
SELECT a, b, n, s FROM jsonb_populate_record(NULL::t, '{"a": "4", "b": 4.50, "n": " 7 ", "s": 1.0}');

-- What is refused, and nothing of such a call is enqueued.
SELECT mdbatch_discard('t');
CALL fails($$SELECT mdbatch_put('t', '{"a": 1, "b": "x", "N": 1}')$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": 1, "b": "x", "": 1}')$$);
CALL fails($$SELECT mdbatch_put('t', jsonb_build_object('a', 1, 'b', 'x', repeat('n', 80), 1))$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": 1, "b": "x", "ctid": "(0,1)"}')$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": 1, "b": "x", "none": null}')$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": 1}')$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": null, "b": "x"}')$$);
CALL fails($$SELECT mdbatch_put('t', '{}')$$);
CALL fails($$SELECT mdbatch_put('t', '1')$$);
CALL fails($$SELECT mdbatch_put('t', '"x"')$$);
CALL fails($$SELECT mdbatch_put('t', 'null')$$);
CALL fails($$SELECT mdbatch_put('t', '[{"a": 1, "b": "x"}, 1]')$$);
CALL fails($$SELECT mdbatch_put('t', '[{"a": 1, "b": "x"}, null]')$$);
CALL fails($$SELECT mdbatch_put('t', '[{"a": 1, "b": "x"}, []]')$$);
CALL fails($$SELECT mdbatch_put('t', '[[{"a": 1, "b": "x"}]]')$$);
CALL fails($$SELECT mdbatch_put('t', '[{"a": 1, "b": "x"}, {"a": 2}]')$$);
CALL fails($$SELECT mdbatch_put('t', '[{"a": 1, "b": "x"}, {"a": 2, "b": "x", "oops": 1}]')$$);
CALL fails($$SELECT mdbatch_put('t', '[{"a": 1, "b": "x"}, {"a": "two", "b": "x"}]')$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": 1.5, "b": "x"}')$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": 1, "b": "x", "s": "abcd"}')$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": 3000000000, "b": "x"}')$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": 1, "b": "x", "d": "2020-02-30"}')$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": 1, "b": "x", "at": "soon"}')$$);
CALL fails($$SELECT mdbatch_put('t', '{"a": 1, "b": "x", "n": {"x": 1}}')$$);
CALL fails($$SELECT mdbatch_put(NULL, '{}')$$);
CALL fails($$SELECT mdbatch_put('t', NULL)$$);
CALL fails($$SELECT mdbatch_put('t', 'no json')$$);
CALL fails($$SELECT mdbatch_put('pg_class', '{}')$$);
CALL fails($$SELECT mdbatch_put('none', '{}')$$);
CALL fails($$SELECT mdbatch_put(4294967295::oid, '{}')$$);
CREATE TABLE other (id int PRIMARY KEY);
CREATE VIEW v AS SELECT * FROM t;
CALL fails($$SELECT mdbatch_put('other', '{"id": 1}')$$);
CALL fails($$SELECT mdbatch_put('v', '{"a": 1, "b": "x"}')$$);
SELECT pending, reserved, dropped FROM books WHERE target = 'put.t';
-- One that was dropped
SELECT mdbatch_attach('other');
SELECT 'other'::regclass::oid AS dropped \gset
SELECT mdbatch_put(:dropped, '{"id": 1}');
DROP TABLE other;
\set VERBOSITY sqlstate
SELECT mdbatch_put(:dropped, '{"id": 1}');
SELECT mdbatch_discard(:dropped);
SELECT mdbatch_flush(:dropped);
\set VERBOSITY default
BEGIN READ ONLY;
SELECT mdbatch_put('t', '{"a": 1, "b": "x"}');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
SELECT mdbatch_put_row(ROW(1, 'x', now(), 1, 'a', NULL)::t);
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE

-- Values are converted at the call, as the session has it then.
SET datestyle = 'SQL, DMY';
SET timezone = 'Asia/Tokyo';
SELECT mdbatch_put('t', '{"a": 10, "b": "x", "at": "01/02/2020 09:00", "d": "03/04/2020"}');
SET datestyle = 'ISO, MDY';
SELECT mdbatch_put('t', '{"a": 11, "b": "x", "at": "01/02/2020 09:00", "d": "03/04/2020"}');
SET timezone = 'UTC';
SELECT mdbatch_flush('t');
SELECT a, at, d FROM t WHERE a >= 10 ORDER BY a;
DELETE FROM t;

-- A missing version: clock_timestamp() where it is a timestamp.
CREATE DOMAIN moment AS timestamptz(0) CHECK (VALUE > '2000-01-01Z');
CREATE TABLE v1 (id int PRIMARY KEY, ver timestamptz, n int);
CREATE TABLE v2 (id int PRIMARY KEY, ver timestamp, n int);
CREATE TABLE v3 (id int PRIMARY KEY, ver timestamp(0), n int);
CREATE TABLE v4 (id int PRIMARY KEY, ver moment, n int);
CREATE TABLE v5 (id int PRIMARY KEY, ver date, n int);
CREATE TABLE v6 (id int PRIMARY KEY, ver smallint, n int);
CREATE TABLE v7 (id int PRIMARY KEY, ver int, n int);
CREATE TABLE v8 (id int PRIMARY KEY, ver bigint, n int);
SELECT mdbatch_attach(format('v%s', i)::regclass, version => 'ver') FROM generate_series(1, 8) i;
SET timezone = 'Asia/Tokyo';
BEGIN;
SELECT clock_timestamp() AS before, pg_sleep(0) \gset
SELECT mdbatch_put('v1', '{"id": 1, "n": 1}'), mdbatch_put('v2', '{"id": 1, "n": 1}'), mdbatch_put('v3', '{"id": 1, "n": 1}'), mdbatch_put('v4', '{"id": 1, "ver": null, "n": 1}');
SELECT clock_timestamp() AS after \gset
COMMIT;
SELECT mdbatch_flush();
SELECT ver BETWEEN :'before' AND :'after' AS ok FROM v1;
-- as that session's zone has it
SELECT ver BETWEEN :'before'::timestamptz::timestamp AND :'after'::timestamptz::timestamp AS ok FROM v2;
SELECT ver BETWEEN :'before'::timestamptz::timestamp - interval '0.5 s' AND :'after'::timestamptz::timestamp + interval '0.5 s' AS ok, date_trunc('second', ver) = ver AS whole FROM v3;
SELECT ver BETWEEN :'before'::timestamptz - interval '0.5 s' AND :'after'::timestamptz + interval '0.5 s' AS ok, date_trunc('second', ver) = ver AS whole FROM v4;
SET timezone = 'UTC';
CALL fails($$SELECT mdbatch_put('v5', '{"id": 1, "n": 1}')$$);
CALL fails($$SELECT mdbatch_put('v6', '{"id": 1, "n": 1, "ver": null}')$$);
CALL fails($$SELECT mdbatch_put('v7', '{"id": 1, "n": 1}')$$);
CALL fails($$SELECT mdbatch_put('v8', '{"id": 1, "n": 1}')$$);
CALL fails($$SELECT mdbatch_put_row(ROW(1, NULL, 1)::v8)$$);
CALL fails($$SELECT mdbatch_put('v4', '{"id": 1, "n": 1, "ver": "1999-01-01Z"}')$$);
-- Of two versions the newer wins, whichever came first, of every type (R1).
SELECT mdbatch_put('v5', '[{"id": 1, "ver": "2020-01-02", "n": 2}, {"id": 1, "ver": "2020-01-01", "n": 1}, {"id": 2, "ver": "-infinity", "n": 1}, {"id": 2, "ver": "infinity", "n": 2}]');
SELECT mdbatch_put('v6', '[{"id": 1, "ver": 1, "n": 2}, {"id": 1, "ver": -1, "n": 1}]');
SELECT mdbatch_put('v7', '[{"id": 1, "ver": 2147483647, "n": 2}, {"id": 1, "ver": -2147483648, "n": 1}]');
SELECT mdbatch_put('v8', '[{"id": 1, "ver": 9223372036854775807, "n": 2}, {"id": 1, "ver": -9223372036854775808, "n": 1}]');
SELECT mdbatch_flush();
SELECT * FROM v5 UNION ALL SELECT id, 'epoch'::date + ver, n FROM v6 ORDER BY id, n;
SELECT * FROM v7 UNION ALL SELECT * FROM v8 ORDER BY id, ver;
-- R2: a stored newer version stays, equal ones and NULL do not.
SELECT mdbatch_put('v7', '{"id": 1, "ver": 5, "n": 3}');
SELECT mdbatch_put('v8', '{"id": 1, "ver": 9223372036854775807, "n": 3}');
INSERT INTO v7 VALUES (2, NULL, 1);
SELECT mdbatch_put('v7', '{"id": 2, "ver": -2147483648, "n": 2}');
SELECT mdbatch_flush();
SELECT * FROM v7 ORDER BY id;
SELECT * FROM v8;
SELECT target, flushed, skipped FROM books WHERE target IN ('put.v7', 'put.v8') ORDER BY target;
DROP TABLE v1, v2, v3, v4, v5, v6, v7, v8;
-- The same of domains that are NOT NULL
CREATE DOMAIN must AS int NOT NULL;
CREATE DOMAIN when_must AS timestamptz NOT NULL;
CREATE TABLE v9 (id must PRIMARY KEY, ver when_must, n int);
SELECT mdbatch_attach('v9', version => 'ver');
CALL fails($$SELECT mdbatch_put('v9', '{"n": 1}')$$);
CALL fails($$SELECT mdbatch_put('v9', '{"id": null, "n": 1}')$$);
SELECT mdbatch_put('v9', '{"id": 1, "n": 1}');
SELECT mdbatch_put('v9', '{"id": 2, "ver": null, "n": 2}');
SELECT mdbatch_flush('v9');
SELECT id, ver IS NOT NULL AS dated, n FROM v9 ORDER BY id;
DROP TABLE v9;

-- Savepoints and rollback (R7)
BEGIN;
SELECT mdbatch_put('t', '{"a": 1, "b": "kept"}');
SAVEPOINT s;
SELECT mdbatch_put('t', '[{"a": 1, "b": "kept", "n": 9}, {"a": 1, "b": "lost"}]');
SELECT mdbatch_put_row(ROW(1, 'lost too', now(), 1, 'a', NULL)::t);
ROLLBACK TO s;
SELECT reserved, pending FROM books WHERE target = 'put.t';
COMMIT;
BEGIN;
SELECT mdbatch_put('t', '{"a": 2, "b": "lost"}');
ROLLBACK;
SELECT a, b, n FROM mdbatch_pending_rows(NULL::t);
SELECT mdbatch_flush('t');

-- R9 with a batch_size of the target's own
SELECT mdbatch_attach('t', batch_size => 3);
ALTER SYSTEM SET mdbatch.queue_size = 2;
SELECT pg_reload_conf();
\c -
SET search_path = put, public;
SELECT mdbatch_stat_reset();
SELECT mdbatch_put('t', '[{"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 3, "b": "x"}, {"a": 1, "b": "x", "n": 5}]');
SELECT mdbatch_put('t', '{"a": 4, "b": "x"}');
SELECT mdbatch_put_row(ROW(5, 'x', NULL, NULL, NULL, NULL)::t);
SELECT mdbatch_put('t', '{"a": 2, "b": "x", "n": 6}');
SELECT a, n FROM mdbatch_pending_rows(NULL::t);
SET mdbatch.on_full = 'error';
CALL fails($$SELECT mdbatch_put('t', '[{"a": 1, "b": "x", "n": 7}, {"a": 4, "b": "x"}]')$$);
SELECT a, n FROM mdbatch_pending_rows(NULL::t);
SELECT pending, added, coalesced, dropped, reserved, capacity, balanced FROM books JOIN mdbatch_stat USING (target, pending, added, coalesced, dropped, reserved) WHERE target = 'put.t';
RESET mdbatch.on_full;
-- batch_size entries are flushed without being asked for (R4); a queue_size of
-- its own follows from that, if none is set.
ALTER SYSTEM RESET mdbatch.queue_size;
SELECT pg_reload_conf();
\c -
SET search_path = put, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SELECT capacity FROM mdbatch_stat WHERE target = 'put.t';
SELECT mdbatch_put('t', '[{"a": 3, "b": "x"}]');
CALL wait_until($$(SELECT pending = 0 AND flushed = 3 FROM books WHERE target = 'put.t')$$);
SELECT batches_capacity, batches_requested FROM mdbatch_stat WHERE target = 'put.t';
SELECT a, b, n FROM t WHERE b = 'x' ORDER BY a;
DELETE FROM t;

-- Typed rows
SELECT mdbatch_attach('t', version => 'at');
SELECT mdbatch_put_row(ROW(1, 'x', '2020-01-01Z', 7, 'abc', '2020-01-01')::t);
SELECT mdbatch_put_row((1, 'y', '2020-01-01Z', 7, 'abcdef', NULL)::t);
PREPARE p AS SELECT mdbatch_put_row(ROW($1, $2, $3, 8, NULL, NULL)::t);
EXECUTE p(1, 'z', '2020-01-01Z');
SELECT mdbatch_flush('t');
SELECT mdbatch_put_row(t) FROM t ORDER BY b;
SELECT mdbatch_put_row(sub) FROM (SELECT a, b, at, n + 1 FROM t) sub;
\echo :LAST_ERROR_SQLSTATE
SELECT mdbatch_put_row(ROW(a, b, at, n + 1, s, d)::t) FROM t ORDER BY b;
SELECT a, b, n, s FROM mdbatch_pending_rows(NULL::t);
-- A domain over the row type names the target too.
CREATE DOMAIN dt AS t CHECK ((VALUE).a > 0);
SELECT mdbatch_put_row(ROW(2, 'x', '2020-01-01Z', NULL, NULL, NULL)::dt);
CALL fails($$SELECT mdbatch_put_row(ROW(-1, 'x', now(), NULL, NULL, NULL)::put.dt)$$);
DROP DOMAIN dt;
SELECT mdbatch_flush('t');
SELECT a, b, n, s, d FROM t ORDER BY a, b;
CALL fails($$SELECT mdbatch_put_row(ROW(1, 'x'))$$);
CALL fails($$SELECT mdbatch_put_row(NULL::put.t)$$);
CALL fails($$SELECT mdbatch_put_row(NULL)$$);
CALL fails($$SELECT mdbatch_put_row(1)$$);
CALL fails($$SELECT mdbatch_put_row('{}'::jsonb)$$);
CALL fails($$SELECT mdbatch_put_row(ARRAY[ROW(1, 'x', now(), 1, 's', NULL)::put.t])$$);
CALL fails($$SELECT mdbatch_put_row(ROW(1, NULL, now(), NULL, NULL, NULL)::put.t)$$);
CALL fails($$SELECT mdbatch_put_row(v) FROM put.v$$);
CREATE TYPE comp AS (a int);
CREATE TABLE un (id int PRIMARY KEY);
CALL fails($$SELECT mdbatch_put_row(ROW(1)::put.comp)$$);
CALL fails($$SELECT mdbatch_put_row(ROW(1)::put.un)$$);
CALL fails($$SELECT mdbatch_put_row(ROW(1, 2)::put.un)$$);
CALL fails($$DO 'DECLARE r record; BEGIN SELECT 1 AS a INTO r; PERFORM mdbatch_put_row(r); END'$$);
DO $$
DECLARE r t;
BEGIN
  r.a := 3; r.b := 'plpgsql'; r.n := 4;
  PERFORM mdbatch_put_row(r);
END $$;
SELECT a, b, n, at IS NOT NULL AS dated FROM mdbatch_pending_rows(NULL::t);
SELECT mdbatch_flush('t');
-- Columns added and dropped meanwhile, also in a cached plan
SELECT mdbatch_attach('un');
PREPARE u AS SELECT mdbatch_put_row(un) FROM un ORDER BY id;
INSERT INTO un VALUES (1);
EXECUTE u;
ALTER TABLE un ADD x int DEFAULT 5, ADD y text, ADD z int;
SELECT mdbatch_attach('un');
EXECUTE u;
ALTER TABLE un DROP y;
EXECUTE u;
UPDATE un SET x = 0, z = 0;
SELECT mdbatch_put_row(ROW(1, 6, 7)::un);
SELECT mdbatch_flush('un');
SELECT * FROM un;
DROP TABLE un;

-- What is not carried is the table's own business: defaults, identity,
-- generated columns, when the row is new; names need their quotes.
CREATE TABLE "T ""q""" (
  "K" int, "select" "char", "a.b" int, def int DEFAULT 42,
  ida int GENERATED ALWAYS AS IDENTITY, idd int GENERATED BY DEFAULT AS IDENTITY,
  gen int GENERATED ALWAYS AS ("a.b" * 2) STORED,
  PRIMARY KEY ("select", "K"));
SELECT mdbatch_attach('"T ""q"""', columns => '{a.b}', merge => '{"a.b": "sum"}');
SELECT mdbatch_put('"T ""q"""', '[{"K": 1, "select": "x", "a.b": 3}, {"K": 1, "select": "x", "a.b": 4}]');
SELECT mdbatch_flush('"T ""q"""');
UPDATE "T ""q""" SET def = 43;
SELECT mdbatch_put_row(ROW(1, 'x', 5, 9, 9, 9, 9)::"T ""q""");
SELECT mdbatch_put('"T ""q"""', '{"K": 2, "select": "x", "a.b": -1}');
CALL fails($$SELECT mdbatch_put('"T ""q"""', '{"K": 1, "select": "x", "def": 3}')$$);
CALL fails($$SELECT mdbatch_put('"T ""q"""', '{"K": 1, "select": "x", "gen": 3}')$$);
SELECT * FROM mdbatch_pending_rows(NULL::"T ""q""");
SELECT mdbatch_flush('"T ""q"""');
SELECT "K", "select", "a.b", def, idd > 0 AS idd, gen FROM "T ""q""" ORDER BY 1;
SELECT count(DISTINCT ida) FROM "T ""q""";
-- Carried and missing means NULL, not the default; so it is refused where
-- NULL is, and the others are written.
SELECT mdbatch_attach('"T ""q"""');
SELECT mdbatch_put('"T ""q"""', '[{"K": 3, "select": "x", "a.b": 1, "idd": 7}, {"K": 4, "select": "x", "a.b": 1}]');
SELECT mdbatch_flush('"T ""q"""');
SELECT "K", "a.b", def, idd, gen FROM "T ""q""" WHERE "K" > 2;
SELECT target, key, entry, sqlstate FROM mdbatch_rejected;
DELETE FROM mdbatch_rejected;
DROP TABLE "T ""q""";

-- The acknowledged way
CALL mdbatch_put_sync('t', '{"a": 20, "b": "sync", "n": 1}');
CALL mdbatch_put_sync('t', '[{"a": 21, "b": "sync", "n": 1}, {"a": 22, "b": "sync", "n": 1}, {"a": 21, "b": "sync", "n": 2}]');
CALL mdbatch_put_sync('t', '[]');
SELECT a, b, n FROM t WHERE b = 'sync' ORDER BY a;
BEGIN;
CALL mdbatch_put_sync('t', '{"a": 23, "b": "sync", "n": 1}');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
CALL fails($$CALL mdbatch_put_sync('put.t', '{"a": 23, "b": "sync", "n": 1}')$$);
CALL mdbatch_put_sync('t', '{"a": 23}');
\echo :LAST_ERROR_SQLSTATE
CALL mdbatch_put_sync(NULL, '{"a": 23}');
\echo :LAST_ERROR_SQLSTATE
CALL mdbatch_put_sync('t', NULL);
\echo :LAST_ERROR_SQLSTATE
CALL mdbatch_put_sync('v', '{"a": 23}');
\echo :LAST_ERROR_SQLSTATE
SELECT pending FROM books WHERE target = 'put.t';
-- A rejected entry raises the error that rejected it; the others are written.
ALTER TABLE t ADD CONSTRAINT small CHECK (n < 100);
CALL mdbatch_put_sync('t', '[{"a": 24, "b": "sync", "n": 1}, {"a": 25, "b": "sync", "n": 100}]');
\echo :LAST_ERROR_SQLSTATE
CALL mdbatch_put_sync('t', '{"a": 26, "b": "sync", "n": 100}');
\echo :LAST_ERROR_SQLSTATE
SELECT a, n FROM t WHERE a > 23 ORDER BY a;
SELECT target, key, entry - 'at' AS entry, sqlstate, message FROM mdbatch_rejected ORDER BY key->'a';
SELECT pending, rejected, balanced FROM books WHERE target = 'put.t';
DELETE FROM mdbatch_rejected;
ALTER TABLE t DROP CONSTRAINT small;
-- ... whatever the columns are called (R12).
CREATE TABLE names (k int PRIMARY KEY, s text, t int CHECK (t < 100), excluded int);
SELECT mdbatch_attach('names', merge => '{"excluded": "sum"}');
SELECT mdbatch_put('names', '[{"k": 1, "s": "x", "t": 100}, {"k": 2, "t": 100, "excluded": 1}, {"k": 3, "t": 99, "excluded": 2}]');
SELECT mdbatch_flush('names');
SELECT mdbatch_put('names', '{"k": 3, "s": "y", "excluded": 3}');
SELECT mdbatch_flush('names');
SELECT * FROM names;
SELECT key, entry, sqlstate FROM mdbatch_rejected ORDER BY rejected_at, entry;
DELETE FROM mdbatch_rejected;
DROP TABLE names;
-- Superseded, or skipped because the stored row is newer: it returns as well.
CALL mdbatch_put_sync('t', '{"a": 24, "b": "sync", "n": 2, "at": "2001-01-01Z"}');
SELECT mdbatch_put('t', '{"a": 27, "b": "sync", "n": 2, "at": "infinity"}');
CALL mdbatch_put_sync('t', '{"a": 27, "b": "sync", "n": 3}');
SELECT a, n, at = 'infinity' AS infinite FROM t WHERE a IN (24, 27) ORDER BY a;

-- Not where its flush could wait for itself (R13); nothing is enqueued.
SELECT pg_advisory_lock(1);
CALL mdbatch_put_sync('t', '{"a": 28, "b": "sync"}');
\echo :LAST_ERROR_SQLSTATE
SELECT pg_advisory_unlock(1);
SET default_transaction_read_only = on;
CALL mdbatch_put_sync('t', '{"a": 28, "b": "sync"}');
\echo :LAST_ERROR_SQLSTATE
RESET default_transaction_read_only;
-- drop counts as error here (R9), and nothing of the call is enqueued.
SELECT mdbatch_put('t', '[{"a": 28, "b": "sync"}, {"a": 29, "b": "sync"}]');
ALTER SYSTEM SET mdbatch.queue_size = 2;
SELECT pg_reload_conf();
\c -
SET search_path = put, public;
SET timezone = 'UTC';
CALL mdbatch_put_sync('t', '[{"a": 28, "b": "sync", "n": 1}, {"a": 30, "b": "sync"}]');
\echo :LAST_ERROR_SQLSTATE
SELECT a, n FROM mdbatch_pending_rows(NULL::t);
-- A key that is pending needs no place; the flush takes the others along.
CALL mdbatch_put_sync('t', '{"a": 28, "b": "sync", "n": 2}');
SELECT a, n FROM t WHERE a >= 28 ORDER BY a;
SELECT pending, reserved, balanced FROM books WHERE target = 'put.t';
ALTER SYSTEM RESET mdbatch.queue_size;
SELECT pg_reload_conf();
\c -
SET search_path = put, public;
SET timezone = 'UTC';

-- Rights (R18)
CREATE ROLE mdb_put_user;
GRANT USAGE ON SCHEMA put TO mdb_put_user;
SELECT mdbatch_attach('t', version => 'at', columns => '{n}');
SET ROLE mdb_put_user;
CALL fails($$SELECT mdbatch_put('put.t', '{"a": 1, "b": "r"}')$$);
CALL fails($$SELECT mdbatch_put_row(ROW(1, 'r', now(), 1, NULL, NULL)::put.t)$$);
RESET ROLE;
GRANT INSERT ON t TO mdb_put_user;
SET ROLE mdb_put_user;
CALL fails($$SELECT mdbatch_put('put.t', '{"a": 1, "b": "r"}')$$);
RESET ROLE;
GRANT UPDATE (a, b, n) ON t TO mdb_put_user;
SET ROLE mdb_put_user;
CALL fails($$SELECT mdbatch_put('put.t', '{"a": 1, "b": "r"}')$$);
RESET ROLE;
GRANT UPDATE (at) ON t TO mdb_put_user;
REVOKE INSERT ON t FROM mdb_put_user;
SET ROLE mdb_put_user;
CALL fails($$SELECT mdbatch_put('put.t', '{"a": 1, "b": "r"}')$$);
RESET ROLE;
GRANT INSERT (a, b, at, n) ON t TO mdb_put_user;
SET ROLE mdb_put_user;
-- The columns of an entry are enough.
SELECT mdbatch_put('put.t', '{"a": 1, "b": "r", "n": 1}');
SELECT mdbatch_put_row(ROW(2, 'r', now(), 1, 'x', NULL)::put.t);
CALL fails($$SELECT * FROM mdbatch_pending_rows(NULL::put.t)$$);
CALL fails($$SELECT mdbatch_discard('put.t')$$);
RESET ROLE;
GRANT SELECT (a, b, at) ON t TO mdb_put_user;
SET ROLE mdb_put_user;
CALL fails($$SELECT * FROM mdbatch_pending_rows(NULL::put.t)$$);
RESET ROLE;
GRANT SELECT (n) ON t TO mdb_put_user;
SET ROLE mdb_put_user;
-- Columns that are not carried are NULL.
SELECT a, b, n, s, d FROM mdbatch_pending_rows(NULL::put.t);
RESET ROLE;
-- A right that is taken away is missing at the next call.
REVOKE INSERT (n) ON t FROM mdb_put_user;
SET ROLE mdb_put_user;
CALL fails($$SELECT mdbatch_put('put.t', '{"a": 1, "b": "r"}')$$);
RESET ROLE;
-- Mode update needs UPDATE alone.
SELECT mdbatch_attach('t', version => 'at', columns => '{n}', mode => 'update');
REVOKE INSERT (a, b, at) ON t FROM mdb_put_user;
SET ROLE mdb_put_user;
SELECT mdbatch_put('put.t', '{"a": 24, "b": "sync", "n": 55, "at": "2100-01-01Z"}');
RESET ROLE;
REVOKE UPDATE (n) ON t FROM mdb_put_user;
SET ROLE mdb_put_user;
CALL fails($$SELECT mdbatch_put('put.t', '{"a": 24, "b": "sync", "n": 56}')$$);
RESET ROLE;
SELECT mdbatch_flush('t');
SELECT a, b, n FROM t WHERE b = 'r' OR n = 55 ORDER BY a;

-- Row-level security that applies is refused, to adding and to looking.
GRANT SELECT, INSERT, UPDATE ON t TO mdb_put_user;
SELECT mdbatch_put('t', '{"a": 24, "b": "sync", "n": 57, "at": "2200-01-01Z"}');
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
SELECT mdbatch_put('t', '{"a": 24, "b": "sync", "n": 58, "at": "2200-01-01Z"}');
SELECT a, n FROM mdbatch_pending_rows(NULL::t);
SET ROLE mdb_put_user;
CALL fails($$SELECT mdbatch_put('put.t', '{"a": 24, "b": "sync"}')$$);
CALL fails($$SELECT mdbatch_put_row(ROW(24, 'sync', now(), 1, NULL, NULL)::put.t)$$);
CALL fails($$SELECT * FROM mdbatch_pending_rows(NULL::put.t)$$);
RESET ROLE;
-- FORCE: for an owner that is no superuser, so for everybody
CREATE ROLE mdb_put_owner;
GRANT USAGE ON SCHEMA put TO mdb_put_owner;
ALTER TABLE t OWNER TO mdb_put_owner;
SELECT mdbatch_put('t', '{"a": 24, "b": "sync", "n": 59, "at": "2200-01-01Z"}');
ALTER TABLE t FORCE ROW LEVEL SECURITY;
CALL fails($$SELECT mdbatch_put('put.t', '{"a": 24, "b": "sync"}')$$);
SET ROLE mdb_put_owner;
CALL fails($$SELECT mdbatch_put('put.t', '{"a": 24, "b": "sync"}')$$);
CALL fails($$SELECT * FROM mdbatch_pending_rows(NULL::put.t)$$);
RESET ROLE;
-- One that may pass policies by is not under them, and nor is a superuser
-- that owns the table.
CREATE ROLE mdb_put_bypass BYPASSRLS;
GRANT USAGE ON SCHEMA put TO mdb_put_bypass;
GRANT SELECT, INSERT, UPDATE ON t TO mdb_put_bypass;
ALTER TABLE t OWNER TO CURRENT_USER;
SET ROLE mdb_put_bypass;
SELECT mdbatch_put('put.t', '{"a": 24, "b": "sync", "n": 61, "at": "2200-01-01Z"}');
SELECT a, n FROM mdbatch_pending_rows(NULL::put.t);
RESET ROLE;
ALTER TABLE t OWNER TO mdb_put_owner;
SET ROLE mdb_put_bypass;
CALL fails($$SELECT mdbatch_put('put.t', '{"a": 24, "b": "sync"}')$$);
RESET ROLE;
ALTER TABLE t NO FORCE ROW LEVEL SECURITY;
SET ROLE mdb_put_owner;
SELECT mdbatch_put('put.t', '{"a": 24, "b": "sync", "n": 60, "at": "2200-01-01Z"}');
SELECT a, n FROM mdbatch_pending_rows(NULL::put.t);
RESET ROLE;
ALTER TABLE t DISABLE ROW LEVEL SECURITY;
ALTER TABLE t OWNER TO CURRENT_USER;
SELECT mdbatch_flush('t');
SELECT n FROM t WHERE a = 24;

-- What waits, as rows: for a target without a batch, or that is not attached
CREATE TABLE quiet (id int PRIMARY KEY, gone int, x int, y text);
CALL fails($$SELECT * FROM mdbatch_pending_rows(NULL::put.quiet)$$);
CALL fails($$SELECT * FROM mdbatch_pending_rows(NULL::put.v)$$);
CALL fails($$SELECT * FROM mdbatch_pending_rows(1)$$);
SELECT mdbatch_attach('quiet', columns => '{y}');
SELECT * FROM mdbatch_pending_rows(NULL::quiet);
ALTER TABLE quiet DROP gone;
SELECT mdbatch_put('quiet', '{"id": 1, "y": "why"}');
SELECT * FROM mdbatch_pending_rows(NULL::quiet);
SELECT * FROM mdbatch_pending_rows(ROW(9, 9, 'nine')::quiet);
SELECT (mdbatch_pending_rows(NULL::quiet)).y;
-- Its own adds are pending when they commit (R7).
BEGIN;
SELECT mdbatch_put('quiet', '{"id": 2, "y": "own"}');
SELECT * FROM mdbatch_pending_rows(NULL::quiet);
COMMIT;
SELECT * FROM mdbatch_pending_rows(NULL::quiet);

-- mdbatch_discard: counts, rights and books
SELECT mdbatch_discard('quiet');
SELECT mdbatch_discard('quiet');
SELECT pending, added, discarded, balanced FROM books WHERE target = 'put.quiet';
SELECT count(*) FROM mdbatch_pending_rows(NULL::quiet);
SELECT mdbatch_flush('quiet');
SELECT count(*) FROM quiet;
-- not those of its own transaction, which are not pending yet
BEGIN;
SELECT mdbatch_put('quiet', '{"id": 3, "y": "own"}');
SELECT mdbatch_discard('quiet');
COMMIT;
SELECT id FROM mdbatch_pending_rows(NULL::quiet);
-- Not undone by a rollback
BEGIN;
SELECT mdbatch_discard('quiet');
ROLLBACK;
SELECT pending, discarded, balanced FROM books WHERE target = 'put.quiet';
SET ROLE mdb_put_user;
CALL fails($$SELECT mdbatch_discard('put.quiet')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION mdbatch_discard TO mdb_put_user;
SET ROLE mdb_put_user;
CALL fails($$SELECT mdbatch_discard('put.quiet')$$);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION mdbatch_discard FROM mdb_put_user;
CREATE TABLE un (id int PRIMARY KEY);
CALL fails($$SELECT mdbatch_discard('un')$$);
CALL fails($$SELECT mdbatch_discard(4294967295::oid)$$);
SELECT mdbatch_attach('un');
SELECT mdbatch_discard('un');
BEGIN READ ONLY;
SELECT mdbatch_discard('un');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE

-- A domain over the row type of a target
CREATE DOMAIN un_row AS un;
CALL fails($$SELECT mdbatch_pending_rows(NULL::un_row)$$);
DROP DOMAIN un_row;

SELECT * FROM books WHERE NOT balanced;
SELECT count(*) FROM mdbatch_rejected;
SET client_min_messages = error;
RESET search_path;
DROP SCHEMA put CASCADE;
DROP ROLE mdb_put_user, mdb_put_owner, mdb_put_bypass;
