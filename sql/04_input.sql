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
SELECT count(*) FROM mdbatch_pending();

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

-- Large values are chains of chunks.
SELECT mdbatch_add(agent(3), ARRAY['big' || n], ARRAY[repeat(md5(n::text), n)]) FROM generate_series(1, 300, 7) n;
SELECT count(*), bool_and(value = repeat(md5(substr(key, 4)), substr(key, 4)::int)) FROM mdbatch_pending();
SELECT mdbatch_flush();
SELECT count(*), bool_and(value = repeat(md5(substr(key, 4)), substr(key, 4)::int)) FROM mdbatch_metadata WHERE agent_id = agent(3);
TRUNCATE mdbatch_metadata;
