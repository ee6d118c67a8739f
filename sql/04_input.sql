-- R17: errors in the input, and that a call that fails enqueues nothing.
CALL fails($$SELECT mdbatch_add(NULL, '{k}', '{v}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), NULL, '{v}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', NULL)$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k,l}', '{v}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}', '{e,f}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}', '{e}', ARRAY[]::timestamptz[])$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k,NULL}', '{v,w}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k,l}', '{v,NULL}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k,l}', '{v,w}', NULL, ARRAY[now(), NULL])$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{{k},{l}}', '{v,w}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k,""}', '{v,w}')$$);
CALL fails($$SELECT mdbatch_add_many(ARRAY[agent(1), NULL], '{k,l}', '{v,w}')$$);
CALL fails($$SELECT mdbatch_add_many(NULL, '{k,l}', '{v,w}')$$);
CALL fails($$SELECT mdbatch_add_many(ARRAY[agent(1)], '{k,l}', '{v,w}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), ARRAY['k', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i)], '{v,w}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k,l}', ARRAY['v', repeat('x', 40000000)])$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{{v}}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}', '{{e}}')$$);
CALL fails($$SELECT mdbatch_add(agent(1), '{k}', '{v}', NULL, ARRAY[[now()]])$$);
CALL fails($$SELECT mdbatch_add_many(ARRAY[[agent(1)]], '{k}', '{v}')$$);
SELECT count(*) FROM mdbatch_pending();

-- Nothing of a failing call, all of the others.
BEGIN;
SELECT mdbatch_add(agent(1), '{before}', '{v}');
SAVEPOINT s;
SELECT mdbatch_add(agent(1), '{before,k,""}', '{lost,lost,lost}');
ROLLBACK TO s;
SELECT mdbatch_add(agent(1), '{after}', '{v}');
COMMIT;
SELECT mdbatch_add(agent(1), '{before,k,NULL}', '{lost,lost,lost}');
SELECT key, value FROM mdbatch_pending();
SELECT reserved, added FROM books WHERE pending > 0;
SELECT mdbatch_flush();
TRUNCATE mdbatch_metadata;
SELECT mdbatch_stat_reset();

-- What is allowed: no elements, a null error, no errors, no times.
SELECT mdbatch_add(agent(1), '{}', '{}');
SELECT mdbatch_add(agent(1), '{a,b}', '{1,2}', '{NULL,e}', ARRAY[timestamptz 'epoch', 'infinity']);
SELECT mdbatch_add_many(ARRAY[agent(2), agent(1)], '{c,d}', '{3,""}');
SELECT agent_id, key, value, error, CASE WHEN collected_at BETWEEN now() - interval '1 min' AND clock_timestamp() THEN 'now' ELSE collected_at::text END AS collected_at, in_flight
FROM mdbatch_pending();
SELECT mdbatch_flush();
SELECT agent_id, key, value, error FROM mdbatch_metadata ORDER BY 1, 2;
-- A stored infinity is the newest of all (R2).
SELECT mdbatch_add(agent(1), '{b}', '{3}');
SELECT mdbatch_flush();
SELECT value FROM mdbatch_metadata WHERE key = 'b';
SELECT flushed, skipped, balanced FROM books;

-- The largest key that is accepted is one that the index holds, too: this one
-- cannot be compressed. One that can be may be longer.
DO $$
DECLARE
  noise text := (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 100) i);
  fits int := 0;
BEGIN
  FOR n IN 2600..2800 LOOP
    BEGIN
      PERFORM mdbatch_add(agent(4), ARRAY[left(noise, n)], '{v}');
      fits := n;
    EXCEPTION WHEN program_limit_exceeded THEN EXIT;
    END;
  END LOOP;
  RAISE NOTICE 'a key of % bytes fits', fits;
END $$;
SELECT mdbatch_add(agent(4), ARRAY[repeat('k', 100000)], '{v}');
SELECT mdbatch_flush();
SELECT max(length(key)) FILTER (WHERE key NOT LIKE 'kk%') AS longest, max(length(key)) AS longest_of_all
FROM mdbatch_metadata WHERE agent_id = agent(4);

-- The default time is that of the call, one for all entries of it.
BEGIN;
SELECT now() AS began \gset
SELECT mdbatch_add(agent(5), '{a,b}', '{1,2}');
SELECT mdbatch_add(agent(5), '{c}', '{3}');
COMMIT;
SELECT count(DISTINCT collected_at) AS times, min(collected_at) > :'began' AS later,
  min(collected_at) FILTER (WHERE key = 'c') > max(collected_at) FILTER (WHERE key <> 'c') AS ordered
FROM mdbatch_pending();

-- Large values are chains of chunks.
SELECT mdbatch_add(agent(3), ARRAY['big' || n], ARRAY[repeat(md5(n::text), n)]) FROM generate_series(1, 300, 7) n;
SELECT count(*), bool_and(value = repeat(md5(substr(key, 4)), substr(key, 4)::int)) FROM mdbatch_pending();
SELECT mdbatch_flush();
SELECT count(*), bool_and(value = repeat(md5(substr(key, 4)), substr(key, 4)::int)) FROM mdbatch_metadata WHERE agent_id = agent(3);
TRUNCATE mdbatch_metadata;
