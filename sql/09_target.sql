-- mdbatch_set_target: what it takes (R20), and how it is remembered (R27).
SELECT mdbatch_stat_reset();
CREATE TABLE state (
  v varchar(5), id uuid, k varchar(4), err text, at timestamptz NOT NULL,
  note text DEFAULT 'default', PRIMARY KEY (k, id));
BEGIN;
SELECT mdbatch_set_target('state', 'id', 'k', 'v', 'err', 'at', 'upsert', 'chan');
SELECT target, metadata, key, version, columns, mode, channel, notify FROM mdbatch_target;
ROLLBACK;
SELECT target, channel FROM mdbatch_target;

-- What is pending for the former target is still written to it.
SELECT mdbatch_add(agent(1), '{a}', '{for the former}');
SELECT mdbatch_set_target('state', 'id', 'k', 'v', 'err', 'at', channel => 'chan');
SELECT objsubid, label::jsonb - 'since' - 'identity' AS label FROM pg_seclabel WHERE provider = 'mdbatch' ORDER BY 1;
SELECT mdbatch_add(agent(1), '{a}', '{new}');
SELECT key, value FROM mdbatch_pending();
SELECT target, pending FROM books WHERE pending > 0 ORDER BY target;
SELECT mdbatch_flush();
SELECT key, value FROM mdbatch_metadata;
SELECT id, k, v, err, note FROM state;

-- R17: what the columns take
CALL fails($$SELECT mdbatch_add(agent(1), '{toolong}', '{v}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{toolong}')$$);
SELECT mdbatch_add(agent(1), '{"abcd   ",abcd}', '{"1      ",2}', NULL, ARRAY[timestamptz 'epoch', 'epoch']);
SELECT key, value FROM mdbatch_pending();

-- R23: renames need no new attachment; a column that is dropped does.
ALTER TABLE state RENAME COLUMN v TO value_now;
ALTER TABLE state RENAME TO states;
CREATE SCHEMA other;
ALTER TABLE states SET SCHEMA other;
SELECT mdbatch_add(agent(2), '{b}', '{ren}');
SELECT mdbatch_flush();
SELECT id, k, value_now FROM other.states ORDER BY k;
SELECT target, columns FROM mdbatch_target;
ALTER TABLE other.states DROP COLUMN err;
CALL fails($$SELECT mdbatch_add(agent(2), '{b}', '{v}')$$);
-- Without a marked table it is mdbatch_metadata again.
DROP TABLE other.states;
SELECT target FROM mdbatch_target;
SELECT mdbatch_add(agent(3), '{b}', '{back}');
SELECT mdbatch_flush();
SELECT value FROM mdbatch_metadata WHERE key = 'b';
DROP SCHEMA other;

-- mode update: rows that exist
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key)) PARTITION BY HASH (agent_id);
CREATE TABLE state_0 PARTITION OF state FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE state_1 PARTITION OF state FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO state SELECT agent(i), 'k', 'old', '', '2020-01-01' FROM generate_series(1, 4) i;
SELECT mdbatch_set_target('state', mode => 'update', channel => NULL);
SELECT mdbatch_add_many(array_agg(agent(i)), array_agg('k'::text), array_agg('new'::text), NULL, array_agg(timestamptz '2019-12-30' + i * interval '1 day')) FROM generate_series(1, 6) i;
SELECT mdbatch_flush();
SELECT agent_id, value FROM state ORDER BY 1;
SELECT flushed, skipped, balanced FROM books WHERE target = 'public.state';
SELECT notifications FROM mdbatch_stat WHERE relid = 'state'::regclass;
SELECT mode, channel, notify FROM mdbatch_target;

-- mdbatch_metadata is taken back with default arguments only.
CALL fails($$SELECT mdbatch_set_target('mdbatch_metadata', mode => 'update')$$);
CALL fails($$SELECT mdbatch_set_target('mdbatch_metadata', channel => 'x')$$);
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT target, metadata FROM mdbatch_target;
SELECT objsubid, label::jsonb - 'identity' AS label FROM pg_seclabel WHERE provider = 'mdbatch';
DROP TABLE state;

-- Transactional, savepoints included: adds go where the transaction points.
CREATE TABLE one (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
CREATE TABLE two (LIKE one INCLUDING ALL);
BEGIN;
SELECT mdbatch_add(agent(1), '{default}', '{v}');
SELECT mdbatch_set_target('one');
SELECT mdbatch_add(agent(1), '{one}', '{v}');
SAVEPOINT s;
SELECT mdbatch_set_target('two');
SELECT mdbatch_add(agent(1), '{lost}', '{v}');
ROLLBACK TO s;
SELECT mdbatch_add(agent(1), '{one_again}', '{v}');
SELECT mdbatch_set_target('two');
SELECT mdbatch_add(agent(1), '{two}', '{v}');
COMMIT;
SELECT target, metadata FROM mdbatch_target;
SELECT key FROM mdbatch_pending();
SELECT mdbatch_flush();
SELECT 'metadata' AS target, key FROM mdbatch_metadata WHERE value = 'v'
UNION ALL SELECT 'one', key FROM one UNION ALL SELECT 'two', key FROM two ORDER BY 1, 2;
-- Nothing of a transaction that rolls back; a former target is one again.
BEGIN;
SELECT mdbatch_set_target('one', channel => 'other');
SELECT mdbatch_add(agent(1), '{lost}', '{v}');
ROLLBACK;
SELECT target, channel FROM mdbatch_target;
SELECT mdbatch_add(agent(1), '{two_again}', '{v}');
SELECT mdbatch_set_target('one');
SELECT mdbatch_set_target('two');
SELECT mdbatch_add(agent(1), '{two_again}', '{w}');
SELECT mdbatch_flush();
SELECT key, value FROM two ORDER BY 1;
SELECT objsubid, label::jsonb - 'identity' AS label FROM pg_seclabel WHERE provider = 'mdbatch' AND objoid = 'one'::regclass;
-- In a read-only transaction nothing is attached.
BEGIN READ ONLY;
SELECT mdbatch_set_target('one');
ROLLBACK;
-- A dropped target: mdbatch_metadata, in the same transaction, too.
BEGIN;
DROP TABLE two;
SELECT mdbatch_add(agent(1), '{after_drop}', '{v}');
SELECT key FROM mdbatch_pending();
COMMIT;
SELECT key FROM mdbatch_pending();
SELECT mdbatch_flush();
DROP TABLE one;
DELETE FROM mdbatch_metadata;

-- R20: what cannot be a target
CREATE TABLE plain (agent_id uuid NOT NULL, key text NOT NULL, value text, error text, collected_at timestamptz, n int, g text GENERATED ALWAYS AS (key) STORED, fixed char(5) NOT NULL, nd text NOT NULL);
CALL fails($$SELECT mdbatch_set_target('plain')$$);
CREATE UNIQUE INDEX partial ON plain (agent_id, key) WHERE n > 0;
CREATE UNIQUE INDEX expression ON plain (agent_id, lower(key));
CREATE UNIQUE INDEX wider ON plain (agent_id, key, n);
ALTER TABLE plain ADD CONSTRAINT late UNIQUE (agent_id, key) DEFERRABLE;
CALL fails($$SELECT mdbatch_set_target('plain')$$);
CREATE UNIQUE INDEX ON plain (agent_id, fixed);
CALL fails($$SELECT mdbatch_set_target('plain', key => 'fixed')$$);
CREATE UNIQUE INDEX good ON plain (agent_id, key);
CALL fails($$SELECT mdbatch_set_target('plain')$$);
ALTER TABLE plain DROP CONSTRAINT late;
ALTER TABLE plain ALTER key DROP NOT NULL;
CALL fails($$SELECT mdbatch_set_target('plain')$$);
ALTER TABLE plain ALTER key SET NOT NULL;
CALL fails($$SELECT mdbatch_set_target('plain', value => 'no_such')$$);
CALL fails($$SELECT mdbatch_set_target('plain', value => 'n')$$);
CALL fails($$SELECT mdbatch_set_target('plain', agent_id => 'key', key => 'agent_id')$$);
CALL fails($$SELECT mdbatch_set_target('plain', collected_at => 'n')$$);
CALL fails($$SELECT mdbatch_set_target('plain', value => 'error')$$);
CALL fails($$SELECT mdbatch_set_target('plain', value => 'g')$$);
CALL fails($$SELECT mdbatch_set_target('plain', mode => 'insert')$$);
CALL fails($$SELECT mdbatch_set_target('plain', mode => NULL)$$);
CALL fails($$SELECT mdbatch_set_target('plain', mode => '')$$);
CALL fails($$SELECT mdbatch_set_target('plain', agent_id => NULL)$$);
CALL fails($$SELECT mdbatch_set_target('plain', key => NULL)$$);
CALL fails($$SELECT mdbatch_set_target('plain', value => NULL)$$);
CALL fails($$SELECT mdbatch_set_target('plain', error => NULL)$$);
CALL fails($$SELECT mdbatch_set_target('plain', collected_at => NULL)$$);
CALL fails($$SELECT mdbatch_set_target(NULL)$$);
CALL fails($$SELECT mdbatch_set_target('plain', key => '')$$);
CALL fails($$SELECT mdbatch_set_target('plain', key => 'ctid')$$);
CALL fails($$SELECT mdbatch_set_target('plain', collected_at => 'agent_id')$$);
CALL fails($$SELECT mdbatch_set_target('plain', error => 'key')$$);
CALL fails($$SELECT mdbatch_set_target('no_such_table')$$);
CALL fails($$SELECT mdbatch_set_target('plain', channel => '')$$);
CALL fails($$SELECT mdbatch_set_target('plain', channel => repeat('c', 64))$$);
-- other types that look alike
CREATE DOMAIN short AS text;
CREATE TABLE odd (agent_id uuid, key text, value text, error text, collected_at timestamptz, d short, b bytea, plain timestamp, PRIMARY KEY (agent_id, key));
CALL fails($$SELECT mdbatch_set_target('odd', value => 'd')$$);
CALL fails($$SELECT mdbatch_set_target('odd', value => 'b')$$);
CALL fails($$SELECT mdbatch_set_target('odd', collected_at => 'plain')$$);
-- an index in another collation than its column; one with another operator class
ALTER TABLE odd DROP CONSTRAINT odd_pkey;
CREATE UNIQUE INDEX odd_index ON odd (agent_id, key COLLATE "C");
CALL fails($$SELECT mdbatch_set_target('odd')$$);
DROP INDEX odd_index;
CREATE INDEX not_unique ON odd (agent_id, key);
CALL fails($$SELECT mdbatch_set_target('odd')$$);
CREATE UNIQUE INDEX one_too_few ON odd (agent_id);
CALL fails($$SELECT mdbatch_set_target('odd')$$);
ALTER TABLE odd ALTER agent_id DROP NOT NULL;
CREATE UNIQUE INDEX odd_index ON odd (agent_id, key text_pattern_ops);
CALL fails($$SELECT mdbatch_set_target('odd')$$);
ALTER TABLE odd ALTER agent_id SET NOT NULL;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'odd_index'::regclass;
CALL fails($$SELECT mdbatch_set_target('odd')$$);
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'odd_index'::regclass;
DROP INDEX one_too_few;
BEGIN;
SELECT mdbatch_set_target('odd');
SELECT target FROM mdbatch_target;
ROLLBACK;
DROP TABLE odd;
DROP DOMAIN short;
CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
ALTER TABLE plain ALTER nd TYPE text COLLATE caseless;
CREATE UNIQUE INDEX ON plain (agent_id, nd);
CALL fails($$SELECT mdbatch_set_target('plain', key => 'nd')$$);
ALTER TABLE plain ALTER value TYPE text;
CREATE RULE r AS ON INSERT TO plain DO ALSO NOTHING;
CALL fails($$SELECT mdbatch_set_target('plain')$$);
DROP RULE r ON plain;
CREATE TABLE child () INHERITS (plain);
CALL fails($$SELECT mdbatch_set_target('plain')$$);
DROP TABLE child;
CREATE TEMP TABLE temporary (LIKE plain INCLUDING ALL);
CALL fails($$SELECT mdbatch_set_target('temporary')$$);
DROP TABLE temporary;
CREATE VIEW v AS SELECT * FROM plain;
CALL fails($$SELECT mdbatch_set_target('v')$$);
DROP VIEW v;
CREATE MATERIALIZED VIEW v AS SELECT * FROM plain;
CALL fails($$SELECT mdbatch_set_target('v')$$);
DROP MATERIALIZED VIEW v;
CREATE SEQUENCE v;
CALL fails($$SELECT mdbatch_set_target('v')$$);
DROP SEQUENCE v;
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER w FOREIGN DATA WRAPPER w;
CREATE FOREIGN TABLE v (agent_id uuid, key text, value text, error text, collected_at timestamptz) SERVER w;
CALL fails($$SELECT mdbatch_set_target('v')$$);
DROP FOREIGN DATA WRAPPER w CASCADE;
CALL fails($$SELECT mdbatch_set_target('good')$$);
CALL fails($$SELECT mdbatch_set_target('mdbatch_stat')$$);
CALL fails($$SELECT mdbatch_set_target('pg_class', 'oid', 'relname', 'relname', 'relname', 'relname')$$);
CALL fails($$SELECT mdbatch_set_target(1::oid::regclass)$$);

-- The least that makes a table fit; then again with other columns.
SELECT mdbatch_set_target('plain');
SELECT target, columns FROM mdbatch_target;
DROP TABLE plain;
DROP COLLATION caseless;

-- The owner of the database owns mdbatch_metadata. He can rename it, and make a
-- table of his own in its place, which is not taken for it: only members of
-- the extension are.
SELECT current_database() AS db, current_user AS me \gset
CREATE ROLE mdb_dbo;
CREATE TABLE mine (id int PRIMARY KEY, n int);
SELECT mdbatch_attach('mine');
CREATE TABLE meta (LIKE mdbatch_metadata INCLUDING ALL);
ALTER DATABASE :"db" OWNER TO mdb_dbo;
SET ROLE mdb_dbo;
ALTER TABLE mdbatch_metadata RENAME TO elsewhere;
CALL fails($$SELECT mdbatch_add(agent(1), '{a}', '{v}')$$);
CREATE TABLE mdbatch_metadata (LIKE elsewhere INCLUDING ALL);
CREATE FUNCTION taken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'taken'; END $$;
CREATE TRIGGER taken BEFORE INSERT ON mdbatch_metadata FOR EACH ROW EXECUTE FUNCTION taken();
RESET ROLE;
CALL fails($$SELECT mdbatch_add(agent(1), '{a}', '{v}')$$);
CALL fails($$SELECT * FROM mdbatch_pending()$$);
CALL fails($$SELECT mdbatch_set_target('mdbatch_metadata')$$);
CALL fails($$SELECT mdbatch_set_target('meta')$$);
CALL fails($$SELECT mdbatch_attach('elsewhere')$$);
SELECT target, metadata FROM mdbatch_target ORDER BY target::text;
-- It does not hinder other targets,
SELECT mdbatch_attach('mine', mode => 'update');
SELECT mdbatch_attach('mine');
SELECT mdbatch_put('mine', '{"id": 1, "n": 1}');
SELECT mdbatch_flush();
SELECT * FROM mine;
SELECT mdbatch_detach('mine');
SECURITY LABEL FOR mdbatch ON TABLE mine IS NULL;
DROP TABLE mine;
-- nor a metadata target that is marked, and noticed as such.
SECURITY LABEL FOR mdbatch ON TABLE meta IS '{"mode": "upsert", "key": 2, "columns": 2, "version": true, "metadata": true, "channel": "c"}';
SECURITY LABEL FOR mdbatch ON COLUMN meta.agent_id IS '{"key": 1, "notify": true}';
SECURITY LABEL FOR mdbatch ON COLUMN meta.key IS '{"key": 2}';
SECURITY LABEL FOR mdbatch ON COLUMN meta.collected_at IS '{"version": true}';
SECURITY LABEL FOR mdbatch ON COLUMN meta.value IS '{"column": 1}';
SECURITY LABEL FOR mdbatch ON COLUMN meta.error IS '{"column": 2}';
SELECT mdbatch_add(agent(1), '{a}', '{marked}');
SELECT mdbatch_flush();
SELECT value FROM meta;
SECURITY LABEL FOR mdbatch ON TABLE meta IS NULL;
CALL fails($$SELECT mdbatch_add(agent(1), '{a}', '{v}')$$);
-- His own is a table like others.
SET ROLE mdb_dbo;
CALL fails($$SELECT mdbatch_attach('mdbatch_metadata')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION mdbatch_attach, mdbatch_detach TO mdb_dbo;
SET ROLE mdb_dbo;
SELECT mdbatch_attach('mdbatch_metadata');
SELECT target, metadata FROM mdbatch_target ORDER BY target::text;
SELECT mdbatch_detach('mdbatch_metadata');
DROP TABLE mdbatch_metadata;
DROP FUNCTION taken();
ALTER TABLE elsewhere RENAME TO mdbatch_metadata;
RESET ROLE;
DROP TABLE meta;
REVOKE EXECUTE ON FUNCTION mdbatch_attach, mdbatch_detach FROM mdb_dbo;
ALTER DATABASE :"db" OWNER TO :"me";
SELECT count(*) FROM mdbatch_metadata;
SELECT mdbatch_add(agent(1), '{a}', '{v}');
SELECT mdbatch_flush();
SELECT * FROM books WHERE NOT balanced;
TRUNCATE mdbatch_metadata;
DROP ROLE mdb_dbo;
