-- mdbatch_retry(): once more what a target refused (R12, R18).
CREATE SCHEMA retry;
SET search_path = retry, public;
SET timezone = 'Asia/Kolkata';
SET datestyle = 'ISO, DMY';
SET intervalstyle = 'postgres';
SET lc_monetary = 'C';
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'it''s "so"');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN short AS varchar(3);
CREATE DOMAIN ints AS int[] CHECK (array_ndims(VALUE) = 1);
CREATE TYPE pair AS (a positive, b text);
CREATE TYPE nested AS (p pair, q pair[], m mood, d numeric(5,2));
CREATE DOMAIN dpair AS pair CHECK ((VALUE).b <> 'no');
CREATE TYPE moods AS RANGE (subtype = mood);

/*
 * Of a type and literals of it: a table that refuses each value, takes it when
 * it is retried, and then must hold the same bytes as a plain one; NULL, too.
 */
CREATE PROCEDURE trip(type text, VARIADIC vals text[]) LANGUAGE plpgsql AS $$
DECLARE
  n int := cardinality(vals) + 1;
  rejected int;
  retried bigint;
  same int;
  others text;
BEGIN
  EXECUTE format('CREATE TABLE plain (id int PRIMARY KEY, v %s)', type);
  EXECUTE format('CREATE TABLE target (id int PRIMARY KEY, v %s, CONSTRAINT shut CHECK (id < 0))', type);
  PERFORM mdbatch_attach('retry.target');
  FOR i IN 0 .. cardinality(vals) LOOP
    -- 0 is NULL
    EXECUTE format('INSERT INTO plain VALUES (%s, %L)', i, vals[i]);
    EXECUTE format('SELECT mdbatch_put_row(ROW(%s, %L)::retry.target)', i, vals[i]);
  END LOOP;
  COMMIT;
  PERFORM mdbatch_flush('retry.target');
  SELECT count(*) INTO rejected FROM mdbatch_rejected;
  COMMIT;
  ALTER TABLE target DROP CONSTRAINT shut;
  COMMIT;
  retried := mdbatch_retry('retry.target');
  COMMIT;
  PERFORM mdbatch_flush('retry.target');
  SELECT count(*) INTO same FROM target t JOIN plain p USING (id)
    WHERE record_image_eq(ROW(t.v), ROW(p.v)) AND pg_column_size(t.v) IS NOT DISTINCT FROM pg_column_size(p.v);
  SELECT string_agg(format('%s instead of %s', coalesce(t.v::text, 'NULL'), p.v), ', ' ORDER BY id) INTO others
    FROM target t RIGHT JOIN plain p USING (id) WHERE NOT record_image_eq(ROW(t.v), ROW(p.v));
  RAISE INFO '%: % of % the same%', type, same, n, coalesce(', ' || others, '');
  IF rejected <> n OR retried <> n THEN RAISE WARNING '% rejected, % retried of %', rejected, retried, n; END IF;
  IF EXISTS (SELECT FROM mdbatch_rejected) THEN RAISE WARNING 'something is left'; END IF;
  DROP TABLE plain, target;
  DELETE FROM mdbatch_rejected;
  COMMIT;
END $$;
-- Without the warnings that something was refused.
SET client_min_messages = error;
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
RESET client_min_messages;
DROP PROCEDURE trip;

-- Rows that mdbatch has not made, of a table, however they are called.
CREATE FUNCTION made_up(of regclass, entry jsonb, at timestamptz DEFAULT now(), key jsonb DEFAULT '{}', owner text DEFAULT NULL, target text DEFAULT 'whatever')
RETURNS mdbatch_rejected LANGUAGE sql AS $$
  SELECT ROW(target, key, entry, '23514', 'no', at, false, NULL,
    coalesce((SELECT label::jsonb->>'identity' FROM pg_seclabel WHERE objoid = of AND objsubid = 0 AND provider = 'mdbatch'), '00000000-0000-0000-0000-000000000000')::uuid,
    coalesce(owner, (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = of)), uuid_send(gen_random_uuid()))::mdbatch_rejected
$$;

-- A target: its CHECK is dropped, its rows come back, merged as ever.
CREATE TABLE t (id int PRIMARY KEY, ver int, v text CONSTRAINT shut CHECK (v <> 'bad'), s int, hi int);
CREATE TABLE other (id int PRIMARY KEY, v text CHECK (v <> 'bad'));
SELECT mdbatch_attach('t', version => 'ver', merge => '{"s": "sum", "hi": "max"}');
SELECT mdbatch_attach('other');
SELECT mdbatch_retry('t');
SELECT mdbatch_retry(NULL) IS NULL AS nothing;
INSERT INTO t VALUES (2, 1, 'row', 1, 9), (3, 9, 'newer row', 1, 9), (4, 1, 'row', NULL, NULL);
SELECT mdbatch_put('t', (SELECT jsonb_agg(jsonb_build_object('id', i, 'ver', 5, 'v', 'bad', 's', 10, 'hi', 5) ORDER BY i) FROM generate_series(1, 5) i));
SELECT mdbatch_put('other', '[{"id": 1, "v": "bad"}, {"id": 2, "v": "good"}]');
SET client_min_messages = error;
SELECT mdbatch_flush();
RESET client_min_messages;
SELECT target, key FROM mdbatch_rejected ORDER BY target, key;
-- While it still refuses them, they come back to where they were.
SELECT mdbatch_retry('t');
SELECT count(*) FROM mdbatch_rejected;
SET client_min_messages = error;
SELECT mdbatch_flush('t');
RESET client_min_messages;
SELECT target, key, entry, sqlstate FROM mdbatch_rejected ORDER BY target, key;
-- Rolled back, also to a savepoint, nothing has happened.
ALTER TABLE t DROP CONSTRAINT shut;
BEGIN;
SAVEPOINT s;
SELECT mdbatch_retry('t');
SELECT count(*) FROM mdbatch_rejected;
ROLLBACK TO s;
SELECT count(*) FROM mdbatch_rejected;
SELECT mdbatch_retry('t');
ROLLBACK;
SELECT count(*) FROM mdbatch_rejected;
SELECT pending, reserved, added, rejected, balanced FROM books WHERE target = 'retry.t';
-- A newer pending version wins (4, 5), a newer stored one, too (3); sums add
-- up and extremes stay whichever is newer (R21). Another target's rows stay.
SELECT mdbatch_put('t', '[{"id": 4, "ver": 6, "v": "newer", "s": 100, "hi": 1}, {"id": 5, "ver": 4, "v": "older", "s": 100, "hi": 7}]');
SELECT mdbatch_retry('t');
SELECT * FROM mdbatch_pending_rows(NULL::t) ORDER BY id;
SELECT target, key FROM mdbatch_rejected;
SELECT mdbatch_flush('t');
SELECT * FROM t ORDER BY id;
SELECT pending, added, coalesced, stale, flushed, rejected, balanced FROM books WHERE target = 'retry.t';
SELECT mdbatch_retry('t');
-- Without a version the later one wins: an entry that is retried is an add of
-- now (R1).
ALTER TABLE other DROP CONSTRAINT other_v_check;
SELECT mdbatch_put('other', '{"id": 1, "v": "put before"}');
SELECT mdbatch_retry('other');
SELECT mdbatch_put('other', '{"id": 2, "v": "put after"}');
SELECT mdbatch_flush('other');
SELECT * FROM other ORDER BY id;
-- Rows belong to the table, whatever it is called.
DELETE FROM other;
ALTER TABLE other ADD CONSTRAINT shut CHECK (v <> 'bad');
SELECT mdbatch_put('other', '{"id": 1, "v": "bad"}');
SET client_min_messages = error;
SELECT mdbatch_flush('other');
RESET client_min_messages;
ALTER TABLE other DROP CONSTRAINT shut;
ALTER TABLE other RENAME TO "Other one";
SELECT mdbatch_retry('"Other one"');
SELECT mdbatch_flush('"Other one"');
SELECT v FROM "Other one" WHERE id = 1;
ALTER TABLE "Other one" RENAME TO other;

-- A target that is none, or not any more
CREATE TABLE bare (id int PRIMARY KEY);
CALL fails($$SELECT mdbatch_retry('bare')$$);
CALL fails($$SELECT mdbatch_retry('pg_class')$$);
CALL fails($$SELECT mdbatch_retry(0::oid)$$);
BEGIN READ ONLY;
CALL fails($$SELECT mdbatch_retry('t')$$);
ROLLBACK;

-- What cannot be an entry any more stays, the others are enqueued.
CREATE PROCEDURE show_rejected() LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  SELECT string_agg(format('%s %s', key, entry), ', ' ORDER BY key) INTO line FROM mdbatch_rejected;
  RAISE INFO 'rejected %', line;
  -- Not planned before: the table changes.
  EXECUTE 'SELECT string_agg(id::text, '' '' ORDER BY id) FROM mdbatch_pending_rows(NULL::t)' INTO line;
  RAISE INFO 'pending %', line;
END $$;
TRUNCATE t;
ALTER TABLE t ADD CONSTRAINT shut CHECK (v NOT LIKE 'bad%');
SELECT mdbatch_put('t', '[{"id": 1, "ver": 5, "v": "bad1"}, {"id": 2, "ver": 5, "v": "bad22"}, {"id": 3, "ver": 5, "v": "bad3"}]');
SET client_min_messages = error;
SELECT mdbatch_flush('t');
RESET client_min_messages;
ALTER TABLE t DROP CONSTRAINT shut;
-- Too long for the column
ALTER TABLE t ALTER v TYPE varchar(4);
SELECT mdbatch_retry('t');
CALL show_rejected();
-- A column that is carried no more
ALTER TABLE t ALTER v TYPE text;
SELECT mdbatch_attach('t', version => 'ver', columns => '{s,hi}');
SELECT mdbatch_retry('t');
CALL show_rejected();
-- A dropped one
SELECT mdbatch_attach('t', version => 'ver');
ALTER TABLE t DROP hi;
SELECT mdbatch_retry('t');
CALL show_rejected();
-- Another type that cannot take it
ALTER TABLE t ADD hi int;
SELECT mdbatch_attach('t', version => 'ver');
ALTER TABLE t ALTER v TYPE int USING NULL;
SELECT mdbatch_retry('t');
CALL show_rejected();
ALTER TABLE t ALTER v TYPE text;
-- It is mended by mending the rows.
UPDATE mdbatch_rejected SET entry = jsonb_set(entry, '{v}', '"mended"') WHERE key = '{"id": 2}';
SELECT mdbatch_retry('t');
CALL show_rejected();
SELECT mdbatch_flush('t');
SELECT id, v FROM t ORDER BY id;
DROP PROCEDURE show_rejected;

-- As many as there is room for, those that were refused first; none is
-- dropped, and none waits, whatever on_full says.
TRUNCATE t;
SELECT mdbatch_attach('t', version => 'ver', batch_size => 1000);
INSERT INTO mdbatch_rejected SELECT r.* FROM generate_series(1, 20) i, made_up('t', jsonb_build_object('id', i, 'ver', 1), timestamptz '2020-01-01' - i * interval '1 s', jsonb_build_object('id', i)) r;
ALTER SYSTEM SET mdbatch.queue_size = 10;
SELECT pg_reload_conf();
\c -
SET search_path = retry, public;
SET mdbatch.on_full = 'drop';
SELECT mdbatch_put('t', '[{"id": 101, "ver": 1}, {"id": 102, "ver": 1}]');
SELECT mdbatch_retry('t');
SELECT string_agg(key->>'id', ' ' ORDER BY (key->>'id')::int) FROM mdbatch_rejected;
SELECT string_agg(id::text, ' ' ORDER BY id) FROM mdbatch_pending_rows(NULL::t);
CALL fails($$SELECT mdbatch_retry('t')$$);
SET mdbatch.on_full = 'wait';
CALL fails($$SELECT mdbatch_retry('t')$$);
SELECT count(*) FROM mdbatch_rejected;
SELECT pending, reserved, dropped, balanced FROM books WHERE target = 'retry.t';
SELECT mdbatch_flush('t');
SELECT mdbatch_retry('t');
SELECT mdbatch_flush('t');
SELECT mdbatch_retry('t');
ALTER SYSTEM RESET mdbatch.queue_size;
SELECT pg_reload_conf();
\c -
SET search_path = retry, public;
SELECT mdbatch_flush('t');
SELECT count(*), sum(id) FROM t;
SELECT count(*) FROM mdbatch_rejected;

-- Rights (R18): EXECUTE is revoked from PUBLIC, and the table must be the
-- caller's, who needs none on mdbatch_rejected.
CREATE ROLE mdb_retry_owner;
CREATE ROLE mdb_retry_user;
GRANT USAGE, CREATE ON SCHEMA retry TO mdb_retry_owner, mdb_retry_user;
ALTER TABLE t OWNER TO mdb_retry_owner;
GRANT ALL ON t TO mdb_retry_user;
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', '{"id": 1, "ver": 2, "v": "retried"}', owner => 'mdb_retry_owner') r;
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('other', '{"id": 1, "v": "other"}') r;
-- The table was another's when it refused that one.
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', '{"id": 2, "ver": 2, "v": "not his"}', owner => current_user) r;
SET ROLE mdb_retry_owner;
CALL fails($$SELECT mdbatch_retry('t')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION mdbatch_retry TO mdb_retry_owner, mdb_retry_user;
SET ROLE mdb_retry_user;
CALL fails($$SELECT mdbatch_retry('t')$$);
CALL fails($$SELECT mdbatch_retry('other')$$);
SET ROLE mdb_retry_owner;
CALL fails($$SELECT mdbatch_retry('other')$$);
CALL fails('SELECT * FROM mdbatch_rejected');
SELECT mdbatch_retry('t');
RESET ROLE;
SELECT entry FROM mdbatch_rejected ORDER BY entry;
SELECT mdbatch_flush('t');
SELECT id, ver, v FROM t WHERE id IN (1, 2);
SELECT mdbatch_retry('t');
SELECT mdbatch_flush('t');
SELECT id, ver, v FROM t WHERE id IN (1, 2) ORDER BY id;
-- The table cannot have it, whoever calls; nor that of a role that is gone.
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', '{"id": 2, "ver": 3, "v": "of nobody"}', owner => 'mdb_no_such_role') r;
SET ROLE mdb_retry_owner;
SELECT mdbatch_retry('t');
RESET ROLE;
SELECT mdbatch_retry('t');
SELECT mdbatch_flush('t');
SELECT id, ver, v FROM t WHERE id = 2;
DELETE FROM mdbatch_rejected WHERE owner IN (current_user, 'mdb_no_such_role');
-- An owner who may not add may not retry.
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', '{"id": 1, "ver": 3, "v": "no"}', owner => 'mdb_retry_owner') r;
REVOKE INSERT ON t FROM mdb_retry_owner;
SET ROLE mdb_retry_owner;
CALL fails($$SELECT mdbatch_retry('t')$$);
RESET ROLE;
GRANT INSERT ON t TO mdb_retry_owner;
SELECT entry FROM mdbatch_rejected ORDER BY entry;
DELETE FROM mdbatch_rejected;

-- Rows that mdbatch has not made: none holds up the others.
CREATE PROCEDURE hostile(entry jsonb) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM mdbatch_discard('retry.t');
  DELETE FROM mdbatch_rejected;
  INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', '{"id": 7, "ver": 1}', 'infinity') r;
  INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', entry, key => '[]') r;
  PERFORM mdbatch_retry('retry.t');
  COMMIT;
  RAISE INFO '  % rejected, % pending', (SELECT count(*) FROM mdbatch_rejected), (SELECT string_agg(id::text, ' ') FROM mdbatch_pending_rows(NULL::retry.t));
END $$;
CALL hostile('null');
CALL hostile('1');
CALL hostile('"text"');
CALL hostile('[]');
CALL hostile('[{"id": 1, "ver": 1}]');
CALL hostile('{}');
CALL hostile('{"id": null, "ver": 1}');
CALL hostile('{"id": 1, "ver": null}');
CALL hostile('{"id": 1, "ver": 1, "none": 1}');
CALL hostile('{"id": 1, "ver": 1, "ID": 1}');
CALL hostile('{"id": 1, "ver": 1, "": 1}');
CALL hostile('{"id": 1, "ver": 1, "ctid": "(0,1)"}');
CALL hostile('{"id": {"a": 1}, "ver": 1}');
CALL hostile('{"id": 99999999999, "ver": 1}');
CALL hostile('{"id": "1; DROP TABLE t", "ver": 1}');
DROP PROCEDURE hostile;
SELECT mdbatch_discard('t');
-- Of two rows of a key, and of an entry whose key is not the row's, the entry
-- counts, and the one that was refused later is the later.
DELETE FROM mdbatch_rejected;
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', '{"id": 8, "ver": 9, "v": "later"}', '2020-01-02') r;
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', '{"id": 8, "ver": 9, "v": "first"}', '2020-01-01') r;
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('other', '{"id": 8, "v": "other"}', 'infinity', target => 'retry.t') r;
SELECT mdbatch_retry('t');
SELECT id, v FROM mdbatch_pending_rows(NULL::t);
SELECT entry FROM mdbatch_rejected;
-- Huge ones; one that does not fit into the memory of all batches stays.
DELETE FROM mdbatch_rejected;
INSERT INTO mdbatch_rejected SELECT r.* FROM generate_series(1, 8) i, made_up('t', jsonb_build_object('id', i, 'ver', 9, 'v', repeat(chr(64 + i), i * 100000))) r;
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', jsonb_build_object('id', 1, 'ver', 9, 'v', repeat('x', 40000000)), '2020-01-01') r;
SELECT mdbatch_retry('t');
SELECT mdbatch_flush('t');
SELECT id, length(v), left(v, 1) FROM t WHERE ver = 9 ORDER BY id;
SELECT count(*) FROM mdbatch_rejected;
DELETE FROM mdbatch_rejected;
-- When there is no memory for more, what was enqueued before is.
INSERT INTO mdbatch_rejected SELECT r.* FROM generate_series(1, 8) i, made_up('t', jsonb_build_object('id', i, 'ver', 10, 'v', repeat('x', 5000000)), timestamptz '2020-01-01' + i * interval '1 s') r;
SELECT r BETWEEN 1 AND 7 AS some FROM mdbatch_retry('t') r;
SELECT string_agg(id::text, ' ' ORDER BY id) = (SELECT string_agg(i::text, ' ' ORDER BY i) FROM generate_series(1, (SELECT 8 - count(*)::int FROM mdbatch_rejected)) i) AS the_oldest FROM mdbatch_pending_rows(NULL::t);
SELECT mdbatch_discard('t') > 0 AS discarded;
DELETE FROM mdbatch_rejected;
-- What was kept as its bytes stays, and so does a removal.
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', '{"id": 1, "ver": 11}') r;
UPDATE mdbatch_rejected SET bytes = '{"v": "00"}';
INSERT INTO mdbatch_rejected SELECT r.* FROM made_up('t', '{"id": 2, "ver": 11}') r;
UPDATE mdbatch_rejected SET removed = bytes IS NULL;
SELECT mdbatch_retry('t');
SELECT entry, bytes, removed FROM mdbatch_rejected ORDER BY entry;
DELETE FROM mdbatch_rejected;

-- Values are read with the settings that they were shown with, whatever the
-- session has.
CREATE TABLE settings (id int PRIMARY KEY, d date, i interval, m money, ts timestamptz, c regclass, s text CONSTRAINT shut CHECK (s <> 'bad'));
SELECT mdbatch_attach('settings');
SELECT mdbatch_put_row(ROW(1, '2020-02-01', '-1 day +02:03', 12.34, '2020-01-02 03:04:05+06', 'pg_class', 'bad')::settings);
SET client_min_messages = error;
SELECT mdbatch_flush('settings');
RESET client_min_messages;
SELECT entry FROM mdbatch_rejected;
ALTER TABLE settings DROP CONSTRAINT shut;
CREATE TABLE retry.pg_class (of_another text);
SET search_path = retry, public, pg_catalog;
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SET timezone = 'America/New_York';
SELECT mdbatch_retry('settings');
SHOW datestyle;
RESET datestyle;
RESET intervalstyle;
RESET timezone;
SET search_path = retry, public;
DROP TABLE retry.pg_class;
SELECT mdbatch_flush('settings');
SELECT id, d = '2020-02-01' AS d, i = '-1 day +02:03' AS i, m = 12.34::money AS m, ts = '2020-01-02 03:04:05+06' AS ts, c = 'pg_catalog.pg_class'::regclass AS c FROM settings;

-- Agent metadata, whose name is the extension's own
ALTER TABLE mdbatch_metadata ADD CONSTRAINT shut CHECK (value <> 'bad');
SELECT mdbatch_add(agent(1), '{a,b}', '{bad,good}', NULL, ARRAY[timestamptz '2020-01-01', '2020-01-01']);
SELECT mdbatch_flush('mdbatch_metadata');
ALTER TABLE mdbatch_metadata DROP CONSTRAINT shut;
SELECT mdbatch_retry('mdbatch_metadata');
SELECT mdbatch_flush('mdbatch_metadata');
SELECT key, value FROM mdbatch_metadata ORDER BY key;
TRUNCATE mdbatch_metadata;

SELECT count(*) FROM mdbatch_rejected;
SELECT * FROM books WHERE NOT balanced;
SET client_min_messages = error;
RESET search_path;
DROP SCHEMA retry CASCADE;
REVOKE EXECUTE ON FUNCTION mdbatch_retry FROM mdb_retry_owner, mdb_retry_user;
DROP ROLE mdb_retry_owner, mdb_retry_user;
