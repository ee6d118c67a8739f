-- R18: nobody gets more than the table's owner may do, whatever they plant.
CREATE ROLE mdb_mal;
CREATE ROLE mdb_vic;
CREATE ROLE mdb_adder;
SELECT current_database() AS here \gset
GRANT USAGE, CREATE ON SCHEMA public TO mdb_mal;
GRANT EXECUTE ON FUNCTION mdbatch_attach, mdbatch_discard, mdbatch_retry TO mdb_mal;
CREATE SCHEMA mal AUTHORIZATION mdb_mal;

-- Whoever runs planted code leaves a line here.
CREATE TABLE log (what text, who name);
GRANT INSERT, SELECT ON log TO PUBLIC;
CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.log VALUES (what, current_user) $$;
-- So that it can be called where only immutable functions are allowed, too.
SET ROLE mdb_mal;
CREATE FUNCTION mal.spy(what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN PERFORM public.note(what); RETURN true; END $$;
CREATE FUNCTION mal.spy_each_time(what text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN PERFORM public.note(what); RETURN true; END $$;

-- Code at every place of a table that can have some.
CREATE TYPE mal.mood AS ENUM ('good', 'bad');
CREATE FUNCTION mal.to_json(mal.mood) RETURNS json LANGUAGE plpgsql AS
$$ BEGIN PERFORM public.note('cast to json'); RETURN '"cast"'; END $$;
CREATE CAST (mal.mood AS json) WITH FUNCTION mal.to_json(mal.mood);
CREATE FUNCTION mal.to_jsonb(mal.mood) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN PERFORM mal.spy('cast to jsonb'); RETURN '"cast"'; END $$;
CREATE CAST (mal.mood AS jsonb) WITH FUNCTION mal.to_jsonb(mal.mood) AS ASSIGNMENT;
CREATE DOMAIN mal.checked AS int CHECK (mal.spy('domain'));
CREATE TYPE mal.pair AS (a mal.checked, b mal.mood);
CREATE TABLE mal.t (
  id mal.checked PRIMARY KEY,
  mood mal.mood,
  pair mal.pair,
  v text CHECK (mal.spy('check')),
  ver int,
  def boolean DEFAULT mal.spy_each_time('default'),
  gen boolean GENERATED ALWAYS AS (v IS NOT NULL AND mal.spy('generated')) STORED);
CREATE INDEX ON mal.t ((mal.spy('index expression'))) WHERE mal.spy('index predicate');
CREATE TABLE mal.later (i int);
CREATE FUNCTION mal.fire() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM mal.spy(TG_ARGV[0]);
  IF TG_ARGV[0] = 'after row' THEN INSERT INTO mal.later VALUES (1); END IF;
  IF NEW.v = 'refused' THEN RAISE EXCEPTION USING ERRCODE = '22000', MESSAGE = 'refused by ' || current_user; END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION mal.fire_statement() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM mal.spy(TG_ARGV[0]); RETURN NULL; END $$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON mal.t FOR EACH ROW EXECUTE FUNCTION mal.fire('before row');
CREATE TRIGGER b AFTER INSERT OR UPDATE ON mal.t FOR EACH ROW EXECUTE FUNCTION mal.fire('after row');
CREATE TRIGGER c BEFORE INSERT ON mal.t EXECUTE FUNCTION mal.fire_statement('before statement');
CREATE TRIGGER d AFTER INSERT ON mal.t REFERENCING NEW TABLE AS n EXECUTE FUNCTION mal.fire_statement('after statement');
CREATE TRIGGER e AFTER INSERT OR UPDATE ON mal.t FOR EACH ROW WHEN (mal.spy('when')) EXECUTE FUNCTION mal.fire('conditional');
CREATE CONSTRAINT TRIGGER f AFTER INSERT OR UPDATE ON mal.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mal.fire('deferred');
CREATE CONSTRAINT TRIGGER g AFTER INSERT ON mal.later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mal.fire_statement('deferred elsewhere');
SELECT mdbatch_attach('mal.t', version => 'ver', columns => '{mood,pair,v}', channel => 'c');
RESET ROLE;
GRANT USAGE ON SCHEMA mal TO mdb_adder;
GRANT SELECT, INSERT, UPDATE ON mal.t TO mdb_adder;
-- A superuser attaches it again, looks, and flushes: nothing is run by that.
TRUNCATE log;
SELECT mdbatch_attach('mal.t', version => 'ver', columns => '{mood,pair,v}', channel => 'c');
SELECT target, key, version, columns FROM mdbatch_target WHERE target = 'mal.t'::regclass;
SELECT count(*) FROM log;
-- R22: the values are converted by who adds.
SET ROLE mdb_adder;
SELECT mdbatch_put('mal.t', '[{"id": 1, "ver": 1, "mood": "good", "v": "a", "pair": {"a": 1, "b": "bad"}}, {"id": 2, "ver": 1, "mood": "bad", "v": "refused"}, {"id": 3, "ver": 1}]');
RESET ROLE;
SELECT DISTINCT who FROM log WHERE who <> 'mdb_adder';
TRUNCATE log;
-- What the worker does is the owner's.
SELECT mdbatch_flush('mal.t');
SELECT what, who FROM log GROUP BY what, who ORDER BY what COLLATE "C", who;
SELECT id, mood, pair, v, def, gen FROM mal.t ORDER BY id;
SELECT key, entry, sqlstate, message FROM mdbatch_rejected WHERE target = 'mal.t';
-- So it is with entries none of which can be written any more: no statement,
-- but all of them are shown, without a cast.
DELETE FROM mdbatch_rejected;
SELECT mdbatch_put('mal.t', '{"id": 10, "ver": 1, "mood": "good"}');
ALTER TABLE mal.t ALTER ver TYPE date USING '2000-01-01';
TRUNCATE log;
SELECT mdbatch_flush('mal.t');
SELECT what, who FROM log GROUP BY what, who ORDER BY what COLLATE "C", who;
ALTER TABLE mal.t ALTER ver TYPE int USING 1;
-- Whatever a cast does.
SELECT mdbatch_put('mal.t', '[{"id": 11, "ver": 1, "mood": "good"}, {"id": 12, "ver": 1, "mood": "bad"}]');
SET ROLE mdb_mal;
CREATE OR REPLACE FUNCTION mal.to_json(mal.mood) RETURNS json LANGUAGE plpgsql AS
$$ BEGIN PERFORM public.note('cast to json'); PERFORM mal.plant(); RETURN '"cast"'; END $$;
CREATE FUNCTION mal.plant() RETURNS void LANGUAGE sql AS $$ INSERT INTO mal.later VALUES (2) $$;
ALTER TABLE mal.t ALTER ver TYPE date USING '2000-01-01';
RESET ROLE;
TRUNCATE log;
SELECT mdbatch_flush('mal.t');
SELECT what, who FROM log GROUP BY what, who ORDER BY what COLLATE "C", who;
SELECT key ->> 'id' AS id, entry ->> 'mood' AS mood, bytes, sqlstate FROM mdbatch_rejected ORDER BY 1;
SELECT rejected, pending, balanced FROM books WHERE target = 'mal.t';
DELETE FROM mdbatch_rejected;
SET ROLE mdb_mal;
DROP TABLE mal.t, mal.later;
RESET ROLE;

-- Objects with the names of PostgreSQL's and of ours, found first by everybody
-- who has "public" or "mal" in front. Not one of them is ever called.
SET ROLE mdb_mal;
DO $$
DECLARE s text; t text; op text;
BEGIN
  FOREACH s IN ARRAY ARRAY['public', 'mal'] LOOP
    FOREACH t IN ARRAY ARRAY['int', 'bigint', 'text', 'uuid', 'timestamptz', 'jsonb', 'oid', 'name', 'bool'] LOOP
      EXECUTE format('CREATE FUNCTION %I.evil_op(%s, %2$s) RETURNS bool LANGUAGE plpgsql AS ''BEGIN PERFORM public.note(''''operator %2$s''''); RETURN true; END''', s, t);
      FOREACH op IN ARRAY ARRAY['=', '<>', '<', '<=', '>', '>=', '+', '||', '?', '->>', '~~'] LOOP
        EXECUTE format('CREATE OPERATOR %I.%s (FUNCTION = %1$I.evil_op, LEFTARG = %3$s, RIGHTARG = %3$s)', s, op, t);
      END LOOP;
    END LOOP;
    EXECUTE format('CREATE FUNCTION %I.to_jsonb(text) RETURNS jsonb LANGUAGE plpgsql AS ''BEGIN PERFORM public.note(''''to_jsonb''''); RETURN 1; END''', s);
    EXECUTE format('CREATE FUNCTION %I.to_jsonb(int) RETURNS jsonb LANGUAGE plpgsql AS ''BEGIN PERFORM public.note(''''to_jsonb''''); RETURN 1; END''', s);
    EXECUTE format('CREATE FUNCTION %I.now() RETURNS timestamptz LANGUAGE plpgsql AS ''BEGIN PERFORM public.note(''''now''''); RETURN NULL; END''', s);
    EXECUTE format('CREATE FUNCTION %I.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS ''BEGIN PERFORM public.note(''''clock_timestamp''''); RETURN NULL; END''', s);
    EXECUTE format('CREATE FUNCTION %I.jsonb_hash(jsonb) RETURNS int LANGUAGE plpgsql AS ''BEGIN PERFORM public.note(''''jsonb_hash''''); RETURN 1; END''', s);
    EXECUTE format('CREATE AGGREGATE %I.jsonb_agg(jsonb) (SFUNC = pg_catalog.jsonb_concat, STYPE = jsonb)', s);
    EXECUTE format('CREATE FUNCTION %I.jsonb_build_object(VARIADIC text[]) RETURNS jsonb LANGUAGE plpgsql AS ''BEGIN PERFORM public.note(''''jsonb_build_object''''); RETURN NULL; END''', s);
    -- (in our own schema no such name can be taken)
    IF s = 'mal' THEN EXECUTE format('CREATE FUNCTION %I.mdbatch_stat_rows(int DEFAULT 1) RETURNS SETOF record LANGUAGE plpgsql AS ''BEGIN PERFORM public.note(''''mdbatch_stat_rows''''); END''', s); END IF;
    EXECUTE format('CREATE FUNCTION %I."numeric"(int) RETURNS numeric LANGUAGE plpgsql AS ''BEGIN PERFORM public.note(''''numeric''''); RETURN 1; END''', s);
    EXECUTE format('CREATE DOMAIN %I.jsonb AS pg_catalog.jsonb CHECK (mal.spy(''type jsonb''))', s);
    EXECUTE format('CREATE DOMAIN %I.int4 AS pg_catalog.int4 CHECK (mal.spy(''type int4''))', s);
    EXECUTE format('CREATE DOMAIN %I.text AS pg_catalog.text CHECK (mal.spy(''type text''))', s);
    EXECUTE format('CREATE TABLE %I.taken (entry pg_catalog.jsonb, rejected_at timestamptz)', s);
    EXECUTE format('CREATE TABLE %I.s (id pg_catalog.int4)', s);
    EXECUTE format('CREATE TABLE %I.excluded (id pg_catalog.int4)', s);
  END LOOP;
END $$;
CREATE TABLE mal.mdbatch_rejected (target pg_catalog.text, key pg_catalog.jsonb, entry pg_catalog.jsonb);
CREATE TABLE mal.mdbatch_metadata (agent_id uuid, key pg_catalog.text);
RESET ROLE;
GRANT USAGE ON SCHEMA mal TO PUBLIC;
CREATE SCHEMA vic AUTHORIZATION mdb_vic;
SET ROLE mdb_vic;
CREATE TABLE vic.t (id int4, u uuid, n text, total bigint CHECK (total < 100), least int4, at timestamptz NOT NULL, v text, j jsonb, PRIMARY KEY (id, u, n));
RESET ROLE;
TRUNCATE log;
SET search_path = mal, public, pg_catalog;
ALTER DATABASE :"here" SET search_path = mal, public, pg_catalog;
ALTER ROLE mdb_vic SET search_path = mal, public, pg_catalog;
-- a worker that starts now has that, too
SELECT max(worker_pid) AS old_worker FROM public.mdbatch_stat WHERE datname OPERATOR(pg_catalog.=) current_database() \gset
SELECT pg_terminate_backend(:old_worker, 30000) IS NOT NULL AS terminated;
SELECT public.mdbatch_attach('vic.t', version => 'at', merge => '{"total": "sum", "least": "min"}', channel => 'c', notify => 'n');
SELECT public.mdbatch_put('vic.t', '[{"id": 1, "u": "00000000-0000-0000-0000-000000000001", "n": "a", "total": 1, "least": 1, "at": "2020-01-01", "v": "x", "j": {"a": 1}}, {"id": 2, "u": "00000000-0000-0000-0000-000000000001", "n": "a", "total": 1, "v": "x"}]');
SELECT public.mdbatch_flush('vic.t');
SELECT public.mdbatch_put('vic.t', '[{"id": 1, "u": "00000000-0000-0000-0000-000000000001", "n": "a", "total": 2, "least": 0, "at": "2020-01-02", "v": "y"}, {"id": 3, "u": "00000000-0000-0000-0000-000000000001", "n": "a", "total": 100}]');
SELECT public.mdbatch_flush('vic.t');
SELECT public.mdbatch_retry('vic.t');
SELECT public.mdbatch_flush('vic.t');
SELECT public.mdbatch_add('00000000-0000-0000-0000-000000000001', '{k}', '{v}');
SELECT public.mdbatch_flush();
SELECT count(*) FROM public.mdbatch_pending();
SELECT count(*) FROM public.mdbatch_pending_rows(NULL::vic.t);
SELECT count(*) IS NOT NULL AS seen FROM public.mdbatch_target;
SELECT count(*) IS NOT NULL AS seen FROM public.mdbatch_stat;
SELECT count(*) IS NOT NULL AS seen FROM public.mdbatch_stat_histogram;
SELECT * FROM public.log;
-- A function that could be meant when ours is called, too, is refused.
SET ROLE mdb_mal;
CREATE FUNCTION public.mdbatch_flushing(VARIADIC pg_catalog.text[]) RETURNS SETOF record LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note('variadic'); END $$;
RESET ROLE;
SELECT public.mdbatch_put('vic.t', '{"id": 4, "u": "00000000-0000-0000-0000-000000000001", "n": "a", "total": 1}');
SELECT public.mdbatch_flush('vic.t');
SELECT * FROM public.log;
SET search_path = public;
ALTER DATABASE :"here" RESET search_path;
\c -
SELECT id, n, total, least, v, j FROM vic.t ORDER BY id;
SELECT key, entry -> 'total' AS total, sqlstate FROM mdbatch_rejected WHERE target = 'vic.t';
SELECT value FROM mdbatch_metadata;
DELETE FROM mdbatch_rejected;
TRUNCATE mdbatch_metadata;
DROP TABLE vic.t;
DROP OWNED BY mdb_mal CASCADE;
GRANT USAGE, CREATE ON SCHEMA public TO mdb_mal;
GRANT EXECUTE ON FUNCTION mdbatch_attach, mdbatch_discard, mdbatch_retry TO mdb_mal;
CREATE SCHEMA mal AUTHORIZATION mdb_mal;

-- The owner changes while entries wait: they are written as the new one, who
-- does not run the code of the old one.
TRUNCATE log;
SET ROLE mdb_mal;
CREATE TABLE mal.t (id int PRIMARY KEY, v text);
CREATE FUNCTION mal.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note(NEW.v); RETURN NEW; END $$;
CREATE TRIGGER fire BEFORE INSERT ON mal.t FOR EACH ROW EXECUTE FUNCTION mal.fire();
SELECT mdbatch_attach('mal.t');
SELECT mdbatch_put('mal.t', '{"id": 1, "v": "given away"}');
RESET ROLE;
GRANT USAGE ON SCHEMA mal TO mdb_vic;
ALTER TABLE mal.t OWNER TO mdb_vic;
SELECT mdbatch_flush('mal.t');
SET ROLE mdb_mal;
CALL fails($$SELECT mdbatch_put('mal.t', '{"id": 2, "v": "no more"}')$$);
CALL fails($$SELECT mdbatch_flush('mal.t')$$);
CALL fails($$SELECT mdbatch_discard('mal.t')$$);
CALL fails($$SELECT mdbatch_retry('mal.t')$$);
CALL fails($$SELECT * FROM mdbatch_pending_rows(NULL::mal.t)$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE mal.t IS NULL$$);
RESET ROLE;
SELECT mdbatch_put('mal.t', '{"id": 3, "v": "taken back"}');
ALTER TABLE mal.t OWNER TO mdb_mal;
SELECT mdbatch_flush('mal.t');
SELECT * FROM log;
TRUNCATE log;

-- A trigger that wants to be somebody else, or to leave something behind. What
-- fails stays pending; what does not fail has no consequences.
-- (How PostgreSQL refuses what only some roles may do is worded differently
-- from version to version.)
CREATE PROCEDURE flush_doing(what text) LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
  EXECUTE format('CREATE OR REPLACE FUNCTION mal.fire() RETURNS trigger LANGUAGE plpgsql AS %L',
    format('BEGIN PERFORM %s; PERFORM public.note(NEW.v); RETURN NEW; END', what));
  TRUNCATE mal.t;
  PERFORM mdbatch_put('mal.t', '{"id": 1, "v": "who"}');
  COMMIT;
  BEGIN
    PERFORM mdbatch_flush('mal.t');
    RAISE INFO 'written';
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE INFO '% %', SQLSTATE, regexp_replace(replace(detail, current_database(), 'of the test'),
      '(must be|permission denied to) .*', 'no permission');
  END;
END $$;
CREATE PROCEDURE flush_executing(what text) LANGUAGE plpgsql AS
$$ BEGIN CALL flush_doing(format('public.execute(%L)', what)); END $$;
CREATE FUNCTION execute(what text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE what; END $$;
GRANT USAGE ON SCHEMA mal TO PUBLIC;
CALL flush_doing($$set_config('role', 'postgres', false)$$);
CALL flush_doing($$set_config('session_authorization', 'postgres', false)$$);
CALL flush_executing('RESET ROLE');
CALL flush_executing('SET LOCAL ROLE mdb_mal');
CALL flush_executing('RESET SESSION AUTHORIZATION');
CALL flush_executing('PREPARE p AS SELECT 1');
CALL flush_executing('DISCARD ALL');
CALL flush_executing('CREATE TEMP TABLE pg_temp.t (i int)');
CALL flush_executing('CREATE SCHEMA AUTHORIZATION postgres');
CALL flush_executing('ALTER SYSTEM SET mdbatch.flush_interval = 1');
CALL flush_executing('SET session_replication_role = replica');
CALL flush_executing('LOAD ''no_such_library''');
CALL flush_executing('COPY mal.t TO PROGRAM ''true''');
CALL flush_executing('CREATE FUNCTION mal.c() RETURNS int LANGUAGE c AS ''no'', ''no''');
CALL flush_executing('ALTER TABLE mal.t DISABLE TRIGGER ALL');
CALL flush_doing($$pg_terminate_backend(pg_backend_pid())$$);
CALL flush_doing($$pg_cancel_backend(pg_backend_pid())$$);
CALL flush_doing($$pg_read_file('PG_VERSION')$$);
CALL flush_doing($$lo_export(1, '/nowhere')$$);
-- R13: nothing in a flush waits for a flush.
CALL flush_doing($$public.mdbatch_flush()$$);
CALL flush_doing($$public.mdbatch_flush('mal.t')$$);
CALL flush_executing($$CALL public.mdbatch_put_sync('mal.t', '{"id": 2}')$$);
CALL flush_doing($$set_config('mdbatch.on_full', 'wait', true), public.mdbatch_put('mal.t', '{"id": 9, "v": "put by the trigger"}')$$);
CALL flush_doing($$public.mdbatch_discard('mal.t')$$);
-- What goes on afterwards is as before.
CALL flush_executing('RESET ALL');
CALL flush_executing('SET mdbatch.on_full = error');
SELECT who, count(*) > 0 AS some FROM log GROUP BY who;
TRUNCATE log;
CALL flush_doing('1');
SELECT * FROM log;
SELECT mdbatch_discard('mal.t') IS NOT NULL AS discarded;
SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT bool_and(balanced) AS balanced FROM books WHERE target = 'mal.t';

-- The entries in flight: for the worker's own statement, once, and only as
-- they are.
CALL flush_executing('SELECT public.mdbatch_flushing()');
CALL flush_executing('SELECT * FROM public.mdbatch_flushing() AS s(a int)');
CALL flush_executing('SELECT * FROM public.mdbatch_flushing() AS s(a text, b text)');
CREATE OR REPLACE FUNCTION mal.fire_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM public.note('took ' || id || v) FROM public.mdbatch_flushing() AS s(id int, v text);
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  PERFORM public.note(SQLERRM);
  RETURN NULL;
END $$;
CALL flush_doing('1');
CREATE TRIGGER b BEFORE INSERT ON mal.t EXECUTE FUNCTION mal.fire_statement();
CALL flush_doing('2');
CREATE OR REPLACE FUNCTION mal.fire_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM * FROM public.mdbatch_flushing() AS s(id text, v int, w uuid);
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  PERFORM public.note(SQLERRM);
  RETURN NULL;
END $$;
TRUNCATE log;
CALL flush_doing('3');
DROP TRIGGER b ON mal.t;
CALL flush_doing('4');
SELECT * FROM log;
SELECT * FROM mal.t;
SET ROLE mdb_mal;
CALL fails('SELECT * FROM mdbatch_flushing() AS s(id int, v text)');
CALL fails('SELECT mdbatch_flushing()');
RESET ROLE;

-- RULES are refused, also those that come while entries wait.
SELECT mdbatch_put('mal.t', '{"id": 5, "v": "ruled"}');
SET ROLE mdb_mal;
CREATE RULE r AS ON INSERT TO mal.t DO ALSO SELECT public.note('rule');
CALL fails($$SELECT mdbatch_attach('mal.t')$$);
CALL fails($$SELECT mdbatch_put('mal.t', '{"id": 6, "v": "ruled"}')$$);
RESET ROLE;
TRUNCATE log;
SELECT mdbatch_flush('mal.t');
SELECT * FROM log;
DROP RULE r ON mal.t;
SELECT mdbatch_flush('mal.t');
SELECT v FROM mal.t WHERE id = 5;

-- Somebody else's right to add.
SET ROLE mdb_mal;
CREATE FUNCTION mal.put(v text) RETURNS int LANGUAGE sql SECURITY DEFINER AS $$ SELECT mdbatch_put('mal.t', jsonb_build_object('id', 7, 'v', v)) $$;
CREATE FUNCTION mal.put_invoker(v text) RETURNS int LANGUAGE sql AS $$ SELECT mdbatch_put('mal.t', jsonb_build_object('id', 7, 'v', v)) $$;
GRANT USAGE ON SCHEMA mal TO mdb_adder;
REVOKE ALL ON mal.t FROM mdb_adder;
SET ROLE mdb_adder;
SELECT mal.put('for the definer');
CALL fails($$SELECT mal.put_invoker('no')$$);
CALL fails($$SELECT mdbatch_put('mal.t', '{"id": 7}')$$);
CALL fails($$SELECT mdbatch_put_row(ROW(7, 'v')::mal.t)$$);
CALL fails($$CALL mdbatch_put_sync('mal.t', '{"id": 7}')$$);
CALL fails($$SELECT mdbatch_flush('mal.t')$$);
-- a definer of one's own, in front of a view
RESET ROLE;
GRANT SELECT, INSERT ON mal.t TO mdb_adder;
GRANT CREATE ON SCHEMA public TO mdb_adder;
SET ROLE mdb_adder;
CREATE VIEW adders_view AS SELECT * FROM mal.t;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON adders_view FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('mal.t');
CALL fails($$INSERT INTO adders_view VALUES (7, 'no')$$);
RESET ROLE;
-- the right is taken away between two calls of a session
GRANT UPDATE ON mal.t TO mdb_adder;
SET ROLE mdb_adder;
INSERT INTO adders_view VALUES (8, 'yes');
RESET ROLE;
REVOKE UPDATE (v), UPDATE ON mal.t FROM mdb_adder;
SET ROLE mdb_adder;
CALL fails($$INSERT INTO adders_view VALUES (9, 'no')$$);
RESET ROLE;
SELECT mdbatch_flush('mal.t');
SELECT v FROM mal.t WHERE id >= 7 ORDER BY id;
DROP VIEW adders_view;

-- Row-level security that is switched on while entries wait: if it is forced on
-- the owner, nothing is written, and no policy runs.
SELECT mdbatch_put('mal.t', '[{"id": 20, "v": "allowed"}, {"id": 21, "v": "forbidden"}]');
SET ROLE mdb_mal;
CREATE POLICY p ON mal.t USING (v <> 'forbidden');
ALTER TABLE mal.t ENABLE ROW LEVEL SECURITY;
ALTER TABLE mal.t FORCE ROW LEVEL SECURITY;
RESET ROLE;
CALL fails($$SELECT mdbatch_flush('mal.t')$$);
SELECT v FROM mal.t WHERE id IN (20, 21);
CALL fails($$SELECT mdbatch_put('mal.t', '{"id": 22}')$$);
SET ROLE mdb_mal;
ALTER TABLE mal.t NO FORCE ROW LEVEL SECURITY;
RESET ROLE;
SELECT mdbatch_flush('mal.t');
SELECT v FROM mal.t WHERE id IN (20, 21) ORDER BY id;
GRANT INSERT, UPDATE, SELECT ON mal.t TO mdb_adder;
SET ROLE mdb_adder;
CALL fails($$SELECT mdbatch_put('mal.t', '{"id": 22}')$$);
CALL fails($$SELECT * FROM mdbatch_pending_rows(NULL::mal.t)$$);
RESET ROLE;
ALTER TABLE mal.t DISABLE ROW LEVEL SECURITY;

-- Labels by hand: need the right to attach, too, and ownership.
SET ROLE mdb_vic;
CREATE TABLE vic.l (id int PRIMARY KEY, a int, b int);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE vic.l IS '{"mode": "upsert", "key": 1, "columns": 0}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON COLUMN vic.l.a IS '{"key": 1}'$$);
RESET ROLE;
GRANT USAGE ON SCHEMA vic TO mdb_mal;
SET ROLE mdb_mal;
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE vic.l IS '{"mode": "upsert", "key": 1, "columns": 0}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE public.mdbatch_rejected IS '{"mode": "upsert", "key": 1, "columns": 0}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE mal.t IS '{"mode": "upsert", "key": 1, "columns": 1, "metadata": true}'$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION mdbatch_attach TO mdb_vic;
CREATE PROCEDURE label(t text, VARIADIC columns text[]) LANGUAGE plpgsql AS $$
DECLARE names text[] := '{id,a,b}';
BEGIN
  SET LOCAL ROLE mdb_vic;
  EXECUTE format('SECURITY LABEL FOR mdbatch ON TABLE vic.l IS %L', t);
  FOR i IN 1..3 LOOP
    EXECUTE format('SECURITY LABEL FOR mdbatch ON COLUMN vic.l.%I IS %L', names[i], columns[i]);
  END LOOP;
  PERFORM mdbatch_put('vic.l', '{"id": 1}');
  RAISE INFO 'put';
EXCEPTION WHEN OTHERS THEN
  RAISE INFO '% %', SQLSTATE, SQLERRM;
END $$;
CREATE PROCEDURE labels(t text, VARIADIC columns text[]) LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  CALL label(t, VARIADIC columns);
  -- whatever they say, everybody can still look
  SET LOCAL ROLE NONE;
  SELECT format('%s %s %s', key, version, l.columns) INTO line FROM mdbatch_target l WHERE target = 'vic.l'::regclass;
  IF line <> '' THEN RAISE INFO '  %', line; END IF;
END $$;
CALL labels('{"mode": "upsert", "key": 1, "columns": 2}', '{"key": 1}', '{"column": 1}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2}', '{"key": 1}', '{"column": 1}', '{"column": 1}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2}', '{"key": 1}', '{"column": 1}', '{"column": 1600}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2}', '{"key": 2}', '{"column": 1}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 2, "columns": 1}', '{"key": 1}', '{"column": 1}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 1600}', '{"key": 1}', '{"column": 1}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 0}', '{"key": 1}', '{"column": 1}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2}', '{"key": 1}', '{"column": 1}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2, "version": true}', '{"key": 1}', '{"column": 1}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2, "since": 9223372036854775808}', '{"key": 1}', '{"column": 1}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2, "batch_size": 100001}', '{"key": 1}', '{"column": 1}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2, "flush_interval": -1}', '{"key": 1}', '{"column": 1}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2}', '{"key": 1, "merge": "sum"}', '{"column": 1}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2}', '{"key": 1}', '{"column": 1, "merge": "avg"}', '{"column": 2}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2}', '{"key": 1}', '{"column": -1}', '{"column": 2}');
-- Falsehoods in a label are not what the view shows.
CALL labels('{"mode": "upsert", "key": 1, "columns": 2}', '{"key": 1, "version": false}', '{"key": 0, "column": 1}', '{"column": 2, "notify": false}');
CALL labels('{"mode": "upsert", "key": 1, "columns": 2, "channel": "c"}', '{"key": 1, "notify": true}', '{"column": 1, "notify": false}', '{"column": 2}');
SELECT notify FROM mdbatch_target WHERE target = 'vic.l'::regclass;
SELECT mdbatch_flush() IS NOT NULL AS flushed;
DROP TABLE vic.l;
DROP PROCEDURE label(text, text[]), labels(text, text[]);

-- Rows that somebody wrote into mdbatch_rejected.
GRANT INSERT, SELECT ON mdbatch_rejected TO mdb_mal;
SELECT mdbatch_flush() IS NOT NULL AS flushed;
TRUNCATE mal.t, mdbatch_rejected;
CREATE PROCEDURE retry(entry jsonb) LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM mdbatch_rejected;
  INSERT INTO mdbatch_rejected SELECT 'mal.t', '{"id": 1}', entry, '22000', 'by hand', 'infinity', false, NULL,
    (label::jsonb ->> 'identity')::uuid, 'mdb_mal', '' FROM pg_seclabel WHERE objoid = 'mal.t'::regclass AND objsubid = 0 AND provider = 'mdbatch';
  RAISE INFO 'retried: %', mdbatch_retry('mal.t');
EXCEPTION WHEN OTHERS THEN
  RAISE INFO '% %', SQLSTATE, SQLERRM;
END $$;
SET ROLE mdb_mal;
CALL fails($$DELETE FROM mdbatch_rejected$$);
RESET ROLE;
CALL retry('{"id": 1, "v": "by hand"}');
CALL retry('[]');
CALL retry('[[{"id": 1}]]');
CALL retry('[{"id": 1}]');
CALL retry('"text"');
CALL retry('1');
CALL retry('null');
CALL retry('{}');
CALL retry('{"id": null}');
CALL retry('{"id": "x"}');
CALL retry('{"id": 1, "nobody": 1}');
CALL retry('{"id": 1, "entry bytes": "00"}');
CALL retry('{"entry bytes": "zz"}');
CALL retry('{"id": {"a": 1}}');
SELECT mdbatch_flush('mal.t');
SELECT * FROM mal.t;
-- Of another target there is nothing to be had.
DELETE FROM mdbatch_rejected;
INSERT INTO mdbatch_rejected VALUES ('mal.t', '{"id": 1}', '{"id": 1, "v": "secret"}', '22000', 'm', now(), false, NULL, gen_random_uuid(), 'mdb_mal', '');
INSERT INTO mdbatch_rejected SELECT 'mal.t', '{"id": 1}', '{"id": 1, "v": "secret"}', '22000', 'm', now(), false, NULL, (label::jsonb ->> 'identity')::uuid, 'mdb_vic', ''
FROM pg_seclabel WHERE objoid = 'mal.t'::regclass AND objsubid = 0 AND provider = 'mdbatch';
SET ROLE mdb_mal;
SELECT mdbatch_retry('mal.t');
RESET ROLE;
DROP PROCEDURE retry(jsonb);
TRUNCATE mdbatch_rejected;
REVOKE ALL ON mdbatch_rejected FROM mdb_mal;

-- What can be learnt by who may add but not read.
REVOKE ALL ON mal.t FROM mdb_adder;
GRANT INSERT, UPDATE ON mal.t TO mdb_adder;
SET ROLE mdb_mal;
CREATE OR REPLACE FUNCTION mal.fire() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.v ~ 'secret' THEN RAISE EXCEPTION 'there is %', NEW.v USING ERRCODE = '58000', DETAIL = NEW.v, HINT = NEW.v; END IF;
  IF NEW.v ~ 'private' THEN RAISE EXCEPTION 'there is %', NEW.v USING ERRCODE = '22000', DETAIL = NEW.v, HINT = NEW.v; END IF;
  RETURN NEW;
END $$;
SELECT mdbatch_put('mal.t', '{"id": 1, "v": "secret"}');
SET ROLE mdb_adder;
CALL fails($$SELECT * FROM mdbatch_pending_rows(NULL::mal.t)$$);
CALL fails($$SELECT mdbatch_flush('mal.t')$$);
CALL fails($$SELECT mdbatch_flush()$$);
SELECT last_error FROM mdbatch_stat WHERE relid = 'mal.t'::regclass;
CALL fails('SELECT * FROM mdbatch_rejected');
CALL fails('SELECT * FROM mal.t');
RESET ROLE;
GRANT SELECT (id) ON mal.t TO mdb_adder;
SET ROLE mdb_adder;
CALL fails($$SELECT id FROM mdbatch_pending_rows(NULL::mal.t)$$);
SELECT last_error FROM mdbatch_stat WHERE relid = 'mal.t'::regclass;
RESET ROLE;
SELECT mdbatch_discard('mal.t');
SET ROLE mdb_mal;
SELECT mdbatch_put('mal.t', '{"id": 1, "v": "private"}');
SET ROLE mdb_adder;
SELECT mdbatch_flush('mal.t');
SELECT coalesce(last_error, '') ~ 'private' AS told FROM mdbatch_stat WHERE relid = 'mal.t'::regclass;
RESET ROLE;
SELECT sum(rejected) > 0 AS rejected FROM books WHERE target = 'mal.t';
DELETE FROM mdbatch_rejected;

-- Names
CREATE SCHEMA "s; DROP TABLE ""x"" --" AUTHORIZATION mdb_mal;
SET ROLE mdb_mal;
CREATE TABLE "s; DROP TABLE ""x"" --"."t'; SELECT '" ("k""; --" int PRIMARY KEY, "v' || '" text, "$1" text, "%s %n" text, "excluded" text, "s" text, "t" text);
SELECT mdbatch_attach('"s; DROP TABLE ""x"" --"."t''; SELECT ''"', channel => 'c''; "x');
SELECT mdbatch_put('"s; DROP TABLE ""x"" --"."t''; SELECT ''"', '{"k\"; --": 1, "v'' || ''": "a", "$1": "b", "%s %n": "c", "excluded": "d", "s": "e", "t": "f"}');
SELECT mdbatch_put('"s; DROP TABLE ""x"" --"."t''; SELECT ''"', '{"k\"; --": 2, "v'' || ''": "\u0022; DROP TABLE x; --"}');
SELECT mdbatch_flush('"s; DROP TABLE ""x"" --"."t''; SELECT ''"');
SELECT mdbatch_put('"s; DROP TABLE ""x"" --"."t''; SELECT ''"', '{"k\"; --": 1, "excluded": "d2"}');
SELECT mdbatch_flush('"s; DROP TABLE ""x"" --"."t''; SELECT ''"');
SELECT * FROM "s; DROP TABLE ""x"" --"."t'; SELECT '" ORDER BY 1;
SELECT * FROM mdbatch_target WHERE target::text LIKE '%SELECT%';
SELECT target, pending FROM mdbatch_stat WHERE target LIKE '%SELECT%';
-- of 63 bytes each, and not of ASCII alone
RESET ROLE;
SELECT repeat('ä', 31) || 'S' AS s, repeat('€', 21) AS t, repeat('k', 63) AS k, repeat('𝄞', 15) || 'v' AS v \gset
CREATE SCHEMA :"s" AUTHORIZATION mdb_mal;
SET ROLE mdb_mal;
CREATE TABLE :"s".:"t" (:"k" text PRIMARY KEY, :"v" text CHECK (:"v" <> 'bad'));
SELECT mdbatch_attach(format('%I.%I', :'s', :'t')::regclass, channel => repeat('c', 63));
SELECT mdbatch_put(format('%I.%I', :'s', :'t')::regclass, jsonb_build_array(jsonb_build_object(:'k', 'ключ', :'v', 'значение'), jsonb_build_object(:'k', 'b', :'v', 'bad')));
SELECT mdbatch_flush(format('%I.%I', :'s', :'t')::regclass);
RESET ROLE;
SELECT * FROM :"s".:"t";
SELECT * FROM mdbatch_rejected WHERE target = format('%I.%I', :'s', :'t') AND key = jsonb_build_object(:'k', 'b') \gset r_
SELECT :'r_sqlstate' AS sqlstate, :'r_entry'::jsonb -> :'v' AS value;
SELECT target = format('%I.%I', :'s', :'t') AS whole FROM mdbatch_stat WHERE relid = format('%I.%I', :'s', :'t')::regclass;
-- a name that is longer than a name can be names nothing
CALL fails(format('SELECT mdbatch_put(%L, %L)', format('%I.%I', :'s', :'t'), jsonb_build_object(:'k' || 'k', 'x')));
DROP TABLE :"s".:"t", "s; DROP TABLE ""x"" --"."t'; SELECT '";
DELETE FROM mdbatch_rejected;

SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT * FROM books WHERE NOT balanced;
DROP PROCEDURE flush_doing(text), flush_executing(text);
DROP OWNED BY mdb_mal, mdb_vic, mdb_adder CASCADE;
DROP FUNCTION note(text), execute(text);
DROP TABLE log;
DROP ROLE mdb_mal, mdb_vic, mdb_adder;
