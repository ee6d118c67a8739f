-- R16: what is dropped takes its entries along, when it commits.
CREATE TABLE doomed (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('doomed');
SELECT mdbatch_stat_reset();
SELECT mdbatch_add(agent(1), '{a,b}', '{1,2}');
BEGIN;
DROP TABLE doomed;
ROLLBACK;
SELECT count(*) FROM mdbatch_pending();
BEGIN;
SAVEPOINT s;
DROP TABLE doomed;
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM mdbatch_pending();
DROP TABLE doomed;
CALL wait_until($$NOT EXISTS (SELECT FROM books WHERE target = 'public.doomed' AND pending > 0)$$);
SELECT pending, discarded, balanced FROM books WHERE target = 'public.doomed';

-- In the transaction that added, too; with its schema; by a two-phase commit,
-- which the worker notices when the batch is due.
CREATE SCHEMA gone;
CREATE TABLE gone.state1 (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('gone.state1');
BEGIN;
SELECT mdbatch_add(agent(1), '{a,b}', '{1,2}');
SAVEPOINT s;
DROP TABLE gone.state1;
RELEASE s;
COMMIT;
CREATE TABLE gone.state2 (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('gone.state2');
SELECT mdbatch_add(agent(1), '{a}', '{1}');
DROP SCHEMA gone CASCADE;
CREATE TABLE state3 (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state3');
SELECT mdbatch_add(agent(1), '{a,b,c}', '{1,2,3}');
BEGIN;
DROP TABLE state3;
PREPARE TRANSACTION 'drop';
ROLLBACK PREPARED 'drop';
SELECT count(*) FROM mdbatch_pending();
BEGIN;
DROP TABLE state3;
PREPARE TRANSACTION 'drop';
COMMIT PREPARED 'drop';
ALTER SYSTEM SET mdbatch.flush_interval = '10ms';
SELECT pg_reload_conf();
CALL wait_until($$NOT EXISTS (SELECT FROM books WHERE target ~ '\.state[123]$' AND pending > 0)$$);
ALTER SYSTEM SET mdbatch.flush_interval = '1h';
SELECT pg_reload_conf();
\c -
SELECT target, pending, discarded, flushed, balanced FROM books WHERE target ~ '\.state[123]$' ORDER BY target;
-- A table of the same name is another one.
CREATE TABLE state3 (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state3');
SELECT mdbatch_add(agent(2), '{z}', '{26}');
SELECT mdbatch_flush();
SELECT key, value FROM state3;
DROP TABLE state3;
-- A table that was never there for others
BEGIN;
CREATE TABLE state4 (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state4');
SELECT mdbatch_add(agent(1), '{a}', '{1}');
ROLLBACK;
SELECT target FROM mdbatch_target;
SELECT mdbatch_add(agent(4), '{b}', '{1}');
SELECT mdbatch_flush();
BEGIN;
CREATE TABLE state4 (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state4');
SELECT mdbatch_add(agent(1), '{a}', '{1}');
COMMIT;
SELECT mdbatch_flush();
SELECT key, value FROM state4;
DROP TABLE state4;
-- A batch that has been flushed goes without anything to discard.
SELECT * FROM books WHERE NOT balanced OR pending > 0;
TRUNCATE mdbatch_metadata;

-- TRUNCATE and DELETE leave what is pending.
SELECT mdbatch_add(agent(1), '{a}', '{1}');
TRUNCATE mdbatch_metadata;
SELECT mdbatch_flush();
SELECT key, value FROM mdbatch_metadata;

-- The extension takes labels and entries along.
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state');
SELECT mdbatch_add(agent(1), '{a}', '{1}');
DROP VIEW books;
BEGIN;
SAVEPOINT s;
DROP EXTENSION mdbatch;
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM mdbatch_pending();
BEGIN;
DROP EXTENSION mdbatch;
SELECT count(*) FROM pg_seclabel WHERE provider = 'mdbatch';
ROLLBACK;
SELECT count(*) FROM pg_seclabel WHERE provider = 'mdbatch';
SELECT count(*) FROM mdbatch_pending();
DROP EXTENSION mdbatch;
SELECT count(*) FROM pg_seclabel WHERE provider = 'mdbatch';
SECURITY LABEL FOR mdbatch ON TABLE state IS '{"mode": "upsert", "key": 2, "columns": 2, "version": true}';

-- Again, in a schema of its own.
CREATE SCHEMA ext;
CREATE EXTENSION mdbatch SCHEMA ext;
SELECT target FROM ext.mdbatch_target;
CALL wait_until($$NOT EXISTS (SELECT FROM ext.mdbatch_stat WHERE datname = current_database() AND pending > 0)$$);
SELECT target, discarded FROM ext.mdbatch_stat WHERE datname = current_database() AND discarded > 0 ORDER BY target COLLATE "C", discarded;
SELECT ext.mdbatch_add(agent(1), '{a}', '{1}');
SELECT ext.mdbatch_flush();
SELECT key, value FROM ext.mdbatch_metadata;
SELECT count(*) FROM state;
-- The table that was a target can be one again; everything works from a
-- schema that is not in the path.
SELECT ext.mdbatch_set_target('state');
SELECT ext.mdbatch_add(agent(1), '{b}', '{2}');
CALL ext.mdbatch_add_sync(agent(1), '{c}', '{3}');
SELECT key, value FROM state ORDER BY 1;
SELECT target, owner = current_user AS mine FROM ext.mdbatch_target;
-- Gone and back in one transaction: what is added after it is for the new one.
SELECT ext.mdbatch_add(agent(1), '{old}', '{1}');
BEGIN;
DROP SCHEMA ext CASCADE;
CREATE EXTENSION mdbatch;
SELECT mdbatch_add(agent(1), '{new}', '{2}');
COMMIT;
SELECT key, value FROM mdbatch_pending();
SELECT mdbatch_flush();
SELECT key, value FROM mdbatch_metadata;
SELECT key, value FROM state ORDER BY 1;
DROP TABLE state;
DROP EXTENSION mdbatch;

SELECT count(*) FROM pg_proc WHERE proname LIKE 'mdbatch%';
SELECT count(*) FROM pg_class WHERE relname LIKE 'mdbatch%';
ALTER SYSTEM RESET mdbatch.flush_interval;
ALTER SYSTEM RESET mdbatch.lock_timeout;
SELECT pg_reload_conf();
DROP FUNCTION agent(int), refuse_bad();
DROP PROCEDURE wait_until(text), fails(text);
