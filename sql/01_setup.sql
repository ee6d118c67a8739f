-- The extension, and what the other tests use.
CREATE EXTENSION mdbatch;

-- A flush happens when it is asked for. (Of a server that runs already the
-- tests want the library preloaded, and max_prepared_transactions.)
ALTER SYSTEM SET mdbatch.flush_interval = '1h';
ALTER SYSTEM SET mdbatch.lock_timeout = '10s';
SELECT pg_reload_conf();
\c -
SHOW mdbatch.flush_interval;

-- Poll a condition with a deadline; the only place that sleeps.
CREATE PROCEDURE wait_until(cond text) LANGUAGE plpgsql AS $$
DECLARE ok bool; stop timestamptz := clock_timestamp() + interval '30 s';
BEGIN
  LOOP
    PERFORM pg_stat_clear_snapshot();
    EXECUTE format('SELECT (%s)', cond) INTO ok;
    EXIT WHEN ok;
    IF clock_timestamp() > stop THEN RAISE EXCEPTION 'timed out: %', cond; END IF;
    PERFORM pg_sleep(0.05);
  END LOOP;
END $$;

-- Run a statement that must fail, and show all that its error says.
CREATE PROCEDURE fails(statement text) LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text; hint text;
BEGIN
  EXECUTE statement;
  RAISE WARNING 'did not fail: %', statement;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
    detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RAISE INFO '% %', state, message;
  IF detail <> '' THEN RAISE INFO '  detail: %', detail; END IF;
  IF hint <> '' THEN RAISE INFO '  hint: %', hint; END IF;
END $$;

-- Make a flush fail, whatever is wrong with it, but its data (R12): an error
-- of class 58 blames no entry. It quotes the row, as such errors can.
CREATE FUNCTION refuse_bad() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.value = 'bad' THEN
    RAISE EXCEPTION 'refused value "%"', NEW.value
      USING ERRCODE = '58030', DETAIL = format('The row is %s.', NEW);
  END IF;
  RETURN NEW;
END $$;

-- The agent of a number.
CREATE FUNCTION agent(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT lpad(n::text, 32, '0')::uuid $$;

-- The books of this database's batches.
CREATE VIEW books AS
SELECT target, pending, in_flight, reserved, added, coalesced, stale, dropped,
  flushed, skipped, rejected, discarded,
  added = coalesced + stale + flushed + skipped + rejected + discarded + pending AS balanced
FROM mdbatch_stat WHERE datname = current_database();
