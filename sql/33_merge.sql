-- R21: sum, min and max, in the batch and with the stored row.
CREATE SCHEMA merge;
SET search_path = merge, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
CREATE DOMAIN small AS smallint;
CREATE DOMAIN positive AS int CHECK (VALUE > 0 AND VALUE < 100);

-- sum of every type: within a call, between calls, then with the stored row
CREATE TABLE s (id int PRIMARY KEY, i2 smallint, i4 int, i8 bigint, f4 real, f8 double precision, n text);
SELECT mdbatch_attach('s', merge => '{"i2": "sum", "i4": "sum", "i8": "sum", "f4": "sum", "f8": "sum"}');
SELECT mdbatch_put('s', '[{"id": 1, "i2": 1, "i4": 10, "i8": 100, "f4": 0.5, "f8": 0.25, "n": "a"}, {"id": 1, "i2": 2, "i4": 20, "i8": 200, "f4": 0.5, "f8": 0.25, "n": "b"}]');
SELECT mdbatch_put('s', '{"id": 1, "i2": -4, "i4": 40, "i8": 400, "f4": 1, "f8": 1, "n": "c"}');
SELECT mdbatch_put_row(ROW(2, 1, 1, 1, 1, 1, NULL)::s);
SELECT * FROM mdbatch_pending_rows(NULL::s);
SELECT pending, added, coalesced, stale, balanced FROM books WHERE target = 'merge.s';
SELECT mdbatch_flush('s');
SELECT * FROM s ORDER BY id;
SELECT mdbatch_put('s', '[{"id": 1, "i2": 10, "i4": 10, "i8": 10, "f4": 10, "f8": 10}, {"id": 2, "n": "nothing to add"}]');
SELECT mdbatch_flush('s');
SELECT * FROM s ORDER BY id;
-- Between transactions, and with what a savepoint gives back
BEGIN;
SELECT mdbatch_put('s', '{"id": 2, "i4": 1}');
SAVEPOINT a;
SELECT mdbatch_put('s', '{"id": 2, "i4": 10}');
SAVEPOINT b;
SELECT mdbatch_put('s', '{"id": 2, "i4": 100}');
ROLLBACK TO b;
SELECT mdbatch_put('s', '{"id": 2, "i4": 1000}');
RELEASE a;
SELECT mdbatch_put('s', '{"id": 2, "i4": 10000}');
COMMIT;
SELECT mdbatch_put('s', '{"id": 2, "i4": 100000}');
SELECT i4 FROM mdbatch_pending_rows(NULL::s);
SELECT mdbatch_flush('s');
SELECT i4 FROM s WHERE id = 2;

-- NULL counts as absent: in the entry, in the later one, in the stored row
TRUNCATE s;
INSERT INTO s (id, i4) VALUES (1, NULL), (2, 5), (3, NULL), (4, 5), (5, NULL), (6, 5);
SELECT mdbatch_put('s', '[{"id": 1, "i4": 1}, {"id": 2}, {"id": 3}, {"id": 4, "i4": null}, {"id": 4, "i4": 1}, {"id": 5, "i4": 1}, {"id": 5}, {"id": 6, "i4": 1}, {"id": 6, "i4": 1}, {"id": 7}, {"id": 7}, {"id": 8}, {"id": 8, "i4": 0}]');
SELECT mdbatch_flush('s');
SELECT id, i4 FROM s ORDER BY id;

-- min and max of every type, in both orders
CREATE TABLE m (
  id int PRIMARY KEY,
  i2 smallint, i4 int, i8 bigint, f4 real, f8 double precision,
  d date, ts timestamp, tz timestamptz);
CREATE TABLE x (LIKE m INCLUDING ALL);
SELECT mdbatch_attach('m', merge => '{"i2": "min", "i4": "min", "i8": "min", "f4": "min", "f8": "min", "d": "min", "ts": "min", "tz": "min"}');
SELECT mdbatch_attach('x', merge => '{"i2": "max", "i4": "max", "i8": "max", "f4": "max", "f8": "max", "d": "max", "ts": "max", "tz": "max"}');
\set low '{"id": %s, "i2": -5, "i4": -5, "i8": -5, "f4": -5.5, "f8": -5.5, "d": "1999-01-01", "ts": "1999-01-01 01:00", "tz": "1999-01-01 01:00Z"}'
\set high '{"id": %s, "i2": 7, "i4": 7, "i8": 7, "f4": 7.5, "f8": 7.5, "d": "2021-01-01", "ts": "2021-01-01 01:00", "tz": "2021-01-01 01:00Z"}'
\set none '{"id": %s}'
-- 1: low, high; 2: high, low; 3: none, high; 4: low, none; 5: none, none
SELECT mdbatch_put(t, jsonb_build_array(format(:'low', 1)::jsonb, format(:'high', 1)::jsonb, format(:'high', 2)::jsonb, format(:'low', 2)::jsonb, format(:'none', 3)::jsonb, format(:'high', 3)::jsonb, format(:'low', 4)::jsonb, format(:'none', 4)::jsonb, format(:'none', 5)::jsonb, format(:'none', 5)::jsonb))
FROM unnest('{m,x}'::regclass[]) t;
SELECT * FROM mdbatch_pending_rows(NULL::m);
SELECT * FROM mdbatch_pending_rows(NULL::x);
SELECT mdbatch_flush();
SELECT * FROM m ORDER BY id;
SELECT * FROM x ORDER BY id;
-- with the stored row: 1: low, 2: high, 3: none, 4: high, 5: low
SELECT mdbatch_put(t, jsonb_build_array(format(:'low', 1)::jsonb, format(:'high', 2)::jsonb, format(:'none', 3)::jsonb, format(:'high', 4)::jsonb, format(:'low', 5)::jsonb))
FROM unnest('{m,x}'::regclass[]) t;
SELECT mdbatch_flush();
SELECT * FROM m ORDER BY id;
SELECT * FROM x ORDER BY id;
-- the ends of the ranges
TRUNCATE m, x;
\set low '{"id": 1, "i2": -32768, "i4": -2147483648, "i8": -9223372036854775808, "f4": "-infinity", "f8": "-infinity", "d": "-infinity", "ts": "-infinity", "tz": "-infinity"}'
\set high '{"id": 1, "i2": 32767, "i4": 2147483647, "i8": 9223372036854775807, "f4": "infinity", "f8": "infinity", "d": "infinity", "ts": "infinity", "tz": "infinity"}'
SELECT mdbatch_put(t, jsonb_build_array(:'low'::jsonb, :'high'::jsonb)), mdbatch_put(t, jsonb_build_array(:'high'::jsonb, :'low'::jsonb))
FROM unnest('{m,x}'::regclass[]) t;
SELECT mdbatch_flush();
TABLE m;
TABLE x;
SELECT mdbatch_put('m', :'high'), mdbatch_put('x', :'low');
SELECT mdbatch_flush();
SELECT i8, f8, tz FROM m UNION ALL SELECT i8, f8, tz FROM x;

-- Floats: NaN is above everything, and what it is added to is NaN.
CREATE TABLE f (id int PRIMARY KEY, lo float8, hi float8, total float8, lo4 real, hi4 real, total4 real);
SELECT mdbatch_attach('f', merge => '{"lo": "min", "hi": "max", "total": "sum", "lo4": "min", "hi4": "max", "total4": "sum"}');
CREATE FUNCTION f(id int, v text) RETURNS int LANGUAGE sql AS
$$ SELECT mdbatch_put('merge.f', jsonb_build_object('id', id, 'lo', v, 'hi', v, 'total', v, 'lo4', v, 'hi4', v, 'total4', v)) $$;
SELECT f(1, 'NaN'), f(1, '1');
SELECT f(2, '1'), f(2, 'NaN');
SELECT f(3, 'NaN'), f(3, 'NaN');
SELECT f(4, 'infinity'), f(4, 'NaN');
SELECT f(5, 'infinity'), f(5, '-infinity');
SELECT f(6, '-infinity'), f(6, 'infinity'), f(6, '1');
SELECT f(7, 'infinity'), f(7, '1');
SELECT f(8, '-infinity'), f(8, '-infinity');
SELECT f(9, '0.1'), f(9, '0.2');
SELECT mdbatch_flush('f');
SELECT * FROM f ORDER BY id;
-- the same against a stored row
TRUNCATE f;
INSERT INTO f SELECT id, v, v, v, v, v, v FROM (VALUES (1, 'NaN'::float8), (2, 1), (3, 'NaN'), (4, 'infinity'), (5, 'infinity'), (6, '-infinity'), (9, 0.1)) AS s (id, v);
SELECT f(1, '1'), f(2, 'NaN'), f(3, 'NaN'), f(4, 'NaN'), f(5, '-infinity'), f(6, '1'), f(9, '0.2');
SELECT mdbatch_flush('f');
SELECT * FROM f ORDER BY id;

-- Versions: sums and extremes count stale arrivals, `last` columns do not.
CREATE TABLE v (id int PRIMARY KEY, ver int, total int, lo int, hi int, n text);
SELECT mdbatch_attach('v', version => 'ver', merge => '{"total": "sum", "lo": "min", "hi": "max"}');
SELECT mdbatch_stat_reset();
SELECT mdbatch_put('v', '[{"id": 1, "ver": 5, "total": 1, "lo": 3, "hi": 3, "n": "five"}, {"id": 1, "ver": 4, "total": 10, "lo": 1, "hi": 1, "n": "four"}]');
SELECT mdbatch_put('v', '{"id": 1, "ver": 3, "total": 100, "lo": 9, "hi": 9, "n": "three"}');
SELECT mdbatch_put('v', '{"id": 1, "ver": 5, "total": 1000, "n": "five again"}');
SELECT * FROM mdbatch_pending_rows(NULL::v);
-- merged into another: coalesced, older arrivals included (R19)
SELECT pending, added, coalesced, stale, balanced FROM books WHERE target = 'merge.v';
SELECT mdbatch_flush('v');
SELECT * FROM v;
-- The stored row is newer: sums and extremes count, the rest stays.
SELECT mdbatch_put('v', '{"id": 1, "ver": 2, "total": 10000, "lo": 0, "hi": 10, "n": "two"}');
SELECT mdbatch_flush('v');
SELECT * FROM v;
SELECT flushed, skipped FROM books WHERE target = 'merge.v';
-- Equal, and newer; a stored NULL is older than any.
SELECT mdbatch_put('v', '{"id": 1, "ver": 5, "total": 1, "n": "five at last"}');
SELECT mdbatch_flush('v');
SELECT * FROM v;
SELECT mdbatch_put('v', '[{"id": 1, "ver": 6, "n": "six"}, {"id": 1, "ver": 6, "total": 1}]');
SELECT mdbatch_flush('v');
SELECT * FROM v;
UPDATE v SET ver = NULL;
SELECT mdbatch_put('v', '{"id": 1, "ver": -1, "total": 1, "n": "minus one"}');
SELECT mdbatch_flush('v');
SELECT * FROM v;
-- A stale arrival in another transaction than the newer one
BEGIN;
SELECT mdbatch_put('v', '{"id": 2, "ver": 2, "total": 1, "n": "new"}');
SAVEPOINT s;
SELECT mdbatch_put('v', '{"id": 2, "ver": 1, "total": 2, "n": "old"}');
COMMIT;
SELECT mdbatch_put('v', '{"id": 2, "ver": 0, "total": 4, "n": "oldest"}');
SELECT mdbatch_flush('v');
SELECT * FROM v WHERE id = 2;
-- A `last` column of the newer one may be NULL.
SELECT mdbatch_put('v', '[{"id": 3, "ver": 2}, {"id": 3, "ver": 1, "total": 1, "n": "old"}]');
SELECT mdbatch_flush('v');
SELECT * FROM v WHERE id = 3;

-- Mode update: rows that exist, and no others.
SELECT mdbatch_attach('v', version => 'ver', merge => '{"total": "sum", "lo": "min", "hi": "max"}', mode => 'update');
SELECT mdbatch_stat_reset();
SELECT mdbatch_put('v', '[{"id": 3, "ver": 9, "total": 1, "lo": 5, "n": "nine"}, {"id": 2, "ver": 1, "total": 8, "hi": 8, "n": "older"}, {"id": 99, "ver": 9, "total": 1}]');
SELECT mdbatch_flush('v');
SELECT * FROM v ORDER BY id;
SELECT flushed, skipped, balanced FROM books WHERE target = 'merge.v';
SELECT mdbatch_attach('v', merge => '{"total": "sum"}', columns => '{total}', mode => 'update');
SELECT mdbatch_put('v', '[{"id": 3, "total": 1}, {"id": 3, "total": 1}, {"id": 99, "total": 1}]');
SELECT mdbatch_flush('v');
SELECT id, total FROM v ORDER BY id;

-- A sum is exact in any order of its parts.
CREATE TABLE o (id int PRIMARY KEY, i2 smallint, i4 int, i8 bigint, n int CHECK (n > 0));
SELECT mdbatch_attach('o', merge => '{"i2": "sum", "i4": "sum", "i8": "sum"}');
SELECT mdbatch_put('o', '[{"id": 1, "i8": 9223372036854775807}, {"id": 1, "i8": 9223372036854775807}, {"id": 1, "i8": -9223372036854775808}, {"id": 1, "i8": -9223372036854775807}]');
SELECT mdbatch_put('o', '[{"id": 2, "i8": -9223372036854775808}, {"id": 2, "i8": -9223372036854775808}, {"id": 2, "i8": 9223372036854775807}]');
SELECT mdbatch_put('o', '{"id": 2, "i8": 9223372036854775807}');
SELECT mdbatch_put('o', '[{"id": 3, "i4": 2147483647}, {"id": 3, "i4": 1}, {"id": 3, "i4": -1}]');
SELECT mdbatch_put('o', '[{"id": 4, "i2": -32768}, {"id": 4, "i2": -1}, {"id": 4, "i2": 2}]');
-- one half in an outer level, the other in a savepoint, a third committed
BEGIN;
SELECT mdbatch_put('o', '{"id": 5, "i8": 9223372036854775807}');
SAVEPOINT s;
SELECT mdbatch_put('o', '{"id": 5, "i8": 9223372036854775807}');
COMMIT;
SELECT mdbatch_put('o', '{"id": 5, "i8": -9223372036854775807}');
SELECT mdbatch_flush('o');
SELECT * FROM o ORDER BY id;

-- Out of range: rejected (22003) with its exact sum, the others are written.
SELECT mdbatch_stat_reset();
SELECT mdbatch_put('o', '[{"id": 11, "i2": 32767}, {"id": 11, "i2": 1}, {"id": 12, "i4": -2147483648}, {"id": 12, "i4": -2147483648}, {"id": 13, "i8": 9223372036854775807}, {"id": 13, "i8": 1}, {"id": 14, "i4": 7}]');
SELECT mdbatch_put('o', '[{"id": 15, "i8": -9223372036854775808}, {"id": 15, "i8": -9223372036854775808}, {"id": 15, "i8": -9223372036854775808}]');
-- with the stored row
INSERT INTO o VALUES (21, 32767, 2147483647, 9223372036854775807, NULL), (22, -32768, NULL, NULL, NULL);
SELECT mdbatch_put('o', '[{"id": 21, "i8": 1}, {"id": 22, "i2": -1}]');
-- what does not fit is seen as NULL meanwhile
SELECT id, i2, i4, i8 FROM mdbatch_pending_rows(NULL::o);
SELECT mdbatch_flush('o');
SELECT * FROM o WHERE id > 10 ORDER BY id;
SELECT key, entry, sqlstate, message FROM mdbatch_rejected ORDER BY (key->>'id')::int;
SELECT pending, added, coalesced, stale, flushed, rejected, balanced FROM books WHERE target = 'merge.o';
DELETE FROM mdbatch_rejected;
-- Rejected for another reason: its sums are kept all the same.
SELECT mdbatch_put('o', '[{"id": 31, "i8": 9223372036854775807}, {"id": 31, "i8": -7, "n": 0}]');
SELECT mdbatch_flush('o');
SELECT key, entry, sqlstate FROM mdbatch_rejected;
DELETE FROM mdbatch_rejected;
-- One that does not fit alone in its batch, in mode update, too
SELECT mdbatch_attach('o', merge => '{"i2": "sum", "i4": "sum", "i8": "sum"}', mode => 'update');
SELECT mdbatch_put('o', '[{"id": 21, "i4": 1}]');
SELECT mdbatch_flush('o');
SELECT mdbatch_put('o', '[{"id": 22, "i4": 2147483647}, {"id": 22, "i4": 1}]');
SELECT mdbatch_flush('o');
SELECT key, entry - 'n' AS entry, sqlstate FROM mdbatch_rejected ORDER BY (key->>'id')::int;
SELECT * FROM o WHERE id > 20 ORDER BY id;
DELETE FROM mdbatch_rejected;
CALL mdbatch_put_sync('o', '{"id": 21, "i8": 1}');
\echo :LAST_ERROR_SQLSTATE
DELETE FROM mdbatch_rejected;

-- Floats overflow as theirs do.
TRUNCATE f;
SELECT f(1, '3e38'), f(1, '3e38');
SELECT mdbatch_put('f', '[{"id": 2, "total": 1e308}, {"id": 2, "total": 1e308}, {"id": 3, "total": 1e308}, {"id": 4, "total4": 3e38}, {"id": 5, "total": 1}]');
-- brought back into the range of real by another part
SELECT mdbatch_put('f', '[{"id": 6, "total4": 3e38}, {"id": 6, "total4": 3e38}, {"id": 6, "total4": -3e38}]');
INSERT INTO f (id, total, total4) VALUES (3, 1e308, 0), (4, 0, 3e38);
SELECT mdbatch_flush('f');
SELECT id, total, total4 FROM f ORDER BY id;
SELECT key, sqlstate FROM mdbatch_rejected ORDER BY (key->>'id')::int;
SELECT entry->'total4' AS total4 FROM mdbatch_rejected WHERE key->>'id' = '1';
SELECT pending, rejected, balanced FROM books WHERE target = 'merge.f';
DELETE FROM mdbatch_rejected;

-- Domains merge as what they are over, and check what comes out.
CREATE TABLE dom (id int PRIMARY KEY, a small, b positive, c positive);
SELECT mdbatch_attach('dom', merge => '{"a": "sum", "b": "sum", "c": "min"}');
CALL fails($$SELECT mdbatch_put('dom', '{"id": 1, "b": -1}')$$);
SELECT mdbatch_put('dom', '[{"id": 1, "a": 1, "b": 2, "c": 3}, {"id": 1, "a": 1, "b": 2, "c": 2}, {"id": 2, "a": 32767, "b": 1}, {"id": 2, "a": 1}]');
SELECT * FROM mdbatch_pending_rows(NULL::dom);
SELECT mdbatch_flush('dom');
SELECT mdbatch_put('dom', '[{"id": 1, "a": 5, "b": 5, "c": 1}]');
SELECT mdbatch_flush('dom');
-- a sum that the domain refuses: in the batch, and with the stored row
SELECT mdbatch_put('dom', '[{"id": 3, "b": 50}, {"id": 3, "b": 50}, {"id": 1, "b": 91}, {"id": 4, "b": 99}]');
SELECT mdbatch_flush('dom');
SELECT * FROM dom ORDER BY id;
SELECT key, entry, sqlstate FROM mdbatch_rejected ORDER BY (key->>'id')::int;
DELETE FROM mdbatch_rejected;

-- With a key of several columns, in an order of its own
CREATE TABLE kk (a int, b text, total bigint, PRIMARY KEY (a, b));
SELECT mdbatch_attach('kk', '{b,a}', merge => '{"total": "sum"}');
SELECT mdbatch_put('kk', '[{"a": 1, "b": "x", "total": 1}, {"b": "x", "a": 1, "total": 2}, {"a": 1, "b": "X", "total": 4}]');
SELECT mdbatch_flush('kk');
SELECT mdbatch_put('kk', '[{"a": 1, "b": "x", "total": 8}]');
SELECT mdbatch_flush('kk');
SELECT a, b, total FROM kk ORDER BY total;

-- Policies changed while something is pending: each entry counts as it was
-- defined at its add.
SELECT mdbatch_put('kk', '[{"a": 2, "b": "x", "total": 1}, {"a": 2, "b": "x", "total": 2}]');
SELECT mdbatch_attach('kk', merge => '{"total": "max"}');
SELECT mdbatch_put('kk', '[{"a": 2, "b": "x", "total": 10}, {"a": 2, "b": "x", "total": 5}]');
SELECT total FROM mdbatch_pending_rows(NULL::kk);
SELECT mdbatch_flush('kk');
SELECT total FROM kk WHERE a = 2;
SELECT mdbatch_attach('kk');
SELECT mdbatch_put('kk', '[{"a": 2, "b": "x", "total": 4}, {"a": 2, "b": "x", "total": 3}]');
SELECT mdbatch_flush('kk');
SELECT total FROM kk WHERE a = 2;

SELECT * FROM books WHERE NOT balanced OR pending > 0;
SELECT count(*) FROM mdbatch_rejected;
SET client_min_messages = error;
RESET search_path;
DROP SCHEMA merge CASCADE;
