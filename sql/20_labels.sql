-- R27: attachments are security labels of the provider mdbatch, which a restore
-- writes one by one, and which go with what they are on.
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, more text, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state', channel => 'c', mode => 'update');
SELECT attname, label::jsonb - 'since' - 'identity' AS label FROM pg_seclabels l
LEFT JOIN pg_attribute a ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
WHERE provider = 'mdbatch' ORDER BY objsubid;

-- The labels of one table, written to another one, attach it.
CREATE TABLE copy (LIKE state INCLUDING ALL);
CREATE TABLE labels AS
SELECT format('SECURITY LABEL FOR mdbatch ON %s IS %%L', CASE objsubid WHEN 0 THEN 'TABLE %I' ELSE 'COLUMN %I.' || quote_ident(attname) END) AS command, label
FROM pg_seclabels LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
WHERE provider = 'mdbatch';
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT objsubid, label::jsonb - 'identity' AS label FROM pg_seclabels WHERE provider = 'mdbatch';
-- Another table has another identity.
UPDATE labels SET label = label::jsonb - 'identity' WHERE label::jsonb ? 'identity';
DO $$
DECLARE l record;
BEGIN
  FOR l IN SELECT * FROM labels LOOP EXECUTE format(l.command, 'copy', l.label); END LOOP;
END $$;
SELECT target, metadata, key, version, columns, mode, channel, notify FROM mdbatch_target;
INSERT INTO copy VALUES (agent(1), 'k', 'stored', '', '2020-01-01');
SELECT mdbatch_add(agent(1), '{k,l}', '{v,w}');
SELECT mdbatch_flush('copy');
SELECT key, value FROM copy;
-- Some of them do not.
SECURITY LABEL FOR mdbatch ON COLUMN copy.error IS NULL;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
SECURITY LABEL FOR mdbatch ON COLUMN copy.more IS '{"column": 2}';
SELECT mdbatch_add(agent(1), '{k}', '{w}', '{e}');
SELECT mdbatch_flush('copy');
SELECT value, error, more FROM copy;
-- A table that is not fit for its labels is refused by the add (R20).
ALTER TABLE copy DROP CONSTRAINT copy_pkey;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
ALTER TABLE copy ADD PRIMARY KEY (agent_id, key);
SECURITY LABEL FOR mdbatch ON COLUMN copy.collected_at IS '{"key": 2}';
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
SECURITY LABEL FOR mdbatch ON COLUMN copy.collected_at IS '{"version": true}';
SELECT mdbatch_add(agent(1), '{k}', '{x}');
-- Without the mark it is no metadata target; without the label, none at all.
-- What is pending is written all the same.
SECURITY LABEL FOR mdbatch ON TABLE copy IS '{"mode": "upsert", "key": 2, "columns": 2, "version": true}';
SELECT target, metadata FROM mdbatch_target ORDER BY 1;
SELECT mdbatch_flush('copy');
SELECT value FROM copy;
SECURITY LABEL FOR mdbatch ON TABLE copy IS NULL;
SELECT target, metadata FROM mdbatch_target;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_flush();
SELECT value FROM mdbatch_metadata;

-- R36: a second mark is stored, with a WARNING, and then neither is used until
-- one is gone. The tables are attached all the same.
SELECT mdbatch_set_target('state');
-- the same identity, too, as in a table that was copied with its label
SELECT label AS state_label FROM pg_seclabel WHERE objoid = 'state'::regclass AND objsubid = 0 \gset
SECURITY LABEL FOR mdbatch ON TABLE copy IS :'state_label';
SECURITY LABEL FOR mdbatch ON COLUMN copy.agent_id IS '{"key": 1, "notify": true}';
SECURITY LABEL FOR mdbatch ON COLUMN copy.key IS '{"key": 2}';
SECURITY LABEL FOR mdbatch ON COLUMN copy.collected_at IS '{"version": true}';
SECURITY LABEL FOR mdbatch ON COLUMN copy.value IS '{"column": 1}';
SECURITY LABEL FOR mdbatch ON COLUMN copy.error IS '{"column": 2}';
SECURITY LABEL FOR mdbatch ON COLUMN copy.more IS NULL;
SECURITY LABEL FOR mdbatch ON TABLE copy IS '{"mode": "upsert", "key": 2, "columns": 2, "version": true, "metadata": true}';
SELECT target, metadata FROM mdbatch_target ORDER BY target::text;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
CALL fails($$SELECT * FROM mdbatch_pending()$$);
CALL fails($$SELECT mdbatch_put('mdbatch_metadata', '{"agent_id": "00000000-0000-0000-0000-000000000001", "key": "k", "collected_at": "2020-01-01", "value": "", "error": ""}')$$);
SELECT mdbatch_put('copy', '{"agent_id": "00000000-0000-0000-0000-000000000001", "key": "two marks", "collected_at": "2020-01-01", "value": "v", "error": ""}');
SELECT mdbatch_flush();
SELECT key, value FROM copy WHERE key = 'two marks';
-- One is gone: by its label,
BEGIN;
SECURITY LABEL FOR mdbatch ON TABLE state IS NULL;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT key FROM mdbatch_pending();
ROLLBACK;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
-- as it is attached otherwise, detached,
BEGIN;
SELECT mdbatch_attach('state');
SELECT target FROM mdbatch_target WHERE metadata;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_detach('copy');
SELECT target FROM mdbatch_target WHERE metadata;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
ROLLBACK;
-- dropped,
BEGIN;
DROP TABLE copy;
SELECT target FROM mdbatch_target WHERE metadata;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
ROLLBACK;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
BEGIN;
SAVEPOINT s;
DROP TABLE copy;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
ROLLBACK TO s;
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
ROLLBACK;
-- or as one is pointed at.
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
BEGIN;
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT target, metadata FROM mdbatch_target;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
ROLLBACK;
SELECT mdbatch_set_target('state');
SELECT target, metadata FROM mdbatch_target ORDER BY target::text;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_flush();
SELECT count(*) FROM state WHERE key = 'k';
TRUNCATE state;
SECURITY LABEL FOR mdbatch ON TABLE state IS '{"mode": "upsert", "key": 2, "columns": 2, "version": true, "metadata": true, "channel": "by hand"}';
SELECT target, channel FROM mdbatch_target;
-- The only one is dropped, and that is undone: adds go where they went.
BEGIN;
DROP TABLE state;
SELECT mdbatch_add(agent(1), '{dropped}', '{v}');
ROLLBACK;
SELECT mdbatch_add(agent(1), '{undone}', '{v}');
SELECT mdbatch_flush('state');
SELECT key, value FROM state;
TRUNCATE state;

-- An attachment has an identity, which its rejected entries belong to: it
-- stays when the table is attached again, detached, or renamed.
CREATE VIEW identities AS SELECT objoid::regclass AS target, label::jsonb ->> 'identity' AS identity, label::jsonb - 'identity' = '{}' AS nothing_else
FROM pg_seclabels WHERE provider = 'mdbatch' AND objsubid = 0;
CREATE TABLE kept (id int PRIMARY KEY, n int);
SELECT mdbatch_attach('kept');
SELECT target, identity IS NOT NULL AS has_identity, nothing_else, count(*) OVER (PARTITION BY identity) AS with_it FROM identities ORDER BY target::text;
CREATE TABLE identity AS SELECT identity FROM identities WHERE target = 'kept'::regclass;
SELECT mdbatch_attach('kept', mode => 'update');
SELECT target, nothing_else FROM identities JOIN identity USING (identity);
SELECT mdbatch_detach('kept');
SELECT target, nothing_else FROM identities JOIN identity USING (identity);
SELECT target FROM mdbatch_target WHERE target = 'kept'::regclass;
CALL fails($$SELECT mdbatch_put('kept', '{"id": 1}')$$);
CALL fails($$SELECT mdbatch_detach('kept')$$);
ALTER TABLE kept RENAME TO renamed;
SELECT mdbatch_attach('renamed');
SELECT target, nothing_else FROM identities JOIN identity USING (identity);
-- The former metadata target is detached.
SELECT mdbatch_set_target('copy');
SELECT target, nothing_else FROM identities ORDER BY target::text;
SELECT mdbatch_set_target('state');
SELECT target, nothing_else FROM identities ORDER BY target::text;
-- By hand: one without identity gets one when it is attached again, one with
-- an identity keeps it.
SECURITY LABEL FOR mdbatch ON TABLE renamed IS '{"mode": "upsert", "key": 1, "columns": 1}';
SELECT target, identity FROM identities WHERE target = 'renamed'::regclass;
SELECT mdbatch_attach('renamed');
SELECT target, identity IS NOT NULL AS has_identity, identity IN (TABLE identity) AS the_old_one FROM identities WHERE target = 'renamed'::regclass;
SECURITY LABEL FOR mdbatch ON TABLE renamed IS '{"identity": "00000000-0000-4000-8000-00000000abcd"}';
SELECT target FROM mdbatch_target WHERE target = 'renamed'::regclass;
SELECT mdbatch_attach('renamed');
SELECT target, identity, nothing_else FROM identities WHERE target = 'renamed'::regclass;
DROP VIEW identities;
DROP TABLE renamed, identity;

-- R18: a label holds what mdbatch_attach writes. Others are refused as such,
-- and none of them is stored.
CREATE PROCEDURE refused(label text, object text DEFAULT 'TABLE copy') LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
  EXECUTE format('SECURITY LABEL FOR mdbatch ON %s IS %L', object, label);
  RAISE 'accepted';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RAISE INFO '% %', SQLSTATE, detail;
END $$;
CALL refused('no json');
CALL refused('[]');
CALL refused('"text"');
CALL refused('{}');
CALL refused('{"mode": "insert", "key": 2, "columns": 2}');
CALL refused('{"mode": 1, "key": 2, "columns": 2}');
CALL refused('{"mode": "upsert", "columns": 2}');
CALL refused('{"mode": "upsert", "key": 0, "columns": 2}');
CALL refused('{"mode": "upsert", "key": 33, "columns": 2}');
CALL refused('{"mode": "upsert", "key": 2, "columns": -1}');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "channel": ""}');
CALL refused(format('{"mode": "upsert", "key": 2, "columns": 2, "channel": "%s"}', repeat('c', 64)));
CALL refused('{"identity": 1}');
CALL refused('{"identity": ""}');
CALL refused('{"identity": "00000000-0000-4000-8000-00000000ABCD"}');
CALL refused('{"identity": "00000000-0000-4000-80000-0000000abcd"}');
CALL refused('{"identity": "{0000000-0000-4000-8000-00000000abcd"}');
CALL refused('{"identity": "00000000-0000-4000-8000-00000000abcd", "version": true}');
CALL refused('{"key": 1, "version": true}', 'COLUMN copy.key');
CALL refused('{"key": 1, "column": 1}', 'COLUMN copy.key');
CALL refused('{"key": 33}', 'COLUMN copy.key');
CALL refused('{"key": 0}', 'COLUMN copy.key');
CALL refused('{"notify": 1}', 'COLUMN copy.key');
CALL refused('{"notify": false}', 'COLUMN copy.key');
CALL refused('{}', 'COLUMN copy.key');
-- Numbers beyond all bounds, and fields of another type, which the view
-- mdbatch_target could not show.
CALL refused('{"mode": "upsert", "key": 2, "columns": 2147483647, "version": true}');
CALL refused('{"mode": "upsert", "key": 1e30, "columns": 2, "version": true}');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "version": true, "metadata": "maybe"}');
CALL refused('{"version": true, "column": "x"}', 'COLUMN copy.key');
CALL refused('{"key": 1.5}', 'COLUMN copy.key');
CALL refused('{"mode": "upsert", "key": 99999999999999999999999, "columns": 2}');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "flush_interval": 9999}');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "flush_interval": 86400000001}');
-- unknown fields, fields twice, other JSON within, bytes beside it
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "comment": ""}');
CALL refused('{"key": 1, "columns": 1}', 'COLUMN copy.key');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "mode": "update"}');
CALL refused('{"key": 1, "key": 1}', 'COLUMN copy.key');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "channel": {"a": "b"}}');
CALL refused('{"mode": ["upsert"], "key": 2, "columns": 2}');
CALL refused('{"mode": "upsert", "key": null, "columns": 2}');
CALL refused('{"m\u006fde": "upsert", "key": 2, "columns": 2}');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "channel": "\u0000"}');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "channel": "\u20ac"}');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "channel": "\u00e9"}');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "channel": "\u00');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2, "channel": "\');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2}}');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2,}');
CALL refused('{"mode": "upsert", "key": 2, "columns" 2}');
CALL refused('{"mode": "upsert", "key": 2, "columns": 2');
CALL refused('{"mode": "upsert", "key": 2 "columns": 2}');
CALL refused('{"mode": "upsert", "key": 2, 3: 2}');
CALL refused('');
CALL refused(' ');
-- and those that are longer, however long
CALL refused(repeat(' ', 2048) || '{}');
CALL refused(format('{"mode": "upsert", "key": 2, "columns": 2, "since":%s1}', repeat(' ', 2000)));
CALL refused('{"key": 1' || repeat(' ', 200) || '}', 'COLUMN copy.key');
CALL refused(repeat('[', 1900));
CALL refused(format('{"junk": "%s"}', repeat('x', 20000000)));
CALL refused(format('{"junk": "%s"}', repeat('x', 20000000)), 'COLUMN copy.key');
SELECT objsubid, label::jsonb - 'identity' AS label FROM pg_seclabels WHERE provider = 'mdbatch' AND objoid = 'copy'::regclass;
DROP PROCEDURE refused(text, text);
-- The longest that there is, which mdbatch_attach writes, is not.
CREATE TABLE longest (id int PRIMARY KEY, n bigint NOT NULL, last int);
SELECT mdbatch_attach('longest', version => 'n', channel => repeat(E'\u0001', 63), flush_interval => '1 day', batch_size => 100000);
SELECT length(label) > 400 AS long, label AS longest FROM pg_seclabel WHERE objoid = 'longest'::regclass AND objsubid = 0 \gset
SECURITY LABEL FOR mdbatch ON TABLE longest IS :'longest';
SELECT :'long' AS long, channel = repeat(E'\u0001', 63) AS channel FROM mdbatch_target WHERE target = 'longest'::regclass;
SELECT mdbatch_put('longest', '{"id": 1, "n": 1}');
SELECT mdbatch_flush();

-- What is in the catalog already, from before those limits, is an error for
-- its table alone: for others it costs nothing.
SET allow_system_table_mods = on;
CREATE PROCEDURE stored(label text, subid int DEFAULT 0) LANGUAGE plpgsql AS $$
BEGIN
  UPDATE pg_seclabel SET label = stored.label WHERE objoid = 'longest'::regclass AND objsubid = subid;
  ALTER TABLE longest SET (fillfactor = 50);  -- which sends an invalidation
  CALL fails($q$SELECT mdbatch_put('longest', '{"id": 1, "n": 1}')$q$);
  RAISE INFO '%', (SELECT array_agg(target ORDER BY target::text) FROM mdbatch_target);
  PERFORM mdbatch_add(agent(1), '{k}', '{v}');
END $$;
CALL stored(format('{"mode": "upsert", "key": 1, "columns": 1, "metadata": true, "junk": "%s"}', repeat('x', 1000000)));
CALL stored('{"mode": "upsert", "key": 1, "columns": 1, "metadata": true, "junk": 1}');
CALL stored('{"mode": "upsert", "key": 99999999999, "columns": 1, "metadata": true}');
CALL stored('{"mode": "upsert", "key": 1, "columns": 1, "metadata": "maybe"}');
CALL stored('{"mode": "upsert", "key": 1, "columns": 1, "metadata": tr');
CALL stored('');
-- Attaching again, and detaching, is the way out.
SELECT mdbatch_attach('longest');
SELECT mdbatch_put('longest', '{"id": 2, "n": 2}');
CALL stored('{"column": 1, "junk": true}', 2);
CALL stored(repeat(' ', 1000000), 2);
CALL stored('{"identity": "x"}');
SELECT mdbatch_detach('longest');
SELECT count(*) FROM pg_seclabel WHERE objoid = 'longest'::regclass;
CALL fails($$SELECT mdbatch_detach('longest')$$);
SELECT mdbatch_flush();
SELECT * FROM longest ORDER BY id;
DROP TABLE longest;
DROP PROCEDURE stored(text, int);
-- of what is gone: the extension can be dropped
BEGIN;
INSERT INTO pg_seclabel VALUES (1, 'pg_class'::regclass, 0, 'mdbatch', '{}'), (1, 'pg_class'::regclass, 3, 'mdbatch', '{}');
SELECT target FROM mdbatch_target;
SET client_min_messages = warning;
DROP EXTENSION mdbatch CASCADE;
SELECT count(*) FROM pg_seclabel WHERE provider = 'mdbatch';
ROLLBACK;
RESET allow_system_table_mods;

-- A restored mark on what has become a view (R36) is none, and such a label
-- attaches nothing.
CREATE VIEW was_table AS SELECT * FROM copy;
SECURITY LABEL FOR mdbatch ON VIEW was_table IS '{"mode": "upsert", "key": 2, "columns": 2, "version": true, "metadata": true}';
SECURITY LABEL FOR mdbatch ON COLUMN was_table.key IS '{"key": 2}';
SELECT target, metadata FROM mdbatch_target;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
CALL fails($$SELECT mdbatch_put('was_table', '{"key": "k"}')$$);
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT target, metadata FROM mdbatch_target;
SELECT mdbatch_set_target('state');
SECURITY LABEL FOR mdbatch ON VIEW was_table IS NULL;
SECURITY LABEL FOR mdbatch ON COLUMN was_table.key IS NULL;
DROP VIEW was_table;
SELECT mdbatch_flush();
TRUNCATE state;

-- A column that is announced need not be in the entries.
BEGIN;
SECURITY LABEL FOR mdbatch ON COLUMN copy.more IS '{"notify": true}';
ROLLBACK;

-- Two columns with the same part: the table is not fit, but can be looked at.
SECURITY LABEL FOR mdbatch ON COLUMN state.more IS '{"version": true}';
SELECT target, metadata FROM mdbatch_target;
SECURITY LABEL FOR mdbatch ON COLUMN state.more IS NULL;

-- Objects that cannot be labelled
CREATE VIEW v AS SELECT * FROM copy;
CREATE MATERIALIZED VIEW mv AS SELECT * FROM copy;
CREATE SEQUENCE sq;
CREATE TYPE ty AS (a int);
CALL fails($$SECURITY LABEL FOR mdbatch ON MATERIALIZED VIEW mv IS '{"mode": "upsert", "key": 2}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON SEQUENCE sq IS '{"mode": "upsert", "key": 2}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TYPE ty IS '{"mode": "upsert", "key": 2}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON SCHEMA public IS '{}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE mdbatch_metadata IS '{"mode": "upsert", "key": 2}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON COLUMN mdbatch_metadata.key IS '{"key": 1}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE mdbatch_metadata IS NULL$$);
DROP TYPE ty;
DROP SEQUENCE sq;
DROP MATERIALIZED VIEW mv;
DROP VIEW v;

-- R18: labels need what attaching needs: ownership and the right to attach.
CREATE ROLE mdb_owner;
SET ROLE mdb_owner;
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE copy IS '{"mode": "upsert", "key": 2}'$$);
RESET ROLE;
ALTER TABLE copy OWNER TO mdb_owner;
SET ROLE mdb_owner;
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE copy IS '{"mode": "upsert", "key": 2}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON COLUMN copy.key IS '{"key": 1}'$$);
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE copy IS NULL$$);
CREATE TEMP VIEW vw AS SELECT 1 AS key;
CALL fails($$SECURITY LABEL FOR mdbatch ON VIEW vw IS '{"mode": "upsert", "key": 2}'$$);
DROP VIEW vw;
RESET ROLE;
GRANT EXECUTE ON FUNCTION mdbatch_attach TO mdb_owner;
SET ROLE mdb_owner;
SECURITY LABEL FOR mdbatch ON TABLE copy IS '{"mode": "upsert", "key": 2}';
SECURITY LABEL FOR mdbatch ON TABLE copy IS NULL;
RESET ROLE;
-- To mark the metadata target needs the right to call mdbatch_set_target too.
BEGIN;
SECURITY LABEL FOR mdbatch ON TABLE state IS NULL;
SET ROLE mdb_owner;
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE copy IS '{"mode": "upsert", "key": 2, "columns": 2, "version": true, "metadata": true}'$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION mdbatch_set_target TO mdb_owner;
SET ROLE mdb_owner;
SECURITY LABEL FOR mdbatch ON TABLE copy IS '{"mode": "upsert", "key": 2, "columns": 2, "version": true, "metadata": true}';
SELECT target, metadata FROM mdbatch_target;
ROLLBACK;
REVOKE EXECUTE ON FUNCTION mdbatch_attach FROM mdb_owner;

-- A label that is rolled back attaches nothing.
BEGIN;
SECURITY LABEL FOR mdbatch ON TABLE state IS NULL;
SELECT target FROM mdbatch_target;
ROLLBACK;
SELECT target FROM mdbatch_target;
SELECT mdbatch_add(agent(1), '{rolled}', '{back}');
SELECT mdbatch_flush('state');
SELECT key FROM state;
DROP TABLE state, copy, labels;
DROP ROLE mdb_owner;
SELECT count(*) FROM pg_seclabels WHERE provider = 'mdbatch';
SELECT * FROM books WHERE NOT balanced;
TRUNCATE mdbatch_metadata;
