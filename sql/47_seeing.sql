-- R18: what of other roles' entries, and of errors, a role may see.
CREATE ROLE mdb_app;
CREATE ROLE mdb_owner;
CREATE ROLE mdb_heir;
CREATE SCHEMA priv;
GRANT USAGE ON SCHEMA priv TO mdb_app, mdb_owner, mdb_heir;
CREATE TABLE priv.t (k1 int, k2 int, ver int, n int, v text, other text, PRIMARY KEY (k1, k2));
ALTER TABLE priv.t OWNER TO mdb_owner;

-- Seeing what became of entries: SELECT on key and version.
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n,v}', channel => 'c');
SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT mdbatch_stat_reset();
SELECT mdbatch_put('priv.t', '[{"k1": 1, "k2": 1, "ver": 5}, {"k1": 2, "k2": 2, "ver": 5}]');
SELECT mdbatch_put('priv.t', '[{"k1": 1, "k2": 1, "ver": 4}, {"k1": 2, "k2": 2, "ver": 6}]');
SELECT mdbatch_flush('priv.t');
SELECT mdbatch_put('priv.t', '{"k1": 2, "k2": 2, "ver": 1}');
SELECT mdbatch_flush('priv.t');
CREATE VIEW seen AS SELECT added, coalesced, stale, flushed, skipped, rejected, discarded, pending,
  memory_used IS NOT NULL AS memory, notifications, batches_requested
FROM mdbatch_stat WHERE relid = 'priv.t'::regclass;
CREATE VIEW seen_histogram AS SELECT metric, max(bucket_count) AS buckets, max(sum) AS sum, max(count) AS count
FROM mdbatch_stat_histogram WHERE target = 'priv.t' AND metric LIKE 'batch%' GROUP BY 1 ORDER BY 1;
GRANT SELECT ON seen, seen_histogram TO PUBLIC;
TABLE seen;
TABLE seen_histogram;
REVOKE ALL ON priv.t FROM mdb_app;
GRANT SELECT (k1, k2, n, v) ON priv.t TO mdb_app;
SET ROLE mdb_app;
TABLE seen;
TABLE seen_histogram;
RESET ROLE;
GRANT SELECT (ver) ON priv.t TO mdb_app;
SET ROLE mdb_app;
TABLE seen;
TABLE seen_histogram;
RESET ROLE;
REVOKE SELECT (k2) ON priv.t FROM mdb_app;
SET ROLE mdb_app;
TABLE seen;
RESET ROLE;
GRANT SELECT ON priv.t TO mdb_app;
SET ROLE mdb_app;
TABLE seen;
RESET ROLE;
ALTER TABLE priv.t ENABLE ROW LEVEL SECURITY;
SET ROLE mdb_app;
TABLE seen;
RESET ROLE;
ALTER TABLE priv.t DISABLE ROW LEVEL SECURITY;
REVOKE ALL ON priv.t FROM mdb_app;
GRANT pg_read_all_stats TO mdb_app;
SET ROLE mdb_app;
TABLE seen;
TABLE seen_histogram;
RESET ROLE;
REVOKE pg_read_all_stats FROM mdb_app;
-- A write-only reporter asks whether its entry was newer than what is pending,
-- or than what is stored: both answers look the same.
GRANT INSERT, UPDATE ON priv.t TO mdb_app;
SELECT mdbatch_put('priv.t', '{"k1": 3, "k2": 3, "ver": 5, "v": "pending"}');
SET ROLE mdb_app;
TABLE seen;
SELECT mdbatch_put('priv.t', jsonb_build_object('k1', 3, 'k2', 3, 'ver', 4, 'v', repeat('x', 10000)));
TABLE seen;
SELECT mdbatch_put('priv.t', jsonb_build_object('k1', 3, 'k2', 3, 'ver', 6, 'v', repeat('x', 10000)));
TABLE seen;
SELECT mdbatch_flush('priv.t');
SELECT mdbatch_put('priv.t', '{"k1": 3, "k2": 3, "ver": 5}');
SELECT mdbatch_flush('priv.t');
TABLE seen;
SELECT mdbatch_put('priv.t', '{"k1": 3, "k2": 3, "ver": 7}');
SELECT mdbatch_flush('priv.t');
TABLE seen;
TABLE seen_histogram;
RESET ROLE;
TABLE seen;
-- A table that is detached has the rights, as long as entries are pending.
GRANT SELECT (k1, k2, ver) ON priv.t TO mdb_app;
SELECT mdbatch_put('priv.t', '{"k1": 4, "k2": 4, "ver": 5}');
SELECT mdbatch_detach('priv.t');
SET ROLE mdb_app;
TABLE seen;
RESET ROLE;
REVOKE SELECT (ver) ON priv.t FROM mdb_app;
SET ROLE mdb_app;
TABLE seen;
RESET ROLE;
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n,v}');
SELECT mdbatch_flush('priv.t');
DROP VIEW seen, seen_histogram;

-- Errors: the full text is for the owner and pg_read_all_stats, whoever may
-- read what.  Others get SQLSTATE, table and constraint.
CREATE FUNCTION refuse_v() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.v LIKE 'secret%' THEN
    RAISE EXCEPTION 'refused "%"', NEW.v USING ERRCODE = '58030', CONSTRAINT = 'by trigger';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER refuse_v BEFORE INSERT OR UPDATE ON priv.t FOR EACH ROW EXECUTE FUNCTION refuse_v();
CREATE PROCEDURE flush_error() LANGUAGE plpgsql AS $$
DECLARE name text; detail text;
BEGIN
  PERFORM mdbatch_flush('priv.t');
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME, detail = PG_EXCEPTION_DETAIL;
  RAISE INFO '% % [%] %', SQLSTATE, SQLERRM, name, detail;
END $$;
CREATE VIEW error AS SELECT last_error FROM mdbatch_stat WHERE relid = 'priv.t'::regclass;
GRANT SELECT ON error TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON priv.t TO mdb_app;
SELECT mdbatch_put('priv.t', '{"k1": 1, "k2": 1, "ver": 100, "v": "secret"}');
SET ROLE mdb_app;
CALL flush_error();
TABLE error;
CALL mdbatch_put_sync('priv.t', '{"k1": 2, "k2": 1, "ver": 100, "v": "secret too"}');
SET ROLE mdb_owner;
CALL flush_error();
TABLE error;
RESET ROLE;
GRANT pg_read_all_stats TO mdb_app;
SET ROLE mdb_app;
CALL flush_error();
TABLE error;
RESET ROLE;
REVOKE pg_read_all_stats FROM mdb_app;
-- also when the entries have no such column any more
SELECT mdbatch_discard('priv.t') IS NOT NULL AS discarded;
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n}');
SELECT mdbatch_put('priv.t', '{"k1": 3, "k2": 1, "ver": 100}');
REVOKE ALL ON priv.t FROM mdb_app;
GRANT SELECT (k1, k2, ver, n), INSERT (k1, k2, ver, n), UPDATE (ver, n) ON priv.t TO mdb_app;
SET ROLE mdb_app;
SELECT count(*) IS NOT NULL AS allowed FROM mdbatch_pending_rows(NULL::priv.t);
TABLE error;
RESET ROLE;
-- nor does the text go to the next owner, who might not have been shown it
ALTER TABLE priv.t OWNER TO mdb_heir;
SET ROLE mdb_heir;
TABLE error;
SET ROLE mdb_owner;
TABLE error;
RESET ROLE;
GRANT mdb_owner TO mdb_heir;
SET ROLE mdb_heir;
TABLE error;
RESET ROLE;
REVOKE mdb_owner FROM mdb_heir;
ALTER TABLE priv.t OWNER TO mdb_owner;
-- what is refused for good
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n,v}');
ALTER TABLE priv.t ADD CONSTRAINT well_formed CHECK (v <> 'private');
GRANT SELECT, INSERT, UPDATE, DELETE ON priv.t TO mdb_app;
SET ROLE mdb_app;
CALL mdbatch_put_sync('priv.t', '{"k1": 4, "k2": 1, "ver": 100, "v": "private"}');
\echo :LAST_ERROR_SQLSTATE
SET ROLE mdb_owner;
CALL mdbatch_put_sync('priv.t', '{"k1": 4, "k2": 1, "ver": 101, "v": "private"}');
RESET ROLE;
DELETE FROM mdbatch_rejected;
DROP TRIGGER refuse_v ON priv.t;
DROP FUNCTION refuse_v();
DROP PROCEDURE flush_error();
DROP VIEW error;

DROP TABLE priv.t;
DROP SCHEMA priv;
DROP OWNED BY mdb_app, mdb_owner, mdb_heir;
DROP ROLE mdb_app, mdb_owner, mdb_heir;
SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT * FROM books WHERE NOT balanced;
