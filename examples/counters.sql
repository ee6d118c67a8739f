-- Count page views, remember the slowest one, and when the page was first
-- seen.  Each view adds to a row that many sessions want at the same time:
-- mdbatch adds up in memory, and the row is written once for many views.
--
-- Run it in a database that has the extension, as a superuser, or as a role
-- that was granted EXECUTE on mdbatch_attach:
--     psql -d mydb -f examples/counters.sql

DROP SCHEMA IF EXISTS example_counters CASCADE;
CREATE SCHEMA example_counters;

CREATE TABLE example_counters.pages (
	page text PRIMARY KEY,
	views bigint NOT NULL,
	peak_ms integer,
	first_seen timestamptz
);

-- Put a batch in front of it.  merge says how two reports of a page become
-- one, and how that one and the stored row do.  No report is older than
-- another one here, so there is no version.
SELECT mdbatch_attach('example_counters.pages',
	merge => '{"views": "sum", "peak_ms": "max", "first_seen": "min"}');

-- What a request does.  (A column that is left out is NULL, and NULL counts as
-- absent when merging.  views is NOT NULL, so give it every time.)
SELECT mdbatch_put('example_counters.pages', '{"page": "/", "views": 1,
	"peak_ms": 12, "first_seen": "2024-05-01 10:00:00+00"}');
SELECT mdbatch_put('example_counters.pages', '{"page": "/", "views": 1,
	"peak_ms": 480, "first_seen": "2024-05-01 10:00:01+00"}');
SELECT mdbatch_put('example_counters.pages', '{"page": "/about", "views": 1,
	"peak_ms": 7, "first_seen": "2024-05-01 10:00:02+00"}');
SELECT mdbatch_flush('example_counters.pages');

-- What comes later is merged with what is stored: a flush that committed is
-- never repeated, so nothing counts twice.  (After a crash of the server the
-- views that had not been flushed are missing.)  The typed way this time.
SELECT mdbatch_put_row(
	ROW('/', 3, 90, '2024-05-01 09:00:00+00')::example_counters.pages);
SELECT mdbatch_flush('example_counters.pages');

-- '/' has 5 views, a peak of 480 ms, and was first seen at 09:00 UTC.
SELECT * FROM example_counters.pages ORDER BY page;
