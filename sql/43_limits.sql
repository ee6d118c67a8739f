-- R10, R17: sizes, and values at the edge of their types.
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT mdbatch_attach('t', batch_size => 100000);

-- As many entries as the queue of such a batch takes, in one call.
SELECT mdbatch_put('t', jsonb_agg(jsonb_build_object('id', i, 'v', i))) FROM generate_series(1, 20000) i;
SELECT mdbatch_flush('t');
SELECT count(*), count(DISTINCT id), sum(v::int) FROM t;
-- The same keys again and again take one place each.
SELECT mdbatch_put('t', jsonb_agg(jsonb_build_object('id', i % 10, 'v', i) ORDER BY i)) FROM generate_series(1, 100000) i;
SELECT pending FROM mdbatch_stat WHERE relid = 't'::regclass;
SELECT mdbatch_flush('t');
SELECT string_agg(v, ' ' ORDER BY id) FROM t WHERE id < 10;
TRUNCATE t;
SELECT mdbatch_add_many(array_agg(agent(i)), array_agg('k' || i % 7), array_agg(i::text)) FROM generate_series(1, 2500) i;
SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT count(*), sum(value::int) FROM mdbatch_metadata;
TRUNCATE mdbatch_metadata;
-- Nothing to enqueue
SELECT mdbatch_put('t', '[]');
SELECT mdbatch_add(agent(1), '{}', '{}');
SELECT mdbatch_add_many('{}', '{}', '{}');
SELECT mdbatch_add(agent(1), '{}', '{}', '{}', '{}');
CALL mdbatch_put_sync('t', '[]');
CALL mdbatch_add_sync(agent(1), '{}', '{}');
SELECT mdbatch_flush();

-- An entry that can never fit is an error (R10), whatever on_full says; nothing
-- of its call is enqueued.
SELECT current_setting('mdbatch.memory') AS memory;
CALL fails($$SELECT mdbatch_put('t', jsonb_build_array(jsonb_build_object('id', 1), jsonb_build_object('id', 2, 'v', repeat('x', 33 * 1024 * 1024))))$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', ARRAY[repeat('x', 33 * 1024 * 1024)])$$);
CALL fails($$SELECT mdbatch_put_row(ROW(1, repeat('x', 33 * 1024 * 1024))::t)$$);
SET mdbatch.on_full = 'wait';
CALL fails($$SELECT mdbatch_put('t', jsonb_build_object('id', 2, 'v', repeat('x', 33 * 1024 * 1024)))$$);
RESET mdbatch.on_full;
SELECT count(*) FROM mdbatch_pending_rows(NULL::t);
-- Some MB are nothing special, whether they compress or not.
SELECT mdbatch_put('t', jsonb_build_array(jsonb_build_object('id', 1, 'v', repeat('x', 5000000)),
  jsonb_build_object('id', 2, 'v', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 100000) i))));
SELECT id, length(v) FROM mdbatch_pending_rows(NULL::t) ORDER BY id;
SELECT mdbatch_flush('t');
SELECT id, length(v), md5(v) = md5(CASE id WHEN 1 THEN repeat('x', 5000000) ELSE (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 100000) i) END) AS same FROM t ORDER BY id;
TRUNCATE t;

-- Keys: what an index takes, which compresses them, is written; more is refused.
CREATE TABLE keyed (a text, b bytea, n int, PRIMARY KEY (a, b));
SELECT mdbatch_attach('keyed');
CREATE TABLE plain (LIKE keyed INCLUDING ALL);
CREATE FUNCTION noise(n int) RETURNS text LANGUAGE sql AS
$$ SELECT left(string_agg(md5(i::text), '' ORDER BY i), n) FROM generate_series(1, n / 32 + 1) i $$;
CALL fails($$SELECT mdbatch_put('keyed', '[{"a": "", "b": "", "n": 1}]' || jsonb_build_object('a', noise(2700), 'b', ''))$$);
CALL fails($$SELECT mdbatch_put('keyed', jsonb_build_object('a', noise(100000), 'b', ''))$$);
SELECT count(*) FROM mdbatch_pending_rows(NULL::keyed);
DO $$
DECLARE key record; put bool; inserted bool; n int := 0;
BEGIN
  FOR key IN
    SELECT a, ''::bytea AS b FROM generate_series(2600, 2720) i, noise(i) a UNION ALL
    SELECT repeat('z', i), noise(i / 40)::bytea FROM generate_series(1000, 120000, 1000) i UNION ALL
    SELECT '', '' UNION ALL SELECT repeat('z', 500000), '' LOOP
    BEGIN
      INSERT INTO plain VALUES (key.a, key.b, length(key.a));
      inserted := true;
    EXCEPTION WHEN program_limit_exceeded THEN inserted := false;
    END;
    BEGIN
      PERFORM mdbatch_put('keyed', jsonb_build_object('a', key.a, 'b', key.b, 'n', length(key.a)));
      put := true;
    EXCEPTION WHEN program_limit_exceeded THEN put := false;
    END;
    IF put <> inserted THEN RAISE INFO 'a key of % and % bytes: put %, inserted %', length(key.a), length(key.b), put, inserted; END IF;
    n := n + 1;
  END LOOP;
  RAISE INFO '% keys', n;
END $$;
SELECT mdbatch_flush('keyed') > 0 AS flushed;
SELECT count(*) > 100 AS some, max(length(a)) > 70000 AS long FROM keyed;
SELECT count(*) FROM (TABLE keyed EXCEPT TABLE plain) AS e;
SELECT count(*) FROM (TABLE plain EXCEPT TABLE keyed) AS e;
SELECT rejected, pending, balanced FROM books WHERE target = 'public.keyed';
-- the same key again, and another one, as long as they are
SELECT mdbatch_put('keyed', jsonb_build_object('a', noise(2600), 'b', '', 'n', 11));
SELECT mdbatch_put('keyed', jsonb_build_object('a', noise(2600), 'b', '\x00', 'n', 12));
SELECT mdbatch_flush('keyed');
SELECT length(a), b, n FROM keyed WHERE a = noise(2600) ORDER BY n;
DROP TABLE plain;
DROP TABLE keyed;

-- 1,600 columns, the most that a table has; as small as can be, to fit a page
DO $$
BEGIN
  EXECUTE (SELECT 'CREATE TABLE wide (c1 int PRIMARY KEY, ' || string_agg(format('c%s "char"', i), ', ' ORDER BY i) || ')' FROM generate_series(2, 1600) i);
END $$;
SELECT mdbatch_attach('wide');
SELECT mdbatch_put('wide', (SELECT jsonb_object_agg('c' || i, CASE i WHEN 1 THEN '1' ELSE chr(65 + i % 26) END) FROM generate_series(1, 1600) i));
SELECT mdbatch_put('wide', '{"c1": 2, "c1600": "z"}');
SELECT mdbatch_put('wide', '{"c1": 3}');
CALL fails($$SELECT mdbatch_put('wide', '{"c1": 4, "c1601": 1}')$$);
SELECT count(*) FROM mdbatch_pending_rows(NULL::wide);
SELECT mdbatch_flush('wide');
SELECT c1, c2, c26, c1599, c1600 FROM wide ORDER BY c1;
SELECT count(*) AS right FROM wide, jsonb_each_text(to_jsonb(wide)) WHERE c1 = 1 AND (key = 'c1' OR value = chr((65 + substr(key, 2)::int % 26)));
SELECT cardinality(columns) FROM mdbatch_target WHERE target = 'wide'::regclass;
SELECT mdbatch_put('wide', '{"c1": 1, "c2": "!"}');
SELECT mdbatch_flush('wide');
SELECT c2, c3 IS NULL AS null FROM wide WHERE c1 = 1;
DROP TABLE wide;
-- 32 of them as the key, the most that an index has
DO $$
BEGIN
  EXECUTE (SELECT 'CREATE TABLE wide (' || string_agg(format('k%s int', i), ', ' ORDER BY i) || ', v int, PRIMARY KEY (' || string_agg(format('k%s', i), ', ' ORDER BY i) || '))' FROM generate_series(1, 32) i);
END $$;
SELECT mdbatch_attach('wide');
SELECT mdbatch_put('wide', (SELECT jsonb_object_agg('k' || i, i) || '{"v": 1}' FROM generate_series(1, 32) i));
SELECT mdbatch_put('wide', (SELECT jsonb_object_agg('k' || i, i) || '{"v": 2}' FROM generate_series(1, 32) i));
SELECT mdbatch_flush('wide');
SELECT k1, k32, v FROM wide;
CALL fails($$SELECT mdbatch_put('wide', (SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 31) i))$$);
DROP TABLE wide;

-- Values at the edge
CREATE TABLE edge (id int PRIMARY KEY, ver timestamptz, d date, ts timestamp, i interval, a int[], aa text[][], f float8, n numeric, b bytea, r int4range, m int4multirange, j jsonb, js json, s "char", c char(3), e text, bi bigint, si smallint, u uuid, o oid, bt bit(3), bv varbit, net inet, mac macaddr, p point, tsv tsvector);
SELECT mdbatch_attach('edge', version => 'ver');
SELECT mdbatch_put('edge', '[
 {"id": 1, "ver": "-infinity"},
 {"id": 2, "ver": "infinity", "d": "infinity", "ts": "infinity", "a": [], "aa": [], "f": "Infinity", "n": "Infinity", "b": "", "r": "empty", "m": "{}", "j": null, "js": null, "e": "", "s": ""},
 {"id": 3, "ver": "2020-01-01", "d": "-infinity", "ts": "-infinity", "a": [null, null], "aa": [["a", null], ["", "NULL"]], "f": "NaN", "n": "NaN", "r": "(,)", "m": "{(,)}", "j": {}, "js": [], "bi": -9223372036854775808, "si": 32767},
 {"id": -2147483648, "ver": "4713-01-01 00:00:00+00 BC", "d": "5874897-12-31", "ts": "294276-12-31 23:59:59.999999", "i": "-178000000 years", "f": "-0", "n": 1e-100, "bi": 9223372036854775807, "si": -32768, "bt": "101", "bv": "", "net": "::/0", "c": "", "o": 4294967295},
 {"id": 2147483647, "ver": "294276-12-31 23:59:59.999999+00", "d": "4713-01-01 BC", "ts": "4713-01-01 BC", "f": 5e-324, "n": 123456789012345678901234567890.123456789, "a": "[5:6]={1,2}"}]');
SELECT mdbatch_flush('edge');
SELECT jsonb_strip_nulls(to_jsonb(edge)) FROM edge ORDER BY id;
SELECT id, f::text, a::text, j IS NULL AS sql_null, js::text FROM edge ORDER BY id;
-- Versions that never lose, and never win
SELECT mdbatch_put('edge', '[{"id": 1, "ver": "-infinity", "e": "equal"}, {"id": 2, "ver": "294276-12-31", "e": "older"}]');
SELECT mdbatch_flush('edge');
SELECT id, e FROM edge WHERE id IN (1, 2) ORDER BY id;
-- Beyond
CALL fails($$SELECT mdbatch_put('edge', '{"id": 2147483648}')$$);
CALL fails($$SELECT mdbatch_put('edge', '{"id": 1, "si": 32768}')$$);
CALL fails($$SELECT mdbatch_put('edge', '{"id": 1, "ver": "294277-01-01"}')$$);
CALL fails($$SELECT mdbatch_put('edge', '{"id": 1, "f": 1e400}')$$);
CALL fails($$SELECT mdbatch_put('edge', '{"id": 1.5}')$$);
CALL fails($$SELECT mdbatch_put('edge', '{"id": 1, "c": "long"}')$$);
SELECT mdbatch_put('edge', jsonb_build_object('id', 5, 'ver', '2020-01-01', 'n', '1' || repeat('0', 131071)));
SELECT mdbatch_flush('edge');
SELECT length(n::text) FROM edge WHERE id = 5;
DROP TABLE edge;

-- All NULL, all defaults: nothing but the key
CREATE TABLE nulls (id int PRIMARY KEY, a int, b text, ver int);
SELECT mdbatch_attach('nulls');
SELECT mdbatch_put_row(ROW(1, NULL, NULL, NULL)::nulls);
CALL fails('SELECT mdbatch_put_row(ROW(NULL, NULL, NULL, NULL)::nulls)');
CALL fails('SELECT mdbatch_put_row(NULL::nulls)');
SELECT mdbatch_flush('nulls');
SELECT * FROM nulls;
DROP TABLE nulls;

-- Text that is none
CALL fails($$SELECT mdbatch_put('t', '{"id": 1, "v": "\u0000"}')$$);
CALL fails($$SELECT mdbatch_put('t', '{"id": 1, "v": "\ud800"}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', ARRAY[convert_from('\xff', 'UTF8')])$$);
CALL fails($$SELECT mdbatch_add(agent(1), ARRAY[convert_from('\xc080', 'UTF8')], '{v}')$$);
CALL fails($$SELECT mdbatch_decode_agent_ids(convert_from('\xe4', 'UTF8'))$$);
SELECT mdbatch_put('t', '{"id": 1, "v": "\ud834\udd1e \u200f \ufffe \uffff"}');
SELECT mdbatch_flush('t');
SELECT v = U&'\+01D11E \200F \FFFE \FFFF' AS same FROM t;
TRUNCATE t;

-- JSON of some depth
SELECT mdbatch_put('t', jsonb_build_object('id', 1, 'v', (repeat('[', 1000) || repeat(']', 1000))::jsonb));
SELECT mdbatch_flush('t');
SELECT length(v) FROM t;
CREATE TABLE deep (id int PRIMARY KEY, j jsonb);
SELECT mdbatch_attach('deep');
SELECT mdbatch_put('deep', jsonb_build_object('id', 1, 'j', (repeat('{"a":', 3000) || '1' || repeat('}', 3000))::jsonb));
SELECT mdbatch_flush('deep');
SELECT length(j::text) FROM deep;
DROP TABLE deep;
CALL fails($$SELECT mdbatch_put('t', (repeat('[', 1000) || repeat(']', 1000))::jsonb)$$);
-- arrays of arrays are no entries, and other things are none either
CALL fails($$SELECT mdbatch_put('t', '[[{"id": 1}]]')$$);
CALL fails($$SELECT mdbatch_put('t', '[{"id": 1}, null]')$$);
CALL fails($$SELECT mdbatch_put('t', '"x"')$$);
SELECT count(*) FROM mdbatch_pending_rows(NULL::t);
TRUNCATE t;

-- R8: 1,000 savepoints, one in another, each with an add; half of them undone.
CREATE FUNCTION nest(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM mdbatch_put('t', jsonb_build_object('id', n, 'v', n));
  BEGIN
    IF n < 1000 THEN
      PERFORM nest(n + 1);
    END IF;
    IF n = 500 THEN RAISE EXCEPTION 'back to 500'; END IF;
  EXCEPTION WHEN raise_exception THEN NULL;
  END;
END $$;
-- more where each call takes more of it
\set depth `echo ${MDBATCH_STACK:-6MB}`
SET max_stack_depth = :'depth';
SELECT nest(1);
SELECT count(*), max(id) FROM mdbatch_pending_rows(NULL::t);
SELECT reserved, pending FROM books WHERE target = 'public.t' AND pending > 0;
SELECT mdbatch_flush('t');
BEGIN;
SELECT nest(1);
SELECT reserved, pending FROM books WHERE target = 'public.t' AND added > 2000;
ROLLBACK;
SELECT reserved, pending FROM books WHERE target = 'public.t' AND added > 2000;
SELECT count(*), sum(v::int) FROM t;
-- as many one after the other
DO $$
BEGIN
  FOR i IN 1..1000 LOOP
    BEGIN
      PERFORM mdbatch_put('t', jsonb_build_object('id', i, 'v', 'again'));
      IF i % 2 = 0 THEN RAISE EXCEPTION 'no'; END IF;
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
  END LOOP;
END $$;
SELECT mdbatch_flush('t');
SELECT count(*) FILTER (WHERE v = 'again') AS again, count(*) FILTER (WHERE v = 'again' AND id % 2 = 0) AS undone FROM t;
SELECT reserved, pending FROM books WHERE target = 'public.t' AND added > 2000;
SELECT * FROM books WHERE NOT balanced;
RESET max_stack_depth;
DROP FUNCTION nest(int), noise(int);
DROP TABLE t;
RESET timezone;
RESET datestyle;
