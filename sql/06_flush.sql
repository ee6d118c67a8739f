-- The behaviours of a batcher, one after the other.
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT mdbatch_add(agent(1), '{first}', '{0}');
SELECT mdbatch_flush();
SELECT mdbatch_stat_reset();
-- What an idle worker waits for has a name (17 on).
CALL wait_until(format($$'%s' = (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'mdbatch worker' AND datname = current_database())$$,
  CASE WHEN current_setting('server_version_num')::int < 170000 THEN 'Extension' ELSE 'MdbatchMain' END));

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
WHERE datname = current_database() AND target = 'public.mdbatch_metadata' AND metric <> 'flush_duration_seconds' ORDER BY metric, le;
SELECT reason, count, max(bucket_count) FILTER (WHERE le = 'infinity') = count AS complete FROM mdbatch_stat_histogram
WHERE datname = current_database() AND target = 'public.mdbatch_metadata' AND metric = 'flush_duration_seconds' GROUP BY reason, count ORDER BY reason;
TRUNCATE mdbatch_metadata;

-- 1,200 entries: capacity flushes of exactly 500, again and again, then the
-- rest, in one transaction each, one statement, rows in key order (R4, R5).
CREATE TABLE log (n serial, what text);
GRANT INSERT ON log TO pg_database_owner;
GRANT USAGE ON log_n_seq TO pg_database_owner;
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.log (what) VALUES (CASE TG_LEVEL WHEN 'ROW' THEN NEW.agent_id || NEW.key ELSE TG_LEVEL END);
  RETURN NULL;
END $$;
CREATE TRIGGER each_row AFTER INSERT ON mdbatch_metadata FOR EACH ROW EXECUTE FUNCTION log();
CREATE TRIGGER each_statement BEFORE INSERT ON mdbatch_metadata EXECUTE FUNCTION log();
SELECT mdbatch_stat_reset();
SELECT mdbatch_add_many(array_agg(agent(i % 7) ORDER BY md5(i::text)), array_agg('k' || i ORDER BY md5(i::text)), array_agg(i::text)) FROM generate_series(1, 1200) i;
SELECT mdbatch_flush() BETWEEN 200 AND 1200 AS pending;
SELECT pending, flushed, batches_capacity, batches_requested, notifications FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;
SELECT written, count(*) AS flushes
FROM (SELECT count(*) AS written FROM mdbatch_metadata GROUP BY xmin::text) f GROUP BY 1 ORDER BY 1;
SELECT statement, count(*) AS rows, array_agg(what ORDER BY n) = array_agg(what ORDER BY what COLLATE "C") AS key_order
FROM (SELECT n, what, count(*) FILTER (WHERE what = 'STATEMENT') OVER (ORDER BY n) AS statement FROM log) l
WHERE what <> 'STATEMENT' GROUP BY 1 ORDER BY 1;
DROP TRIGGER each_row ON mdbatch_metadata;
DROP TRIGGER each_statement ON mdbatch_metadata;
DROP FUNCTION log();
DROP TABLE log;
TRUNCATE mdbatch_metadata;

-- R5: an add takes no lock above ACCESS SHARE, and no transaction id.
BEGIN;
SELECT mdbatch_add(agent(1), '{a}', '{1}');
SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation';
SELECT pg_current_xact_id_if_assigned() AS xid;
ROLLBACK;

-- What has no batch, or is no target.
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
CALL fails('SELECT mdbatch_flush(''state'')');
SELECT mdbatch_set_target('state');
SELECT mdbatch_flush('state');
DROP TABLE state;
CALL fails('SELECT mdbatch_flush(''pg_class'')');
CALL fails('SELECT mdbatch_flush(1::oid::regclass)');
SELECT * FROM books WHERE NOT balanced;
