-- What an owner may do to a target must not harm others (R18).
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, secret text, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state', value => 'secret');

-- Entries show what they were made of: only to who may read that.
CREATE ROLE mdb_reader;
GRANT SELECT (agent_id, key, value, error, collected_at) ON state TO mdb_reader;
SELECT mdbatch_add(agent(1), '{k}', '{hidden}');
SELECT mdbatch_set_target('state');
SELECT mdbatch_add(agent(1), '{l}', '{shown}');
SELECT key, value FROM mdbatch_pending();
SET ROLE mdb_reader;
CALL fails('SELECT * FROM mdbatch_pending()');
RESET ROLE;
-- Those added under the former definition are written by it, and first.
SELECT mdbatch_flush();
SELECT key, value, secret FROM state ORDER BY key;
SET ROLE mdb_reader;
SELECT count(*) FROM mdbatch_pending();
RESET ROLE;

-- The announced column gets another type while entries wait.
SELECT mdbatch_add(agent(1), '{k}', '{retyped}');
CREATE TYPE mood AS ENUM ('00000000-0000-0000-0000-000000000001');
CREATE FUNCTION to_mood(uuid) RETURNS mood LANGUAGE sql IMMUTABLE AS $$ SELECT $1::text::public.mood $$;
CREATE CAST (uuid AS mood) WITH FUNCTION to_mood(uuid) AS ASSIGNMENT;
ALTER TABLE state ALTER agent_id TYPE mood USING to_mood(agent_id);
-- If what waits can be assigned, it is written,
SELECT mdbatch_flush();
SELECT agent_id, value FROM state WHERE key = 'k';
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
ALTER TABLE state ALTER agent_id TYPE uuid USING agent_id::text::uuid;
DROP TYPE mood CASCADE;
-- if not, it is rejected, however good it is (R23).
SELECT mdbatch_add(agent(1), '{k}', '{unfit}');
ALTER TABLE state ALTER agent_id TYPE int USING 1;
SELECT mdbatch_flush();
SELECT target, sqlstate, message, key <> '{}' AS has_key, entry <> '{}' AS has_entry FROM mdbatch_rejected;
SELECT rejected, pending, balanced FROM books WHERE target = 'public.state' AND rejected > 0;
ALTER TABLE state ALTER agent_id TYPE uuid USING agent(agent_id);
SELECT agent_id, value FROM state WHERE key = 'k';
TRUNCATE mdbatch_rejected;

-- Another column is labelled as the announced one.
SECURITY LABEL FOR mdbatch ON COLUMN state.collected_at IS '{"version": true, "notify": true}';
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
SELECT mdbatch_set_target('state');

-- A column is dropped while entries wait that carry it: the rest of them is
-- written (R23).
SELECT mdbatch_add(agent(1), '{k}', '{v}', '{lost}');
ALTER TABLE state DROP COLUMN error;
SELECT mdbatch_flush();
SELECT value FROM state WHERE key = 'k';
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);

-- A trigger that catches the cancel of the flush is stopped all the same.
DROP TABLE state;
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state');
CREATE FUNCTION stubborn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  LOOP
    BEGIN
      PERFORM pg_catalog.pg_sleep(1000);
    EXCEPTION WHEN query_canceled THEN NULL;
    END;
  END LOOP;
END $$;
CREATE TRIGGER stubborn BEFORE INSERT ON state FOR EACH ROW EXECUTE FUNCTION stubborn();
ALTER SYSTEM SET mdbatch.flush_timeout = '100ms';
SELECT pg_reload_conf();
\c -
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_flush();
DROP TRIGGER stubborn ON state;
ALTER SYSTEM RESET mdbatch.flush_timeout;
SELECT pg_reload_conf();
\c -
SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT value FROM state;
DROP TABLE state;
DROP FUNCTION stubborn();
DROP ROLE mdb_reader;
SELECT bool_and(added = coalesced + stale + flushed + skipped + rejected + discarded + pending) AS balanced FROM mdbatch_stat;
