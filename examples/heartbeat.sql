-- Workers say every few seconds that they are alive and what they do.  A
-- scheduler wants to hear of changes, but not once for each report.
--
-- Run it in a database that has the extension, as a superuser, or as a role
-- that was granted EXECUTE on mdbatch_attach:
--     psql -d mydb -f examples/heartbeat.sql

DROP SCHEMA IF EXISTS example_heartbeat CASCADE;
CREATE SCHEMA example_heartbeat;

CREATE TABLE example_heartbeat.workers (
	id uuid PRIMARY KEY,
	status text NOT NULL,
	beat_at timestamptz NOT NULL
);

-- Put a batch in front of it.  The columns that are neither key nor version
-- are carried: here, status.  A worker that reports for the first time gets a
-- row (mode 'upsert', the default).  Each flush notifies the channel of the
-- workers that it wrote.
SELECT mdbatch_attach('example_heartbeat.workers',
	version => 'beat_at', channel => 'example_heartbeat');

-- The scheduler listens.  It needs a connection of its own, not one through a
-- pooler that shares connections.  (Here this session is the scheduler, too.)
LISTEN example_heartbeat;

-- What workers send.  Of two reports of a worker the one with the newer time
-- wins, even if it arrives first.
SELECT mdbatch_put('example_heartbeat.workers', '[
	{"id": "5e2b6a60-0c1d-4c8e-9a57-2f3f1f6f1c01", "status": "idle",
	 "beat_at": "2024-05-01 10:00:00+00"},
	{"id": "c0ffee00-0000-4000-8000-000000000002", "status": "busy",
	 "beat_at": "2024-05-01 10:00:05+00"}]');
SELECT mdbatch_put('example_heartbeat.workers',
	'{"id": "c0ffee00-0000-4000-8000-000000000002", "status": "idle",
	  "beat_at": "2024-05-01 10:00:01+00"}');

-- By itself this happens after mdbatch.flush_interval, 5 seconds.
SELECT mdbatch_flush('example_heartbeat.workers');

-- One notification names both workers, 22 characters each.  (psql shows
-- notifications after the next statement.)  The scheduler decodes the payload
-- and reads the rows, which are there by now.
SELECT id, w.status, w.beat_at
FROM mdbatch_decode_agent_ids('XitqYAwdTI6aVy8/H28cAQwP/uAAAAQACAAAAAAAAAAg')
	AS id
JOIN example_heartbeat.workers w USING (id)
ORDER BY id;

-- Who has been silent for too long?  An ordinary query on an ordinary table.
SELECT id, status FROM example_heartbeat.workers
WHERE beat_at < timestamptz '2024-05-01 10:00:30+00' - interval '28 seconds';
