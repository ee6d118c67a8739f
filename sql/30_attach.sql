-- R20: what can be attached, and what is refused.
CREATE SCHEMA att;
SET search_path = att, public;
CREATE ROLE mdb_att_owner;
CREATE ROLE mdb_att_user;
CREATE TABLE t (id int PRIMARY KEY, v bigint, n text);

-- Revoked from PUBLIC (R18), and for the table's owner alone
GRANT USAGE ON SCHEMA att TO mdb_att_user, mdb_att_owner;
SET ROLE mdb_att_user;
CALL fails($$SELECT mdbatch_attach('att.t')$$);
CALL fails($$SELECT mdbatch_detach('att.t')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION mdbatch_attach, mdbatch_detach TO mdb_att_user, mdb_att_owner;
SET ROLE mdb_att_user;
CALL fails($$SELECT mdbatch_attach('att.t')$$);
CALL fails($$SELECT mdbatch_detach('att.t')$$);
RESET ROLE;

-- Arguments that must be there
CALL fails($$SELECT mdbatch_attach(NULL)$$);
CALL fails($$SELECT mdbatch_attach('t', mode => NULL)$$);
CALL fails($$SELECT mdbatch_attach('none')$$);
CALL fails($$SELECT mdbatch_attach(4294967295::oid)$$);
SELECT mdbatch_detach(NULL) IS NULL AS nothing;
BEGIN READ ONLY;
SELECT mdbatch_attach('t');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
SELECT mdbatch_detach('t');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
CALL fails($$SELECT mdbatch_detach('t')$$);

-- Kinds of relations
CREATE VIEW v AS SELECT * FROM t;
CREATE MATERIALIZED VIEW mv AS SELECT * FROM t;
CREATE SEQUENCE s;
CREATE TYPE comp AS (a int, b text);
CREATE FOREIGN DATA WRAPPER mdb_att_fdw;
CREATE SERVER mdb_att_server FOREIGN DATA WRAPPER mdb_att_fdw;
CREATE FOREIGN TABLE ft (id int NOT NULL) SERVER mdb_att_server;
CREATE TEMP TABLE tt (id int PRIMARY KEY);
CALL fails($$SELECT mdbatch_attach('v', '{id}')$$);
CALL fails($$SELECT mdbatch_attach('mv', '{id}')$$);
CALL fails($$SELECT mdbatch_attach('s')$$);
CALL fails($$SELECT mdbatch_attach('ft', '{id}')$$);
CALL fails($$SELECT mdbatch_attach('t_pkey')$$);
CALL fails($$SELECT mdbatch_attach('comp')$$);
CALL fails($$SELECT mdbatch_attach('tt')$$);
CALL fails($$SELECT mdbatch_attach('pg_class')$$);
CALL fails($$SELECT mdbatch_attach('mdbatch_rejected')$$);
CALL fails($$SELECT mdbatch_attach('mdbatch_metadata')$$);
CALL fails($$SELECT mdbatch_detach('mdbatch_metadata')$$);
CALL fails($$SELECT mdbatch_detach('v')$$);
DROP FOREIGN DATA WRAPPER mdb_att_fdw CASCADE;

-- Inheritance: a parent is none, one that was is, a child is.
CREATE TABLE child (PRIMARY KEY (id)) INHERITS (t);
CALL fails($$SELECT mdbatch_attach('t')$$);
SELECT mdbatch_attach('child');
DROP TABLE child;
SELECT mdbatch_attach('t');
SELECT target FROM mdbatch_target WHERE NOT metadata;
SELECT mdbatch_detach('t');
CREATE RULE r AS ON DELETE TO t DO ALSO NOTHING;
CALL fails($$SELECT mdbatch_attach('t')$$);
DROP RULE r ON t;
-- Partitioned, a partition, unlogged
CREATE TABLE part (id int, d date, n text, PRIMARY KEY (d, id)) PARTITION BY RANGE (d);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE UNLOGGED TABLE ul (id int PRIMARY KEY);
SELECT mdbatch_attach('part');
SELECT mdbatch_attach('part1');
SELECT mdbatch_attach('ul');
SELECT target, metadata, key, version, coalesce(columns, '{}') AS columns, merge, mode FROM mdbatch_target WHERE NOT metadata ORDER BY target::text;
SELECT mdbatch_detach('part'), mdbatch_detach('part1');
CALL fails($$SELECT mdbatch_detach('part')$$);
DROP TABLE part, ul;

-- The key: the exact column set of a unique index that can be relied on
CREATE TABLE k (a int NOT NULL, b int NOT NULL, c int, n text);
CALL fails($$SELECT mdbatch_attach('k')$$);
CALL fails($$SELECT mdbatch_attach('k', '{a}')$$);
CALL fails($$SELECT mdbatch_attach('k', '{}')$$);
CALL fails($$SELECT mdbatch_attach('k', ARRAY[NULL]::name[])$$);
CALL fails($$SELECT mdbatch_attach('k', '{{a},{b}}')$$);
CALL fails($$SELECT mdbatch_attach('k', array_fill('a'::name, ARRAY[33]))$$);
CALL fails($$SELECT mdbatch_attach('k', '{a,none}')$$);
CALL fails($$SELECT mdbatch_attach('k', '{a,ctid}')$$);
CALL fails($$SELECT mdbatch_attach('k', '{a,A}')$$);
CALL fails($$SELECT mdbatch_attach('k', '{a,a}')$$);
CALL fails($$SELECT mdbatch_attach('k', '{a,c}')$$);
CREATE PROCEDURE refused(index text) LANGUAGE plpgsql AS $$
BEGIN
  RAISE INFO '%', index;
  EXECUTE index;
  CALL fails($q$SELECT mdbatch_attach('k', '{a,b}')$q$);
  ROLLBACK;
END $$;
CALL refused('CREATE INDEX ON k (a, b)');
CALL refused('CREATE UNIQUE INDEX ON k (a)');
CALL refused('CREATE UNIQUE INDEX ON k (a, b, n)');
CALL refused('CREATE UNIQUE INDEX ON k (a) INCLUDE (b)');
CALL refused('CREATE UNIQUE INDEX ON k (a, b) WHERE c > 0');
CALL refused('CREATE UNIQUE INDEX ON k (a, (b + 0))');
CALL refused('CREATE UNIQUE INDEX ON k (a, a)');
CALL refused('ALTER TABLE k ADD UNIQUE (a, b) DEFERRABLE');
CALL refused('ALTER TABLE k ADD PRIMARY KEY (a, b) DEFERRABLE INITIALLY DEFERRED');
CALL refused('CREATE UNIQUE INDEX ON k (a, c)');
-- An invalid index
INSERT INTO k VALUES (1, 1), (1, 1);
CREATE UNIQUE INDEX CONCURRENTLY broken ON k (a, b);
CALL fails($$SELECT mdbatch_attach('k', '{a,b}')$$);
DROP INDEX broken;
TRUNCATE k;
-- Those that will do: in any order, with INCLUDE, beside unfit ones
CREATE UNIQUE INDEX partial ON k (a, b) WHERE c > 0;
CREATE UNIQUE INDEX fit ON k (b, a) INCLUDE (n);
SELECT mdbatch_attach('k', '{a,b}', columns => '{n}');
SELECT key, columns FROM mdbatch_target WHERE target = 'k'::regclass;
SELECT mdbatch_attach('k', '{b,a}');
SELECT key, columns FROM mdbatch_target WHERE target = 'k'::regclass;
-- An attachment that became unfit is noticed by the add.
DROP INDEX fit;
CALL fails($$SELECT mdbatch_put('k', '{"a": 1, "b": 1}')$$);
-- A nullable key column, although the index is there
CREATE UNIQUE INDEX fit ON k (a, c);
CALL fails($$SELECT mdbatch_attach('k', '{a,c}')$$);
ALTER TABLE k ALTER c SET NOT NULL;
SELECT mdbatch_attach('k', '{a,c}');
DROP TABLE k;
DROP PROCEDURE refused;
-- The primary key in its own order
CREATE TABLE pk (a int, b int, n text, PRIMARY KEY (b, a) INCLUDE (n));
SELECT mdbatch_attach('pk');
SELECT key, version, columns FROM mdbatch_target WHERE target = 'pk'::regclass;
DROP TABLE pk;

-- For every key column, equal must mean bytewise equal.
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN dnum AS numeric;
CREATE DOMAIN dchar AS char(3);
CREATE DOMAIN dci AS text COLLATE ci;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN dint AS int CHECK (VALUE > 0);
CREATE DOMAIN dtext AS varchar(5);
CREATE PROCEDURE key_of(type text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TABLE att.kt (x int, k %s, PRIMARY KEY (x, k))', type);
  RAISE INFO '%', type;
  CALL fails('SELECT mdbatch_attach(''att.kt'')');
  ROLLBACK;
END $$;
CALL key_of('char(4)');
CALL key_of('numeric');
CALL key_of('numeric(5,2)');
CALL key_of('real');
CALL key_of('double precision');
CALL key_of('jsonb');
CALL key_of('int[]');
CALL key_of('text[]');
CALL key_of('interval');
CALL key_of('comp');
CALL key_of('int4range');
CALL key_of('text COLLATE ci');
CALL key_of('varchar(3) COLLATE ci');
CALL key_of('dnum');
CALL key_of('dchar');
CALL key_of('dci');
CREATE OR REPLACE PROCEDURE key_of(type text) LANGUAGE plpgsql AS $$
DECLARE n int;
BEGIN
  EXECUTE format('CREATE TABLE att.kt (x int, k %s, PRIMARY KEY (x, k))', type);
  PERFORM mdbatch_attach('att.kt');
  SELECT count(*) INTO n FROM mdbatch_target WHERE target = 'att.kt'::regclass AND key = '{x,k}';
  RAISE INFO '%: %', type, n;
  ROLLBACK;
END $$;
CALL key_of('uuid');
CALL key_of('smallint');
CALL key_of('int');
CALL key_of('bigint');
CALL key_of('text');
CALL key_of('text COLLATE "C"');
CALL key_of('varchar');
CALL key_of('varchar(9)');
CALL key_of('name');
CALL key_of('timestamp');
CALL key_of('timestamptz(0)');
CALL key_of('date');
CALL key_of('time');
CALL key_of('bool');
CALL key_of('bytea');
CALL key_of('oid');
CALL key_of('inet');
CALL key_of('macaddr');
CALL key_of('"char"');
CALL key_of('mood');
CALL key_of('dint');
CALL key_of('dtext');
DROP PROCEDURE key_of;
-- An index with another collation than its column's
CREATE TABLE coll (k text COLLATE "C" NOT NULL, n text);
CREATE UNIQUE INDEX other ON coll (k COLLATE "POSIX");
CALL fails($$SELECT mdbatch_attach('coll', '{k}')$$);
CREATE UNIQUE INDEX pattern ON coll (k COLLATE ci);
CALL fails($$SELECT mdbatch_attach('coll', '{k}')$$);
CREATE UNIQUE INDEX own ON coll (k);
SELECT mdbatch_attach('coll', '{k}');
DROP TABLE coll;

-- Another unique index on the same columns, one that cannot be relied on, is
-- refused, or does no harm: no entry overwrites the row of another key.
CREATE TABLE twice (k text COLLATE "C" PRIMARY KEY, n int);
CREATE UNIQUE INDEX ON twice (k COLLATE ci);
DO $$
BEGIN
  PERFORM mdbatch_attach('att.twice');
  PERFORM mdbatch_put('att.twice', '[{"k": "a", "n": 1}]');
EXCEPTION WHEN invalid_column_reference OR feature_not_supported THEN
  INSERT INTO twice VALUES ('a', 1);
END $$;
SET client_min_messages = error;
SELECT mdbatch_flush() >= 0 AS flushed;
DO $$
BEGIN
  PERFORM mdbatch_put('att.twice', '[{"k": "A", "n": 2}]');
EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL;
END $$;
SELECT mdbatch_flush() >= 0 AS flushed;
RESET client_min_messages;
TABLE twice;
DELETE FROM mdbatch_rejected;
DROP TABLE twice;
CREATE TABLE twice (k int PRIMARY KEY, n int, UNIQUE (k) DEFERRABLE);
DO $$
BEGIN
  PERFORM mdbatch_attach('att.twice');
  PERFORM mdbatch_put('att.twice', '[{"k": 1, "n": 1}]');
EXCEPTION WHEN invalid_column_reference OR feature_not_supported THEN
  INSERT INTO twice VALUES (1, 1);
END $$;
SELECT mdbatch_flush() >= 0 AS flushed;
TABLE twice;
DROP TABLE twice;

-- Columns: version, carried, left out
CREATE TABLE c (
  id int PRIMARY KEY,
  at timestamptz, at2 timestamp, d date, i2 smallint, i4 int, i8 bigint,
  n text, f float8, tm time, dv dint,
  gen int GENERATED ALWAYS AS (i4 + 1) STORED,
  ida int GENERATED ALWAYS AS IDENTITY,
  idd int GENERATED BY DEFAULT AS IDENTITY,
  gone int);
ALTER TABLE c DROP gone;
CALL fails($$SELECT mdbatch_attach('c', version => 'n')$$);
CALL fails($$SELECT mdbatch_attach('c', version => 'f')$$);
CALL fails($$SELECT mdbatch_attach('c', version => 'tm')$$);
CALL fails($$SELECT mdbatch_attach('c', version => 'none')$$);
CALL fails($$SELECT mdbatch_attach('c', version => 'id')$$);
CALL fails($$SELECT mdbatch_attach('c', version => 'ida')$$);
CALL fails($$SELECT mdbatch_attach('c', version => 'xmin')$$);
CALL fails($$SELECT mdbatch_attach('c', columns => '{n,none}')$$);
CALL fails($$SELECT mdbatch_attach('c', columns => '{n,gone}')$$);
CALL fails($$SELECT mdbatch_attach('c', columns => '{n,"........pg.dropped.15........"}')$$);
CALL fails($$SELECT mdbatch_attach('c', columns => '{n,i4,n}')$$);
CALL fails($$SELECT mdbatch_attach('c', columns => '{n,id}')$$);
CALL fails($$SELECT mdbatch_attach('c', version => 'at', columns => '{n,at}')$$);
CALL fails($$SELECT mdbatch_attach('c', columns => '{n,NULL}')$$);
CALL fails($$SELECT mdbatch_attach('c', columns => '{{n},{f}}')$$);
CALL fails($$SELECT mdbatch_attach('c', columns => '{gen}')$$);
CALL fails($$SELECT mdbatch_attach('c', columns => '{ida}')$$);
-- NULL leaves out what cannot be written, and takes what can.
SELECT mdbatch_attach('c', version => 'at');
SELECT key, version, columns FROM mdbatch_target WHERE target = 'c'::regclass;
-- Each type of a version, and no carried column at all
SELECT mdbatch_attach('c', version => v, columns => '{}') FROM unnest('{at,at2,d,i2,i4,i8}'::name[]) v;
SELECT mdbatch_attach('c', version => 'dv', columns => '{n}');
SELECT version, columns FROM mdbatch_target WHERE target = 'c'::regclass;
SELECT mdbatch_attach('c', columns => '{}');
SELECT key, version, coalesce(columns, '{}') AS columns FROM mdbatch_target WHERE target = 'c'::regclass;
-- Which leaves nothing to write in mode update.
CALL fails($$SELECT mdbatch_attach('c', columns => '{}', mode => 'update')$$);
SELECT mdbatch_attach('c', version => 'at', columns => '{}', mode => 'update');
CALL fails($$SELECT mdbatch_attach('c', mode => 'insert')$$);
CALL fails($$SELECT mdbatch_attach('c', mode => '')$$);
CALL fails($$SELECT mdbatch_attach('c', mode => 'UPSERT')$$);
-- A failed attach leaves the former attachment as it was.
SELECT version, coalesce(columns, '{}') AS columns, mode FROM mdbatch_target WHERE target = 'c'::regclass;

-- R21: merge policies
CALL fails($$SELECT mdbatch_attach('c', merge => '[]')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '"sum"')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => 'null')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"none": "sum"}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"id": "sum"}')$$);
CALL fails($$SELECT mdbatch_attach('c', version => 'i8', merge => '{"i8": "max"}')$$);
CALL fails($$SELECT mdbatch_attach('c', columns => '{n}', merge => '{"i4": "sum"}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"i4": "avg"}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"i4": ""}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"i4": 1}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"i4": null}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"i4": {"a": "sum"}}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"n": "sum"}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"n": "min"}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"at": "sum"}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"d": "sum"}')$$);
CALL fails($$SELECT mdbatch_attach('c', merge => '{"tm": "max"}')$$);
SELECT mdbatch_attach('c', version => 'i8', merge => '{"i2": "sum", "i4": "min", "f": "max", "d": "min", "at": "max", "dv": "sum"}');
SELECT version, columns, merge FROM mdbatch_target WHERE target = 'c'::regclass;
SELECT mdbatch_attach('c', merge => '{}');
SELECT merge FROM mdbatch_target WHERE target = 'c'::regclass;

-- Channel and what is announced
CALL fails($$SELECT mdbatch_attach('c', channel => '')$$);
CALL fails($$SELECT mdbatch_attach('c', channel => repeat('x', 64))$$);
CALL fails($$SELECT mdbatch_attach('c', channel => repeat('ä', 32))$$);
CALL fails($$SELECT mdbatch_attach('c', notify => 'n')$$);
CALL fails($$SELECT mdbatch_attach('c', channel => 'ch', notify => 'none')$$);
SELECT mdbatch_attach('c', channel => 'ch');
SELECT channel, notify FROM mdbatch_target WHERE target = 'c'::regclass;
SELECT mdbatch_attach('c', columns => '{i4}', channel => repeat('x', 63), notify => 'n');
SELECT channel = repeat('x', 63) AS channel, notify, columns FROM mdbatch_target WHERE target = 'c'::regclass;
SELECT mdbatch_attach('c', channel => 'ch', notify => 'gen');
SELECT channel, notify FROM mdbatch_target WHERE target = 'c'::regclass;

-- Own sizes, within the ranges of the settings
CALL fails($$SELECT mdbatch_attach('c', batch_size => 0)$$);
CALL fails($$SELECT mdbatch_attach('c', batch_size => 100001)$$);
CALL fails($$SELECT mdbatch_attach('c', batch_size => -1)$$);
CALL fails($$SELECT mdbatch_attach('c', flush_interval => '1 ms')$$);
CALL fails($$SELECT mdbatch_attach('c', flush_interval => '0')$$);
CALL fails($$SELECT mdbatch_attach('c', flush_interval => '2 days')$$);
CALL fails($$SELECT mdbatch_attach('c', flush_interval => '1 month')$$);
CALL fails($$SELECT mdbatch_attach('c', flush_interval => '1 month -29 days')$$);
CALL fails($$SELECT mdbatch_attach('c', flush_interval => '-1 s')$$);
CALL fails($$SELECT mdbatch_attach('c', flush_interval => '24:00:00.000001')$$);
CALL fails($$SELECT mdbatch_attach('c', flush_interval => '9.999 ms')$$);
CALL fails($$SELECT mdbatch_attach('c', flush_interval => '-2147483648 days')$$);
SELECT mdbatch_attach('c', batch_size => 1, flush_interval => '10 ms');
SELECT batch_size, flush_interval FROM mdbatch_target WHERE target = 'c'::regclass;
SELECT mdbatch_attach('c', batch_size => 100000, flush_interval => '1 day');
SELECT batch_size, flush_interval FROM mdbatch_target WHERE target = 'c'::regclass;
SELECT mdbatch_attach('c', flush_interval => '1.5 s');
SELECT batch_size, flush_interval FROM mdbatch_target WHERE target = 'c'::regclass;
-- All of it in one row
SELECT mdbatch_attach('c', '{id}', 'at', '{n,i4}', '{"i4": "sum"}', 'update', 'ch', 'n', 7, '2 s');
SELECT metadata, key, version, columns, merge, mode, channel, notify, batch_size, flush_interval, owner = current_user AS mine FROM mdbatch_target WHERE target = 'c'::regclass;
-- The names of another session's settings do not matter to it.
SET intervalstyle = 'iso_8601';
SELECT mdbatch_attach('c', flush_interval => 'PT3S');
SELECT flush_interval = '3 s' AS three FROM mdbatch_target WHERE target = 'c'::regclass;
RESET intervalstyle;
-- Names that need quotes follow a rename.
ALTER TABLE c RENAME n TO "N 'a' ""b""";
SELECT mdbatch_attach('c', columns => ARRAY['N ''a'' "b"']::name[], channel => 'Ch "x"', notify => 'N ''a'' "b"');
SELECT columns, channel, notify FROM mdbatch_target WHERE target = 'c'::regclass;
ALTER TABLE c RENAME "N 'a' ""b""" TO n;
SELECT columns, channel, notify FROM mdbatch_target WHERE target = 'c'::regclass;
DROP TABLE c;

-- The owner must reach the table, the extension and the types.
CREATE SCHEMA shut;
CREATE TYPE shut.colour AS ENUM ('red');
CREATE DOMAIN dcolour AS shut.colour;
CREATE TABLE shut.t1 (id int PRIMARY KEY, n text);
CREATE TABLE o2 (id int PRIMARY KEY, n text, colour shut.colour);
CREATE TABLE o3 (id int PRIMARY KEY, colour dcolour);
CREATE TABLE o4 (id int PRIMARY KEY, colours shut.colour[]);
ALTER TABLE shut.t1 OWNER TO mdb_att_owner;
ALTER TABLE o2 OWNER TO mdb_att_owner;
ALTER TABLE o3 OWNER TO mdb_att_owner;
ALTER TABLE o4 OWNER TO mdb_att_owner;
CALL fails($$SELECT mdbatch_attach('shut.t1')$$);
CALL fails($$SELECT mdbatch_attach('o2')$$);
CALL fails($$SELECT mdbatch_attach('o3')$$);
CALL fails($$SELECT mdbatch_attach('o4')$$);
-- A type that is not carried does not matter.
SELECT mdbatch_attach('o2', columns => '{n}');
GRANT USAGE ON SCHEMA shut TO mdb_att_owner;
SELECT mdbatch_attach('shut.t1'), mdbatch_attach('o2'), mdbatch_attach('o3'), mdbatch_attach('o4');
SELECT target, owner FROM mdbatch_target WHERE owner = 'mdb_att_owner' ORDER BY target::text;
SET ROLE mdb_att_owner;
SELECT mdbatch_detach('shut.t1');
SELECT mdbatch_attach('shut.t1', mode => 'update');
RESET ROLE;
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
CALL fails($$SELECT mdbatch_attach('o2')$$);
GRANT USAGE ON SCHEMA public TO PUBLIC;
SELECT target, mode FROM mdbatch_target WHERE owner = 'mdb_att_owner' ORDER BY target::text;
DROP TABLE o2, o3, o4;
DROP DOMAIN dcolour;
DROP SCHEMA shut CASCADE;

-- Transactional: attached, attached otherwise, detached, and rolled back
BEGIN;
SELECT mdbatch_attach('t');
SELECT mdbatch_put('t', '{"id": 1}');
ROLLBACK;
SELECT count(*) FROM mdbatch_target WHERE target = 't'::regclass;
CALL fails($$SELECT mdbatch_put('t', '{"id": 1}')$$);
SELECT mdbatch_attach('t', version => 'v');
BEGIN;
SAVEPOINT a;
SELECT mdbatch_attach('t', columns => '{n}');
CALL fails($$SELECT mdbatch_put('t', '{"id": 1, "v": 1}')$$);
ROLLBACK TO a;
SELECT mdbatch_put('t', '{"id": 1, "v": 1, "n": "a"}');
COMMIT;
BEGIN;
SELECT mdbatch_detach('t');
CALL fails($$SELECT mdbatch_put('t', '{"id": 2, "v": 1}')$$);
CALL fails($$SELECT mdbatch_detach('t')$$);
ROLLBACK;
SELECT mdbatch_put('t', '{"id": 3, "v": 1, "n": "c"}');
SELECT version, columns FROM mdbatch_target WHERE target = 't'::regclass;
-- Again with other columns: every entry is written as defined at its add,
-- those committed before ahead of any of the new definition.
SELECT mdbatch_put('t', '[{"id": 4, "v": 5, "n": "d"}, {"id": 5, "v": 5, "n": "e"}]');
SELECT mdbatch_attach('t', columns => '{n}');
SELECT mdbatch_put('t', '[{"id": 5, "n": "E"}, {"id": 6, "n": "f"}]');
SELECT mdbatch_flush('t');
SELECT * FROM t ORDER BY id;
-- Detached: no more adds, but what is pending is still written when it is due
-- or asked for; then the batch is gone.
SELECT mdbatch_put('t', '{"id": 7, "n": "g"}');
SELECT mdbatch_detach('t');
CALL fails($$SELECT mdbatch_put('t', '{"id": 8, "n": "h"}')$$);
SELECT pending FROM mdbatch_stat WHERE relid = 't'::regclass;
SELECT mdbatch_flush('t');
SELECT * FROM t WHERE id > 6;
CALL wait_until($$NOT EXISTS (SELECT FROM mdbatch_stat WHERE relid = 'att.t'::regclass)$$);
-- Attached, added to and detached in one transaction
BEGIN;
SELECT mdbatch_attach('t', columns => '{n}');
SELECT mdbatch_put('t', '{"id": 9, "n": "i"}');
SELECT mdbatch_detach('t');
COMMIT;
SELECT mdbatch_flush();
SELECT * FROM t WHERE id > 7;
CALL wait_until($$NOT EXISTS (SELECT FROM mdbatch_stat WHERE relid = 'att.t'::regclass)$$);
-- Detached with nothing pending, it goes at once; and it can come back.
SELECT mdbatch_attach('t', columns => '{n}');
SELECT mdbatch_put('t', '{"id": 10, "n": "j"}');
SELECT mdbatch_flush('t');
SELECT mdbatch_detach('t');
CALL wait_until($$NOT EXISTS (SELECT FROM mdbatch_stat WHERE relid = 'att.t'::regclass)$$);
SELECT mdbatch_put('t', '{"id": 11, "n": "k"}');
\echo :LAST_ERROR_SQLSTATE
-- Detached and attached again while something is pending: nothing is lost.
SELECT mdbatch_attach('t', columns => '{n}');
SELECT mdbatch_put('t', '{"id": 11, "n": "k"}');
BEGIN;
SELECT mdbatch_detach('t');
SELECT mdbatch_attach('t', columns => '{v}');
COMMIT;
SELECT mdbatch_put('t', '{"id": 11, "v": 12}');
SELECT mdbatch_flush('t');
SELECT * FROM t WHERE id > 9 ORDER BY id;
SELECT mdbatch_detach('t');
SELECT count(*) FROM mdbatch_target WHERE NOT metadata;

-- Metadata targets are attached tables, too: attached otherwise, or detached,
-- they are none any more.
CREATE TABLE meta (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('meta');
SELECT target, metadata FROM mdbatch_target;
SELECT mdbatch_add(agent(1), '{a}', '{1}', NULL, ARRAY[timestamptz '2020-01-01Z']);
CALL fails($$SELECT mdbatch_attach('meta', '{agent_id}')$$);
SELECT mdbatch_attach('meta', version => 'collected_at', mode => 'update');
SELECT target, metadata, mode FROM mdbatch_target ORDER BY target::text;
SELECT mdbatch_add(agent(1), '{b}', '{2}', NULL, ARRAY[timestamptz '2020-01-01Z']);
SELECT key, value FROM mdbatch_pending();
SELECT mdbatch_put('meta', jsonb_build_object('agent_id', agent(1), 'key', 'a', 'value', 'put'));
SELECT mdbatch_flush();
SELECT key, value FROM meta;
SELECT key, value FROM mdbatch_metadata;
SELECT mdbatch_set_target('meta');
SELECT target, metadata FROM mdbatch_target;
SELECT mdbatch_detach('meta');
SELECT target, metadata FROM mdbatch_target;
SELECT mdbatch_put('mdbatch_metadata', jsonb_build_object('agent_id', agent(1), 'key', 'b', 'value', 'put', 'error', ''));
SELECT mdbatch_flush();
SELECT key, value FROM mdbatch_metadata;
TRUNCATE mdbatch_metadata;

SELECT * FROM books WHERE NOT balanced;
REVOKE ALL ON FUNCTION mdbatch_attach, mdbatch_detach FROM mdb_att_user, mdb_att_owner;
\set VERBOSITY terse
SET client_min_messages = error;
RESET search_path;
DROP SCHEMA att CASCADE;
DROP ROLE mdb_att_owner, mdb_att_user;
