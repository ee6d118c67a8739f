-- Two databases: each has its batches and its worker; who sees what of the
-- other (R18); DROP DATABASE with entries pending (R16).
CREATE ROLE mdb_other LOGIN;
CREATE DATABASE mdbatch_other;
SELECT current_database() AS here \gset
SELECT mdbatch_add(agent(1), '{here}', '{1}');
\c mdbatch_other
CREATE EXTENSION mdbatch;
SELECT count(*) FROM mdbatch_pending();
SELECT mdbatch_add('00000000-0000-0000-0000-000000000002', '{there}', '{2}');
SELECT mdbatch_flush();
SELECT key, value FROM mdbatch_metadata;
-- a failure of no data, whose text quotes the row
CREATE FUNCTION refuse_bad() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'refused value "%"', NEW.value USING ERRCODE = '58030';
END $$;
CREATE TRIGGER refuse_bad BEFORE INSERT ON mdbatch_metadata FOR EACH ROW EXECUTE FUNCTION refuse_bad();
SELECT mdbatch_add('00000000-0000-0000-0000-000000000002', '{there}', '{bad}', NULL, '{infinity}');
SELECT mdbatch_flush();
SELECT datname = current_database() AS mine, target, pending, last_error FROM mdbatch_stat WHERE pending > 0 ORDER BY 1;
SELECT count(DISTINCT worker_pid) AS workers FROM mdbatch_stat WHERE pending > 0;
-- A reset is for this database only.
SELECT mdbatch_stat_reset();
SELECT datname, added, flushed FROM mdbatch_stat WHERE datname = 'mdbatch_other';
SELECT added, flushed FROM mdbatch_stat WHERE datname <> current_database() AND pending > 0;
SELECT mdbatch_flush();
\c :here
-- Another database's values are not for anybody, its names for few.
SELECT key, value FROM mdbatch_pending();
SELECT target, last_error FROM mdbatch_stat WHERE datname = 'mdbatch_other';
SET ROLE mdb_other;
SELECT target, pending, added, coalesced, stale, flushed, skipped, rejected, memory_used, last_error FROM mdbatch_stat WHERE datname = 'mdbatch_other';
SELECT DISTINCT target FROM mdbatch_stat_histogram WHERE datname = 'mdbatch_other';
SELECT target, pending FROM mdbatch_stat WHERE datname = current_database() AND pending > 0;
RESET ROLE;
GRANT pg_read_all_stats TO mdb_other;
SET ROLE mdb_other;
SELECT target, stale, flushed, skipped, memory_used > 0 AS memory, last_error FROM mdbatch_stat WHERE datname = 'mdbatch_other';
RESET ROLE;
SELECT mdbatch_flush();
SELECT datname, pending FROM mdbatch_stat WHERE pending > 0;
-- Its worker is no obstacle.
SELECT oid AS other FROM pg_database WHERE datname = 'mdbatch_other' \gset
DROP DATABASE mdbatch_other;
SELECT datname, pending, discarded, added = discarded AS balanced FROM mdbatch_stat WHERE datid = :other;
DROP ROLE mdb_other;
TRUNCATE mdbatch_metadata;
