-- R23: targets that are altered while entries wait.
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SELECT mdbatch_stat_reset();
CREATE ROLE mdb_owner;
CREATE SCHEMA elsewhere;
GRANT USAGE ON SCHEMA elsewhere TO mdb_owner;

-- What needs no new attachment: the entries that wait are written (id 1), and
-- adds go on (id 2); sums count each. Names of columns are what they are now.
CREATE TABLE state (id int PRIMARY KEY, v text, n int, ver int);
SELECT mdbatch_attach('state', version => 'ver', merge => '{"n": "sum"}', channel => 'c');
CREATE SEQUENCE step;
CREATE PROCEDURE old(target text DEFAULT 'state', id text DEFAULT 'id', v text DEFAULT 'v') LANGUAGE plpgsql AS $$
BEGIN
  PERFORM mdbatch_put(target::regclass, jsonb_build_object(id, 1, v, 'old ' || nextval('step'), 'n', 1, 'ver', currval('step')));
END $$;
CREATE PROCEDURE new(target text DEFAULT 'state', id text DEFAULT 'id', v text DEFAULT 'v') LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  PERFORM mdbatch_put(target::regclass, jsonb_build_object(id, 2, v, 'new ' || currval('step'), 'n', 1, 'ver', currval('step')));
  COMMIT;
  PERFORM mdbatch_flush(target::regclass);
  EXECUTE format('SELECT string_agg(format(''%%s: %%s, %%s'', %I, %I, n), ''; '' ORDER BY %I) FROM %s', id, v, id, target) INTO line;
  RAISE INFO '%', line;
END $$;
CALL old();
ALTER TABLE state ADD COLUMN more int DEFAULT 7;
CALL new();
CALL old();
ALTER TABLE state OWNER TO mdb_owner;
CALL new();
CALL old();
VACUUM FULL state;
CALL new();
CALL old();
CLUSTER state USING state_pkey;
CALL new();
CALL old();
ALTER TABLE state ALTER more TYPE text, ALTER v SET STORAGE EXTERNAL, SET (fillfactor = 50), SET UNLOGGED;
CALL new();
CALL old();
ALTER TABLE state DROP COLUMN more;
CALL new();
CALL old();
ALTER TABLE state RENAME COLUMN v TO "the value";
CALL new(v => 'the value');
CALL old(v => 'the value');
ALTER TABLE state RENAME COLUMN id TO v;
CALL new(id => 'v', v => 'the value');
CALL old(id => 'v', v => 'the value');
ALTER TABLE state RENAME TO "new name";
CALL new('"new name"', 'v', 'the value');
CALL old('"new name"', 'v', 'the value');
ALTER TABLE "new name" SET SCHEMA elsewhere;
CALL new('elsewhere."new name"', 'v', 'the value');
CALL old('elsewhere."new name"', 'v', 'the value');
ALTER SCHEMA elsewhere RENAME TO "else where";
CALL new('"else where"."new name"', 'v', 'the value');
SELECT target, key, version, columns, notify, owner FROM mdbatch_target WHERE NOT metadata;
SELECT added, flushed, skipped, pending FROM mdbatch_stat WHERE relid = '"else where"."new name"'::regclass;
-- The owner must be able to reach it; till then what waits, waits.
CALL old('"else where"."new name"', 'v', 'the value');
REVOKE USAGE ON SCHEMA "else where" FROM mdb_owner;
CALL fails($$SELECT mdbatch_flush('"else where"."new name"')$$);
GRANT USAGE ON SCHEMA "else where" TO mdb_owner;
CALL new('"else where"."new name"', 'v', 'the value');
DROP SCHEMA "else where" CASCADE;
DROP PROCEDURE old(text, text, text), new(text, text, text);
DROP SEQUENCE step;

-- A dropped column that was carried is left out of what waits and what comes.
CREATE TABLE state (id int PRIMARY KEY, a text, b int, c text);
SELECT mdbatch_attach('state', merge => '{"b": "sum"}');
SELECT mdbatch_put('state', '{"id": 1, "a": "a1", "b": 1, "c": "c1"}');
ALTER TABLE state DROP COLUMN b;
SELECT * FROM mdbatch_pending_rows(NULL::state);
CALL fails($$SELECT mdbatch_put('state', '{"id": 2, "b": 1}')$$);
SELECT mdbatch_put('state', '{"id": 2, "a": "a2", "c": "c2"}');
SELECT mdbatch_put_row(ROW(3, 'a3', 'c3')::state);
SELECT mdbatch_flush('state');
SELECT * FROM state ORDER BY id;
SELECT mdbatch_put('state', '{"id": 1, "a": "a1", "c": "last"}');
ALTER TABLE state DROP COLUMN a, DROP COLUMN c;
SELECT mdbatch_put('state', '[{"id": 1}, {"id": 4}]');
SELECT mdbatch_flush('state');
SELECT * FROM state ORDER BY id;
SELECT columns FROM mdbatch_target WHERE target = 'state'::regclass;
DROP TABLE state;

-- A dropped version, notify or key column: no more adds; what waits is
-- written without it, or rejected for want of a key.
CREATE TABLE state (id int PRIMARY KEY, v text, ver int, n text, u int UNIQUE NOT NULL);
INSERT INTO state VALUES (1, 'row', 9, 'n', 1);
SELECT mdbatch_attach('state', columns => '{v,u}', version => 'ver');
SELECT mdbatch_put('state', '{"id": 1, "v": "older, but nobody knows", "ver": 1, "u": 1}');
ALTER TABLE state DROP COLUMN ver;
CALL fails($$SELECT mdbatch_put('state', '{"id": 1, "v": "x", "u": 1}')$$);
SELECT mdbatch_flush('state');
SELECT * FROM state;
SELECT mdbatch_attach('state', columns => '{v,u}', channel => 'c', notify => 'n');
SELECT mdbatch_put('state', '{"id": 1, "v": "unheard", "u": 1}');
SELECT notifications AS before FROM mdbatch_stat WHERE relid = 'state'::regclass \gset
ALTER TABLE state DROP COLUMN n;
CALL fails($$SELECT mdbatch_put('state', '{"id": 1, "v": "x", "u": 1}')$$);
SELECT mdbatch_flush('state');
SELECT notifications - :before AS notifications FROM mdbatch_stat WHERE relid = 'state'::regclass;
SELECT * FROM state;
SELECT mdbatch_attach('state', '{u}', columns => '{v}', mode => 'update');
SELECT mdbatch_put('state', '[{"u": 1, "v": "needle one"}, {"u": 2, "v": "needle two"}]');
ALTER TABLE state DROP COLUMN u;
CALL fails($$SELECT mdbatch_put('state', '{"v": "x"}')$$);
SELECT mdbatch_flush('state');
SELECT * FROM state;
SELECT sqlstate, message FROM mdbatch_rejected ORDER BY key;
SELECT entry, (SELECT string_agg(c, ' ') FROM jsonb_object_keys(bytes) c) AS bytes_of, jsonb_typeof(key) AS key FROM mdbatch_rejected ORDER BY entry;
DELETE FROM mdbatch_rejected;
-- Attached again, it is as good as new.
SELECT mdbatch_attach('state');
SELECT mdbatch_put('state', '{"id": 1, "v": "again"}');
SELECT mdbatch_flush('state');
SELECT * FROM state;
SELECT added, flushed, skipped, rejected, pending, balanced FROM books WHERE target = 'public.state' AND rejected > 0;
DROP TABLE state;

-- Retyped columns: what waits (id 1, 3) is assigned to the new type, or is
-- refused; adds (id 2) are of the new type.
CREATE PROCEDURE retype(old text, value jsonb, other jsonb, new text, later jsonb, expression text DEFAULT 'c', mode text DEFAULT 'upsert', merge jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  EXECUTE format('CREATE TABLE retyped (id int PRIMARY KEY, c %s)', old);
  IF mode = 'update' OR merge IS NOT NULL THEN
    EXECUTE format('INSERT INTO retyped SELECT i, (jsonb_populate_record(NULL::retyped, jsonb_build_object(''c'', $1))).c FROM generate_series(1, 3) i') USING value;
  END IF;
  PERFORM mdbatch_attach('retyped', mode => mode, merge => merge);
  COMMIT;
  PERFORM mdbatch_put('retyped', jsonb_build_array(jsonb_build_object('id', 1, 'c', value), jsonb_build_object('id', 3, 'c', other)));
  COMMIT;
  EXECUTE format('ALTER TABLE retyped ALTER c TYPE %s USING %s', new, expression);
  COMMIT;
  BEGIN
    PERFORM mdbatch_put('retyped', jsonb_build_object('id', 2, 'c', later));
  EXCEPTION WHEN OTHERS THEN
    RAISE INFO '% to %: % %', old, new, SQLSTATE, SQLERRM;
  END;
  COMMIT;
  PERFORM mdbatch_flush('retyped');
  SELECT string_agg(id || ': ' || c::text, '; ' ORDER BY id) INTO line FROM retyped;
  RAISE INFO '% to %: %', old, new, line;
  FOR line IN SELECT sqlstate || ' ' || message FROM mdbatch_rejected ORDER BY key LOOP
    RAISE INFO '  %', line;
  END LOOP;
  COMMIT;
  DELETE FROM mdbatch_rejected;
  DROP TABLE retyped;
END $$;
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CALL retype('int', '1', '2147483647', 'bigint', '3000000000');
CALL retype('int', '1', '2147483647', 'bigint', '3000000000', mode => 'update');
CALL retype('bigint', '1', '3000000000', 'int', '5');
CALL retype('text', '"abc"', '"too long"', 'varchar(3)', '"xyz"');
CALL retype('varchar(3)', '"abc"', '"def"', 'text', '"longer"');
CALL retype('int', '5', '-6', 'text', '"seven"');
CALL retype('int', '5', '-6', 'text', '"seven"', mode => 'update');
CALL retype('int', '5', '600', 'small', '7');
CALL retype('text', '"5"', '"6"', 'int', '7', 'c::int');
CALL retype('text', '"5"', '"6"', 'int', '7', 'c::int', mode => 'update');
CALL retype('mood', '"sad"', '"glad"', 'text', '"indifferent"');
CALL retype('int[]', '[1, 2]', '[]', 'bigint[]', '[3000000000]');
CALL retype('jsonb', '{"a": 1}', '[]', 'json', '{"b": 2}');
CALL retype('timestamptz', '"2020-01-01 12:00+00"', '"infinity"', 'date', '"2020-02-02"');
CALL retype('numeric(5,2)', '1.55', '100', 'numeric(3,1)', '2.5');
-- What is summed: with what can be summed, else refused.
CALL retype('int', '2', '2147483647', 'bigint', '3000000000', merge => '{"c": "sum"}');
CALL retype('int', '2', '3', 'float8', '0.5', merge => '{"c": "sum"}');
CALL retype('int', '2', '3', 'text', '"x"', merge => '{"c": "sum"}');
CALL retype('int', '2', '3', 'text', '"x"', merge => '{"c": "max"}');
CALL retype('date', '"2020-01-01"', '"2020-01-02"', 'timestamp', '"2020-01-03 12:00"', merge => '{"c": "max"}');
-- A type that is gone
CREATE TABLE state (id int PRIMARY KEY, c mood);
SELECT mdbatch_attach('state');
SELECT mdbatch_put('state', '{"id": 1, "c": "sad"}');
ALTER TABLE state ALTER c TYPE text;
DROP TYPE mood;
SELECT mdbatch_put('state', '{"id": 2, "c": "indifferent"}');
SELECT mdbatch_flush('state');
SELECT * FROM state;
SELECT sqlstate, message FROM mdbatch_rejected;
DELETE FROM mdbatch_rejected;
DROP TABLE state;
DROP DOMAIN small;
DROP PROCEDURE retype(text, jsonb, jsonb, text, jsonb, text, text, jsonb);

-- A key that is retyped: entries of both types find the same row.
CREATE TABLE state (id int PRIMARY KEY, v text);
INSERT INTO state VALUES (1, 'row'), (2, 'row');
SELECT mdbatch_attach('state');
SELECT mdbatch_put('state', '[{"id": 1, "v": "int"}, {"id": 3, "v": "int"}]');
ALTER TABLE state ALTER id TYPE bigint;
SELECT mdbatch_put('state', '[{"id": 1, "v": "bigint"}, {"id": 3000000000, "v": "bigint"}]');
SELECT mdbatch_flush('state');
SELECT * FROM state ORDER BY id;
SELECT mdbatch_put('state', '{"id": 2, "v": "bigint"}');
ALTER TABLE state ALTER id TYPE text;
SELECT mdbatch_put('state', '{"id": "x", "v": "text"}');
SELECT mdbatch_flush('state');
SELECT * FROM state ORDER BY id COLLATE "C";
SELECT mdbatch_attach('state', mode => 'update');
SELECT mdbatch_put('state', '[{"id": "1", "v": "text"}, {"id": "x", "v": "text"}]');
DELETE FROM state WHERE id = 'x';
ALTER TABLE state ALTER id TYPE varchar(20);
SELECT mdbatch_put('state', '{"id": "2", "v": "varchar"}');
SELECT mdbatch_flush('state');
SELECT * FROM state ORDER BY id COLLATE "C";
-- To what cannot be a key (R20), and cannot be assigned
SELECT mdbatch_put('state', '{"id": "1", "v": "refused"}');
ALTER TABLE state ALTER id TYPE numeric USING id::numeric;
CALL fails($$SELECT mdbatch_put('state', '{"id": 1}')$$);
SELECT mdbatch_flush('state');
SELECT id, v FROM state WHERE id = 1;
SELECT sqlstate, message FROM mdbatch_rejected;
DELETE FROM mdbatch_rejected;
DROP TABLE state;

-- A version that is retyped
CREATE TABLE state (id int PRIMARY KEY, v text, ver int);
INSERT INTO state VALUES (1, 'row', 10), (2, 'row', 10);
SELECT mdbatch_attach('state', version => 'ver');
SELECT mdbatch_put('state', '[{"id": 1, "v": "older", "ver": 9}, {"id": 2, "v": "newer", "ver": 11}]');
ALTER TABLE state ALTER ver TYPE bigint;
SELECT mdbatch_put('state', '{"id": 1, "v": "bigint", "ver": 3000000000}');
SELECT mdbatch_flush('state');
SELECT * FROM state ORDER BY id;
SELECT mdbatch_put('state', '{"id": 2, "v": "last", "ver": 12}');
ALTER TABLE state ALTER ver TYPE text;
CALL fails($$SELECT mdbatch_put('state', '{"id": 2, "v": "x", "ver": 13}')$$);
SELECT mdbatch_flush('state');
SELECT * FROM state ORDER BY id;
DROP TABLE state;

-- Without its unique index a table takes no adds, and loses nothing.
CREATE TABLE state (id int PRIMARY KEY, v text);
SELECT mdbatch_attach('state');
SELECT mdbatch_put('state', '{"id": 1, "v": "waits"}');
ALTER TABLE state DROP CONSTRAINT state_pkey;
CALL fails($$SELECT mdbatch_put('state', '{"id": 2}')$$);
CALL fails($$SELECT mdbatch_flush('state')$$);
SELECT * FROM mdbatch_pending_rows(NULL::state);
ALTER TABLE state ADD PRIMARY KEY (id);
SELECT mdbatch_put('state', '{"id": 2, "v": "new"}');
SELECT mdbatch_flush('state') IS NOT NULL AS flushed;
SELECT * FROM state ORDER BY id;
-- A deferrable one is none; neither is one with a predicate.
ALTER TABLE state DROP CONSTRAINT state_pkey, ADD PRIMARY KEY (id) DEFERRABLE;
CALL fails($$SELECT mdbatch_put('state', '{"id": 2}')$$);
ALTER TABLE state DROP CONSTRAINT state_pkey;
CREATE UNIQUE INDEX partial ON state (id) WHERE v <> '';
CALL fails($$SELECT mdbatch_put('state', '{"id": 2}')$$);
CREATE UNIQUE INDEX again ON state (id);
ALTER TABLE state ALTER id DROP NOT NULL;
CALL fails($$SELECT mdbatch_put('state', '{"id": 2}')$$);
ALTER TABLE state ALTER id SET NOT NULL;
-- Mode update needs no index to write what waits.
SELECT mdbatch_attach('state', '{id}', mode => 'update');
SELECT mdbatch_put('state', '{"id": 1, "v": "updated"}');
DROP INDEX again, partial;
CALL fails($$SELECT mdbatch_put('state', '{"id": 2}')$$);
SELECT mdbatch_flush('state') IS NOT NULL AS flushed;
SELECT * FROM state ORDER BY id;
CREATE UNIQUE INDEX ON state (id);
SELECT mdbatch_put('state', '{"id": 2, "v": "updated"}');
SELECT mdbatch_flush('state');
SELECT * FROM state ORDER BY id;
SELECT added, flushed, pending, rejected FROM mdbatch_stat WHERE relid = 'state'::regclass;
DROP TABLE state;
DROP ROLE mdb_owner;
SELECT key FROM mdbatch_rejected;
SELECT * FROM books WHERE NOT balanced OR pending > 0;
