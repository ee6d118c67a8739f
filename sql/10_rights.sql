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

-- adding: INSERT and UPDATE, on the table or on the columns (46_adding has
-- it column by column)
SET ROLE mdb_adder;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
RESET ROLE;
GRANT INSERT ON state TO mdb_adder;
SET ROLE mdb_adder;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
RESET ROLE;
GRANT UPDATE (value, error, collected_at) ON state TO mdb_adder;
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

-- errors quote values: for the owner and pg_read_all_stats, not for those who
-- may see what is pending; others get the SQLSTATE and the table
CREATE TRIGGER refuse_bad BEFORE INSERT ON state FOR EACH ROW EXECUTE FUNCTION refuse_bad();
SELECT mdbatch_add(agent(1), '{k}', '{bad}', NULL, '{infinity}');
SELECT mdbatch_flush();
SELECT last_error FROM mdbatch_stat WHERE relid = 'state'::regclass;
SET ROLE mdb_owner;
SELECT last_error FROM mdbatch_stat WHERE relid = 'state'::regclass;
CALL fails('SELECT mdbatch_flush()');
SET ROLE mdb_adder;
SELECT last_error FROM mdbatch_stat WHERE relid = 'state'::regclass;
CALL fails('SELECT mdbatch_flush()');
SET ROLE mdb_other;
SELECT last_error FROM mdbatch_stat WHERE relid = 'state'::regclass;
RESET ROLE;
GRANT pg_read_all_stats TO mdb_other;
SET ROLE mdb_other;
SELECT last_error FROM mdbatch_stat WHERE relid = 'state'::regclass;
RESET ROLE;
REVOKE SELECT (value) ON state FROM mdb_adder;
SET ROLE mdb_adder;
SELECT last_error FROM mdbatch_stat WHERE relid = 'state'::regclass;
CALL fails('SELECT mdbatch_flush()');
CALL mdbatch_add_sync(agent(1), '{l}', '{bad}', NULL, '{infinity}');
RESET ROLE;
GRANT SELECT (value) ON state TO mdb_adder;
ALTER TABLE state ENABLE ROW LEVEL SECURITY;
SET ROLE mdb_adder;
SELECT last_error FROM mdbatch_stat WHERE relid = 'state'::regclass;
RESET ROLE;
ALTER TABLE state DISABLE ROW LEVEL SECURITY;
DROP TRIGGER refuse_bad ON state;
SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT key, value FROM state ORDER BY 1;
DELETE FROM state;

-- So it is with what is refused for good (R12); its table is for nobody yet.
CREATE FUNCTION refuse_secret() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'refused value "%"', NEW.value USING ERRCODE = '22023';
END $$;
CREATE TRIGGER refuse_secret BEFORE INSERT ON state FOR EACH ROW EXECUTE FUNCTION refuse_secret();
SET ROLE mdb_owner;
CALL mdbatch_add_sync(agent(1), '{k}', '{secret}');
\echo :LAST_ERROR_SQLSTATE
CALL fails('SELECT * FROM mdbatch_rejected');
SET ROLE mdb_adder;
CALL mdbatch_add_sync(agent(1), '{k}', '{secret}');
SELECT mdbatch_add(agent(1), '{k}', '{secret}');
SELECT mdbatch_flush();
CALL fails('SELECT * FROM mdbatch_rejected');
RESET ROLE;
REVOKE SELECT (value) ON state FROM mdb_adder;
SET ROLE mdb_adder;
CALL mdbatch_add_sync(agent(1), '{k}', '{secret}');
\echo :LAST_ERROR_SQLSTATE
SELECT mdbatch_add(agent(1), '{k}', '{secret}');
SELECT mdbatch_flush();
RESET ROLE;
GRANT SELECT (value) ON state TO mdb_adder;
SELECT target, key, entry ->> 'value' AS value, sqlstate, message FROM mdbatch_rejected;
GRANT SELECT ON mdbatch_rejected TO mdb_owner;
SET ROLE mdb_owner;
SELECT key ->> 'key' AS key, message FROM mdbatch_rejected;
RESET ROLE;
TRUNCATE mdbatch_rejected;
DROP TRIGGER refuse_secret ON state;
DROP FUNCTION refuse_secret();

-- Every column that an entry has, and no other
ALTER TABLE state ADD COLUMN other int;
CREATE ROLE mdb_columns;
CREATE PROCEDURE add_as_columns() LANGUAGE plpgsql AS $$
BEGIN
  SET LOCAL ROLE mdb_columns;
  PERFORM mdbatch_add(agent(1), '{k}', '{v}');
  RAISE INFO 'added';
EXCEPTION WHEN insufficient_privilege THEN
  RAISE INFO 'refused';
END $$;
GRANT UPDATE ON state TO mdb_columns;
GRANT INSERT (agent_id, key, value, error) ON state TO mdb_columns;
CALL add_as_columns();
GRANT INSERT (collected_at) ON state TO mdb_columns;
CALL add_as_columns();
REVOKE UPDATE ON state FROM mdb_columns;
GRANT UPDATE (agent_id, key, value, error, other) ON state TO mdb_columns;
CALL add_as_columns();
REVOKE UPDATE (agent_id, key, other) ON state FROM mdb_columns;
GRANT UPDATE (collected_at) ON state TO mdb_columns;
CALL add_as_columns();
REVOKE INSERT (error) ON state FROM mdb_columns;
CALL add_as_columns();
SET ROLE mdb_owner;
SELECT mdbatch_set_target('state', mode => 'update');
RESET ROLE;
CALL add_as_columns();
GRANT SELECT (agent_id, key) ON state TO mdb_columns;
CALL add_as_columns();
REVOKE UPDATE (value) ON state FROM mdb_columns;
CALL add_as_columns();
SET ROLE mdb_owner;
SELECT mdbatch_set_target('state');
RESET ROLE;
-- A function that runs as the owner adds with the owner's rights; a view of
-- the pending entries shows what the caller may see.
CREATE FUNCTION add_for_all(k text, v text) RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT mdbatch_add('00000000-0000-0000-0000-000000000001', ARRAY[k], ARRAY[v]) $$;
ALTER FUNCTION add_for_all OWNER TO mdb_owner;
SET ROLE mdb_columns;
SELECT add_for_all('for_all', 'v');
CALL fails('SELECT * FROM mdbatch_pending()');
CALL fails('SELECT mdbatch_flush(''state'')');
-- without a name it flushes what one may flush: nothing here
SELECT mdbatch_flush();
SET ROLE mdb_owner;
SELECT key, value FROM mdbatch_pending() WHERE key = 'for_all';
SELECT mdbatch_flush() > 0 AS flushed;
RESET ROLE;
SELECT key, value FROM state WHERE key = 'for_all';
DROP FUNCTION add_for_all;
DROP PROCEDURE add_as_columns();

-- Everybody sees the counters and the targets, but not what became of entries;
-- a reset can be granted.
SET ROLE mdb_columns;
SELECT added > 0 AS added, coalesced > 0 AS coalesced, stale, flushed, skipped FROM mdbatch_stat WHERE relid = 'state'::regclass;
SELECT target, owner FROM mdbatch_target;
SELECT count(*) > 0 AS histogram FROM mdbatch_stat_histogram;
CALL fails('SELECT mdbatch_stat_reset()');
CALL fails('SELECT * FROM mdbatch_metadata');
RESET ROLE;
GRANT EXECUTE ON FUNCTION mdbatch_stat_reset() TO mdb_columns;
SET ROLE mdb_columns;
SELECT mdbatch_stat_reset();
RESET ROLE;
SELECT added FROM mdbatch_stat WHERE relid = 'state'::regclass;

-- Row-level security again: who bypasses it may add, if the owner may write.
ALTER TABLE state ENABLE ROW LEVEL SECURITY;
CREATE ROLE mdb_bypass BYPASSRLS;
GRANT SELECT, INSERT, UPDATE ON state TO mdb_bypass;
SET ROLE mdb_bypass;
SELECT mdbatch_add(agent(1), '{bypass}', '{v}');
SELECT count(*) FROM mdbatch_pending();
RESET ROLE;
ALTER TABLE state FORCE ROW LEVEL SECURITY;
SET ROLE mdb_bypass;
CALL fails($$SELECT mdbatch_add(agent(1), '{bypass}', '{v}')$$);
SELECT count(*) FROM mdbatch_pending();
SET ROLE mdb_owner;
CALL fails($$SELECT mdbatch_add(agent(1), '{owner}', '{v}')$$);
CALL fails($$SELECT * FROM mdbatch_pending()$$);
RESET ROLE;
ALTER ROLE mdb_owner BYPASSRLS;
SELECT mdbatch_add(agent(1), '{again}', '{v}');
SELECT mdbatch_flush();
SELECT key FROM state WHERE key IN ('bypass', 'again') ORDER BY 1;
ALTER ROLE mdb_owner NOBYPASSRLS;
ALTER ROLE mdb_bypass NOBYPASSRLS;
SET ROLE mdb_bypass;
CALL fails($$SELECT mdbatch_add(agent(1), '{bypass}', '{v}')$$);
RESET ROLE;
ALTER TABLE state NO FORCE ROW LEVEL SECURITY;
ALTER TABLE state DISABLE ROW LEVEL SECURITY;

-- The extension's own table is the database owner's.
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT current_database() AS here, current_user AS me \gset
SET ROLE mdb_owner;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
CALL fails($$SELECT mdbatch_set_target('mdbatch_metadata')$$);
RESET ROLE;
ALTER DATABASE :"here" OWNER TO mdb_owner;
SET ROLE mdb_owner;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_flush();
SELECT value FROM mdbatch_metadata;
SELECT mdbatch_set_target('mdbatch_metadata');
RESET ROLE;
ALTER DATABASE :"here" OWNER TO :"me";
SET ROLE mdb_owner;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
RESET ROLE;
TRUNCATE mdbatch_metadata;
SELECT mdbatch_set_target('state');

-- the owner must reach schema and extension
CREATE SCHEMA hidden;
ALTER TABLE state SET SCHEMA hidden;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
CALL fails($$SELECT mdbatch_set_target('hidden.state')$$);
GRANT USAGE ON SCHEMA hidden TO mdb_owner;
SELECT mdbatch_add(agent(1), '{k}', '{hidden}');
REVOKE USAGE ON SCHEMA hidden FROM mdb_owner;
CALL fails('SELECT mdbatch_flush()');
DROP SCHEMA hidden CASCADE;
DROP OWNED BY mdb_owner, mdb_adder, mdb_other, mdb_columns, mdb_bypass;
DROP ROLE mdb_owner, mdb_adder, mdb_other, mdb_columns, mdb_bypass;
SELECT * FROM books WHERE NOT balanced;
SELECT mdbatch_flush() IS NOT NULL AS flushed;
TRUNCATE mdbatch_metadata;
