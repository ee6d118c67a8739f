-- R23, R12: values of row types that are altered while the values wait. What
-- was written can be read; what could not be is refused, and not read.
CREATE SCHEMA shapes;
SET search_path = shapes, public;

-- Every way in which a column can have values of a row type.
CREATE PROCEDURE make_types() LANGUAGE plpgsql AS $$
BEGIN
  CREATE TYPE point2 AS (x int, y int);
  CREATE TYPE named AS (n text, p point2);
  CREATE DOMAIN somewhere AS point2;
  CREATE TYPE span AS RANGE (subtype = point2, multirange_type_name = spans);
  CREATE TABLE place (i int, p point2);
  CREATE VIEW seen AS SELECT p FROM place;
  CREATE TYPE mixed AS (p somewhere, q point2[], r span);
  CREATE DOMAIN several AS point2[];
END $$;
CREATE PROCEDURE drop_types() LANGUAGE plpgsql AS $$
BEGIN
  SET LOCAL client_min_messages = warning;
  DROP TABLE IF EXISTS target, place CASCADE;
  DROP TYPE IF EXISTS point2, named, mixed CASCADE;
END $$;

-- What became of the entries: rows are read to their last byte.
CREATE PROCEDURE show(what text) LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  FOR line IN EXECUTE 'SELECT concat(id, '': '', c::text) FROM target ORDER BY id' LOOP
    RAISE INFO '%: written: %', what, line;
  END LOOP;
  FOR line IN SELECT concat(key, ' ', sqlstate, ': ', CASE WHEN bytes IS NOT NULL THEN 'as bytes' ELSE entry ->> 'c' END)
    FROM mdbatch_rejected ORDER BY key LOOP
    RAISE INFO '%: refused: %', what, line;
  END LOOP;
  DELETE FROM mdbatch_rejected;
END $$;
CREATE PROCEDURE flush_and_show(what text) LANGUAGE plpgsql AS $$
BEGIN
  SET LOCAL client_min_messages = error;
  PERFORM mdbatch_flush('target');
  CALL show(what);
  COMMIT;
END $$;

-- A column of some type; an entry waits, and the changes come: each in a
-- transaction of its own, or all in the one that adds. For the time of the
-- changes the column is of type text if they need that.
CREATE PROCEDURE waits(type text, value jsonb, together boolean, retype boolean, VARIADIC changes text[]) LANGUAGE plpgsql AS $$
DECLARE
  change text;
  pending text;
BEGIN
  CALL make_types();
  EXECUTE format('CREATE TABLE target (id int PRIMARY KEY, c %s)', type);
  PERFORM mdbatch_attach('target');
  COMMIT;
  IF together THEN
    -- So the column's row in the catalog is of this transaction all the time.
    ALTER TABLE target ALTER c TYPE text;
    EXECUTE format('ALTER TABLE target ALTER c TYPE %s USING NULL', type);
  END IF;
  PERFORM mdbatch_put('target', jsonb_build_object('id', 1, 'c', value));
  IF retype THEN
    changes := array_prepend('ALTER TABLE target ALTER c TYPE text', changes) ||
      ARRAY[format('ALTER TABLE target ALTER c TYPE %s USING NULL', type)];
  END IF;
  FOREACH change IN ARRAY changes LOOP
    IF NOT together THEN COMMIT; END IF;
    EXECUTE change;
  END LOOP;
  COMMIT;
  EXECUTE 'SELECT string_agg(concat(id, '': '', c::text), '', '') FROM mdbatch_pending_rows(NULL::target)' INTO pending;
  RAISE INFO '%: pending: %', type, pending;
  COMMIT;
  CALL flush_and_show(type);
  CALL drop_types();
END $$;

-- What is done to the types, and to what for.
CREATE TABLE changes (name text PRIMARY KEY, retype boolean, steps text[]);
INSERT INTO changes VALUES
  ('retype', true, ARRAY['DROP VIEW seen', 'ALTER TABLE place ALTER p TYPE text',
    'ALTER TYPE point2 ALTER ATTRIBUTE x TYPE text',
    'ALTER TABLE place ALTER p TYPE point2 USING NULL', 'CREATE VIEW seen AS SELECT p FROM place']),
  ('add and drop', false, ARRAY['ALTER TYPE point2 ADD ATTRIBUTE z text',
    'ALTER TYPE point2 DROP ATTRIBUTE x', 'ALTER TYPE point2 ADD ATTRIBUTE x text']);
CREATE TABLE kinds (number int PRIMARY KEY, type text, value jsonb);
INSERT INTO kinds VALUES
  (1, 'point2', '{"x": 400000, "y": 2}'),
  (2, 'somewhere', '{"x": 400000, "y": 2}'),
  (3, 'point2[]', '[{"x": 400000, "y": 2}, {"x": 3, "y": 4}]'),
  (4, 'several', '[{"x": 400000, "y": 2}]'),
  (5, 'somewhere[]', '[{"x": 400000, "y": 2}]'),
  (6, 'span', '"[\"(400000,2)\",\"(400001,3)\"]"'),
  (7, 'spans', '"{[\"(400000,2)\",\"(400001,3)\"]}"'),
  (8, 'span[]', '["[\"(400000,2)\",\"(400001,3)\"]"]'),
  (9, 'named', '{"n": "name", "p": {"x": 400000, "y": 2}}'),
  (10, 'named[]', '[{"n": "name", "p": {"x": 400000, "y": 2}}]'),
  (11, 'place', '{"i": 1, "p": {"x": 400000, "y": 2}}'),
  (12, 'seen', '{"p": {"x": 400000, "y": 2}}'),
  (13, 'mixed', '{"p": {"x": 400000}, "q": [{"y": 2}]}'),
  (14, 'mixed', '{"r": "[\"(400000,2)\",\"(400001,3)\"]"}');
CREATE PROCEDURE waits(kind int, change text, together boolean) LANGUAGE plpgsql AS $$
DECLARE
  k kinds := (SELECT k FROM kinds k WHERE number = kind);
  c changes := (SELECT c FROM changes c WHERE name = change);
BEGIN
  CALL waits(k.type, k.value, together, c.retype, VARIADIC c.steps);
END $$;

-- An attribute of another type: refused. (A number must not be taken for the
-- length of a text: that would show what else is in the worker's memory.)
-- Attributes that are added and dropped: written.
SELECT format('CALL waits(%s, %L, %L)', number, name, together)
FROM changes, (VALUES (false), (true)) v (together), kinds
WHERE NOT together OR number IN (1, 7, 9, 13) ORDER BY name DESC, together, number \gexec
-- The same of the outer type, and columns of a table whose rows they are.
CALL waits('named', '{"n": "name", "p": {"x": 1, "y": 2}}', false, false, 'ALTER TYPE named DROP ATTRIBUTE p', 'DROP TABLE place CASCADE', 'ALTER TYPE point2 ALTER ATTRIBUTE x TYPE text');
CALL waits('named', '{"n": "name", "p": {"x": 1, "y": 2}}', false, false, 'ALTER TYPE named ADD ATTRIBUTE q point2[]');
CALL waits('named', '{"n": "name", "p": {"x": 1, "y": 2}}', false, true, 'ALTER TYPE named ALTER ATTRIBUTE n TYPE varchar(3)');
CALL waits('named', '{"n": "name", "p": {"x": 1, "y": 2}}', false, true, 'ALTER TYPE named ALTER ATTRIBUTE n TYPE text COLLATE "C"');
CALL waits('place', '{"i": 1, "p": {"x": 1, "y": 2}}', false, false, 'DROP VIEW seen', 'ALTER TABLE place ADD j text', 'ALTER TABLE place DROP i');
CALL waits('place', '{"i": 1, "p": {"x": 1, "y": 2}}', false, false,
  'CREATE TABLE parent (i int)', 'ALTER TABLE place INHERIT parent', 'ALTER TABLE parent ADD j text', 'ALTER TABLE place NO INHERIT parent', 'DROP TABLE parent');
CALL waits('place', '{"i": 1, "p": {"x": 1, "y": 2}}', false, true, 'ALTER TABLE place ADD j int DEFAULT 7', 'INSERT INTO place VALUES (1)');
-- Another type of the same name
CALL waits('named', '{"n": "name"}', false, true, 'DROP TYPE named', 'CREATE TYPE named AS (n text, p point2)');
-- Nothing was altered; then the column has another type, and what waits can be read.
CALL waits('named', '{"n": "name"}', false, true, 'SELECT');
CALL waits('named', '{"n": "name"}', true, true, 'SELECT');
CALL waits('named', '{"n": "name"}', false, false, 'ALTER TABLE target ALTER c TYPE text');
CALL waits('point2', '{"x": 400000, "y": 2}', false, false, 'ALTER TABLE target ALTER c TYPE text', 'DROP TABLE place CASCADE', 'ALTER TYPE point2 ALTER ATTRIBUTE x TYPE text');
CREATE TYPE pair AS (x int, y int);
CALL waits('point2', '{"x": 1, "y": 2}', false, false, 'ALTER TABLE target ALTER c TYPE pair USING NULL');
DROP TYPE pair;
-- A column that is dropped is left out, whatever becomes of its type.
CALL waits('point2', '{"x": 1, "y": 2}', false, false, 'ALTER TABLE target DROP c', 'DROP TABLE place CASCADE', 'ALTER TYPE point2 ALTER ATTRIBUTE x TYPE text', 'ALTER TABLE target ADD c text');

-- What is altered between adds: those after it are described as it is then,
-- though nothing was done to the table.
CREATE TYPE pair AS (x int, y int);
CREATE TABLE target (id int PRIMARY KEY, c pair);
SELECT mdbatch_attach('target');
SELECT mdbatch_put('target', '{"id": 1, "c": {"x": 1, "y": 1}}');
ALTER TYPE pair ADD ATTRIBUTE z int;
SELECT mdbatch_put('target', '{"id": 2, "c": {"x": 2, "y": 2, "z": 400000}}');
SELECT mdbatch_put_row(ROW(3, (3, 3, 400000))::target);
SELECT * FROM mdbatch_pending_rows(NULL::target);
ALTER TABLE target ALTER c TYPE text;
ALTER TYPE pair ALTER ATTRIBUTE z TYPE text;
ALTER TABLE target ALTER c TYPE pair USING NULL;
SELECT mdbatch_put('target', '{"id": 4, "c": {"x": 4, "y": 4, "z": "four"}}');
SELECT * FROM mdbatch_pending_rows(NULL::target);
CALL flush_and_show('altered in between');
TRUNCATE target;

-- Through a view
CREATE VIEW through AS SELECT * FROM target;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON through FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('shapes.target');
INSERT INTO through VALUES (1, (1, 1, 'one'));
ALTER TYPE pair ADD ATTRIBUTE w int;
INSERT INTO through VALUES (2, (2, 2, 'two', 2));
ALTER TYPE pair DROP ATTRIBUTE y;
INSERT INTO through VALUES (3, (3, 'three', 3));
CALL flush_and_show('view');
DROP VIEW through;
TRUNCATE target;

-- Savepoints: what was altered under one that is rolled back was not.
BEGIN;
SELECT mdbatch_put('target', '{"id": 1, "c": {"x": 400000}}');
SAVEPOINT s;
ALTER TABLE target ALTER c TYPE text;
ALTER TYPE pair ALTER ATTRIBUTE x TYPE text;
ALTER TABLE target ALTER c TYPE pair USING NULL;
SELECT mdbatch_put('target', '{"id": 2, "c": {"x": "rolled back"}}');
ROLLBACK TO s;
SELECT mdbatch_put('target', '{"id": 3, "c": {"x": 400000}}');
SAVEPOINT s;
ALTER TYPE pair ADD ATTRIBUTE v int;
SELECT mdbatch_put('target', '{"id": 4, "c": {"v": 400000}}');
ROLLBACK TO s;
SELECT mdbatch_put('target', '{"id": 5, "c": {"v": 5}}');
COMMIT;
CALL flush_and_show('rolled back');
-- One that is released: as in the transaction.
BEGIN;
SELECT mdbatch_put('target', '{"id": 6, "c": {"x": 400000}}');
SAVEPOINT s;
ALTER TABLE target ALTER c TYPE text;
ALTER TYPE pair ALTER ATTRIBUTE x TYPE text;
ALTER TABLE target ALTER c TYPE pair USING NULL;
SELECT mdbatch_put('target', '{"id": 7, "c": {"x": "seven"}}');
RELEASE s;
SELECT mdbatch_put('target', '{"id": 8, "c": {"x": "eight"}}');
ROLLBACK;
SELECT mdbatch_put('target', '{"id": 9, "c": {"x": 400000}}');
BEGIN;
SELECT mdbatch_put('target', '{"id": 10, "c": {"x": 400000}}');
SAVEPOINT s;
ALTER TABLE target ALTER c TYPE text;
ALTER TYPE pair ALTER ATTRIBUTE x TYPE text;
ALTER TABLE target ALTER c TYPE pair USING NULL;
SELECT mdbatch_put('target', '{"id": 11, "c": {"x": "eleven"}}');
RELEASE s;
SELECT mdbatch_put('target', '{"id": 12, "c": {"x": "twelve"}}');
COMMIT;
CALL flush_and_show('released');
DROP TABLE target;

-- R1: a column that is retyped, and back, in one transaction: the last add wins.
CREATE TABLE target (id int PRIMARY KEY, c text);
SELECT mdbatch_attach('target');
BEGIN;
ALTER TABLE target ALTER c TYPE int USING NULL;
SELECT mdbatch_put('target', '{"id": 1, "c": 1}');
ALTER TABLE target ALTER c TYPE text;
SELECT mdbatch_put('target', '{"id": 1, "c": "2"}');
ALTER TABLE target ALTER c TYPE int USING NULL;
SELECT mdbatch_put('target', '{"id": 1, "c": 3}');
ALTER TABLE target ALTER c TYPE text;
SELECT mdbatch_put('target', '{"id": 1, "c": "4"}');
COMMIT;
CALL flush_and_show('order');
DROP TABLE target;

-- A type that is altered while a value of it is made: it is made once more.
CREATE SEQUENCE made;
CREATE FUNCTION meddle(int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF nextval('shapes.made') = 1 THEN
    BEGIN
      ALTER TYPE shapes.pair ADD ATTRIBUTE v int;
      RAISE 'roll it back';
    EXCEPTION WHEN raise_exception THEN
    END;
  END IF;
  RETURN true;
END $$;
CREATE DOMAIN meddling AS int CHECK (meddle(VALUE));
CREATE TABLE target (id int PRIMARY KEY, c pair, d meddling);
SELECT mdbatch_attach('target');
SELECT mdbatch_put('target', '{"id": 1, "c": {"x": "one"}, "d": 1}');
SELECT last_value FROM made;
CALL flush_and_show('meddled');
DROP TABLE target;
DROP DOMAIN meddling;
DROP FUNCTION meddle;
DROP SEQUENCE made;

-- An attribute that was another one for a while: the latest minor releases
-- would not read the value any more, older ones do. It is never unreadable.
CREATE TABLE target (id int PRIMARY KEY, c pair);
SELECT mdbatch_attach('target');
SELECT mdbatch_put('target', '{"id": 1, "c": {"x": "one", "z": "z"}}');
ALTER TABLE target ALTER c TYPE text;
ALTER TYPE pair ALTER ATTRIBUTE x TYPE bytea;
ALTER TYPE pair ALTER ATTRIBUTE x TYPE text;
ALTER TABLE target ALTER c TYPE pair USING NULL;
SET client_min_messages = error;
SELECT mdbatch_flush('target');
RESET client_min_messages;
SELECT (SELECT count(*) FROM target WHERE (c).x = 'one') + (SELECT count(*) FROM mdbatch_rejected WHERE sqlstate = '42804') AS entries;
DELETE FROM mdbatch_rejected;
DROP TABLE target;

-- Looking at values of row types locks their table, as a SELECT from it does.
CREATE TABLE target (id int PRIMARY KEY, c pair);
SELECT mdbatch_attach('target');
SELECT mdbatch_put('target', '{"id": 1, "c": {"x": "one"}}');
BEGIN;
SELECT * FROM mdbatch_pending_rows(NULL::target);
SELECT mode FROM pg_locks WHERE relation = 'target'::regclass AND pid = pg_backend_pid();
COMMIT;
DROP TABLE target;

-- Rows are no keys: one can be equal to another and not be the same bytes.
CREATE TABLE target (c pair NOT NULL, d pair[] NOT NULL, v int);
CREATE UNIQUE INDEX ON target (c record_image_ops);
CREATE UNIQUE INDEX ON target (d);
CALL fails($$SELECT mdbatch_attach('target', '{c}')$$);
CALL fails($$SELECT mdbatch_attach('target', '{d}')$$);
DROP TABLE target;
DROP TYPE pair;

-- A type that has many in it, each twice, is described once.
DO $$
BEGIN
  CREATE TYPE level0 AS (a int, b int);
  FOR i IN 1 .. 10 LOOP
    EXECUTE format('CREATE TYPE level%s AS (a level%s, b level%2$s[])', i, i - 1);
  END LOOP;
END $$;
CREATE TABLE target (id int PRIMARY KEY, c level10);
SELECT mdbatch_attach('target');
SELECT mdbatch_put('target', '{"id": 1, "c": {"a": {"a": {}}}}');
ALTER TYPE level0 ADD ATTRIBUTE c int;
ALTER TYPE level10 DROP ATTRIBUTE a;
SELECT mdbatch_put('target', '{"id": 2, "c": {"a": {"a": {}}}}');
SELECT mdbatch_flush('target');
SELECT id, (c).b IS NULL AS b FROM target ORDER BY id;
DROP TABLE target;
-- Too much to be described
DO $$
BEGIN
  FOR n IN 1 .. 14 LOOP
    EXECUTE (SELECT format('CREATE TYPE wide%s AS (%s)', n, string_agg(format('c%s int', i), ', ')) FROM generate_series(1, 193) i);
  END LOOP;
  EXECUTE (SELECT format('CREATE TYPE wide AS (%s)', string_agg(format('w%s wide%1$s', i), ', ')) FROM generate_series(1, 14) i);
END $$;
CREATE TABLE target (id int PRIMARY KEY, v int, w wide, a wide1);
SELECT mdbatch_attach('target');
SELECT mdbatch_put('target', '{"id": 1, "v": 1, "w": {"w1": {"c1": 1, "c193": 193}}}');
SELECT mdbatch_flush('target');
SELECT ((w).w1).c1, ((w).w1).c193 FROM target;
DO $$
BEGIN
  FOR i IN 1 .. 10 LOOP EXECUTE format('ALTER TYPE wide1 ADD ATTRIBUTE d%s int', i); END LOOP;
END $$;
CALL fails($$SELECT mdbatch_put('target', '{"id": 2, "v": 2}')$$);
CALL fails($$SELECT mdbatch_attach('target')$$);
SELECT mdbatch_attach('target', columns => '{v,a}');
SELECT mdbatch_put('target', '{"id": 2, "v": 2}');
SELECT mdbatch_flush('target');
DROP TABLE target;

DROP PROCEDURE waits(int, text, boolean), waits(text, jsonb, boolean, boolean, text[]), flush_and_show, show, make_types, drop_types;
SET client_min_messages = warning;
DROP SCHEMA shapes CASCADE;
RESET client_min_messages;
RESET search_path;
SELECT * FROM books WHERE NOT balanced OR pending > 0;
