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

-- R2: never over a newer row; over an older, an equal, or a null one.
INSERT INTO mdbatch_metadata VALUES (agent(1), 'c', 'stored', '', 'infinity'), (agent(1), 'b', 'stored', '', '2020-01-01');
SELECT mdbatch_flush();
SELECT key, value FROM mdbatch_metadata ORDER BY 1;
SELECT pending, flushed, skipped, balanced FROM books;
TRUNCATE mdbatch_metadata;

CREATE TABLE nullable (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
INSERT INTO nullable VALUES (agent(1), 'a', 'stored', '', NULL);
SELECT mdbatch_set_target('nullable');
SELECT mdbatch_add(agent(1), '{a}', '{mine}', NULL, ARRAY[timestamptz '-infinity']);
SELECT mdbatch_flush();
SELECT value FROM nullable;
DROP TABLE nullable;
