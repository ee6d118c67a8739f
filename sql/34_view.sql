-- mdbatch_enqueue(): plain INSERT and COPY into a view enqueue.
CREATE SCHEMA view;
SET search_path = view, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
CREATE TABLE t (id int PRIMARY KEY, at timestamptz, n int, s varchar(5), num numeric(5,1));
SELECT mdbatch_attach('t', version => 'at');
CREATE VIEW v AS SELECT * FROM t;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t');
-- Command tags are part of what this shows.
\set QUIET off
INSERT INTO v VALUES (1, '2020-01-01Z', 1, 'one', 1.25);
INSERT INTO v (num, id, n) VALUES (2, 2, 2), (3, 3, 3), (3, 3, 4);
INSERT INTO v (id, n) SELECT i, i FROM generate_series(4, 6) i;
INSERT INTO v (id, n) SELECT 7, 7 WHERE false;
INSERT INTO v (id, s) VALUES (7, 'seven') RETURNING id, n, s;
PREPARE p AS INSERT INTO v (id, n, s) VALUES ($1, $2, $3);
EXECUTE p(8, 8, 'eight');
EXECUTE p('9', '9', NULL);
COPY v (s, id) FROM STDIN;
ten	10
\N	11
\.
COPY v FROM STDIN WITH (FORMAT csv);
12,2020-01-01Z,12,"a,b",12.34
\.
\set QUIET on
SELECT id, at > '2021-01-01Z' AS dated, n, s, num FROM mdbatch_pending_rows(NULL::t);
SELECT count(*) FROM t;
SELECT mdbatch_flush('t');
SELECT id, n, s, num FROM v ORDER BY id;

-- It is an add like any other: R1 and R2,
INSERT INTO v (id, n, at) VALUES (1, 100, '2020-01-02Z'), (1, 101, '2020-01-01Z'), (12, 0, '2019-12-31Z');
SELECT mdbatch_flush('t');
SELECT id, n FROM t WHERE id IN (1, 12) ORDER BY id;
-- transactional (R7),
BEGIN;
INSERT INTO v (id, n) VALUES (20, 1);
SAVEPOINT s;
INSERT INTO v (id, n) VALUES (21, 1);
ROLLBACK TO s;
INSERT INTO v (id, n) VALUES (22, 1);
COMMIT;
BEGIN;
INSERT INTO v (id, n) VALUES (23, 1);
ROLLBACK;
BEGIN READ ONLY;
INSERT INTO v (id, n) VALUES (23, 1);
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
SELECT id FROM mdbatch_pending_rows(NULL::t);
-- a statement that fails enqueues nothing,
INSERT INTO v (id, n) SELECT i, 1 / (i - 32) FROM generate_series(30, 33) i;
COPY v (id, n) FROM STDIN;
30	1
31	x
\.
INSERT INTO v (id, s) VALUES (30, 'fits'), (31, 'too long');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO v (id, n) VALUES (30, 1), (NULL, 1);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO v (n) VALUES (1);
\echo :LAST_ERROR_SQLSTATE
SELECT id FROM mdbatch_pending_rows(NULL::t);
-- and bounded (R9): dropped rows are missing from the count.
SELECT mdbatch_discard('t');
SELECT mdbatch_attach('t', version => 'at', batch_size => 1000);
ALTER SYSTEM SET mdbatch.queue_size = 2;
SELECT pg_reload_conf();
\c -
SET search_path = view, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SELECT mdbatch_stat_reset();
\set QUIET off
INSERT INTO v (id) VALUES (40), (41), (42), (40), (43);
INSERT INTO v (id) VALUES (44) RETURNING id;
INSERT INTO v (id, n) VALUES (41, 1);
COPY v (id) FROM STDIN;
41
45
\.
WITH i AS (INSERT INTO v (id) VALUES (40), (46) RETURNING id) SELECT * FROM i;
SET mdbatch.on_full = 'error';
INSERT INTO v (id, n) VALUES (41, 2), (47, 1);
\set QUIET on
\echo :LAST_ERROR_SQLSTATE
SELECT id, n FROM mdbatch_pending_rows(NULL::t);
SELECT pending, added, dropped, balanced FROM books WHERE target = 'view.t';
-- R13: what the INSERT locks of the view does not count; a reservation does.
SET mdbatch.on_full = 'wait';
SET statement_timeout = '50 ms';
INSERT INTO v (id) VALUES (48);
\echo :LAST_ERROR_SQLSTATE
RESET statement_timeout;
SELECT mdbatch_discard('t');
INSERT INTO v (id) VALUES (48), (49), (50);
\echo :LAST_ERROR_SQLSTATE
SELECT pending, reserved FROM books WHERE target = 'view.t';
INSERT INTO v (id) VALUES (48), (49);
RESET mdbatch.on_full;
ALTER SYSTEM RESET mdbatch.queue_size;
SELECT pg_reload_conf();
\c -
SET search_path = view, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SELECT mdbatch_flush('t');
TRUNCATE t;

-- Columns match by name: another order, fewer, other types
CREATE VIEW narrow AS SELECT n, id FROM t;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON narrow FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t');
INSERT INTO narrow VALUES (1, 2);
SELECT id, n, s FROM mdbatch_pending_rows(NULL::t);
-- by the view's names, not by those of a query's columns
CREATE TABLE src (n int, id int);
INSERT INTO src VALUES (10, 110), (20, 120);
INSERT INTO narrow SELECT * FROM src;
INSERT INTO narrow SELECT n + 20 AS id, id + 20 AS n FROM src;
INSERT INTO narrow (id, n) SELECT n, id FROM src ORDER BY id OFFSET 0;
INSERT INTO narrow (n, id) SELECT id AS n, n + 3 AS other FROM src;
INSERT INTO narrow TABLE src;
INSERT INTO narrow VALUES (50, 150), (60, 160);
WITH w (id, n) AS (VALUES (70, 170), (80, 180)) INSERT INTO narrow SELECT * FROM w;
INSERT INTO narrow SELECT 21 AS id, 221 AS n UNION ALL SELECT 22, 222;
INSERT INTO narrow SELECT * FROM (SELECT i AS id, i + 200 AS n FROM generate_series(23, 24) i LIMIT 5) sub;
INSERT INTO narrow SELECT * FROM unnest('{25,26}'::int[], '{225,226}'::int[]) u (id, n);
INSERT INTO narrow SELECT * FROM jsonb_to_recordset('[{"id": 27, "n": 227}]') AS j (id int, n int);
INSERT INTO narrow SELECT * FROM (SELECT DISTINCT i AS id, i + 200 AS n FROM generate_series(28, 29) i) sub;
PREPARE r AS INSERT INTO narrow VALUES ($1, $2), ($3, $4);
EXECUTE r(90, 190, 91, 191);
SELECT id, n FROM mdbatch_pending_rows(NULL::t) ORDER BY id;
SELECT mdbatch_discard('t');
DROP TABLE src;
CREATE VIEW wide AS SELECT id::bigint AS id, s::text AS s, num::float8 AS num, n::numeric AS n, at::date AS at, 1 AS extra, 'x'::text AS "Id" FROM t;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON wide FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t');
INSERT INTO wide (id, s, num, n, at) VALUES (3, 'text', 1.26, 2.5, '2020-02-03');
SELECT * FROM mdbatch_pending_rows(NULL::t) WHERE id = 3;
-- as a plain INSERT assigns them
INSERT INTO t (id, s, num, n, at) SELECT 3, 'text'::text, 1.26::float8, 2.5::numeric, '2020-02-03'::date RETURNING *;
DELETE FROM t;
CALL fails($$INSERT INTO wide (id, s) VALUES (4, 'too long')$$);
INSERT INTO wide (id, s) VALUES (4, 'blank    ');
CALL fails($$INSERT INTO wide (id) VALUES (3000000000)$$);
CALL fails($$INSERT INTO wide (id, num) VALUES (4, 1e6)$$);
-- Nothing that is inserted is lost quietly.
INSERT INTO wide (id, extra, "Id") VALUES (5, NULL, NULL);
CALL fails($$INSERT INTO wide (id, extra) VALUES (6, 1)$$);
CALL fails($$INSERT INTO wide (id, "Id") VALUES (6, '6')$$);
SELECT id, '<' || s || '>' AS s FROM mdbatch_pending_rows(NULL::t) WHERE id > 3;
-- Not assignable, no key column
CREATE VIEW odd AS SELECT id, s::int AS n FROM t;
CREATE VIEW odd2 AS SELECT id, s AS n FROM t;
CREATE VIEW odd3 AS SELECT now()::time AS at, id FROM t;
CREATE VIEW keyless AS SELECT n, s FROM t;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON odd FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t');
CREATE TRIGGER enqueue INSTEAD OF INSERT ON odd2 FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t');
CREATE TRIGGER enqueue INSTEAD OF INSERT ON odd3 FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t');
CREATE TRIGGER enqueue INSTEAD OF INSERT ON keyless FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t');
INSERT INTO odd VALUES (7, 7);
CALL fails($$INSERT INTO odd2 VALUES (8, '8')$$);
CALL fails($$INSERT INTO odd3 VALUES ('12:00', 8)$$);
CALL fails($$INSERT INTO keyless VALUES (1, 's')$$);
-- A view over a join, and one over nothing
CREATE TABLE other (id int, label text);
CREATE VIEW joined AS SELECT t.id, t.n + 1 AS n, o.label AS s FROM t JOIN other o USING (id);
CREATE TRIGGER enqueue INSTEAD OF INSERT ON joined FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t');
INSERT INTO joined VALUES (9, 9, 'join');
CREATE VIEW form AS SELECT NULL::int AS id, NULL::int AS n WHERE false;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON form FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('t');
INSERT INTO form VALUES (10, 10);
-- Defaults of the view's columns count, those of the target do not: a column
-- that is missing is NULL (R22).
ALTER TABLE t ALTER n SET DEFAULT 77;
ALTER VIEW form ALTER n SET DEFAULT 5;
INSERT INTO form (id) VALUES (11);
INSERT INTO v (id) VALUES (12);
SELECT id, n, s FROM mdbatch_pending_rows(NULL::t) WHERE id > 6;
SELECT mdbatch_flush('t');
SELECT id, n, s, num FROM t ORDER BY id;
TRUNCATE t;

-- A version that is missing: the time of the call, or an error
CREATE TABLE i (id int PRIMARY KEY, ver int, n int);
SELECT mdbatch_attach('i', version => 'ver');
CREATE VIEW iv AS SELECT id, n, ver FROM i;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON iv FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.i');
CALL fails('INSERT INTO iv (id, n) VALUES (1, 1)');
CALL fails('INSERT INTO iv VALUES (1, 1, NULL)');
INSERT INTO iv VALUES (1, 1, 5), (1, 2, 4);
SELECT mdbatch_flush('i');
TABLE i;
BEGIN;
SELECT clock_timestamp() AS before \gset
INSERT INTO narrow VALUES (1, 1);
INSERT INTO v (id, n, at) VALUES (2, 2, NULL);
COMMIT;
SELECT mdbatch_flush('t');
SELECT id, at BETWEEN :'before' AND clock_timestamp() AS ok FROM t ORDER BY id;
-- A domain that is NOT NULL, as INSERT has it: refused at the call
CREATE DOMAIN must AS int NOT NULL;
CREATE TABLE d (id int PRIMARY KEY, m must, n int);
SELECT mdbatch_attach('d');
CREATE VIEW dv AS SELECT id, m::int AS m, n FROM d;
CREATE VIEW dn AS SELECT id, n FROM d;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON dv FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.d');
CREATE TRIGGER enqueue INSTEAD OF INSERT ON dn FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.d');
CALL fails('INSERT INTO dv VALUES (1, NULL, 1)');
CALL fails('INSERT INTO dn VALUES (1, 1)');
INSERT INTO dv VALUES (2, 2, 2);
SELECT mdbatch_flush('d');
TABLE d;
DELETE FROM mdbatch_rejected;
DROP TABLE d CASCADE;

-- Triggers that are none of the kind
CREATE TABLE plain (id int PRIMARY KEY);
CREATE VIEW w AS SELECT * FROM t;
CREATE PROCEDURE wrong(trigger text, statement text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE 'CREATE TRIGGER w ' || trigger;
  RAISE INFO '%', trigger;
  CALL fails(statement);
  ROLLBACK;
END $$;
CALL wrong($$BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t')$$, 'INSERT INTO plain VALUES (1)');
CALL wrong($$AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t')$$, 'INSERT INTO plain VALUES (1)');
CALL wrong($$AFTER INSERT ON plain FOR EACH STATEMENT EXECUTE FUNCTION mdbatch_enqueue('view.t')$$, 'INSERT INTO plain VALUES (1)');
CALL wrong($$BEFORE INSERT ON v FOR EACH STATEMENT EXECUTE FUNCTION mdbatch_enqueue('view.t')$$, 'INSERT INTO v (id) VALUES (1)');
CALL wrong($$INSTEAD OF UPDATE ON v FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t')$$, 'UPDATE v SET n = 1');
CALL wrong($$INSTEAD OF DELETE ON v FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t')$$, 'DELETE FROM v');
CALL wrong($$INSTEAD OF INSERT ON w FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue()$$, 'INSERT INTO w VALUES (1)');
CALL wrong($$INSTEAD OF INSERT ON w FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t', 'x')$$, 'INSERT INTO w VALUES (1)');
CALL wrong($$INSTEAD OF INSERT ON w FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.none')$$, 'INSERT INTO w VALUES (1)');
CALL wrong($$INSTEAD OF INSERT ON w FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('')$$, 'INSERT INTO w VALUES (1)');
CALL wrong($$INSTEAD OF INSERT ON w FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.plain')$$, 'INSERT INTO w VALUES (1)');
CALL wrong($$INSTEAD OF INSERT ON w FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.w')$$, 'INSERT INTO w VALUES (1)');
CALL fails('SELECT mdbatch_enqueue()');
SELECT count(*) FROM mdbatch_pending_rows(NULL::t);
DROP PROCEDURE wrong;

-- Rights: those of an insert on the view, and of an add on the target for the
-- role that inserts, whoever owns the view.
CREATE ROLE mdb_view_user;
GRANT USAGE ON SCHEMA view TO mdb_view_user;
GRANT INSERT, UPDATE ON t TO mdb_view_user;
SET ROLE mdb_view_user;
CALL fails('INSERT INTO view.v (id) VALUES (1)');
RESET ROLE;
GRANT INSERT ON v TO mdb_view_user;
REVOKE UPDATE ON t FROM mdb_view_user;
SET ROLE mdb_view_user;
CALL fails('INSERT INTO view.v (id) VALUES (1)');
RESET ROLE;
GRANT UPDATE ON t TO mdb_view_user;
SET ROLE mdb_view_user;
INSERT INTO view.v (id, n) VALUES (51, 51);
RESET ROLE;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
SET ROLE mdb_view_user;
CALL fails('INSERT INTO view.v (id) VALUES (1)');
RESET ROLE;
ALTER TABLE t DISABLE ROW LEVEL SECURITY;
SELECT id, n FROM mdbatch_pending_rows(NULL::t);
SELECT mdbatch_flush('t');

-- The target altered between two INSERTs of one session, prepared or not
PREPARE q AS INSERT INTO v (id, n) VALUES ($1, $2);
EXECUTE q(60, 1);
ALTER TABLE t RENAME TO renamed;
CALL fails('INSERT INTO view.v (id, n) VALUES (61, 1)');
ALTER TABLE renamed RENAME TO t;
EXECUTE q(61, 1);
ALTER TABLE t ADD late text, DROP num CASCADE;
CREATE VIEW v AS SELECT id, n, s, late FROM t;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.t');
EXECUTE q(62, 1);
CALL fails($$INSERT INTO v (id, late) VALUES (63, 'late')$$);
SELECT mdbatch_attach('t', version => 'at');
EXECUTE q(63, 1);
INSERT INTO v (id, late) VALUES (64, 'late');
SELECT id, n, s, late FROM mdbatch_pending_rows(NULL::t);
ALTER TABLE t RENAME n TO "N";
CALL fails('EXECUTE q(65, 1)');
ALTER TABLE t RENAME "N" TO n;
EXECUTE q(65, 1);
SELECT mdbatch_detach('t');
EXECUTE q(66, 1);
\echo :LAST_ERROR_SQLSTATE
SELECT mdbatch_attach('t', version => 'at', columns => '{n}');
EXECUTE q(66, 1);
-- within one statement
CREATE FUNCTION attach(i int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF i = 68 THEN PERFORM mdbatch_attach('view.t', version => 'at', columns => '{n,s}'); END IF;
  RETURN i;
END $$;
CALL fails($$INSERT INTO v (id, s) SELECT attach(i), 's' FROM generate_series(67, 69) i$$);
INSERT INTO v (id, s) SELECT attach(i), CASE WHEN i > 67 THEN 's' END FROM generate_series(67, 69) i;
SELECT mdbatch_flush('t');
SELECT id, n, s, late FROM t WHERE id >= 60 ORDER BY id;
-- dropped, and another of that name
DROP TABLE t CASCADE;
CREATE TABLE t (id int PRIMARY KEY, n int);
SELECT mdbatch_attach('t');
INSERT INTO form VALUES (1, 1);
SELECT mdbatch_flush('t');
TABLE t;

-- A partitioned target
CREATE TABLE p (id int, region text, n int, total int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu');
CREATE TABLE p_us (total int, gone int, region text NOT NULL, id int NOT NULL, n int);
ALTER TABLE p_us DROP gone;
ALTER TABLE p ATTACH PARTITION p_us FOR VALUES IN ('us');
SELECT mdbatch_attach('p', merge => '{"total": "sum"}');
CREATE VIEW pv AS SELECT * FROM p;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON pv FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('view.p');
INSERT INTO pv VALUES (1, 'eu', 1, 1), (1, 'us', 2, 1), (1, 'us', 3, 1), (2, 'us', 4, 1);
SELECT mdbatch_flush('p');
SELECT tableoid::regclass, id, region, n, total FROM p ORDER BY id, region;
INSERT INTO pv VALUES (1, 'us', 5, 1), (1, 'eu', 6, 1), (3, 'asia', 7, 1);
SELECT mdbatch_flush('p');
SELECT tableoid::regclass, id, region, n, total FROM p ORDER BY id, region;
SELECT key, sqlstate FROM mdbatch_rejected;
DELETE FROM mdbatch_rejected;
SELECT mdbatch_attach('p', merge => '{"total": "sum"}', mode => 'update');
INSERT INTO pv VALUES (1, 'us', 8, 1), (2, 'eu', 9, 1), (2, 'us', 9, 1);
SELECT mdbatch_stat_reset();
SELECT mdbatch_flush('p');
SELECT tableoid::regclass, id, region, n, total FROM p ORDER BY id, region;
SELECT flushed, skipped FROM books WHERE target = 'view.p';

SELECT * FROM books WHERE NOT balanced;
SELECT count(*) FROM mdbatch_rejected;
SET client_min_messages = error;
RESET search_path;
DROP SCHEMA view CASCADE;
DROP ROLE mdb_view_user;
