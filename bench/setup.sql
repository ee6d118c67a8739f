-- What bench/run measures with: functions of the module, tables, and the best
-- flush by hand. :module is the path of the compiled module.
CREATE EXTENSION mdbatch;
CREATE SCHEMA bench;
SET search_path = bench, public;

CREATE FUNCTION bench.agent(int) RETURNS uuid
AS :'module', 'bench_agent' LANGUAGE C IMMUTABLE STRICT;
CREATE FUNCTION bench.no_add(uuid, text[], text[], text[] DEFAULT NULL,
	timestamptz[] DEFAULT NULL) RETURNS int
AS :'module', 'bench_no_add' LANGUAGE C VOLATILE;
CREATE FUNCTION bench.no_row(anyelement) RETURNS int
AS :'module', 'bench_no_row' LANGUAGE C VOLATILE;
CREATE PROCEDURE bench.adds(transactions int, calls int, keys int,
	first int, agents int, at_random bool, OUT ns float8)
AS :'module', 'bench_adds' LANGUAGE C;

-- Agents 1 to 2000, as one client after the other writes them.
CREATE TABLE bench.single (LIKE mdbatch_metadata INCLUDING ALL)
	WITH (fillfactor = 50);
INSERT INTO bench.single SELECT bench.agent(i), 'key0'
	FROM generate_series(1, 2000) i;
CREATE UNLOGGED TABLE bench.staging (agent_id uuid, key text, value text,
	error text, collected_at timestamptz);

-- Five columns.
CREATE TABLE bench.device (id int PRIMARY KEY, at timestamptz NOT NULL,
	state text, level int, note text) WITH (fillfactor = 50);
SELECT mdbatch_attach('bench.device', version => 'at', channel => 'device');
CREATE UNLOGGED TABLE bench.unlogged (LIKE bench.device INCLUDING ALL);
CREATE VIEW bench.inbox AS TABLE bench.device;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON bench.inbox FOR EACH ROW
	EXECUTE FUNCTION mdbatch_enqueue('bench.device');

-- One hot row.
CREATE TABLE bench.counter (id int PRIMARY KEY, n bigint) WITH (fillfactor = 50);
CREATE TABLE bench.counter1 (LIKE bench.counter INCLUDING ALL)
	WITH (fillfactor = 50);
INSERT INTO bench.counter1 VALUES (1, 0);
SELECT mdbatch_attach('bench.counter', merge => '{"n": "sum"}');

-- The reports of a flush: of n agents among the first "of", as they come.
CREATE FUNCTION bench.reports(n int, of int, OUT agents uuid[], OUT keys text[],
	OUT vals text[], OUT errors text[], OUT times timestamptz[])
LANGUAGE sql VOLATILE AS $$
SELECT array_agg(a), array_agg('key0'::text),
	array_agg('value ' || random()), array_agg(''::text),
	array_agg(clock_timestamp())
FROM (SELECT bench.agent(i) AS a FROM (SELECT DISTINCT
		1 + (random() * (of - 1))::int AS i
		FROM generate_series(1, n + n / 2 + 100)) d ORDER BY random() LIMIT n) s
$$;

-- A table of n rows, and two procedures that write reports into it as the
-- worker does, in key order, so that they cannot deadlock, with payloads, commit
-- and all, and tell the milliseconds that it took: the rows come from arrays, or
-- from an array of rows.
CREATE PROCEDURE bench.make_target(name text, n int, mode text)
LANGUAGE plpgsql AS $$
DECLARE
	kind text;
	source text;
	write text;
BEGIN
	EXECUTE format('CREATE TABLE bench.%I (LIKE mdbatch_metadata INCLUDING ALL)
		WITH (fillfactor = 50)', name);
	EXECUTE format('INSERT INTO bench.%I
		SELECT bench.agent(i), ''key0'', ''value'', '''', now()
		FROM generate_series(1, $1) i', name) USING n;
	FOREACH kind IN ARRAY '{arrays,rows}'::text[] LOOP
		source := CASE kind WHEN 'arrays' THEN
			'unnest(r.agents, r.keys, r.vals, r.errors, r.times)'
			ELSE 'unnest(reports)' END ||
			' AS s(agent_id, key, value, error, collected_at)';
		write := CASE mode WHEN 'upsert' THEN format('INSERT INTO bench.%I AS t
			SELECT s.agent_id, s.key, s.value, s.error, s.collected_at FROM %s
			ORDER BY s.agent_id, s.key
			ON CONFLICT (agent_id, key) DO UPDATE SET value = excluded.value,
				error = excluded.error, collected_at = excluded.collected_at
			WHERE (t.collected_at <= excluded.collected_at) IS NOT FALSE
			RETURNING t.agent_id', name, source)
		ELSE format('UPDATE bench.%I AS t SET value = s.value, error = s.error,
				collected_at = s.collected_at
			FROM (SELECT * FROM %s ORDER BY s.agent_id, s.key) s
			WHERE t.agent_id = s.agent_id AND t.key = s.key
			  AND (t.collected_at <= s.collected_at) IS NOT FALSE
			RETURNING t.agent_id', name, source) END;
		EXECUTE format('CREATE PROCEDURE bench.%I(n int, of int, OUT ms float8)
LANGUAGE plpgsql AS $procedure$
DECLARE
	r record;
	reports bench.single[];
	start timestamptz;
BEGIN
	SELECT * INTO r FROM bench.reports(n, of);
	reports := array(SELECT u::bench.single
		FROM unnest(r.agents, r.keys, r.vals, r.errors, r.times) u);
	COMMIT;
	start := clock_timestamp();
	WITH written AS (%s)
	SELECT count(pg_notify(''by_hand'', p)) INTO n
	FROM mdbatch_encode_agent_ids(array(SELECT DISTINCT agent_id
		FROM written)) p;
	COMMIT;
	ms := extract(epoch FROM clock_timestamp() - start) * 1000;
END $procedure$', name || '_' || kind, write);
	END LOOP;

	-- Flush and write by hand, in turn; milliseconds: the worker, by hand from
	-- arrays, by hand from an array of rows.
	EXECUTE format('CREATE PROCEDURE bench.%I(n int, of int, rounds int)
LANGUAGE plpgsql AS $procedure$
DECLARE
	worker float8;
	arrays float8;
	rows float8;
BEGIN
	FOR i IN 1 .. rounds LOOP
		PERFORM mdbatch_add_many(agents, keys, vals, errors, times)
		FROM bench.reports(n, of);
		COMMIT;
		PERFORM mdbatch_flush();
		SELECT extract(epoch FROM last_flush_duration) * 1000 INTO worker
		FROM mdbatch_stat WHERE relid = %L::regclass;
		COMMIT;
		CALL bench.%I(n, of, arrays);
		CALL bench.%I(n, of, rows);
		RAISE INFO ''ms %% %% %%'', worker, arrays, rows;
	END LOOP;
END $procedure$', name || '_compare', 'bench.' || name, name || '_arrays',
		name || '_rows');
END $$;
