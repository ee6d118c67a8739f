-- R16: what is dropped takes its entries along, when it commits.
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state');
SELECT mdbatch_stat_reset();
SELECT mdbatch_add(agent(1), '{a,b}', '{1,2}');
BEGIN;
DROP TABLE state;
ROLLBACK;
SELECT count(*) FROM mdbatch_pending();
BEGIN;
SAVEPOINT s;
DROP TABLE state;
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM mdbatch_pending();
DROP TABLE state;
CALL wait_until($$NOT EXISTS (SELECT FROM books WHERE target = 'public.state' AND pending > 0)$$);
SELECT pending, discarded, balanced FROM books WHERE target = 'public.state';

-- TRUNCATE leaves what is pending.
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
SELECT target, discarded FROM ext.mdbatch_stat WHERE datname = current_database() AND discarded > 0 ORDER BY 1, 2;
SELECT ext.mdbatch_add(agent(1), '{a}', '{1}');
SELECT ext.mdbatch_flush();
SELECT key, value FROM ext.mdbatch_metadata;
SELECT count(*) FROM state;
DROP TABLE state;
DROP SCHEMA ext CASCADE;
