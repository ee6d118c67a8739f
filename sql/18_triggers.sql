-- R18: what a target's own code meets: it runs as the owner, restricted, with
-- fixed settings. R6: who is announced.
CREATE ROLE mdb_owner;
SELECT current_database() AS here \gset
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
ALTER TABLE state OWNER TO mdb_owner;
SELECT mdbatch_set_target('state');
CREATE TABLE log (n serial, what text);
ALTER TABLE log OWNER TO mdb_owner;

-- The settings, whatever the database and the role have. A worker that starts
-- now has those of the database.
ALTER ROLE mdb_owner SET search_path = 'public';
ALTER ROLE mdb_owner SET DateStyle = 'German';
ALTER DATABASE :"here" SET search_path = 'public';
ALTER DATABASE :"here" SET extra_float_digits = 0;
ALTER DATABASE :"here" SET bytea_output = 'escape';
ALTER DATABASE :"here" SET default_transaction_isolation = 'serializable';
ALTER DATABASE :"here" SET default_transaction_read_only = on;
ALTER DATABASE :"here" SET session_replication_role = 'replica';
ALTER DATABASE :"here" SET statement_timeout = 1;
ALTER DATABASE :"here" SET row_security = off;
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['search_path', 'DateStyle', 'IntervalStyle', 'TimeZone', 'extra_float_digits', 'bytea_output',
    'row_security', 'transaction_isolation', 'transaction_read_only', 'session_replication_role', 'statement_timeout'] LOOP
    INSERT INTO public.log (what) VALUES (name || ' = ' || current_setting(name));
  END LOOP;
  INSERT INTO public.log (what) VALUES ('current_user = ' || current_user);
  RETURN NULL;
END $$;
CREATE TRIGGER look AFTER INSERT ON state FOR EACH ROW EXECUTE FUNCTION look();
SELECT mdbatch_flush();
DO $$ BEGIN
  PERFORM pg_terminate_backend(pid, 30000) FROM pg_stat_activity
  WHERE backend_type = 'mdbatch worker' AND datname = current_database();
END $$;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_flush();
SELECT what FROM log ORDER BY n;
TRUNCATE log;
ALTER DATABASE :"here" RESET ALL;
DROP TRIGGER look ON state;

-- What a trigger sets is gone with its flush.
CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.log (what) VALUES (current_setting('search_path') || '; ' || current_setting('DateStyle') || '; ' || coalesce(current_setting('my.setting', true), ''));
  SET search_path = public, pg_catalog;
  SET DateStyle = 'German';
  SET my.setting = 'mine';
  RETURN NULL;
END $$;
CREATE TRIGGER look AFTER UPDATE ON state FOR EACH ROW EXECUTE FUNCTION look();
SELECT mdbatch_add(agent(1), '{k}', '{v1}');
SELECT mdbatch_flush();
SELECT mdbatch_add(agent(1), '{k}', '{v2}');
SELECT mdbatch_flush();
SELECT what FROM log ORDER BY n;
TRUNCATE log;
DROP TRIGGER look ON state;

-- What a restricted operation refuses fails the flush.
CREATE TABLE command (command text);
ALTER TABLE command OWNER TO mdb_owner;
CREATE FUNCTION do_it() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN EXECUTE (SELECT command FROM public.command); RETURN NULL; END $$;
CREATE TRIGGER do_it AFTER INSERT OR UPDATE ON state FOR EACH ROW EXECUTE FUNCTION do_it();
CREATE PROCEDURE flush_doing(what text) LANGUAGE plpgsql AS $$
BEGIN
  TRUNCATE command;
  INSERT INTO command VALUES (what);
  COMMIT;
  CALL fails('SELECT mdbatch_flush()');
END $$;
SELECT mdbatch_add(agent(1), '{k}', '{v3}');
CALL flush_doing('SET ROLE postgres');
CALL flush_doing('SET SESSION AUTHORIZATION DEFAULT');
CALL flush_doing('CREATE TEMP TABLE t (i int)');
CALL flush_doing('DECLARE c CURSOR WITH HOLD FOR SELECT 1');
CALL flush_doing('LISTEN c');
CALL flush_doing('COMMIT');
-- (The message differs between versions.)
CALL flush_doing('DO $do$ BEGIN CREATE ROLE mdb_made; EXCEPTION WHEN insufficient_privilege THEN RAISE insufficient_privilege USING MESSAGE = ''no role made''; END $do$');
CALL flush_doing('SELECT * FROM pg_authid');
CALL flush_doing('SELECT NULL::no_such_type');
CALL flush_doing('SELECT 1 FROM log');
CALL flush_doing('DROP TABLE public.state');
-- R13: nothing waits for a flush in a worker.
CALL flush_doing('SELECT public.mdbatch_flush()');
CALL flush_doing('CALL public.mdbatch_add_sync(''00000000-0000-0000-0000-000000000001'', ''{k}'', ''{v}'')');
SELECT flushed, flush_failures > 0 AS failed, notifications FROM mdbatch_stat WHERE relid = 'state'::regclass;
SELECT value FROM state;

-- A deferred trigger would run at the commit, with other rights: it runs at
-- once, and fails if it is deferred again.
CREATE TABLE later (i int);
ALTER TABLE later OWNER TO mdb_owner;
CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO public.log (what) VALUES (current_user); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER look AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
CALL flush_doing('SET CONSTRAINTS ALL DEFERRED; INSERT INTO public.later VALUES (1)');
SELECT count(*) FROM log;
TRUNCATE command;
INSERT INTO command VALUES ('INSERT INTO public.later VALUES (1)');
SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT value FROM state;
SELECT what FROM log;
TRUNCATE log;

-- What is allowed: notifications of its own, and adds.
TRUNCATE command;
INSERT INTO command VALUES ('NOTIFY mine; SELECT public.mdbatch_add(''00000000-0000-0000-0000-000000000002'', ''{from_trigger}'', ''{v}'') WHERE NOT EXISTS (SELECT FROM public.state WHERE key = ''from_trigger'')');
SELECT mdbatch_add(agent(1), '{k}', '{v4}');
SELECT mdbatch_flush();
-- what it added comes with a flush of its own, perhaps at once
SELECT mdbatch_flush() IN (0, 1) AS flushed;
SELECT key, value FROM state ORDER BY 1;
SELECT pending, reserved, balanced FROM books WHERE target = 'public.state' AND flushed > 0;
DROP TRIGGER do_it ON state;
DROP TABLE command, later;
DROP PROCEDURE flush_doing(text);

-- Nobody else gets at the entries in flight, not even before the statement.
CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM * FROM public.mdbatch_flushing() AS s(a uuid, k text, t timestamptz, v text, e text);
  RETURN NULL;
END $$;
SELECT mdbatch_add(agent(1), '{k}', '{v5}');
CREATE TRIGGER look AFTER INSERT ON state EXECUTE FUNCTION look();
CALL fails('SELECT mdbatch_flush()');
DROP TRIGGER look ON state;
CREATE TRIGGER look BEFORE INSERT ON state EXECUTE FUNCTION look();
CALL fails('SELECT mdbatch_flush()');
DROP TRIGGER look ON state;
CALL fails('SELECT * FROM mdbatch_flushing() AS s(a uuid, k text, t timestamptz, v text, e text)');
SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT value FROM state WHERE key = 'k';

-- A trigger that says no: skipped (R19), and not announced (R6).
CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.value = 'no' THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER look BEFORE INSERT ON state FOR EACH ROW EXECUTE FUNCTION look();
SELECT mdbatch_stat_reset();
SELECT mdbatch_add_many(ARRAY[agent(3), agent(4)], '{k,k}', '{no,yes}');
SELECT mdbatch_flush();
SELECT mdbatch_add(agent(4), '{k}', '{no}');
SELECT mdbatch_flush();
SELECT flushed, skipped, notifications, batches_requested FROM mdbatch_stat WHERE relid = 'state'::regclass;
SELECT agent_id, value FROM state WHERE key = 'k' ORDER BY 1;
DROP TRIGGER look ON state;

-- A constraint with a function of the owner cannot do more than the owner.
CREATE FUNCTION check_value(v text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF v = 'spy' THEN PERFORM 1 FROM pg_authid; END IF;
  RETURN true;
END $$;
ALTER TABLE state ADD CONSTRAINT spy CHECK (public.check_value(value)) NOT VALID;
SELECT mdbatch_add(agent(1), '{k}', '{spy}');
CALL fails('SELECT mdbatch_flush()');
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_flush() IS NOT NULL AS flushed;
DROP TABLE state, log;
DROP FUNCTION look(), do_it(), check_value(text);
DROP ROLE mdb_owner;
SELECT * FROM books WHERE NOT balanced;
