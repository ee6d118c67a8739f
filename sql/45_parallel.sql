-- R18: what changes or pins shared state refuses parallel workers by itself, as
-- the label of a function that calls it can be wrong; what changes it refuses
-- the leader of a parallel query, too.
CREATE TABLE par (k int PRIMARY KEY, n int, v text);
SELECT mdbatch_attach('par', merge => '{"n": "sum"}', batch_size => 4);
CREATE VIEW par_view AS SELECT * FROM par;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON par_view FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('par');
-- as many batches and definitions as there will be
SELECT mdbatch_put('par', '{"k": 0, "n": 1}'), mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_flush() IS NOT NULL AS flushed;

-- A call of each function; the ones that are labelled safe have a result.
CREATE TABLE calls (function regproc, call text, result text);
INSERT INTO calls VALUES
  ('mdbatch_add', $$SELECT mdbatch_add(agent(2), '{k}', '{v}')$$),
  ('mdbatch_add_many', $$SELECT mdbatch_add_many(ARRAY[agent(2)], '{k}', '{v}')$$),
  ('mdbatch_add_sync', $$CALL mdbatch_add_sync(agent(2), '{k}', '{v}')$$),
  ('mdbatch_attach', $$SELECT mdbatch_attach('par')$$),
  ('mdbatch_detach', $$SELECT mdbatch_detach('par')$$),
  ('mdbatch_discard', $$SELECT mdbatch_discard('par')$$),
  ('mdbatch_enqueue', $$SELECT mdbatch_enqueue()$$),
  ('mdbatch_enqueue', $$INSERT INTO par_view VALUES (1, 1, 'v')$$),
  ('mdbatch_flush', $$SELECT mdbatch_flush()$$),
  ('mdbatch_flush', $$SELECT mdbatch_flush('par')$$),
  ('mdbatch_flushing', $$SELECT k FROM mdbatch_flushing() AS s(k int)$$),
  ('mdbatch_not_replicated', $$SELECT mdbatch_not_replicated()$$),
  ('mdbatch_pending', $$SELECT count(*) FROM mdbatch_pending()$$),
  ('mdbatch_pending_rows', $$SELECT count(*) FROM mdbatch_pending_rows(NULL::par)$$),
  ('mdbatch_put', $$SELECT mdbatch_put('par', '{"k": 1, "n": 1}')$$),
  ('mdbatch_put_row', $$SELECT mdbatch_put_row(ROW(1, 1, 'v')::par)$$),
  ('mdbatch_put_sync', $$CALL mdbatch_put_sync('par', '{"k": 1, "n": 1}')$$),
  ('mdbatch_retry', $$SELECT mdbatch_retry('par')$$),
  ('mdbatch_set_target', $$SELECT mdbatch_set_target('mdbatch_metadata')$$),
  ('mdbatch_stat_histogram_rows', $$SELECT count(*) > 0 FROM mdbatch_stat_histogram_rows()$$),
  ('mdbatch_stat_reset', $$SELECT mdbatch_stat_reset()$$),
  ('mdbatch_stat_rows', $$SELECT count(*) > 0 FROM mdbatch_stat_rows()$$);
INSERT INTO calls VALUES
  ('mdbatch_decode_agent_ids', $$SELECT mdbatch_decode_agent_ids('AAAAAAAAAAAAAAAAAAAAAg')$$, agent(2)),
  ('mdbatch_encode_agent_ids', $$SELECT mdbatch_encode_agent_ids(ARRAY[agent(2)])$$, 'AAAAAAAAAAAAAAAAAAAAAg'),
  ('mdbatch_is_label', $$SELECT mdbatch_is_label('{"key": 1}', false)$$, 'true');
SELECT objid::regprocedure AS without_a_call FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = 'pg_proc'::regclass
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mdbatch')
  AND objid NOT IN (SELECT function FROM calls)
ORDER BY objid::regprocedure::text COLLATE "C";

-- Each call is made by a function with a wrong label, in the process that is
-- meant: what runs below the node Gather.
CREATE FUNCTION run(call text, place text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
DECLARE result text;
BEGIN
  IF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) <> place THEN
    RAISE EXCEPTION 'not in a %', place;
  END IF;
  EXECUTE call INTO result;
  RETURN result;
END $$;
CREATE TABLE scanned AS SELECT generate_series(1, 100) AS i;
ALTER TABLE scanned SET (parallel_workers = 2);
ANALYZE scanned;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
EXPLAIN (COSTS OFF) SELECT FROM scanned WHERE i = 1 AND run('', '') IS NOT NULL;
CREATE PROCEDURE run_all(place text, works text) LANGUAGE plpgsql AS $$
DECLARE c record; query text; n bigint;
BEGIN
  FOR c IN SELECT calls.*, proparallel = ANY (string_to_array(works, NULL)) AS works
    FROM calls JOIN pg_proc p ON p.oid = function ORDER BY call COLLATE "C"
  LOOP
    RAISE INFO '%', c.call;
    query := format('SELECT count(*) FROM scanned WHERE i = 1 AND run(%L, %L) %s', c.call, place,
      CASE WHEN c.result IS NULL THEN 'IS NOT NULL' ELSE format('= %L', c.result) END);
    IF c.works THEN
      EXECUTE query INTO n;
      RAISE INFO 'worked: %', n;
    ELSE
      CALL fails(query);
    END IF;
  END LOOP;
END $$;
CREATE TEMP VIEW sums AS SELECT sum(added) AS added, sum(dropped) AS dropped, sum(flushed) AS flushed,
  sum(pending) AS pending, sum(reserved) AS reserved, sum(memory_used) AS memory_used
FROM mdbatch_stat WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database());
CREATE TEMP TABLE before AS SELECT * FROM sums;
CALL run_all('parallel worker', 's');
-- many at once, each of which would keep a place
CALL fails($$SELECT run(format('SELECT mdbatch_put(''par'', ''{"k": %s}'')', i), 'parallel worker') FROM scanned$$);
CALL fails($$SELECT i FROM scanned WHERE run('SELECT count(*) FROM mdbatch_stat', 'parallel worker') IS NOT NULL$$);
CALL fails($$SELECT i FROM scanned WHERE run('SELECT count(*) FROM mdbatch_stat_histogram', 'parallel worker') IS NOT NULL$$);

-- Where no worker can be had, the leader does all of it.
SET max_parallel_workers = 0;
CALL run_all('client backend', 'sr');
RESET max_parallel_workers;

-- Nothing is left of that, and nothing has come of it.
SELECT b.added = s.added AND b.dropped = s.dropped AND b.flushed = s.flushed AS counters,
  s.pending, s.reserved, s.memory_used <= b.memory_used AS memory
FROM before b, sums s;
SELECT count(*) FROM par;
SELECT * FROM books WHERE NOT balanced OR reserved > 0;
-- The batch has room for as many as ever, and then no more.
SELECT capacity FROM mdbatch_stat WHERE relid = 'par'::regclass;
SELECT mdbatch_put('par', (SELECT jsonb_agg(jsonb_build_object('k', i)) FROM generate_series(1, 21) i));
SELECT mdbatch_flush('par') IS NOT NULL AS flushed;
SELECT count(*) FROM par WHERE k > 0;
SELECT reserved, pending, balanced FROM books WHERE target = 'public.par';

RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET parallel_leader_participation;
DROP PROCEDURE run_all(text, text);
DROP FUNCTION run(text, text);
DROP VIEW par_view, sums;
DROP TABLE par, scanned, calls, before;
TRUNCATE mdbatch_metadata;
