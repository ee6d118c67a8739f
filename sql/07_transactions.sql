-- R7: pending when its transaction commits, no trace if not.
SELECT mdbatch_stat_reset();
BEGIN;
SELECT mdbatch_add(agent(1), '{a}', '{1}');
SELECT count(*) AS pending FROM mdbatch_pending();
ROLLBACK;
SELECT count(*) AS pending FROM mdbatch_pending();

BEGIN;
SELECT mdbatch_add(agent(1), '{a,b}', '{1,1}');
SAVEPOINT s1;
SELECT mdbatch_add(agent(1), '{b,c}', '{2,2}');
SAVEPOINT s2;
SELECT mdbatch_add(agent(1), '{c,d}', '{3,3}');
ROLLBACK TO s2;
SELECT mdbatch_add(agent(1), '{e}', '{4}');
RELEASE s1;
SAVEPOINT s3;
SELECT mdbatch_add(agent(1), '{a}', '{5}');
ROLLBACK TO s3;
-- R8: a, b and c, e; b was folded into its parent's b.
SELECT reserved FROM books WHERE reserved > 0;
COMMIT;
SELECT key, value FROM mdbatch_pending();
SELECT pending, reserved, added, coalesced, balanced FROM books WHERE pending > 0;
SELECT mdbatch_flush();

-- R8: a key takes one place in a level; a rollback gives places back.
BEGIN;
SELECT mdbatch_add(agent(2), '{x}', '{1}') FROM generate_series(1, 3);
SELECT reserved FROM books WHERE reserved > 0;
SAVEPOINT s;
SELECT mdbatch_add(agent(2), '{x,y}', '{2,2}');
SELECT reserved FROM books WHERE reserved > 0;
ROLLBACK TO s;
SELECT reserved FROM books WHERE reserved > 0;
ROLLBACK;
SELECT max(reserved) FROM books;

-- An exception in PL/pgSQL is a savepoint.
DO $$
BEGIN
  PERFORM mdbatch_add(agent(1), '{kept}', '{1}');
  BEGIN
    PERFORM mdbatch_add(agent(1), '{lost,kept}', '{1,lost}');
    RAISE division_by_zero;
  EXCEPTION WHEN division_by_zero THEN NULL;
  END;
  FOR i IN 1..3 LOOP
    BEGIN
      PERFORM mdbatch_add(agent(1), ARRAY['loop' || i], '{1}');
      IF i = 2 THEN RAISE division_by_zero; END IF;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
  END LOOP;
END $$;
SELECT key, value FROM mdbatch_pending();
SELECT mdbatch_flush();

BEGIN;
SELECT mdbatch_add(agent(1), '{prepared}', '{1}');
PREPARE TRANSACTION 'p';
\echo :LAST_ERROR_SQLSTATE
-- but one that has rolled its adds back can be prepared
BEGIN;
SAVEPOINT s;
SELECT mdbatch_add(agent(1), '{prepared}', '{1}');
ROLLBACK TO s;
PREPARE TRANSACTION 'p';
COMMIT PREPARED 'p';
BEGIN READ ONLY;
SELECT mdbatch_add(agent(1), '{readonly}', '{1}');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
SELECT mdbatch_add_many(ARRAY[agent(1)], '{readonly}', '{1}');
ROLLBACK;
SELECT count(*) FROM mdbatch_pending();

-- A deferred trigger adds at the commit; a procedure commits in between.
CREATE TABLE source (k text);
CREATE FUNCTION add_row() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM mdbatch_add(agent(1), ARRAY[NEW.k], '{deferred}'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER add_row AFTER INSERT ON source DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION add_row();
BEGIN;
INSERT INTO source VALUES ('s1'), ('s2');
SELECT reserved FROM books WHERE target = 'public.mdbatch_metadata';
COMMIT;
DO $$
BEGIN
  FOR i IN 1..6 LOOP
    PERFORM mdbatch_add(agent(1), ARRAY['p' || i], '{1}');
    IF i % 3 = 0 THEN ROLLBACK; ELSIF i % 3 = 2 THEN COMMIT; END IF;
  END LOOP;
END $$;
SELECT key, value FROM mdbatch_pending();
-- A commit that fails publishes nothing.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON source DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
BEGIN;
SELECT mdbatch_add(agent(1), '{never}', '{1}');
INSERT INTO source VALUES ('never');
COMMIT;
SELECT count(*) FROM mdbatch_pending() WHERE key = 'never';
SELECT reserved FROM books WHERE target = 'public.mdbatch_metadata';
SELECT mdbatch_flush();
DROP TABLE source;
DROP FUNCTION add_row(), refuse();

-- R13: no wait in a transaction that could be in the way of the flush.
BEGIN;
CREATE TABLE written (i int);
SELECT mdbatch_flush();
ROLLBACK;
BEGIN;
LOCK TABLE mdbatch_metadata IN ROW SHARE MODE;
SELECT mdbatch_flush();
ROLLBACK;
BEGIN;
SELECT pg_advisory_xact_lock(1);
SELECT mdbatch_flush();
ROLLBACK;
SELECT pg_advisory_lock(1);
CALL mdbatch_add_sync(agent(1), '{a}', '{1}');
SELECT pg_advisory_unlock(1);
BEGIN;
SELECT mdbatch_add(agent(1), '{own}', '{1}');
SELECT mdbatch_flush();
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
-- what was rolled back is not in the way, nor is what was only read
BEGIN;
SELECT count(*) FROM mdbatch_metadata WHERE key = 'none';
SAVEPOINT s;
SELECT mdbatch_add(agent(1), '{own}', '{1}');
LOCK TABLE mdbatch_metadata IN SHARE MODE;
ROLLBACK TO s;
SELECT mdbatch_flush();
ROLLBACK;
-- every mode above ACCESS SHARE is, whatever the table, and row locks, too
CREATE PROCEDURE flush_with(command text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
  PERFORM mdbatch_flush();
  RAISE WARNING 'flushed after: %', command;
EXCEPTION WHEN active_sql_transaction THEN
  RAISE INFO '% after: %', SQLSTATE, command;
END $$;
CREATE TABLE written (i serial);
INSERT INTO written DEFAULT VALUES;
CALL flush_with('SELECT * FROM written FOR KEY SHARE');
CALL flush_with('UPDATE written SET i = 2');
CALL flush_with('LOCK TABLE written IN ROW SHARE MODE');
CALL flush_with('LOCK TABLE written IN ROW EXCLUSIVE MODE');
CALL flush_with('LOCK TABLE written IN SHARE UPDATE EXCLUSIVE MODE');
CALL flush_with('LOCK TABLE written IN SHARE MODE');
CALL flush_with('LOCK TABLE written IN SHARE ROW EXCLUSIVE MODE');
CALL flush_with('LOCK TABLE written IN EXCLUSIVE MODE');
CALL flush_with('LOCK TABLE pg_class IN ACCESS EXCLUSIVE MODE');
CALL flush_with('SELECT pg_try_advisory_xact_lock_shared(7)');
CALL flush_with('SELECT pg_current_xact_id()');
CALL flush_with('SELECT mdbatch_add(agent(1), ''{own}'', ''{1}'')');
SELECT pg_advisory_lock_shared(7);
SELECT mdbatch_flush();
SELECT pg_advisory_unlock_shared(7);
DROP TABLE written;
DROP PROCEDURE flush_with(text);
-- An INSERT into a view locks the view: that is not in the way.
CREATE VIEW a_view AS SELECT 1 AS i;
CREATE FUNCTION flush_row() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM mdbatch_flush(); RETURN NEW; END $$;
CREATE TRIGGER flush_row INSTEAD OF INSERT ON a_view FOR EACH ROW EXECUTE FUNCTION flush_row();
INSERT INTO a_view VALUES (1);
DROP VIEW a_view;
DROP FUNCTION flush_row();
SELECT * FROM books WHERE NOT balanced;
TRUNCATE mdbatch_metadata;
