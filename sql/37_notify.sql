-- R25: which values are announced, and how many payloads that makes. (What is
-- in them is heard in t/019_notify_any.pl.)
SELECT mdbatch_stat_reset();
CREATE TABLE told (id int, sub int, u uuid, v text, ver int CHECK (ver <> 13), PRIMARY KEY (id, sub));
CREATE VIEW notified AS
SELECT notifications, flushed, skipped, rejected FROM mdbatch_stat WHERE relid = 'told'::regclass;
-- Entries that were written, per flush and different value of theirs
CREATE VIEW utilization AS
SELECT reason, sum AS written, count AS values FROM mdbatch_stat_histogram
WHERE target = 'public.told' AND metric = 'batch_utilization' AND le = 'infinity';

-- What an attachment can say
SELECT mdbatch_attach('told');
SELECT channel, notify FROM mdbatch_target WHERE target = 'told'::regclass;
SELECT mdbatch_attach('told', '{sub,id}', channel => 'c');
SELECT channel, notify FROM mdbatch_target WHERE target = 'told'::regclass;
SELECT mdbatch_attach('told', channel => E'A "channel"\\', notify => 'v');
SELECT channel, notify FROM mdbatch_target WHERE target = 'told'::regclass;
CALL fails($$SELECT mdbatch_attach('told', channel => 'c', notify => 'nope')$$);
CALL fails($$SELECT mdbatch_attach('told', channel => 'c', notify => 'ctid')$$);
CALL fails($$SELECT mdbatch_attach('told', notify => 'v')$$);
CALL fails($$SELECT mdbatch_attach('told', channel => '')$$);
CALL fails($$SELECT mdbatch_attach('told', channel => repeat('c', 64))$$);
SELECT mdbatch_attach('told', channel => repeat('c', 63));
SELECT length(channel), notify FROM mdbatch_target WHERE target = 'told'::regclass;

-- Nothing without a channel
SELECT mdbatch_attach('told', version => 'ver');
SELECT mdbatch_put('told', '{"id": 1, "sub": 1, "ver": 1}');
SELECT mdbatch_flush('told');
SELECT * FROM notified;
SELECT * FROM utilization;

-- Distinct values, without NULL; of rows written only: not of the older (1),
-- the refused (5).
SELECT mdbatch_attach('told', version => 'ver', channel => 'c', notify => 'v');
SELECT mdbatch_put('told', '[{"id": 1, "sub": 1, "ver": 0, "v": "older"}, {"id": 2, "sub": 1, "ver": 1, "v": "same"}, {"id": 3, "sub": 1, "ver": 1, "v": "same"},
  {"id": 4, "sub": 1, "ver": 1, "v": null}, {"id": 5, "sub": 1, "ver": 13, "v": "refused"}, {"id": 6, "sub": 1, "ver": 1, "v": ""}]');
SELECT mdbatch_flush('told');
SELECT * FROM notified;
SELECT * FROM utilization;
-- Nothing but NULL, or nothing written: nobody hears.
SELECT mdbatch_put('told', '[{"id": 1, "sub": 1, "ver": 0, "v": "older"}, {"id": 7, "sub": 1, "ver": 1, "v": null}]');
SELECT mdbatch_flush('told');
SELECT * FROM notified;
DELETE FROM mdbatch_rejected;

-- Payloads of 7,999 bytes: the longest value that fits, and one that does not;
-- one before it, one after it. Quotes take two bytes, some characters six.
SELECT mdbatch_stat_reset();
CREATE PROCEDURE payloads(vals text[]) LANGUAGE plpgsql AS $$
DECLARE before bigint := (SELECT notifications FROM notified);
BEGIN
  PERFORM mdbatch_put('told', jsonb_agg(jsonb_build_object('id', 1000 + n, 'sub', 1, 'ver', 100, 'v', v) ORDER BY n)) FROM unnest(vals) WITH ORDINALITY u(v, n);
  COMMIT;
  PERFORM mdbatch_flush('told');
  RAISE INFO '% payloads', (SELECT notifications FROM notified) - before;
END $$;
CALL payloads(ARRAY[repeat('x', 7995)]);
CALL payloads(ARRAY[repeat('x', 7996)]);
CALL payloads(ARRAY['a', repeat('x', 7995), 'b', 'c']);
CALL payloads(ARRAY['a', repeat('x', 7996), 'b', 'c']);
CALL payloads(ARRAY[repeat('x', 3996), repeat('y', 3996)]);
CALL payloads(ARRAY[repeat('x', 3996), repeat('y', 3997)]);
CALL payloads(ARRAY[repeat('"', 3997)]);
CALL payloads(ARRAY[repeat('"', 3998)]);
CALL payloads(ARRAY[repeat(E'\x01', 1332)]);
CALL payloads(ARRAY[repeat(E'\x01', 1333)]);
-- 499 values of 100 bytes: 103 with quotes and comma, 77 of them in 7,999.
SELECT array_agg(lpad(i::text, 100, '0')) AS many FROM generate_series(1, 499) i \gset
CALL payloads(:'many');
DROP PROCEDURE payloads(text[]);

-- Uuids: 363 in a payload (R6).
SELECT mdbatch_attach('told', channel => 'c', notify => 'u');
SELECT notifications AS before FROM notified \gset
SELECT mdbatch_put('told', jsonb_agg(jsonb_build_object('id', i, 'sub', 2, 'u', agent(i % 364)))) FROM generate_series(1, 499) i;
SELECT mdbatch_flush('told');
SELECT notifications - :before AS payloads FROM notified;
-- A column that is not carried: what the row has.
SELECT mdbatch_attach('told', columns => '{ver}', channel => 'c', notify => 'v');
SELECT notifications AS before FROM notified \gset
SELECT mdbatch_put('told', '[{"id": 2, "sub": 1, "ver": 7}, {"id": 2000, "sub": 1, "ver": 7}]');
SELECT mdbatch_flush('told');
SELECT notifications - :before AS payloads FROM notified;
SELECT mdbatch_put('told', '{"id": 2000, "sub": 1, "ver": 8}');
SELECT mdbatch_flush('told');
SELECT notifications - :before AS payloads FROM notified;
SELECT key FROM mdbatch_rejected;
SELECT * FROM books WHERE NOT balanced;
DROP VIEW notified, utilization;
DROP TABLE told;
