-- R12: rows that others have locked, and other errors that only some entries
-- meet. Transactions that are prepared hold the locks. (What is stepped over
-- is tried again by itself: nothing here depends on whether it was.)
CREATE SCHEMA step;
SET search_path = step, public;
ALTER SYSTEM SET mdbatch.lock_timeout = '50ms';
SELECT pg_reload_conf();
\c -
SET search_path = step, public;

-- Ask for a flush, and show what came of it.
CREATE PROCEDURE flush(target text, columns text DEFAULT 'v') LANGUAGE plpgsql AS $$
DECLARE failures bigint; line text;
BEGIN
  SELECT flush_failures INTO failures FROM mdbatch_stat WHERE relid = flush.target::regclass;
  COMMIT;
  BEGIN
    PERFORM mdbatch_flush(flush.target::regclass);
    RAISE INFO 'flushed';
  EXCEPTION WHEN OTHERS THEN
    RAISE INFO '% %', SQLSTATE, SQLERRM;
  END;
  SELECT flush_failures - failures INTO failures FROM mdbatch_stat WHERE relid = flush.target::regclass;
  IF failures > 0 THEN RAISE INFO '  failed'; END IF;
  EXECUTE format('SELECT string_agg(id || %1$s::text, '' '' ORDER BY id, %1$s::text) FROM %2$s', columns, target) INTO line;
  RAISE INFO '  rows %', line;
  EXECUTE format('SELECT string_agg(id || %1$s::text, '' '' ORDER BY id, %1$s::text) FROM mdbatch_pending_rows(NULL::%2$s)', columns, target) INTO line;
  RAISE INFO '  pending %', line;
  SELECT string_agg(format('%s %s', entry->>'id', r.sqlstate), ', ' ORDER BY (entry->>'id')::int) INTO line FROM mdbatch_rejected r WHERE r.target = 'step.' || flush.target;
  IF line <> '' THEN RAISE INFO '  rejected %', line; END IF;
END $$;
-- Entries of those ids.
CREATE FUNCTION put(target regclass, ids int[], v text) RETURNS int LANGUAGE sql AS
$$ SELECT public.mdbatch_put(target, (SELECT jsonb_agg(jsonb_build_object('id', id, 'v', v)) FROM unnest(ids) id)) $$;

-- Two rows of five are locked: the others are written, changed and new.
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'row' FROM generate_series(1, 5) i;
SELECT mdbatch_attach('t');
BEGIN;
SELECT FROM t WHERE id IN (2, 4) FOR UPDATE;
PREPARE TRANSACTION 'locker';
SELECT put('t', '{1,2,3,4,5,6,7}', 'a');
CALL flush('t');
SELECT pending, in_flight, added, flushed, rejected, balanced FROM books WHERE target = 'step.t';
SELECT flush_failures, batches_requested, last_error, last_failure IS NOT NULL AS noted FROM mdbatch_stat WHERE relid = 't'::regclass;
-- They are tried at once when somebody asks.
CALL flush('t');
-- An acknowledged call hears of its own entries alone.
CALL mdbatch_put_sync('t', '[{"id": 8, "v": "c"}, {"id": 9, "v": "c"}]');
CALL mdbatch_put_sync('t', '[{"id": 2, "v": "c"}, {"id": 9, "v": "d"}]');
\echo :LAST_ERROR_SQLSTATE :LAST_ERROR_MESSAGE
SELECT * FROM t WHERE id > 7 ORDER BY id;
-- A newer value takes the place of the one that waits.
SELECT put('t', '{4}', 'e');
SELECT * FROM mdbatch_pending_rows(NULL::t);
COMMIT PREPARED 'locker';
CALL flush('t');
SELECT pending, added, coalesced, flushed, skipped, balanced FROM books WHERE target = 'step.t';
SELECT flush_failures FROM mdbatch_stat WHERE relid = 't'::regclass;

-- Without being asked they are written, too.
BEGIN;
DELETE FROM t WHERE id = 1;
UPDATE t SET v = 'theirs' WHERE id = 2;
PREPARE TRANSACTION 'locker';
SELECT put('t', '{1,2,3}', 'f');
CALL flush('t');
COMMIT PREPARED 'locker';
CALL wait_until($$NOT EXISTS (SELECT FROM books WHERE target = 'step.t' AND pending > 0)$$);
SELECT * FROM t WHERE id < 4 ORDER BY id;

-- What locks let others' rows be changed: foreign keys' locks are in nobody's
-- way, nor is FOR KEY SHARE.
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES t);
BEGIN;
INSERT INTO child VALUES (1, 1);
SELECT FROM t WHERE id = 2 FOR KEY SHARE;
PREPARE TRANSACTION 'locker';
SELECT put('t', '{1,2}', 'g');
CALL flush('t');
ROLLBACK PREPARED 'locker';
-- FOR SHARE is, and so is FOR NO KEY UPDATE.
BEGIN;
SELECT FROM t WHERE id = 1 FOR SHARE;
SELECT FROM t WHERE id = 2 FOR NO KEY UPDATE;
PREPARE TRANSACTION 'locker';
SELECT put('t', '{1,2,3}', 'h');
CALL flush('t');
-- All of a batch
SELECT put('t', '{1,2}', 'i');
CALL flush('t');
ROLLBACK PREPARED 'locker';
CALL flush('t');
-- A target that refers to rows that others have locked
SELECT mdbatch_attach('child');
BEGIN;
SELECT FROM t WHERE id = 1 FOR UPDATE;
PREPARE TRANSACTION 'locker';
SELECT mdbatch_put('child', '[{"id": 11, "parent": 1}, {"id": 12, "parent": 2}, {"id": 13, "parent": 1}, {"id": 14, "parent": 3}]');
CALL flush('child', 'parent');
ROLLBACK PREPARED 'locker';
CALL flush('child', 'parent');
DROP TABLE child;

-- Somebody is inserting the same key, which nobody sees.
BEGIN;
INSERT INTO t VALUES (21, 'theirs');
PREPARE TRANSACTION 'locker';
SELECT put('t', '{20,21,22}', 'j');
CALL flush('t', $$CASE WHEN id > 19 THEN v END$$);
COMMIT PREPARED 'locker';
CALL flush('t', $$CASE WHEN id > 19 THEN v END$$);
BEGIN;
INSERT INTO t VALUES (31, 'theirs');
PREPARE TRANSACTION 'locker';
SELECT put('t', '{30,31}', 'k');
CALL flush('t', $$CASE WHEN id > 29 THEN v END$$);
ROLLBACK PREPARED 'locker';
CALL flush('t', $$CASE WHEN id > 29 THEN v END$$);

-- The whole table: that is no row, and fails.
BEGIN;
LOCK TABLE t IN SHARE MODE;
PREPARE TRANSACTION 'locker';
SELECT put('t', '{1,2}', 'l');
CALL flush('t', $$CASE WHEN id < 3 THEN v END$$);
ROLLBACK PREPARED 'locker';
CALL flush('t', $$CASE WHEN id < 3 THEN v END$$);
SELECT pending, balanced FROM books WHERE target = 'step.t';

-- Mode update: rows that are missing are skipped, locked ones wait.
CREATE TABLE u (id int PRIMARY KEY, v text);
INSERT INTO u SELECT i, 'row' FROM generate_series(1, 3) i;
SELECT mdbatch_attach('u', mode => 'update');
BEGIN;
SELECT FROM u WHERE id = 2 FOR UPDATE;
PREPARE TRANSACTION 'locker';
SELECT put('u', '{1,2,3,4}', 'a');
CALL flush('u');
SELECT pending, flushed, skipped, balanced FROM books WHERE target = 'step.u';
ROLLBACK PREPARED 'locker';
CALL flush('u');
-- One that is deleted meanwhile is missing.
BEGIN;
DELETE FROM u WHERE id = 2;
PREPARE TRANSACTION 'locker';
SELECT put('u', '{1,2}', 'b');
CALL flush('u');
COMMIT PREPARED 'locker';
CALL flush('u');
SELECT pending, flushed, skipped, balanced FROM books WHERE target = 'step.u';
-- Its key has changed meanwhile.
BEGIN;
UPDATE u SET id = 5 WHERE id = 3;
PREPARE TRANSACTION 'locker';
SELECT put('u', '{1,3}', 'c');
CALL flush('u');
COMMIT PREPARED 'locker';
CALL flush('u');
DROP TABLE u;

-- Sums are exact (R26), whether they are stepped over, merged meanwhile, or
-- written; so is what an older version brings.
CREATE TABLE s (id int PRIMARY KEY, ver int, n int, hi int);
INSERT INTO s VALUES (1, 1, 1, 5), (2, 1, 1, 5);
SELECT mdbatch_attach('s', version => 'ver', merge => '{"n": "sum", "hi": "max"}');
BEGIN;
UPDATE s SET n = n + 1000 WHERE id = 1;
PREPARE TRANSACTION 'locker';
SELECT mdbatch_put('s', '[{"id": 1, "ver": 3, "n": 10, "hi": 1}, {"id": 2, "ver": 3, "n": 10, "hi": 1}]');
CALL flush('s', 'n');
CALL flush('s', 'n');
SELECT mdbatch_put('s', '[{"id": 1, "ver": 2, "n": 100, "hi": 9}, {"id": 2, "ver": 2, "n": 100, "hi": 9}]');
CALL flush('s', 'n');
SELECT * FROM mdbatch_pending_rows(NULL::s);
COMMIT PREPARED 'locker';
CALL flush('s', 'n');
SELECT * FROM s ORDER BY id;
SELECT pending, added, coalesced, stale, flushed, skipped, balanced FROM books WHERE target = 'step.s';
DROP TABLE s;

-- A key that the table cannot have any more is looked for in vain: it is refused
-- for good, and the others are written (R23).
CREATE TABLE k (id bigint PRIMARY KEY, v text);
INSERT INTO k SELECT i, 'row' FROM generate_series(1, 3) i;
SELECT mdbatch_attach('k');
SELECT mdbatch_put('k', '[{"id": 1, "v": "a"}, {"id": 5000000000, "v": "a"}, {"id": 3, "v": "a"}]');
ALTER TABLE k ALTER id TYPE int;
SET client_min_messages = error;
\set VERBOSITY sqlstate
SELECT mdbatch_flush('k');
\set VERBOSITY default
RESET client_min_messages;
SELECT * FROM k ORDER BY id;
SELECT key, sqlstate FROM mdbatch_rejected;
SELECT mdbatch_discard('k');
DELETE FROM mdbatch_rejected;
DROP TABLE k;

-- A partitioned target, rows in two of its partitions.
CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
INSERT INTO p VALUES (1, 'row'), (2, 'row'), (11, 'row'), (12, 'row');
SELECT mdbatch_attach('p');
BEGIN;
SELECT FROM p WHERE id IN (2, 11) FOR UPDATE;
PREPARE TRANSACTION 'locker';
SELECT put('p', '{1,2,3,11,12,13,99}', 'a');
CALL flush('p');
DELETE FROM mdbatch_rejected;
ROLLBACK PREPARED 'locker';
CALL flush('p');
DROP TABLE p;

-- A key of several columns, names that need quotes, and agent metadata.
CREATE TABLE "T x" (id int, "n" text, "s" int, "V v" text, PRIMARY KEY (id, "s"));
INSERT INTO "T x" VALUES (1, 'n', 1, 'row'), (1, 'n', 2, 'row'), (2, 'n', 1, 'row');
SELECT mdbatch_attach('"T x"');
BEGIN;
SELECT FROM "T x" WHERE id = 1 AND s = 2 FOR UPDATE;
PREPARE TRANSACTION 'locker';
SELECT mdbatch_put('"T x"', '[{"id": 1, "s": 1, "V v": "a"}, {"id": 1, "s": 2, "V v": "a"}, {"id": 2, "s": 1, "V v": "a"}, {"id": 2, "s": 2, "V v": "a"}]');
CALL flush('"T x"', '(s || "V v")');
ROLLBACK PREPARED 'locker';
CALL flush('"T x"', '(s || "V v")');
DROP TABLE "T x";
SELECT mdbatch_add(agent(1), '{a,b}', '{1,1}');
SELECT mdbatch_flush('mdbatch_metadata');
BEGIN;
SELECT FROM mdbatch_metadata WHERE key = 'a' FOR UPDATE;
PREPARE TRANSACTION 'locker';
CALL mdbatch_add_sync(agent(1), '{a,c}', '{2,2}');
\echo :LAST_ERROR_SQLSTATE
CALL mdbatch_add_sync(agent(1), '{b}', '{2}');
SELECT key, value FROM mdbatch_metadata ORDER BY key;
SELECT key, value FROM mdbatch_pending();
ROLLBACK PREPARED 'locker';
SELECT mdbatch_flush('mdbatch_metadata') IS NOT NULL AS flushed;
SELECT key, value FROM mdbatch_metadata ORDER BY key;
TRUNCATE mdbatch_metadata;

-- Thrown away, detached, or dropped while they wait for their retry.
BEGIN;
SELECT FROM t WHERE id IN (1, 2) FOR UPDATE;
PREPARE TRANSACTION 'locker';
SELECT put('t', '{1,2,3}', 'm');
CALL flush('t', $$CASE WHEN id < 4 THEN v END$$);
SELECT mdbatch_discard('t');
SELECT pending, balanced FROM books WHERE target = 'step.t';
SELECT put('t', '{1,2}', 'o');
CALL flush('t', $$CASE WHEN id < 4 THEN v END$$);
SELECT mdbatch_detach('t');
CALL fails($$SELECT mdbatch_put('t', '{"id": 5}')$$);
ROLLBACK PREPARED 'locker';
CALL wait_until($$NOT EXISTS (SELECT FROM books WHERE target = 'step.t' AND pending > 0)$$);
SELECT * FROM t WHERE id < 4 ORDER BY id;
SELECT mdbatch_attach('t');
BEGIN;
INSERT INTO t VALUES (99, 'theirs');
SELECT FROM t WHERE id = 1 FOR UPDATE;
PREPARE TRANSACTION 'locker';
SELECT put('t', '{1,99}', 'p');
\set VERBOSITY sqlstate
SELECT mdbatch_flush('t');
\set VERBOSITY default
SELECT pending FROM books WHERE target = 'step.t' AND pending > 0;
ROLLBACK PREPARED 'locker';
DROP TABLE t;
CALL wait_until($$NOT EXISTS (SELECT FROM books WHERE target = 'step.t' AND pending > 0)$$);

-- Other errors that only some meet: the others are written, those wait, and
-- nothing is rejected that is not to blame for its data. That all meet one
-- such error fails the flush.
CREATE TABLE e (id int PRIMARY KEY, v text);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.v ~ '^[0-9A-Z]{5}$' THEN RAISE EXCEPTION 'refused %', NEW.id USING ERRCODE = NEW.v; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON e FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT mdbatch_attach('e', batch_size => 600);
CREATE PROCEDURE refuse(codes text[]) LANGUAGE plpgsql AS $$
DECLARE failures bigint; state text; message text;
BEGIN
  TRUNCATE e;
  DELETE FROM mdbatch_rejected;
  COMMIT;
  SELECT flush_failures INTO failures FROM mdbatch_stat WHERE relid = 'e'::regclass;
  PERFORM mdbatch_put('e', (SELECT jsonb_agg(jsonb_build_object('id', i, 'v', v) ORDER BY i) FROM unnest(codes) WITH ORDINALITY u(v, i)));
  COMMIT;
  BEGIN
    PERFORM mdbatch_flush('e');
    state := 'flushed';
  EXCEPTION WHEN query_canceled OR OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
  END;
  -- Which of several is raised is nobody's business.
  RAISE INFO '%: % % | written % | pending % | rejected % | failed %', codes, CASE WHEN state = ANY (codes) THEN 'one of them:' ELSE state END, message, (SELECT string_agg(id::text, ' ' ORDER BY id) FROM e),
    (SELECT string_agg(id::text, ' ' ORDER BY id) FROM mdbatch_pending_rows(NULL::e)),
    (SELECT string_agg(entry->>'id', ' ' ORDER BY entry->>'id') FROM mdbatch_rejected), (SELECT flush_failures > coalesce(failures, 0) FROM mdbatch_stat WHERE relid = 'e'::regclass);
  COMMIT;
  PERFORM mdbatch_discard('e');
END $$;
SET client_min_messages = error;
CALL refuse('{42501,ok,ok}');
CALL refuse('{ok,55000,ok,ok}');
CALL refuse('{ok,ok,40001}');
CALL refuse('{ok,40P01,ok}');
CALL refuse('{42501,ok,55000,40001}');
CALL refuse('{0A000,25006,ok,26000,2D000}');
CALL refuse('{ok,58030,23514}');
CALL refuse('{ok,XX000,ok}');
-- As all meet another one, it is no broken target.
CALL refuse('{42501,55000}');
-- All meet the same one.
CALL refuse('{42501,42501,42501}');
CALL refuse('{40001}');
-- With data that is to blame
CALL refuse('{ok,23514,42501,22003,55000,ok}');
CALL refuse('{23514,42501}');
CALL refuse('{23514,23514,ok}');
-- What is about the server fails the flush, whoever meets it.
CALL refuse('{ok,53100,ok}');
CALL refuse('{ok,57014,ok}');
RESET client_min_messages;
DROP PROCEDURE refuse;

-- Locked, refused for good, refused for now and taken, all in one flush.
TRUNCATE e;
DELETE FROM mdbatch_rejected;
INSERT INTO e VALUES (2, 'row'), (5, 'row'), (6, 'row');
BEGIN;
SELECT FROM e WHERE id IN (2, 5) FOR UPDATE;
INSERT INTO e VALUES (9, 'theirs');
PREPARE TRANSACTION 'locker';
SELECT mdbatch_put('e', '[{"id": 1, "v": "ok"}, {"id": 2, "v": "ok"}, {"id": 3, "v": "23514"}, {"id": 4, "v": "55000"}, {"id": 5, "v": "23514"}, {"id": 6, "v": "ok"}, {"id": 7, "v": "P0001"}, {"id": 8, "v": "ok"}, {"id": 9, "v": "ok"}]');
SET client_min_messages = error;
CALL flush('e');
COMMIT PREPARED 'locker';
CALL flush('e');
RESET client_min_messages;
SELECT pending, balanced FROM books WHERE target = 'step.e';
SELECT mdbatch_discard('e');
DELETE FROM mdbatch_rejected;

-- However many are to blame of 500, and wherever they are, the others are
-- written, with O(k log n) statements; a sequence counts them, as nothing
-- rolls it back.
CREATE SEQUENCE statements;
CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM nextval('step.statements'); RETURN NULL; END $$;
CREATE TRIGGER count_it BEFORE INSERT ON e FOR EACH STATEMENT EXECUTE FUNCTION count_it();
CREATE PROCEDURE find(bad int[], code text) LANGUAGE plpgsql AS $$
DECLARE calls bigint; k int := cardinality(bad); bound bigint; state text := 'flushed';
BEGIN
  TRUNCATE e;
  DELETE FROM mdbatch_rejected;
  PERFORM setval('statements', 1, false);
  PERFORM mdbatch_put('e', (SELECT jsonb_agg(jsonb_build_object('id', i, 'v', CASE WHEN i = ANY (bad) THEN code ELSE 'ok' END) ORDER BY i) FROM generate_series(1, 500) i));
  COMMIT;
  BEGIN
    PERFORM mdbatch_flush('e');
  EXCEPTION WHEN OTHERS THEN state := SQLSTATE;
  END;
  SELECT last_value INTO calls FROM statements;
  -- The first try, and a path of halves to each: no more than 2 n - 1 in all.
  bound := 1 + least(1 + 2 * k * 9, 2 * 500 - 1);
  RAISE INFO '% of %: %, % written, % pending, % rejected, % statements', k, code, state, (SELECT count(*) FROM e),
    (SELECT count(*) FROM mdbatch_pending_rows(NULL::e)), (SELECT count(*) FROM mdbatch_rejected),
    CASE WHEN calls BETWEEN 3 AND bound THEN 'few' ELSE format('%s, not %s', calls, bound) END;
  COMMIT;
  PERFORM mdbatch_discard('e');
END $$;
SET client_min_messages = error;
CALL find('{1}', '23514');
CALL find('{250}', '23514');
CALL find('{500}', '23514');
CALL find('{1,250,500}', '23514');
SELECT array_agg(i) AS all FROM generate_series(1, 500) i \gset
CALL find(:'all', '23514');
CALL find('{1}', '55000');
CALL find('{250}', '55000');
CALL find('{500}', '55000');
CALL find('{1,250,500}', '55000');
RESET client_min_messages;
DROP PROCEDURE find;
DELETE FROM mdbatch_rejected;

SELECT count(*) FROM mdbatch_rejected;
SELECT * FROM books WHERE NOT balanced;
SET client_min_messages = error;
RESET search_path;
DROP SCHEMA step CASCADE;
ALTER SYSTEM SET mdbatch.lock_timeout = '10s';
SELECT pg_reload_conf();
