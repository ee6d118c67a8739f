-- R20, R22: every type, through each way in, equals what a plain INSERT writes.
CREATE SCHEMA types;
SET search_path = types, public;
SET timezone = 'Asia/Kolkata';
SET datestyle = 'ISO, DMY';
SET intervalstyle = 'postgres';
SET extra_float_digits = 1;
SET lc_monetary = 'C';
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'it''s "so"');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN required AS text NOT NULL CHECK (VALUE <> 'no');
CREATE DOMAIN short AS varchar(3);
CREATE DOMAIN ints AS int[] CHECK (array_ndims(VALUE) = 1);
CREATE TYPE pair AS (a positive, b text);
CREATE TYPE nested AS (p pair, q pair[], m mood, d numeric(5,2));
CREATE DOMAIN dpair AS pair CHECK ((VALUE).b <> 'no');
CREATE TYPE moods AS RANGE (subtype = mood);

/*
 * Of a type and literals of it: a table that each value is put into by
 * mdbatch_put as JSON's own kind of value and as a string, by mdbatch_put_row
 * and by an INSERT into a view, and a plain one that got the same values by
 * jsonb_populate_record and INSERT; then both must hold the same bytes.
 * Shows what mdbatch_put_row has written.
 */
CREATE PROCEDURE trip(type text, VARIADIC vals text[]) LANGUAGE plpgsql AS $$
DECLARE
  n int := 4 * (cardinality(vals) + 1);
  object jsonb;
  string jsonb;
  same int;
  shown text;
BEGIN
  EXECUTE format('CREATE TABLE plain (way text, id int, v %s, PRIMARY KEY (way, id))', type);
  EXECUTE format('CREATE TABLE target (way text, id int, v %s, PRIMARY KEY (way, id))', type);
  CREATE VIEW view AS SELECT * FROM target;
  CREATE TRIGGER enqueue INSTEAD OF INSERT ON view FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('types.target');
  PERFORM mdbatch_attach('types.target');
  FOR i IN 0 .. cardinality(vals) LOOP
    -- 0 is NULL
    EXECUTE format('INSERT INTO plain VALUES (''row'', %s, %L), (''view'', %1$s, %2$L)', i, vals[i]);
    object := (SELECT to_jsonb(p) FROM plain p WHERE way = 'row' AND id = i) || '{"way": "object"}';
    string := jsonb_build_object('way', 'string', 'id', i, 'v', vals[i]);
    INSERT INTO plain SELECT p.* FROM unnest(ARRAY[object, string]) j, jsonb_populate_record(NULL::plain, j) p;
    PERFORM mdbatch_put('types.target', jsonb_build_array(object, string));
    EXECUTE format('SELECT mdbatch_put_row(ROW(''row'', %s, %L)::types.target)', i, vals[i]);
    EXECUTE format('INSERT INTO types.view VALUES (''view'', %s, %L)', i, vals[i]);
  END LOOP;
  COMMIT;
  SELECT count(*) INTO same FROM mdbatch_pending_rows(NULL::types.target) t JOIN plain p USING (way, id)
    WHERE record_image_eq(ROW(t.v), ROW(p.v));
  IF same <> n THEN RAISE WARNING '% of % are pending as they are', same, n; END IF;
  PERFORM mdbatch_flush('types.target');
  SELECT count(*) INTO same FROM target t JOIN plain p USING (way, id)
    WHERE record_image_eq(ROW(t.v), ROW(p.v)) AND pg_column_size(t.v) IS NOT DISTINCT FROM pg_column_size(p.v);
  SELECT string_agg(coalesce(v::text, 'NULL'), ' | ' ORDER BY id) INTO shown FROM target t WHERE way = 'row';
  RAISE INFO '%: % of % [%]', type, same, n, shown;
  DROP TABLE plain, target CASCADE;
  COMMIT;
END $$;
SET client_min_messages = warning;
CALL trip('smallint', '0', '-32768', '32767');
CALL trip('int', '0', '-2147483648', '2147483647');
CALL trip('bigint', '0', '-9223372036854775808', '9223372036854775807');
CALL trip('numeric', '0', '-0.000', '1e100', '123456789012345678901234567890.123456789', 'NaN', 'infinity', '-infinity', '1.10');
CALL trip('numeric(5,2)', '1.005', '-999.994', '0.1', 'NaN');
CALL trip('numeric(3,-2)', '12345');
CALL trip('real', '0', '-0', '0.1', '3.4028235e38', '1e-45', 'NaN', 'infinity', '-infinity');
CALL trip('double precision', '0', '-0', '0.1', '1.7976931348623157e308', '5e-324', 'NaN', 'infinity', '-infinity');
CALL trip('bool', 'true', 'f');
CALL trip('text', '', ' ', 'a', 'trailing  ', E'line\nfeed\t"\\', 'äöü 日本 😀', 'null', '{}');
CALL trip('varchar', '', 'x  ');
CALL trip('varchar(3)', 'abc', 'ab    ', '日本語', '');
CALL trip('char(4)', 'a', 'ab  ', 'abcd  ', '日', '');
CALL trip('char', 'x', '');
CALL trip('"char"', 'x', '');
CALL trip('name', 'abc', repeat('n', 63), '');
CALL trip('bytea', '\x', '\x00', '\x00ff005c', 'text');
CALL trip('date', '01/02/2020', 'infinity', '-infinity', '0044-03-15 BC', '5874897-12-31');
CALL trip('time', '00:00', '24:00', '12:34:56.789012');
CALL trip('time(2)', '12:34:56.789012');
CALL trip('timetz', '12:34:56+05:45', '23:59:60-15:59');
CALL trip('timetz(0)', '12:34:56.7-8');
CALL trip('timestamp', '01/02/2020 12:00', 'infinity', '-infinity', '4713-01-01 00:00 BC', '2020-01-01 00:00:00.123456');
CALL trip('timestamp(0)', '2020-01-01 00:00:00.5');
CALL trip('timestamptz', '01/02/2020 12:00', 'infinity', '-infinity', '2020-06-01 12:00 America/New_York', '294276-12-31 23:59:59.999999Z');
CALL trip('timestamptz(3)', '2020-01-01 00:00:00.1236Z');
CALL trip('interval', '1 year 2 mons -3 days 04:05:06.789', '-178000000 years', '0', '25:00');
CALL trip('interval hour to minute', '1 day 2:03:04');
CALL trip('interval(1)', '1.26 s');
CALL trip('uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '00000000000000000000000000000000');
CALL trip('inet', '10.1.2.3/8', '::1', '192.168.0.1', '2001:db8::/32');
CALL trip('cidr', '10.0.0.0/8', '::/0');
CALL trip('macaddr', '08:00:2b:01:02:03');
CALL trip('macaddr8', '08:00:2b:ff:fe:01:02:03');
CALL trip('bit(3)', '101', '000');
CALL trip('varbit', '', '1', '10101010101010101');
CALL trip('varbit(4)', '1010', '1');
CALL trip('point', '(1,-2.5)', '(NaN,infinity)');
CALL trip('line', '{1,2,3}');
CALL trip('lseg', '[(0,0),(1,1)]');
CALL trip('box', '(1,2),(3,4)');
CALL trip('path', '[(0,0),(1,1)]', '((0,0),(1,1),(2,0))');
CALL trip('polygon', '((0,0),(1,1),(2,0))');
CALL trip('circle', '<(1,2),3>');
CALL trip('money', '12.34', '-92233720368547758.08');
CALL trip('json', '{"b": 1,  "a": [1, null, 1.0], "a": 2}', 'null', '"x"', '[]', '1.50', '{"é": "😀\n"}');
CALL trip('jsonb', '{"b": 1, "a": [1, null, 1.0], "a": 2}', 'null', '"x"', '[]', '1.50', '{}', 'true');
CALL trip('jsonpath', '$.a[*] ? (@ > 1)');
CALL trip('tsvector', 'a:1 fat:2,4B ''it''''s'':3', '');
CALL trip('tsquery', 'fat & (rat | !cat:AB)');
CALL trip('mood', 'sad', 'it''s "so"');
CALL trip('int[]', '{}', '{1,NULL,3}', '{{1,2},{3,4}}', '[2:3]={7,8}');
CALL trip('text[]', '{"",NULL,"NULL","a,b","\"q\"","{}"}', '{{a},{b}}');
CALL trip('timestamptz[]', '{2020-01-01 00:00Z,infinity}');
CALL trip('numeric(4,1)[]', '{1.25,NULL}');
CALL trip('varchar(2)[]', '{ab,"c "}');
CALL trip('bytea[]', '{"\\x00ff",NULL}');
CALL trip('jsonb[]', '{"{\"a\": 1}","[1]",NULL}');
CALL trip('mood[]', '{sad,NULL,happy}');
CALL trip('positive', '1');
CALL trip('short', 'abc', '');
CALL trip('ints', '{1,2}');
CALL trip('positive[]', '{1,2}', '{{1},{2}}');
CALL trip('short[]', '{abc,NULL}');
CALL trip('pair', '(1,one)', '(,)', '(2,"a ""quoted"", (text)")');
CALL trip('dpair', '(1,yes)');
CALL trip('pair[]', '{"(1,one)",NULL,"(2,)"}');
CALL trip('nested', '("(1,x)","{""(2,y)"",""(3,)""}",ok,1.255)', '(,,,)');
CALL trip('int4range', 'empty', '[1,5]', '(,)', '[1,)');
CALL trip('numrange', '(1.50,2.5]');
CALL trip('tstzrange', '[2020-01-01 00:00Z,infinity)');
CALL trip('moods', '[sad,happy)');
CALL trip('int4multirange', '{}', '{[1,3),[7,9)}');
CALL trip('datemultirange', '{[2020-01-01,2020-02-01)}');
CALL trip('regclass', 'pg_class', '-', '4294967295');
CALL trip('regtype', 'int4', 'mood');
CALL trip('regproc', 'now');
CALL trip('oid', '0', '4294967295');
CALL trip('xid', '3');
CALL trip('xid8', '18446744073709551615');
CALL trip('tid', '(1,2)');
CALL trip('pg_lsn', '16/B374D848');
CALL trip('pg_snapshot', '10:20:10,14,15');
CALL trip('int2vector', '1 2 3');
CALL trip('refcursor', 'c');
CALL trip('text COLLATE "C"', 'a', 'B');
-- Where there is no libxml, text has to do
SELECT CASE count(*) WHEN 0 THEN 'text' ELSE 'xml' END AS xml FROM pg_config WHERE setting LIKE '%--with-libxml%' \gset
CREATE DOMAIN markup AS :xml;
CALL trip('markup', '<a b="c">d</a>', 'x', '');
DROP DOMAIN markup;
RESET client_min_messages;
DROP PROCEDURE trip;

-- Large values, compressed or not, and stored elsewhere by their source
CREATE TABLE large (id int PRIMARY KEY, v text, b bytea, a int[], j jsonb);
ALTER TABLE large ALTER b SET STORAGE EXTERNAL;
CREATE TABLE large2 (LIKE large INCLUDING ALL);
INSERT INTO large2
SELECT 1, repeat('0123456789', 100000), convert_to(repeat('x', 1000000), 'UTF8'), array_agg(i), to_jsonb(array_agg(i::text)) FROM generate_series(1, 20000) i;
INSERT INTO large2
SELECT 2, string_agg(md5(i::text), '' ORDER BY i), decode(string_agg(md5((-i)::text), '' ORDER BY i), 'hex'), NULL, NULL FROM generate_series(1, 32768) i;
INSERT INTO large2 VALUES (3, repeat('y', 2000), '\x00', '{}', '{}');
SELECT mdbatch_attach('large');
SELECT mdbatch_put_row(ROW(l.*)::large) FROM large2 l ORDER BY id;
SELECT id, length(v), length(p.b) AS b, p.v = l.v AND p.b = l.b AND p.a IS NOT DISTINCT FROM l.a AND p.j IS NOT DISTINCT FROM l.j AS same
FROM mdbatch_pending_rows(NULL::large) p JOIN large2 l USING (id, v) ORDER BY id;
SELECT mdbatch_flush('large');
SELECT id, length(l.v) AS v, length(l.b) AS b, md5(l.v) = md5(m.v) AND md5(l.b) = md5(m.b) AND l.a IS NOT DISTINCT FROM m.a AND l.j IS NOT DISTINCT FROM m.j AS same
FROM large l JOIN large2 m USING (id) ORDER BY id;
TRUNCATE large;
SELECT mdbatch_put('large', to_jsonb(l)) FROM large2 l ORDER BY id;
CREATE VIEW largev AS SELECT * FROM large;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON largev FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('types.large');
INSERT INTO largev SELECT id + 10, v, b, a, j FROM large2;
SELECT mdbatch_flush('large');
SELECT l.id, md5(l.v) = md5(m.v) AND md5(l.b) = md5(m.b) AND l.a IS NOT DISTINCT FROM m.a AND l.j IS NOT DISTINCT FROM m.j AS same
FROM large l JOIN large2 m ON m.id = l.id % 10 ORDER BY l.id;
-- They replace each other while pending (R1).
SELECT mdbatch_put_row(ROW(1, repeat(md5('z'), n), NULL, NULL, NULL)::large) FROM unnest('{30000,1,40000}'::int[]) n;
SELECT mdbatch_flush('large');
SELECT length(v), v = repeat(md5('z'), 40000) AS same FROM large WHERE id = 1;
DROP TABLE large, large2 CASCADE;

-- Domains: what they refuse is refused at the call, a missing value, too.
CREATE TABLE dom (id int PRIMARY KEY, r required, p positive, i ints, c pair, d dpair, n nested);
SELECT mdbatch_attach('dom');
CALL fails($$SELECT mdbatch_put('dom', '{"id": 1}')$$);
CALL fails($$SELECT mdbatch_put('dom', '{"id": 1, "r": null}')$$);
CALL fails($$SELECT mdbatch_put('dom', '{"id": 1, "r": "no"}')$$);
CALL fails($$SELECT mdbatch_put('dom', '{"id": 1, "r": "x", "p": 0}')$$);
CALL fails($$SELECT mdbatch_put('dom', '{"id": 1, "r": "x", "i": [[1]]}')$$);
CALL fails($$SELECT mdbatch_put('dom', '{"id": 1, "r": "x", "c": {"a": -1}}')$$);
CALL fails($$SELECT mdbatch_put('dom', '{"id": 1, "r": "x", "d": {"b": "no"}}')$$);
CALL fails($$SELECT mdbatch_put('dom', '{"id": 1, "r": "x", "n": {"q": [{"a": 1}, {"a": 0}]}}')$$);
CALL fails($$SELECT mdbatch_put_row(ROW(1, NULL, NULL, NULL, NULL, NULL, NULL)::types.dom)$$);
CALL fails($$SELECT mdbatch_put_row(ROW(1, 'x', 0, NULL, NULL, NULL, NULL)::types.dom)$$);
SELECT mdbatch_put('dom', '{"id": 1, "r": "yes", "p": 1, "i": [1, null], "c": {"b": "x"}, "d": {"a": 2, "b": "y"}, "n": {"p": {"a": 3}, "q": [{"a": 4}, null], "m": "ok", "d": 1.255}}');
SELECT * FROM mdbatch_pending_rows(NULL::dom);
SELECT mdbatch_flush('dom');
SELECT * FROM dom;
-- A domain changed after the call: it decides again at the flush.
SELECT mdbatch_put('dom', '[{"id": 2, "r": "maybe"}, {"id": 3, "r": "yes"}]');
ALTER DOMAIN required ADD CHECK (VALUE <> 'maybe') NOT VALID;
SELECT mdbatch_flush('dom');
SELECT id, r FROM dom ORDER BY id;
SELECT key, entry->'r' AS r, sqlstate FROM mdbatch_rejected;
DELETE FROM mdbatch_rejected;
DROP TABLE dom;

-- Keys of each type: equal ones coalesce and find their row, others do not.
-- One of them is not there before; so mode update must find all but that.
CREATE PROCEDURE keys(type text, VARIADIC vals text[]) LANGUAGE plpgsql AS $$
DECLARE
  n int := cardinality(vals);
  pending int;
  found int;
  way text;
BEGIN
  FOREACH way IN ARRAY '{upsert,update}'::text[] LOOP
    EXECUTE format('CREATE TABLE target (k %s PRIMARY KEY, v int)', type);
    PERFORM mdbatch_attach('types.target', mode => way);
    EXECUTE format('INSERT INTO target SELECT unnest($1)::%s, 0', type) USING vals[1:n - 1];
    COMMIT;
    FOR i IN 1 .. n LOOP
      EXECUTE format('SELECT mdbatch_put_row(ROW(%L, 9)::types.target)', vals[i]);
      COMMIT;
    END LOOP;
    FOR i IN 1 .. n LOOP
      EXECUTE format('SELECT mdbatch_put(''types.target'', jsonb_build_object(''k'', %L, ''v'', %s))', vals[i], i);
    END LOOP;
    COMMIT;
    EXECUTE 'SELECT count(*) FROM mdbatch_pending_rows(NULL::types.target)' INTO pending;
    PERFORM mdbatch_flush('types.target');
    EXECUTE format('SELECT count(*) FROM unnest($1) WITH ORDINALITY u (k, i) JOIN target t ON t.k = u.k::%s AND t.v = u.i', type) INTO found USING vals;
    RAISE INFO '%, %: % pending, % found, % rows', type, way, pending, found, (SELECT count(*) FROM target);
    DROP TABLE target;
    COMMIT;
  END LOOP;
END $$;
CALL keys('text', '', ' ', 'a', 'A', 'a ', ' a', 'ä', E'a\u0308', 'null', repeat('k', 2000));
CALL keys('text COLLATE "C"', '', ' ', 'a', 'A', 'a ');
CALL keys('varchar(4)', '', ' ', 'a', 'A', 'a ');
CALL keys('name', '', 'a', 'A', 'a ');
CALL keys('uuid', '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '00000000-0000-0000-0000-000000000001');
CALL keys('smallint', '0', '-1', '32767', '-32768');
CALL keys('int', '0', '-1', '2147483647', '-2147483648');
CALL keys('bigint', '0', '-1', '9223372036854775807', '-9223372036854775808', '4294967296');
CALL keys('bool', 'true', 'false');
CALL keys('date', '2020-01-01', 'infinity', '-infinity');
CALL keys('time', '00:00', '24:00');
CALL keys('timestamp', '2020-01-01', 'infinity', '-infinity', '2020-01-01 00:00:00.000001');
CALL keys('timestamptz', '2020-01-01Z', 'infinity', '-infinity', '2020-01-01 00:00:00.000001Z');
CALL keys('bytea', '\x', '\x00', '\x0000', '\x20');
CALL keys('oid', '0', '4294967295', '1');
CALL keys('inet', '10.0.0.1', '10.0.0.1/8', '10.0.0.1/24', '::10.0.0.1', '::1');
CALL keys('macaddr', '08:00:2b:01:02:03', '08:00:2b:01:02:04');
CALL keys('"char"', 'a', 'A', '');
CALL keys('mood', 'sad', 'happy', 'ok');
CALL keys('positive', '1', '2', '3');
CALL keys('short', '', ' ', 'a', 'A');
DROP PROCEDURE keys;
-- cidr has inet's index; '10/8' and '10.0.0.0/8' are one.
CREATE TABLE c (k cidr PRIMARY KEY, v int);
SELECT mdbatch_attach('c');
SELECT mdbatch_put('c', '[{"k": "10/8", "v": 1}, {"k": "10.0.0.0/8", "v": 2}, {"k": "10.0.0.0/9", "v": 3}]');
SELECT mdbatch_flush('c');
SELECT * FROM c ORDER BY k;
-- In a key of several columns no value runs into the next.
CREATE TABLE kk (a text, b text, c bytea, v int, PRIMARY KEY (a, b, c));
SELECT mdbatch_attach('kk');
SELECT mdbatch_put('kk', '[{"a": "x", "b": "", "c": "", "v": 1}, {"a": "", "b": "x", "c": "", "v": 2}, {"a": "", "b": "", "c": "x", "v": 3}, {"a": "xx", "b": "", "c": "", "v": 4}, {"a": "x", "b": "x", "c": "", "v": 5}, {"a": "", "b": "", "c": "", "v": 6}]');
SELECT mdbatch_flush('kk');
SELECT * FROM kk ORDER BY v;
-- A key too long for its index is refused at the call, with the whole call.
CREATE TABLE lk (k text PRIMARY KEY, v int);
SELECT mdbatch_attach('lk');
CALL fails($$SELECT mdbatch_put('lk', jsonb_build_array(jsonb_build_object('k', 'fits'), jsonb_build_object('k', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 100) i))))$$);
SELECT pending FROM books WHERE target = 'types.lk';

SELECT * FROM books WHERE NOT balanced;
SELECT count(*) FROM mdbatch_rejected;
SET client_min_messages = error;
RESET search_path;
DROP SCHEMA types CASCADE;
