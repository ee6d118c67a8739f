-- Rows of mdbatch_rejected belong to a table, whatever it is called, and to the
-- role that owned it (R12, R18).
CREATE ROLE mdb_belong_a;
CREATE ROLE mdb_belong_b;
CREATE SCHEMA belong;
GRANT ALL ON SCHEMA belong TO mdb_belong_a, mdb_belong_b;
GRANT EXECUTE ON FUNCTION mdbatch_attach, mdbatch_detach, mdbatch_retry TO mdb_belong_a, mdb_belong_b;
SET search_path = belong, public;

-- An entry that is refused; without the warning.
CREATE PROCEDURE refuse(target regclass, entry jsonb) LANGUAGE plpgsql SET client_min_messages = error AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ADD CONSTRAINT shut CHECK (false) NOT VALID', target);
  PERFORM mdbatch_put(target, entry);
END $$;
CREATE VIEW kept AS
SELECT target, owner, entry, (SELECT string_agg(objoid::regclass::text, ' ' ORDER BY objoid::regclass::text) FROM pg_seclabel WHERE provider = 'mdbatch' AND label LIKE '%' || identity || '%') AS table_now
FROM mdbatch_rejected ORDER BY entry;

-- A name that was taken over gives nothing.
SET ROLE mdb_belong_a;
CREATE TABLE acct (id int PRIMARY KEY, v text);
SELECT mdbatch_attach('acct');
CALL refuse('acct', '{"id": 1, "v": "secret"}');
RESET ROLE;
SELECT mdbatch_flush('acct');
SET ROLE mdb_belong_a;
ALTER TABLE acct DROP CONSTRAINT shut;
ALTER TABLE acct RENAME TO acct_old;
SET ROLE mdb_belong_b;
CREATE TABLE acct (id int PRIMARY KEY, v text);
SELECT mdbatch_attach('acct');
SELECT mdbatch_retry('acct');
SELECT * FROM mdbatch_pending_rows(NULL::acct);
RESET ROLE;
SELECT * FROM kept;
-- Not to a superuser, either: it is another table.
SELECT mdbatch_retry('acct');

-- A copied label gives nothing, and what is refused under it is kept apart.
SELECT label AS stolen FROM pg_seclabel WHERE objoid = 'acct_old'::regclass AND objsubid = 0 AND provider = 'mdbatch' \gset
SET ROLE mdb_belong_b;
SECURITY LABEL FOR mdbatch ON TABLE acct IS :'stolen';
SELECT mdbatch_retry('acct');
CALL refuse('acct', '{"id": 1, "v": "forged"}');
RESET ROLE;
SELECT mdbatch_flush('acct');
SELECT * FROM kept;
SET ROLE mdb_belong_b;
ALTER TABLE acct DROP CONSTRAINT shut;
SELECT mdbatch_retry('acct');
SELECT * FROM mdbatch_pending_rows(NULL::acct);
SELECT mdbatch_detach('acct');
RESET ROLE;
SELECT mdbatch_flush();
SELECT * FROM kept;
-- Nor does a copy take away what belongs to the original.
SET ROLE mdb_belong_b;
DROP TABLE acct;
RESET ROLE;
SELECT * FROM kept;
SET ROLE mdb_belong_a;
SELECT mdbatch_retry('acct_old');
SELECT * FROM mdbatch_pending_rows(NULL::acct_old);
RESET ROLE;
SELECT mdbatch_flush();

-- Another owner gets what was refused under him, and no more; a member of
-- both roles gets all.
SET ROLE mdb_belong_a;
CALL refuse('acct_old', '{"id": 2, "v": "of a"}');
RESET ROLE;
SELECT mdbatch_flush('acct_old');
ALTER TABLE acct_old OWNER TO mdb_belong_b;
SELECT mdbatch_put('acct_old', '[{"id": 2, "v": "of b"}, {"id": 3, "v": "of b"}]');
SELECT mdbatch_flush('acct_old');
ALTER TABLE acct_old DROP CONSTRAINT shut;
SELECT * FROM kept;
SET ROLE mdb_belong_b;
SELECT mdbatch_retry('acct_old');
RESET ROLE;
SELECT * FROM kept;
GRANT mdb_belong_a TO mdb_belong_b;
SET ROLE mdb_belong_b;
SELECT mdbatch_retry('acct_old');
RESET ROLE;
REVOKE mdb_belong_a FROM mdb_belong_b;
SELECT mdbatch_flush('acct_old');
SELECT * FROM acct_old ORDER BY id;

-- Rows stay when a table is detached, attached anew, or has entries still to
-- be refused then.
CALL refuse('acct_old', '[{"id": 4}, {"id": 5}]');
SELECT mdbatch_detach('acct_old');
SELECT mdbatch_flush();
SELECT * FROM kept;
CALL fails($$SELECT mdbatch_retry('acct_old')$$);
ALTER TABLE acct_old DROP CONSTRAINT shut;
SELECT mdbatch_attach('acct_old');
SELECT mdbatch_retry('acct_old');
SELECT mdbatch_discard('acct_old');

-- They go with the table, in its transaction, whoever drops it.
CALL refuse('acct_old', '[{"id": 6}, {"id": 7}]');
SELECT mdbatch_flush('acct_old');
BEGIN;
SAVEPOINT s;
SET LOCAL ROLE mdb_belong_b;
DROP TABLE acct_old;
RESET ROLE;
SELECT * FROM kept;
ROLLBACK TO s;
SELECT * FROM kept;
DROP TABLE acct_old;
ROLLBACK;
SELECT * FROM kept;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM kept;
SET LOCAL ROLE mdb_belong_b;
DROP TABLE acct_old;
COMMIT;
SELECT * FROM kept;
-- A table that is detached too
CREATE TABLE gone (id int PRIMARY KEY);
SELECT mdbatch_attach('gone');
CALL refuse('gone', '{"id": 1}');
SELECT mdbatch_flush('gone');
SELECT mdbatch_detach('gone');
SELECT * FROM kept;
DROP TABLE gone;
SELECT * FROM kept;
-- With its schema, its partitioned table, its owner, its type
CREATE SCHEMA below;
GRANT ALL ON SCHEMA below TO mdb_belong_a;
CREATE TABLE below.one (id int PRIMARY KEY);
CREATE TABLE below.parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE below.part PARTITION OF below.parted FOR VALUES FROM (1) TO (9);
SET ROLE mdb_belong_a;
CREATE TABLE below.owned (id int PRIMARY KEY);
RESET ROLE;
CREATE TYPE below.row AS (id int, v text);
CREATE TABLE below.typed OF below.row (PRIMARY KEY (id));
SELECT mdbatch_attach('below.one'), mdbatch_attach('below.parted'), mdbatch_attach('below.part'), mdbatch_attach('below.owned'), mdbatch_attach('below.typed');
CREATE TABLE still (id int PRIMARY KEY);
SELECT mdbatch_attach('still');
CALL refuse('below.parted', '{"id": 1}');
SELECT mdbatch_put('below.part', '{"id": 2}');
CALL refuse('below.one', '{"id": 3}');
CALL refuse('below.owned', '{"id": 4}');
CALL refuse('below.typed', '{"id": 5}');
CALL refuse('still', '{"id": 6}');
SET client_min_messages = error;
SELECT mdbatch_flush();
RESET client_min_messages;
SELECT target, entry FROM kept;
DROP OWNED BY mdb_belong_a;
SELECT target, entry FROM kept;
DROP TYPE below.row CASCADE;
SELECT target, entry FROM kept;
DROP TABLE below.parted;
SELECT target, entry FROM kept;
DROP SCHEMA below CASCADE;
SELECT target, entry FROM kept;
-- Only the label's identity is left of an attachment by hand, and dropped with
-- that, as restores do.
SELECT label AS hand FROM pg_seclabel WHERE objoid = 'still'::regclass AND objsubid = 0 AND provider = 'mdbatch' \gset
SECURITY LABEL FOR mdbatch ON TABLE still IS NULL;
SECURITY LABEL FOR mdbatch ON TABLE still IS :'hand';
ALTER TABLE still DROP CONSTRAINT shut;
SELECT mdbatch_retry('still');
SELECT mdbatch_discard('still');

-- A label without an identity: what is refused cannot belong to it, and stays
-- pending until the table is attached again; the rest is written.
SELECT (:'hand'::jsonb - 'identity')::text AS hand \gset
SECURITY LABEL FOR mdbatch ON TABLE still IS :'hand';
ALTER TABLE still ADD CONSTRAINT shut CHECK (id > 0);
SELECT mdbatch_put('still', '[{"id": -1}, {"id": 1}]');
CALL fails($$SELECT mdbatch_flush('still')$$);
SELECT id FROM still;
SELECT * FROM mdbatch_pending_rows(NULL::still);
SELECT mdbatch_attach('still');
SELECT mdbatch_flush('still');
SELECT target, entry FROM kept;
DROP TABLE still;
SELECT * FROM books WHERE NOT balanced OR pending > 0;
SELECT count(*) FROM mdbatch_rejected;

RESET search_path;
SET client_min_messages = error;
DROP SCHEMA belong CASCADE;
REVOKE EXECUTE ON FUNCTION mdbatch_attach, mdbatch_detach, mdbatch_retry FROM mdb_belong_a, mdb_belong_b;
DROP ROLE mdb_belong_a, mdb_belong_b;
