-- R19: the books, step by step, and at the end.
CREATE TABLE booked (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('booked', channel => 'c');
CREATE VIEW book AS
SELECT pending, in_flight AS flying, reserved, added, coalesced, stale, dropped, flushed, skipped, rejected, discarded,
  batches_requested AS requested, flush_failures AS failures, notifications AS notified,
  added = coalesced + stale + flushed + skipped + rejected + discarded + pending AS balanced
FROM mdbatch_stat WHERE relid = 'booked'::regclass;
CREATE FUNCTION day(n int) RETURNS timestamptz LANGUAGE sql AS
$$ SELECT timestamptz '2020-01-01' + n * interval '1 day' $$;
-- A batch appears with the first add to its table.
SELECT * FROM book;
SELECT mdbatch_add(agent(1), '{a,b,a}', '{1,1,2}', NULL, array_fill(day(2), '{3}'));
SELECT * FROM book;
SELECT mdbatch_add_many(ARRAY[agent(1), agent(2), agent(3)], '{a,a,a}', '{0,0,0}', NULL, array_fill(day(1), '{3}'));
SELECT * FROM book;
SELECT memory_used > 0 AND memory_used < memory_limit AS memory, oldest_pending BETWEEN stats_reset AND clock_timestamp() AS oldest,
  last_flush, last_flush_duration, last_failure, last_error, worker_pid > 0 AS worker, capacity
FROM mdbatch_stat WHERE relid = 'booked'::regclass;
SELECT mdbatch_flush();
SELECT * FROM book;
SELECT oldest_pending, last_flush BETWEEN stats_reset AND clock_timestamp() AS last_flush, last_flush_duration > interval '0' AS took_time
FROM mdbatch_stat WHERE relid = 'booked'::regclass;
-- older than stored, equal, newer
SELECT mdbatch_add(agent(1), '{a,b}', '{3,3}', NULL, ARRAY[day(1), day(2)]);
SELECT mdbatch_flush();
SELECT * FROM book;
-- nothing to do counts nothing
SELECT mdbatch_flush();
SELECT * FROM book;
-- refused for good (R12): no failure
ALTER TABLE booked ADD CONSTRAINT no_bad CHECK (value <> 'bad');
SELECT mdbatch_add(agent(4), '{a,b,c}', '{bad,1,1}', NULL, array_fill(day(2), '{3}'));
SELECT mdbatch_flush();
SELECT * FROM book;
ALTER TABLE booked DROP CONSTRAINT no_bad;
TRUNCATE mdbatch_rejected;
-- a transaction that is open
BEGIN;
SELECT mdbatch_add(agent(1), '{c,d,c}', '{4,4,4}');
SELECT * FROM book;
COMMIT;
SELECT * FROM book;

-- A reset: added starts from what is pending.
SELECT mdbatch_stat_reset();
SELECT * FROM book;
BEGIN;
SELECT mdbatch_add(agent(1), '{e,c}', '{5,5}');
SELECT mdbatch_stat_reset();
SELECT * FROM book;
COMMIT;
SELECT * FROM book;
SELECT mdbatch_flush();
SELECT * FROM book;
SELECT stats_reset BETWEEN now() - interval '1 min' AND now() AS reset FROM mdbatch_stat WHERE relid = 'booked'::regclass;

-- The histograms: buckets as Prometheus has them.
SELECT mdbatch_add_many(array_agg(agent(a)), array_agg('k' || k), array_agg('v'::text))
FROM (VALUES (1, 1), (2, 2), (3, 3), (4, 10), (5, 101)) v(a, n), generate_series(1, n) k;
SELECT mdbatch_flush();
SELECT mdbatch_add(agent(6), '{a,b}', '{1,1}');
SELECT mdbatch_flush();
SELECT metric, le, bucket_count, sum, count FROM mdbatch_stat_histogram
WHERE datname = current_database() AND target = 'public.booked' AND metric <> 'flush_duration_seconds' ORDER BY metric, le;
-- They agree with the counters, and with themselves.
SELECT metric, reason, count(*) AS buckets, max(le) AS last, bool_and(bucket_count >= previous) AS cumulative,
  max(bucket_count) = max(count) AS complete, count(DISTINCT (sum, count)) AS totals,
  max(count) = CASE metric
    WHEN 'batch_size' THEN (SELECT batches_scheduled + batches_capacity + batches_requested + batches_shutdown FROM mdbatch_stat WHERE relid = 'booked'::regclass)
    WHEN 'flush_duration_seconds' THEN (SELECT CASE reason WHEN 'scheduled' THEN batches_scheduled WHEN 'capacity' THEN batches_capacity
      WHEN 'requested' THEN batches_requested ELSE batches_shutdown END FROM mdbatch_stat WHERE relid = 'booked'::regclass)
    ELSE 5 + 1 + 1 END AS count_agrees,
  CASE metric WHEN 'flush_duration_seconds' THEN (max(sum) > 0) = (max(count) > 0)
    ELSE max(sum) = (SELECT flushed + skipped FROM mdbatch_stat WHERE relid = 'booked'::regclass) END AS sum_agrees
FROM (SELECT *, lag(bucket_count, 1, 0::bigint) OVER (PARTITION BY metric, reason ORDER BY le) AS previous
  FROM mdbatch_stat_histogram WHERE datname = current_database() AND target = 'public.booked') h
GROUP BY metric, reason ORDER BY 1, 2;
SELECT mdbatch_stat_reset();
SELECT sum(count) AS count, sum(sum) AS sum, sum(bucket_count) AS buckets FROM mdbatch_stat_histogram WHERE datname = current_database();

-- A rename is noticed by the next add.
ALTER TABLE booked RENAME TO renamed;
SELECT mdbatch_add(agent(1), '{a}', '{6}');
SELECT target FROM mdbatch_stat WHERE relid = 'renamed'::regclass;
SELECT mdbatch_flush();

-- A batch that is attached again before all of it is written is the same.
SELECT mdbatch_add(agent(1), '{a}', '{7}');
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT pending, added, flushed FROM mdbatch_stat WHERE relid = 'renamed'::regclass;
SELECT mdbatch_set_target('renamed', channel => 'c');
SELECT mdbatch_flush();
SELECT pending, added, flushed FROM mdbatch_stat WHERE relid = 'renamed'::regclass;
-- Detached and empty, it is gone; the next one starts from nothing.
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT pending, added, flushed FROM mdbatch_stat WHERE relid = 'renamed'::regclass;
SELECT mdbatch_set_target('renamed', channel => 'c');
SELECT mdbatch_add(agent(1), '{a}', '{8}');
SELECT pending, added, flushed FROM mdbatch_stat WHERE relid = 'renamed'::regclass;
SELECT mdbatch_flush();
SELECT value FROM renamed WHERE agent_id = agent(1) AND key = 'a';
DROP VIEW book;
DROP TABLE renamed;
DROP FUNCTION day(int);
-- Every batch of all that was tested before
SELECT * FROM books WHERE NOT balanced OR pending <> 0 OR reserved <> 0 OR in_flight <> 0;
