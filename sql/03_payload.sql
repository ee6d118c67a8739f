-- R6: agent ids to payloads and back.
SELECT * FROM mdbatch_encode_agent_ids(ARRAY[agent(1), agent(2)]);
SELECT * FROM mdbatch_decode_agent_ids('AAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAg');
SELECT rtrim(encode(uuid_send(agent(77)), 'base64'), '=') = mdbatch_encode_agent_ids(ARRAY[agent(77)]) AS is_base64;

-- distinct, in order of first appearance
SELECT d FROM mdbatch_encode_agent_ids(ARRAY[agent(3), agent(1), agent(3), agent(2), agent(1)]) p, mdbatch_decode_agent_ids(p) d;

-- the standard alphabet, the whole range
SELECT mdbatch_encode_agent_ids(ARRAY['ffffffff-ffff-ffff-ffff-ffffffffffff', 'fbefbefb-efbe-fbef-befb-efbefbefbefb']::uuid[]);
SELECT mdbatch_decode_agent_ids('/////////////////////w++++++++++++++++++++++');

-- null in, nothing out
SELECT count(*) FROM mdbatch_encode_agent_ids(NULL);
SELECT count(*) FROM mdbatch_decode_agent_ids(NULL);

-- none, 363, 364, 1000
SELECT n, count(p) AS payloads, array_agg(length(p)) AS lengths
FROM (VALUES (0), (1), (363), (364), (1000)) t(n),
  LATERAL mdbatch_encode_agent_ids(ARRAY(SELECT agent(i) FROM generate_series(1, n) i)) p
GROUP BY n ORDER BY n;
SELECT array_agg(d) = ARRAY(SELECT agent(i) FROM generate_series(1, 1000) i) AS round_trip
FROM (SELECT d FROM mdbatch_encode_agent_ids(ARRAY(SELECT agent(i) FROM generate_series(1, 1000) i)) WITH ORDINALITY p(p, n),
  LATERAL mdbatch_decode_agent_ids(p.p) WITH ORDINALITY d(d, m) ORDER BY n, m) t;
SELECT count(*) FROM mdbatch_decode_agent_ids('');

-- R17: bad input
CALL fails($$SELECT mdbatch_decode_agent_ids('AAAA')$$);
CALL fails($$SELECT mdbatch_decode_agent_ids('AAAAAAAAAAAAAAAAAAAA?A')$$);
CALL fails($$SELECT mdbatch_decode_agent_ids('AAAAAAAAAAAAAAAAAAAA A')$$);
CALL fails($$SELECT mdbatch_decode_agent_ids('AAAAAAAAAAAAAAAAAAAAAQ' || 'AAAAAAAAAAAAAAAAAAAA==')$$);
CALL fails($$SELECT mdbatch_decode_agent_ids('AAAAAAAAAAAAAAAAAAAAAQ' || E'AAAAAAAAAAAAAAAAAAAAA\n')$$);
CALL fails($$SELECT mdbatch_decode_agent_ids('AAAAAAAAAAAAAAAAAAAAAQ==')$$);
CALL fails($$SELECT mdbatch_decode_agent_ids('AAAAAAAAAAAAAAAAAAAA-_')$$);
CALL fails($$SELECT mdbatch_decode_agent_ids(repeat('é', 11))$$);
CALL fails($$SELECT mdbatch_encode_agent_ids(ARRAY[agent(1), NULL])$$);
CALL fails($$SELECT mdbatch_encode_agent_ids(ARRAY[[agent(1)], [agent(2)]])$$);
