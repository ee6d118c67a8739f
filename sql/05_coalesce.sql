-- R1: the newer version wins, whichever came first; equal ones, the later.
SELECT mdbatch_stat_reset();
SELECT mdbatch_add(agent(1), '{a,a,a}', '{old,newest,older}', NULL, ARRAY[timestamptz '2020-01-02', '2020-01-03', '2020-01-01']);
SELECT mdbatch_add(agent(1), '{b,b}', '{first,second}', NULL, ARRAY[timestamptz '2020-01-01', '2020-01-01']);
SELECT key, value FROM mdbatch_pending();
SELECT mdbatch_add(agent(1), '{a}', '{stale}', NULL, ARRAY[timestamptz '2020-01-02']);
SELECT mdbatch_add(agent(1), '{a}', '{newer}', NULL, ARRAY[timestamptz '2020-01-04']);
SELECT mdbatch_add(agent(1), '{b}', '{third}', NULL, ARRAY[timestamptz '2020-01-01']);
BEGIN;
SELECT mdbatch_add(agent(1), '{b}', '{fourth}', NULL, ARRAY[timestamptz '2020-01-01']);
SELECT mdbatch_add(agent(1), '{b}', '{fifth}', NULL, ARRAY[timestamptz '2020-01-01']);
COMMIT;
-- R3: the order in which each key first arrived.
SELECT mdbatch_add(agent(1), '{c}', '{1}');
SELECT mdbatch_add(agent(1), '{a}', '{newest of all}');
SELECT key, value FROM mdbatch_pending();
SELECT pending, added, coalesced, stale, balanced FROM books;

-- R1: three versions in any order, in one call, in calls of a transaction, and
-- in transactions: the newest stays.
SELECT mdbatch_flush();
SELECT mdbatch_stat_reset();
CREATE FUNCTION day(n int) RETURNS timestamptz LANGUAGE sql AS
$$ SELECT timestamptz '2020-01-01' + n * interval '1 day' $$;
CREATE TABLE orders AS
SELECT row_number() OVER (ORDER BY a, b, c)::int AS n, ARRAY[a, b, c] AS days
FROM generate_series(1, 3) a, generate_series(1, 3) b, generate_series(1, 3) c;
SELECT sum(mdbatch_add(agent(n), '{call,call,call}', days::text[], NULL, ARRAY(SELECT day(d) FROM unnest(days) d))) FROM orders;
SELECT sum(mdbatch_add(agent(n), '{calls}', ARRAY[days[i]::text], NULL, ARRAY[day(days[i])]))
FROM orders, generate_series(1, 3) i;
DO $$
BEGIN
  FOR i IN 1..3 LOOP
    PERFORM mdbatch_add(agent(n), '{transactions}', ARRAY[days[i]::text], NULL, ARRAY[day(days[i])]) FROM orders;
    COMMIT;
  END LOOP;
END $$;
SELECT key, count(*), bool_and(value::int = (SELECT max(d) FROM orders, unnest(days) d WHERE agent(n) = agent_id)) AS newest
FROM mdbatch_pending() GROUP BY key ORDER BY key;
SELECT pending, added, coalesced + stale AS gone, coalesced, stale, balanced FROM books;
-- Equal versions: the later add, wherever it comes.
SELECT sum(mdbatch_add(agent(n), '{tie,tie}', '{first,second}', NULL, ARRAY[day(1), day(1)])) FROM orders;
SELECT sum(mdbatch_add(agent(n), '{tie}', '{third}', NULL, ARRAY[day(1)])) FROM orders WHERE n % 2 = 0;
SELECT value, count(*) FROM mdbatch_pending() WHERE key = 'tie' GROUP BY 1 ORDER BY 1;
DROP TABLE orders;
SELECT mdbatch_flush();
TRUNCATE mdbatch_metadata;

-- Keys are those of an agent; the error goes with its value.
SELECT mdbatch_add_many(ARRAY[agent(1), agent(2), agent(1)], '{a,a,a}', '{1,2,3}', '{e1,e2,NULL}', ARRAY[day(1), day(1), day(2)]);
SELECT mdbatch_add(agent(2), '{a}', '{stale}', '{stale}', ARRAY[day(0)]);
SELECT agent_id, key, value, error FROM mdbatch_pending();
SELECT mdbatch_flush();
SELECT agent_id, key, value, error FROM mdbatch_metadata ORDER BY 1, 2;
TRUNCATE mdbatch_metadata;

-- R3: a key that is added all the time keeps its place; after a flush it comes
-- last again.
SELECT mdbatch_add(agent(1), ARRAY[k], '{1}') FROM unnest('{c,b,d,a}'::text[]) k;
SELECT mdbatch_add(agent(1), '{a,b,d}', '{2,2,2}');
SELECT key, value FROM mdbatch_pending();
SELECT mdbatch_flush();
SELECT mdbatch_add(agent(1), '{a,c,b}', '{3,3,3}');
SELECT string_agg(key, '') FROM mdbatch_pending();
SELECT mdbatch_flush();
TRUNCATE mdbatch_metadata;
SELECT mdbatch_stat_reset();

-- R2: never over a newer row; over an older, an equal, or a null one.
INSERT INTO mdbatch_metadata
SELECT agent(1), k, 'stored', 'error', d
FROM (VALUES ('older', day(1)), ('equal', day(2)), ('newer', day(3)), ('never', 'infinity'), ('ever', '-infinity')) v(k, d);
SELECT mdbatch_add(agent(1), '{older,equal,newer,never,ever,missing}', '{mine,mine,mine,mine,mine,mine}', NULL,
  array_fill(day(2), '{6}'));
SELECT mdbatch_flush();
SELECT key, value, error FROM mdbatch_metadata ORDER BY 1;
SELECT pending, flushed, skipped, balanced FROM books;
TRUNCATE mdbatch_metadata;

CREATE TABLE nullable (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
INSERT INTO nullable VALUES (agent(1), 'a', 'stored', '', NULL);
SELECT mdbatch_set_target('nullable');
SELECT mdbatch_add(agent(1), '{a}', '{mine}', NULL, ARRAY[timestamptz '-infinity']);
SELECT mdbatch_flush();
SELECT value FROM nullable;
DROP TABLE nullable;
DROP FUNCTION day(int);
