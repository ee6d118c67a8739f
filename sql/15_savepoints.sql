-- R1, R3, R7, R8 against a model: the same adds, at all levels of nested
-- savepoints, some of which roll back, are made to a table by plain SQL.
CREATE TABLE said (n serial, key text, value text, collected_at timestamptz);
-- What stays of it: the newest of each key, in the order of first arrival.
-- (Rows are never updated: an assert-enabled PostgreSQL 15 does not survive
-- updates of one row at many levels of savepoints.)
CREATE VIEW model AS
SELECT DISTINCT ON (key) min(n) OVER (PARTITION BY key) AS n, key, value, collected_at
FROM said ORDER BY key, collected_at DESC, said.n DESC;

CREATE FUNCTION add_both(k text, v text, t timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF mdbatch_add(agent(1), ARRAY[k], ARRAY[v], NULL, ARRAY[t]) <> 1 THEN
    RAISE EXCEPTION 'not accepted';
  END IF;
  INSERT INTO said (key, value, collected_at) VALUES (k, v, t);
END $$;

-- A number from 0 to n - 1 that looks random but is not.
CREATE FUNCTION noise(seed text, n int) RETURNS int LANGUAGE sql IMMUTABLE AS
$$ SELECT (('x' || substr(md5(seed), 1, 7))::bit(28)::int) % n $$;

CREATE PROCEDURE play(seed text, depth int, keys int) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..12 LOOP
    PERFORM add_both('k' || noise(seed || i || 'k', keys), seed || i,
      timestamptz '2020-01-01' + noise(seed || i || 't', 5) * interval '1 day');
    IF depth > 0 AND noise(seed || i || 'd', 3) = 0 THEN
      BEGIN
        CALL play(seed || i || '.', depth - 1, keys);
        IF noise(seed || i || 'r', 2) = 0 THEN
          RAISE division_by_zero;
        END IF;
      EXCEPTION WHEN division_by_zero THEN NULL;
      END;
    END IF;
  END LOOP;
END $$;

CREATE PROCEDURE compare() LANGUAGE plpgsql AS $$
DECLARE
  wrong text;
  pending int := (SELECT count(*) FROM mdbatch_pending());
BEGIN
  SELECT string_agg(key, ',') INTO wrong
  FROM (SELECT row_number() OVER (ORDER BY n) AS place, key, value, collected_at FROM model) m
  FULL JOIN (SELECT p.*, row_number() OVER () AS place FROM mdbatch_pending() p) p USING (key)
  WHERE m.value IS DISTINCT FROM p.value OR m.collected_at IS DISTINCT FROM p.collected_at
    OR m.place IS DISTINCT FROM p.place;
  IF wrong IS NOT NULL THEN
    RAISE WARNING 'differ: %', wrong;
  END IF;
  IF EXISTS (SELECT FROM books WHERE NOT balanced OR reserved <> 0) THEN
    RAISE WARNING 'the books do not balance';
  END IF;
  RAISE NOTICE 'compared % keys', pending;
END $$;

-- Few keys that meet often, and many keys that seldom do.
SELECT mdbatch_stat_reset();
CALL play('a', 3, 10);
CALL compare();
CALL play('b', 4, 20);
CALL play('c', 4, 20);
CALL compare();
BEGIN;
CALL play('d', 3, 20);
ROLLBACK;
CALL compare();
CALL play('e', 4, 1000);
CALL compare();
SELECT mdbatch_flush() > 0 AS flushed;
SELECT count(*) AS differ FROM model m FULL JOIN mdbatch_metadata t USING (key)
WHERE (m.value, m.collected_at) IS DISTINCT FROM (t.value, t.collected_at);

-- Deep nesting: 200 levels, each with a key of its own and one of all.
TRUNCATE said, mdbatch_metadata;
CREATE PROCEDURE dive(level int) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM add_both('level' || level, 'v', '2020-01-01');
  PERFORM add_both('all', level::text, '2020-01-01');
  IF level < 200 THEN
    BEGIN
      CALL dive(level + 1);
      IF level = 150 THEN RAISE division_by_zero; END IF;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
  END IF;
END $$;
BEGIN;
CALL dive(1);
SELECT reserved FROM books WHERE target = 'public.mdbatch_metadata';
COMMIT;
CALL compare();
SELECT value FROM mdbatch_pending() WHERE key = 'all';

-- One level with more entries than the local hash had room for at first.
BEGIN;
SELECT count(add_both('many' || i, i::text, '2020-01-01')) FROM generate_series(1, 400) i;
SAVEPOINT s;
SELECT count(add_both('many' || i, 'lost', '2020-01-01')) FROM generate_series(200, 900) i;
ROLLBACK TO s;
SELECT count(add_both('many' || i, 'again', '2020-01-01')) FROM generate_series(350, 420) i;
RELEASE s;
SELECT count(add_both('many' || i, 'stale', '2019-01-01')) FROM generate_series(1, 420) i;
COMMIT;
CALL wait_until('(SELECT pending < 500 FROM books WHERE target = ''public.mdbatch_metadata'')');
SELECT mdbatch_flush() > 0 AS flushed;
SELECT count(*) AS differ FROM model m FULL JOIN mdbatch_metadata t USING (key)
WHERE (m.value, m.collected_at) IS DISTINCT FROM (t.value, t.collected_at);
SELECT pending, reserved, dropped, balanced FROM books WHERE target = 'public.mdbatch_metadata';

DROP PROCEDURE play(text, int, int), compare(), dive(int);
DROP FUNCTION add_both(text, text, timestamptz), noise(text, int);
DROP VIEW model;
DROP TABLE said;
TRUNCATE mdbatch_metadata;
