-- When was each user last seen?  One request, one UPDATE of the same few rows,
-- again and again: mdbatch keeps the newest time of each user in memory and
-- writes all of them at once, once a minute.
--
-- Run it in a database that has the extension, as a superuser, or as a role
-- that was granted EXECUTE on mdbatch_attach:
--     psql -d mydb -f examples/last_seen.sql

DROP SCHEMA IF EXISTS example_last_seen CASCADE;
CREATE SCHEMA example_last_seen;

-- An ordinary table.  The application makes and deletes users as ever.
CREATE TABLE example_last_seen.users (
	id bigint PRIMARY KEY,
	name text NOT NULL,
	last_seen timestamptz
);
INSERT INTO example_last_seen.users (id, name)
VALUES (1, 'ann'), (2, 'bob'), (3, 'cleo');

-- Put a batch in front of it.
--   version: a report never overwrites a row that has a newer last_seen.  The
--     version is written, too, as the version.
--   columns: what else a report carries: nothing.
--   mode 'update': a report never makes a user, say one just deleted.
--   batch_size: this many users waiting are written before the minute is over.
SELECT mdbatch_attach('example_last_seen.users',
	version => 'last_seen', columns => '{}', mode => 'update',
	batch_size => 5000, flush_interval => '1 minute');

-- What a request does.  It writes nothing, locks no row, and returns how many
-- reports were accepted.  Without a time it means now.
SELECT mdbatch_put('example_last_seen.users', '{"id": 1}');

-- Many at once, with times of their own, in any order: the newest one counts.
-- User 99 does not exist.
SELECT mdbatch_put('example_last_seen.users', '[
	{"id": 2, "last_seen": "2024-05-01 10:00:00+00"},
	{"id": 2, "last_seen": "2024-05-01 12:00:00+00"},
	{"id": 2, "last_seen": "2024-05-01 11:00:00+00"},
	{"id": 99}]');

-- They are in the table within a minute.  We do not want to wait that long.
SELECT mdbatch_flush('example_last_seen.users');

-- ann was seen today, bob on 1 May 2024 at 12:00 UTC, cleo never.
SELECT name, last_seen FROM example_last_seen.users ORDER BY id;
