-- Devices send readings through an application that knows INSERT and COPY and
-- nothing else, from an ORM, say.  A view takes them, and a trigger on it
-- enqueues them; the application needs no change but the name.
--
-- Run it in a database that has the extension, as a superuser, or as a role
-- that was granted EXECUTE on mdbatch_attach:
--     psql -d mydb -f examples/devices.sql

DROP SCHEMA IF EXISTS example_devices CASCADE;
CREATE SCHEMA example_devices;

-- The newest reading of each sensor of each device.
CREATE TABLE example_devices.readings (
	device integer,
	sensor text,
	value double precision,
	read_at timestamptz NOT NULL,
	PRIMARY KEY (device, sensor)
);
SELECT mdbatch_attach('example_devices.readings', version => 'read_at');

-- The way in.  Columns match by name.  What is inserted needs no ON CONFLICT:
-- the batch keeps the newest reading of each key, and so does the table.
CREATE VIEW example_devices.inbox AS
	SELECT device, sensor, value, read_at FROM example_devices.readings;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON example_devices.inbox
	FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('example_devices.readings');

-- A role that inserts needs INSERT on the view, and on the table the rights
-- that it would need there: INSERT, and UPDATE but on the key.

INSERT INTO example_devices.inbox (device, sensor, value, read_at)
VALUES (1, 'temperature', 20.5, '2024-05-01 10:00:00+00');

INSERT INTO example_devices.inbox (device, sensor, value, read_at)
VALUES (1, 'temperature', 21.5, '2024-05-01 10:00:10+00'),
	(1, 'humidity', 40, '2024-05-01 10:00:10+00'),
	(2, 'temperature', 18, '2024-05-01 10:00:11+00');

-- The second line is older than what waits already, and loses.
COPY example_devices.inbox (device, sensor, value, read_at) FROM STDIN;
2	temperature	18.5	2024-05-01 10:00:20+00
1	temperature	19	2024-05-01 09:00:00+00
3	humidity	55	2024-05-01 10:00:20+00
\.

-- What waits, as rows of the table.
SELECT * FROM mdbatch_pending_rows(NULL::example_devices.readings);

SELECT mdbatch_flush('example_devices.readings');

-- Four readings; device 1 has 21.5 degrees, device 2 has 18.5.
SELECT * FROM example_devices.readings ORDER BY device, sensor;
