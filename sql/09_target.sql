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
SELECT objsubid, label::jsonb - 'since' AS label FROM pg_seclabel WHERE provider = 'mdbatch' ORDER BY 1;
SELECT mdbatch_add(agent(1), '{a}', '{new}');
SELECT key, value FROM mdbatch_pending();
SELECT target, pending FROM books ORDER BY target;
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
SELECT notifications FROM mdbatch_stat WHERE target = 'public.state';
SELECT mode, channel, notify FROM mdbatch_target;

-- mdbatch_metadata is taken back with default arguments only.
CALL fails($$SELECT mdbatch_set_target('mdbatch_metadata', mode => 'update')$$);
CALL fails($$SELECT mdbatch_set_target('mdbatch_metadata', channel => 'x')$$);
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT target, metadata FROM mdbatch_target;
SELECT count(*) FROM pg_seclabel WHERE provider = 'mdbatch';
DROP TABLE state;

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
CALL fails($$SELECT mdbatch_set_target(NULL)$$);
CALL fails($$SELECT mdbatch_set_target('plain', channel => '')$$);
CALL fails($$SELECT mdbatch_set_target('plain', channel => repeat('c', 64))$$);
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
CALL fails($$SELECT mdbatch_set_target('pg_class', 'oid', 'relname', 'relname', 'relname', 'relname')$$);
CALL fails($$SELECT mdbatch_set_target(1::oid::regclass)$$);

-- R27: labels by hand, as a restore writes them
SELECT mdbatch_set_target('plain');
CREATE TABLE second (LIKE plain INCLUDING ALL);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE second IS '{"mode": "upsert", "key": 2, "columns": 2, "version": true, "metadata": true}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE second IS 'no json'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE second IS '[]'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE second IS '{}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE second IS '{"mode": "upsert", "key": 0}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON COLUMN second.key IS '{"key": 1, "version": true}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE mdbatch_metadata IS '{"mode": "upsert", "key": 2}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON FUNCTION agent(integer) IS '{}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON VIEW books IS '{"mode": "upsert", "key": 2}'$$);
SECURITY LABEL FOR mdbatch ON TABLE plain IS NULL;
SELECT target FROM mdbatch_target;
DROP TABLE plain, second;
DROP COLLATION caseless;
SELECT * FROM books WHERE NOT balanced;
TRUNCATE mdbatch_metadata;
