-- The behaviours of a batcher, one after the other.
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT mdbatch_stat_reset();

-- R4: an empty batch is not flushed and counts nothing.
SELECT mdbatch_flush(), mdbatch_flush('mdbatch_metadata');
SELECT batches_scheduled, batches_capacity, batches_requested, notifications FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;

-- Two keys of one agent; five keys of two agents: one notification each (R6).
SELECT mdbatch_add(agent(1), '{a,b}', '{1,2}');
SELECT mdbatch_flush();
SELECT mdbatch_add_many(ARRAY[agent(1), agent(1), agent(1), agent(2), agent(2)], '{a,b,c,a,b}', '{1,2,3,4,5}');
SELECT mdbatch_flush('mdbatch_metadata');
SELECT batches_requested, flushed, notifications FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;

-- R4: a capacity flush of exactly 500, which makes two payloads.
SELECT mdbatch_stat_reset();
SELECT mdbatch_add_many(array_agg(agent(i)), array_agg('k'::text), array_agg(i::text)) FROM generate_series(1, 499) i;
SELECT pending, batches_capacity FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;
SELECT mdbatch_add(agent(500), '{k}', '{500}');
CALL wait_until($$EXISTS (SELECT FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass AND flushed = 500)$$);
SELECT pending, batches_capacity, batches_requested, notifications FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;

-- 600 agents: 500 by capacity, the others when asked for.
SELECT mdbatch_stat_reset();
SELECT mdbatch_add_many(array_agg(agent(i)), array_agg('k'::text), array_agg(i::text)) FROM generate_series(1, 600) i;
CALL wait_until($$EXISTS (SELECT FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass AND flushed = 500)$$);
SELECT mdbatch_flush();
SELECT pending, flushed, batches_capacity, batches_requested, notifications FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;
SELECT metric, reason, le, bucket_count, sum, count FROM mdbatch_stat_histogram
WHERE target = 'public.mdbatch_metadata' AND metric <> 'flush_duration_seconds' ORDER BY metric, le;
SELECT reason, count, max(bucket_count) FILTER (WHERE le = 'infinity') = count AS complete FROM mdbatch_stat_histogram
WHERE target = 'public.mdbatch_metadata' AND metric = 'flush_duration_seconds' GROUP BY reason, count ORDER BY reason;
TRUNCATE mdbatch_metadata;

-- R11: a flush that fails leaves its entries pending; the caller hears why.
ALTER TABLE mdbatch_metadata ADD CONSTRAINT no_bad CHECK (value <> 'bad');
SELECT mdbatch_add(agent(1), '{a,b}', '{bad,good}', NULL, ARRAY[timestamptz 'infinity', 'infinity']);
CALL fails('SELECT mdbatch_flush()');
SELECT pending, in_flight, flush_failures, last_error, last_failure IS NOT NULL AS has_time FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;
CALL fails('SELECT mdbatch_flush()');
-- a newer value that arrives meanwhile wins
SELECT mdbatch_add(agent(1), '{a}', '{mended}', NULL, ARRAY[timestamptz 'infinity']);
SELECT key, value, in_flight FROM mdbatch_pending();
SELECT mdbatch_flush();
SELECT key, value FROM mdbatch_metadata ORDER BY 1;
ALTER TABLE mdbatch_metadata DROP CONSTRAINT no_bad;
TRUNCATE mdbatch_metadata;

-- Acknowledged: durable when it returns.
CALL mdbatch_add_sync(agent(1), '{a,b}', '{1,2}');
SELECT key, value FROM mdbatch_metadata ORDER BY 1;
BEGIN;
CALL mdbatch_add_sync(agent(1), '{c}', '{3}');
ROLLBACK;
SELECT count(*) FROM mdbatch_pending();
CALL fails('SELECT mdbatch_flush(''pg_class'')');
CALL fails('SELECT mdbatch_flush(1::oid::regclass)');
TRUNCATE mdbatch_metadata;
SELECT * FROM books WHERE NOT balanced;
