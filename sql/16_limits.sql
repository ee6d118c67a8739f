-- R10: memory is bounded, and accounted exactly.
SELECT mdbatch_add(agent(1), '{a}', '{1}');
SELECT mdbatch_flush();
SELECT mdbatch_stat_reset();
CALL wait_until('(SELECT memory_used < 1000 FROM mdbatch_stat WHERE relid = ''mdbatch_metadata''::regclass)');
SELECT memory_used AS empty, memory_limit FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass \gset
SELECT mdbatch_add(agent(1), '{a}', '{1}');
SELECT memory_used - :empty AS chunk FROM mdbatch_stat WHERE relid = 'mdbatch_metadata'::regclass;
-- A megabyte each: what does not fit is dropped, and counted.
SELECT n BETWEEN 10 AND 17 AS some FROM (SELECT sum(mdbatch_add(agent(1), ARRAY['big' || i], ARRAY[repeat('x', 1000000)])) AS n FROM generate_series(1, 20) i) a;
SELECT dropped + pending AS in_all, dropped > 0 AS dropped, memory_used BETWEEN memory_limit - 2000000 AND memory_limit AS is_full, reserved, balanced
FROM mdbatch_stat JOIN books USING (target, pending, dropped, reserved) WHERE relid = 'mdbatch_metadata'::regclass;
-- Without memory a pending key is treated like a new one (R9).
SELECT mdbatch_add(agent(1), '{big1}', ARRAY[repeat('y', 2000000)]);
SET mdbatch.on_full = 'error';
CALL fails($$SELECT mdbatch_add(agent(1), '{big1}', ARRAY[repeat('y', 2000000)])$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{small,big}', ARRAY['x', repeat('y', 2000000)])$$);
RESET mdbatch.on_full;
SELECT count(*) FROM mdbatch_pending() WHERE value LIKE 'y%' OR key = 'small';
-- With wait, a call waits for memory until a flush frees some.
SET mdbatch.on_full = 'wait';
SET statement_timeout = '100ms';
SELECT mdbatch_add(agent(1), '{big1}', ARRAY[repeat('y', 2000000)]);
RESET statement_timeout;
RESET mdbatch.on_full;
-- Another batch has its share all the same.
CREATE TABLE state (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('state');
SELECT mdbatch_add(agent(1), ARRAY['k' || i], ARRAY[repeat('x', 1000)]) FROM generate_series(1, 3) i;
-- No flush of its own batch frees what another batch has: it does not wait.
SET mdbatch.on_full = 'wait';
SELECT mdbatch_flush('state');
CALL wait_until('(SELECT memory_used < 1000 FROM mdbatch_stat WHERE relid = ''state''::regclass)');
CALL fails($$SELECT mdbatch_add(agent(1), '{big}', ARRAY[repeat('x', 2000000)])$$);
RESET mdbatch.on_full;
SELECT mdbatch_add(agent(1), ARRAY['k' || i], ARRAY[repeat('x', 1000)]) FROM generate_series(1, 3) i;
-- What a transaction rolls back is free again.
BEGIN;
SELECT sum(mdbatch_add(agent(1), ARRAY['lost' || i], ARRAY[repeat('x', 10000)])) > 0 AS some FROM generate_series(1, 100) i;
ROLLBACK;
SELECT pending, memory_used < 10000 AS freed FROM mdbatch_stat WHERE relid = 'state'::regclass;
-- What a savepoint takes back, or a call drops, is free at once.
BEGIN;
SAVEPOINT s;
SELECT sum(mdbatch_add(agent(1), ARRAY['lost' || i], ARRAY[repeat('x', 10000)])) > 0 AS some FROM generate_series(1, 100) i;
ROLLBACK TO s;
SELECT mdbatch_add(agent(1), ARRAY['k1', 'big', 'k2'], ARRAY['v', repeat('x', 2000000), 'v']);
SELECT memory_used < 10000 AS freed FROM mdbatch_stat WHERE relid = 'state'::regclass;
ROLLBACK;
SELECT mdbatch_set_target('mdbatch_metadata');
SELECT mdbatch_add(agent(1), '{a}', '{2}');
SELECT mdbatch_flush() > 3 AS flushed;
SELECT count(*) FILTER (WHERE key = 'a') AS small, count(*) FILTER (WHERE key LIKE 'big%') BETWEEN 10 AND 17 AS big,
  bool_and(length(value) = CASE key WHEN 'a' THEN 1 ELSE 1000000 END) AS whole FROM mdbatch_metadata;
CALL wait_until(format('(SELECT memory_used = %s FROM mdbatch_stat WHERE relid = ''mdbatch_metadata''::regclass)', :empty));
DROP TABLE state;
TRUNCATE mdbatch_metadata;

-- No more than max_batches targets have a batch. An add that finds no free slot
-- takes that of the batch that has been empty longest; if none is empty, it
-- fails.
CREATE PROCEDURE add_to(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN first..last LOOP
    EXECUTE format('CREATE TABLE slot%s (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key))', i);
    PERFORM mdbatch_attach(format('slot%s', i)::regclass, version => 'collected_at');
    PERFORM mdbatch_put(format('slot%s', i)::regclass, jsonb_build_object('agent_id', agent(i), 'key', 'k', 'value', i::text));
    COMMIT;
  END LOOP;
END $$;
SELECT current_setting('mdbatch.max_batches')::int AS max_batches \gset
CALL add_to(1, :max_batches);
SELECT count(*) = :max_batches AS all_used, sum(pending) = :max_batches AS all_pending FROM mdbatch_stat;
CREATE TABLE one_more (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('one_more');
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}')$$);
SELECT mdbatch_flush('slot1');
SELECT mdbatch_flush('slot2');
-- An add that rolls back has taken the slot, but nothing from anybody else.
BEGIN;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
ROLLBACK;
SELECT count(*) AS first FROM mdbatch_stat WHERE relid = 'slot1'::regclass;
SELECT count(*) AS second FROM mdbatch_stat WHERE relid = 'slot2'::regclass;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_flush() = :max_batches - 1 AS all_flushed;
SELECT value FROM one_more;
DO $$
DECLARE n int;
BEGIN
  FOR i IN 1..current_setting('mdbatch.max_batches')::int LOOP
    EXECUTE format('SELECT count(*) FROM slot%s WHERE value = %L', i, i) INTO n;
    IF n <> 1 THEN RAISE WARNING 'lost %', i; END IF;
    EXECUTE format('DROP TABLE slot%s', i);
  END LOOP;
END $$;
DROP TABLE one_more;
DROP PROCEDURE add_to(int, int);
-- The first to have a batch has none now, and gets one again.
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT mdbatch_flush();
SELECT value FROM mdbatch_metadata;
SELECT * FROM books WHERE NOT balanced;
TRUNCATE mdbatch_metadata;
