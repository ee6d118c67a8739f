-- R18: adding, writing, seeing, administering.
CREATE ROLE mdb_owner;
CREATE ROLE mdb_adder;
CREATE ROLE mdb_other;
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
ALTER TABLE state OWNER TO mdb_owner;
CALL fails($$SET ROLE mdb_owner; SELECT mdbatch_set_target('state')$$);
GRANT EXECUTE ON FUNCTION mdbatch_set_target TO mdb_owner, mdb_other;
CALL fails($$SET ROLE mdb_other; SELECT mdbatch_set_target('state')$$);
SET ROLE mdb_owner;
SELECT mdbatch_set_target('state');

-- adding: INSERT and UPDATE, on the table or on the columns
SET ROLE mdb_adder;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
RESET ROLE;
GRANT INSERT ON state TO mdb_adder;
SET ROLE mdb_adder;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
RESET ROLE;
GRANT UPDATE (agent_id, key, value, error, collected_at) ON state TO mdb_adder;
SET ROLE mdb_adder;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_flush();
CALL fails($$SELECT * FROM mdbatch_pending()$$);
CALL fails($$SELECT mdbatch_stat_reset()$$);
SET ROLE mdb_other;
CALL fails($$SELECT mdbatch_flush('state')$$);
SELECT mdbatch_flush();
RESET ROLE;
GRANT SELECT (agent_id, key, value, error, collected_at) ON state TO mdb_adder;
SET ROLE mdb_adder;
SELECT count(*) FROM mdbatch_pending();
RESET ROLE;
REVOKE INSERT ON state FROM mdb_adder;
SET ROLE mdb_adder;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
RESET ROLE;
SELECT mdbatch_set_target('state', mode => 'update');
SET ROLE mdb_adder;
SELECT mdbatch_add(agent(1), '{k}', '{updated}');
SELECT mdbatch_flush();
RESET ROLE;
SELECT value FROM state;

-- membership, too
GRANT INSERT ON state TO mdb_other;
SELECT mdbatch_set_target('state');
GRANT mdb_other TO mdb_adder;
SET ROLE mdb_adder;
SELECT mdbatch_add(agent(1), '{k}', '{member}');
RESET ROLE;
REVOKE mdb_other FROM mdb_adder;
SET ROLE mdb_adder;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
RESET ROLE;
GRANT INSERT ON state TO mdb_adder;

-- row-level security
ALTER TABLE state ENABLE ROW LEVEL SECURITY;
SET ROLE mdb_adder;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
CALL fails($$SELECT * FROM mdbatch_pending()$$);
SET ROLE mdb_owner;
SELECT mdbatch_add(agent(1), '{k}', '{owner}');
RESET ROLE;
ALTER TABLE state FORCE ROW LEVEL SECURITY;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
ALTER TABLE state NO FORCE ROW LEVEL SECURITY;
ALTER TABLE state DISABLE ROW LEVEL SECURITY;
SELECT mdbatch_flush();

-- writing: as the owner, restricted, with fixed settings
CREATE TABLE seen (who name, path text, style text, zone text);
GRANT INSERT ON seen TO mdb_owner;
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.seen VALUES (current_user,
    current_setting('search_path'), current_setting('DateStyle'), current_setting('TimeZone'));
  RETURN NULL;
END $$;
CREATE TRIGGER look AFTER INSERT OR UPDATE ON state FOR EACH ROW EXECUTE FUNCTION look();
CREATE CONSTRAINT TRIGGER look_late AFTER INSERT OR UPDATE ON state DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
SELECT mdbatch_add(agent(1), '{k}', '{seen}');
SELECT mdbatch_flush();
SELECT * FROM seen;
DROP TRIGGER look_late ON state;

-- what a restricted operation does not allow fails the flush
CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN SET ROLE postgres; RETURN NULL; END $$;
SELECT mdbatch_add(agent(1), '{k}', '{role}');
CALL fails('SELECT mdbatch_flush()');
CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN CREATE TEMP TABLE t (i int); RETURN NULL; END $$;
CALL fails('SELECT mdbatch_flush()');
-- nobody else gets at the entries being flushed
CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM * FROM public.mdbatch_flushing() AS s(a text); RETURN NULL; END $$;
CALL fails('SELECT mdbatch_flush()');
CALL fails('SELECT * FROM mdbatch_flushing() AS s(a text)');
-- nor waits in a worker (R13)
CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM public.mdbatch_flush(); RETURN NULL; END $$;
CALL fails('SELECT mdbatch_flush()');
-- errors quote values: for those who may see them
CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'secret % of %', NEW.value, current_user; END $$;
CALL fails('SELECT mdbatch_flush()');
SELECT last_error FROM mdbatch_stat WHERE target = 'public.state';
SET ROLE mdb_owner;
SELECT last_error FROM mdbatch_stat WHERE target = 'public.state';
SET ROLE mdb_adder;
SELECT last_error FROM mdbatch_stat WHERE target = 'public.state';
SET ROLE mdb_other;
SELECT last_error FROM mdbatch_stat WHERE target = 'public.state';
RESET ROLE;
REVOKE SELECT (value) ON state FROM mdb_adder;
SET ROLE mdb_adder;
CALL fails('SELECT mdbatch_flush()');
RESET ROLE;
DROP TRIGGER look ON state;
SELECT mdbatch_flush();
SELECT value FROM state;
DROP FUNCTION look();

-- the owner must reach schema and extension
CREATE SCHEMA hidden;
ALTER TABLE state SET SCHEMA hidden;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
DROP SCHEMA hidden CASCADE;
DROP TABLE seen;
DROP OWNED BY mdb_owner, mdb_adder, mdb_other;
DROP ROLE mdb_owner, mdb_adder, mdb_other;
SELECT * FROM books WHERE NOT balanced;
