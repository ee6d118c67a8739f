/* mdbatch--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION mdbatch" to load this file. \quit

-- A warning if the library is not preloaded. Nothing else calls this function.
CREATE FUNCTION @extschema@.mdbatch_check_preload()
RETURNS void
AS 'MODULE_PATHNAME', 'mdbatch_check_preload'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
SELECT @extschema@.mdbatch_check_preload();
DROP FUNCTION @extschema@.mdbatch_check_preload();

-- The metadata target until another table is marked as such. Rows are updated
-- in place again and again: room for HOT updates, and early vacuum.
CREATE TABLE @extschema@.mdbatch_metadata (
	agent_id uuid NOT NULL,
	key text NOT NULL,
	value text NOT NULL DEFAULT '',
	error text NOT NULL DEFAULT '',
	collected_at timestamptz NOT NULL DEFAULT '-infinity',
	PRIMARY KEY (agent_id, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE @extschema@.mdbatch_metadata IS
	'target of mdbatch_add until mdbatch_set_target names another table';
COMMENT ON COLUMN @extschema@.mdbatch_metadata.agent_id IS 'the agent';
COMMENT ON COLUMN @extschema@.mdbatch_metadata.key IS 'what the value is of';
COMMENT ON COLUMN @extschema@.mdbatch_metadata.value IS 'newest value';
COMMENT ON COLUMN @extschema@.mdbatch_metadata.error IS
	'error of the newest collection, empty if there was none';
COMMENT ON COLUMN @extschema@.mdbatch_metadata.collected_at IS
	'when the value was collected; a newer one wins';
ALTER TABLE @extschema@.mdbatch_metadata OWNER TO pg_database_owner;
REVOKE ALL ON @extschema@.mdbatch_metadata FROM PUBLIC;

-- The worker writes as the owner of the table.
GRANT USAGE ON SCHEMA @extschema@ TO pg_database_owner;
SELECT pg_catalog.pg_extension_config_dump('@extschema@.mdbatch_metadata', '');

-- Agent metadata

CREATE FUNCTION @extschema@.mdbatch_add(
	agent_id uuid, keys text[], vals text[],
	errors text[] DEFAULT NULL, collected_at timestamptz[] DEFAULT NULL)
RETURNS integer
AS 'MODULE_PATHNAME', 'mdbatch_add'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_add(uuid, text[], text[], text[], timestamptz[]) IS
	'enqueue keys and values of one agent, returns how many were accepted';

CREATE FUNCTION @extschema@.mdbatch_add_many(
	agent_ids uuid[], keys text[], vals text[],
	errors text[] DEFAULT NULL, collected_at timestamptz[] DEFAULT NULL)
RETURNS integer
AS 'MODULE_PATHNAME', 'mdbatch_add_many'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_add_many(uuid[], text[], text[], text[], timestamptz[]) IS
	'enqueue keys and values of many agents, returns how many were accepted';

CREATE PROCEDURE @extschema@.mdbatch_add_sync(
	agent_id uuid, keys text[], vals text[],
	errors text[] DEFAULT NULL, collected_at timestamptz[] DEFAULT NULL)
AS 'MODULE_PATHNAME', 'mdbatch_add_sync'
LANGUAGE C;
COMMENT ON PROCEDURE @extschema@.mdbatch_add_sync(uuid, text[], text[], text[], timestamptz[]) IS
	'enqueue keys and values of one agent, commit, and return when they are durably written';

CREATE FUNCTION @extschema@.mdbatch_pending(
	OUT agent_id uuid, OUT key text, OUT value text, OUT error text,
	OUT collected_at timestamptz, OUT in_flight boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mdbatch_pending'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION @extschema@.mdbatch_pending() IS
	'what waits now for the metadata target, in flush order';

CREATE FUNCTION @extschema@.mdbatch_set_target(
	target regclass,
	agent_id name DEFAULT 'agent_id', key name DEFAULT 'key',
	value name DEFAULT 'value', error name DEFAULT 'error',
	collected_at name DEFAULT 'collected_at', mode text DEFAULT 'upsert',
	channel text DEFAULT 'workspace_agent_metadata_batch')
RETURNS void
AS 'MODULE_PATHNAME', 'mdbatch_set_target'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_set_target(regclass, name, name, name, name, name, text, text) IS
	'attach a table and point mdbatch_add at it';
REVOKE ALL ON FUNCTION @extschema@.mdbatch_set_target(regclass, name, name, name, name, name, text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.mdbatch_encode_agent_ids(agent_ids uuid[])
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'mdbatch_encode_agent_ids'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_encode_agent_ids(uuid[]) IS
	'agent ids to notification payloads';

CREATE FUNCTION @extschema@.mdbatch_decode_agent_ids(payload text)
RETURNS SETOF uuid
AS 'MODULE_PATHNAME', 'mdbatch_decode_agent_ids'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_decode_agent_ids(text) IS
	'a notification payload to agent ids';

-- Any table

CREATE FUNCTION @extschema@.mdbatch_attach(
	target regclass, key name[] DEFAULT NULL, version name DEFAULT NULL,
	columns name[] DEFAULT NULL, merge jsonb DEFAULT NULL,
	mode text DEFAULT 'upsert', channel text DEFAULT NULL,
	notify name DEFAULT NULL, batch_size integer DEFAULT NULL,
	flush_interval interval DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'mdbatch_attach'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_attach(regclass, name[], name, name[], jsonb, text, text, name, integer, interval) IS
	'put a batch in front of a table, or change what is in front of it';
REVOKE ALL ON FUNCTION @extschema@.mdbatch_attach(regclass, name[], name, name[], jsonb, text, text, name, integer, interval) FROM PUBLIC;

CREATE FUNCTION @extschema@.mdbatch_detach(target regclass)
RETURNS void
AS 'MODULE_PATHNAME', 'mdbatch_detach'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_detach(regclass) IS
	'take the batch away from a table; what is pending is still written';
REVOKE ALL ON FUNCTION @extschema@.mdbatch_detach(regclass) FROM PUBLIC;

CREATE FUNCTION @extschema@.mdbatch_put(target regclass, entries jsonb)
RETURNS integer
AS 'MODULE_PATHNAME', 'mdbatch_put'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_put(regclass, jsonb) IS
	'enqueue a JSON object, or an array of them, with the columns of an entry by name; returns how many were accepted';

CREATE FUNCTION @extschema@.mdbatch_put_row(entry anyelement)
RETURNS integer
AS 'MODULE_PATHNAME', 'mdbatch_put_row'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_put_row(anyelement) IS
	'enqueue a row of a target, whose type names the target; returns how many were accepted';

CREATE PROCEDURE @extschema@.mdbatch_put_sync(target regclass, entries jsonb)
AS 'MODULE_PATHNAME', 'mdbatch_put_sync'
LANGUAGE C;
COMMENT ON PROCEDURE @extschema@.mdbatch_put_sync(regclass, jsonb) IS
	'enqueue as mdbatch_put does, commit, and return when the entries are durably written';

CREATE FUNCTION @extschema@.mdbatch_enqueue()
RETURNS trigger
AS 'MODULE_PATHNAME', 'mdbatch_enqueue'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_enqueue() IS
	'trigger INSTEAD OF INSERT on a view: enqueue for the target that is its argument';

CREATE FUNCTION @extschema@.mdbatch_pending_rows(target_row anyelement)
RETURNS SETOF anyelement
AS 'MODULE_PATHNAME', 'mdbatch_pending_rows'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED;
COMMENT ON FUNCTION @extschema@.mdbatch_pending_rows(anyelement) IS
	'what waits now for a target, as rows of it, in flush order';

CREATE FUNCTION @extschema@.mdbatch_discard(target regclass)
RETURNS bigint
AS 'MODULE_PATHNAME', 'mdbatch_discard'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_discard(regclass) IS
	'throw away what is pending for a table; returns how many entries that was';
REVOKE ALL ON FUNCTION @extschema@.mdbatch_discard(regclass) FROM PUBLIC;

CREATE FUNCTION @extschema@.mdbatch_retry(target regclass)
RETURNS bigint
AS 'MODULE_PATHNAME', 'mdbatch_retry'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_retry(regclass) IS
	'enqueue again what a table refused, and remove it from mdbatch_rejected; returns how many entries that was';
REVOKE ALL ON FUNCTION @extschema@.mdbatch_retry(regclass) FROM PUBLIC;

-- A row belongs to the identity of an attachment, which is in the label of its
-- table, so that a dump can be restored whatever became of the table. Keys can
-- be too long for an index: their digest is the key. The library writes it as a
-- heap.
CREATE TABLE @extschema@.mdbatch_rejected (
	target text NOT NULL,
	key jsonb NOT NULL,
	entry jsonb NOT NULL,
	sqlstate text NOT NULL,
	message text NOT NULL,
	rejected_at timestamptz NOT NULL,
	removed boolean NOT NULL DEFAULT false,
	bytes jsonb,
	identity uuid NOT NULL,
	owner text COLLATE pg_catalog."C" NOT NULL,
	digest bytea NOT NULL,
	PRIMARY KEY (identity, owner, digest)
) USING heap;
CREATE INDEX mdbatch_rejected_age ON @extschema@.mdbatch_rejected
	(identity, owner, rejected_at);
COMMENT ON TABLE @extschema@.mdbatch_rejected IS
	'entries that a target refused for good: one row per target and key, merged';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.target IS
	'name of the table when last resolved';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.key IS
	'key columns of the entry by name, or a string, its bytes, if they cannot be shown';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.entry IS
	'columns of the entry by name: a string is the text of the value, anything else is its text as JSON';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.sqlstate IS
	'error that the entry met';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.message IS
	'primary message of that error';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.rejected_at IS
	'when it was refused last';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.removed IS
	'true if the entry is a removal';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.bytes IS
	'columns of the entry that cannot be shown, in hexadecimal; null if all can be';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.identity IS
	'identity of the attachment, which is in the label of the table; nil for mdbatch_metadata';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.owner IS
	'owner of the table when it refused the entry';
COMMENT ON COLUMN @extschema@.mdbatch_rejected.digest IS
	'SHA-256 of the text of the key';

-- Entries are values: for administrators, and for the owner of the database.
REVOKE ALL ON @extschema@.mdbatch_rejected FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('@extschema@.mdbatch_rejected', '');

-- A subscriber keeps what it has refused itself, even if all tables of another
-- server are replicated to it.
CREATE FUNCTION @extschema@.mdbatch_not_replicated()
RETURNS trigger
AS 'MODULE_PATHNAME', 'mdbatch_not_replicated'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_not_replicated() IS
	'trigger of mdbatch_rejected: ignore the changes that a subscription applies';
REVOKE ALL ON FUNCTION @extschema@.mdbatch_not_replicated() FROM PUBLIC;
CREATE TRIGGER mdbatch_not_replicated
	BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.mdbatch_rejected
	FOR EACH ROW EXECUTE FUNCTION @extschema@.mdbatch_not_replicated();
ALTER TABLE @extschema@.mdbatch_rejected
	ENABLE REPLICA TRIGGER mdbatch_not_replicated;

-- Both front ends

CREATE FUNCTION @extschema@.mdbatch_flush(target regclass DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'mdbatch_flush'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_flush(regclass) IS
	'wait until everything committed into the batch so far is durably in the target';

CREATE FUNCTION @extschema@.mdbatch_flushing()
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mdbatch_flushing'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION @extschema@.mdbatch_flushing() IS
	'the entries being flushed, for the background worker only';

CREATE FUNCTION @extschema@.mdbatch_is_label(label text, of_table boolean)
RETURNS boolean
AS 'MODULE_PATHNAME', 'mdbatch_is_label'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_is_label(text, boolean) IS
	'true if a label of a table, or of a column, can be read; for the view mdbatch_target only';

-- An attachment is a security label on the table and one on each column. One
-- that cannot be read attaches nothing, and must not make the view fail. All
-- labels are gone through once: joins of what was made of them would be nested
-- loops, as pg_seclabel is never analyzed.
CREATE VIEW @extschema@.mdbatch_target AS
WITH labelled AS MATERIALIZED (
	SELECT l.objoid, l.objsubid,
		CASE WHEN @extschema@.mdbatch_is_label(l.label, l.objsubid OPERATOR(pg_catalog.=) 0)
			THEN l.label::pg_catalog.jsonb
		END AS fields
	FROM pg_catalog.pg_seclabel l
	WHERE l.provider OPERATOR(pg_catalog.=) 'mdbatch'
	  AND l.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
), parts AS (
	-- Those of a table have no column.
	SELECT l.objoid, a.attname,
		CASE WHEN l.objsubid OPERATOR(pg_catalog.=) 0 THEN l.fields END AS t,
		CASE WHEN a.attname IS NOT NULL THEN l.fields END AS c
	FROM labelled l
	LEFT JOIN pg_catalog.pg_attribute a
	  ON a.attrelid OPERATOR(pg_catalog.=) l.objoid
	 AND a.attnum OPERATOR(pg_catalog.=) l.objsubid
	 AND a.attnum OPERATOR(pg_catalog.>) 0
	 AND NOT a.attisdropped
), tables AS (
	SELECT p.objoid,
		(pg_catalog.array_agg(p.t) FILTER (WHERE p.t IS NOT NULL))[1] AS t,
		pg_catalog.array_agg(p.attname ORDER BY (p.c OPERATOR(pg_catalog.->>) 'key')::pg_catalog.int4, p.attname)
			FILTER (WHERE (p.c OPERATOR(pg_catalog.->>) 'key')::pg_catalog.int4 OPERATOR(pg_catalog.>) 0) AS key,
		(pg_catalog.array_agg(p.attname ORDER BY p.attname)
			FILTER (WHERE (p.c OPERATOR(pg_catalog.->>) 'version')::pg_catalog.bool))[1] AS version,
		pg_catalog.array_agg(p.attname ORDER BY (p.c OPERATOR(pg_catalog.->>) 'column')::pg_catalog.int4, p.attname)
			FILTER (WHERE (p.c OPERATOR(pg_catalog.->>) 'column')::pg_catalog.int4 OPERATOR(pg_catalog.>) 0) AS columns,
		pg_catalog.jsonb_object_agg(p.attname, p.c OPERATOR(pg_catalog.->) 'merge')
			FILTER (WHERE p.c OPERATOR(pg_catalog.?) 'merge') AS merge,
		(pg_catalog.array_agg(p.attname ORDER BY p.attname)
			FILTER (WHERE (p.c OPERATOR(pg_catalog.->>) 'notify')::pg_catalog.bool))[1] AS notify
	FROM parts p
	GROUP BY p.objoid
), attached AS (
	-- A table that was detached has a label without a mode, and one that has
	-- become a view is not attached.
	SELECT r.oid, r.relowner, l.t, l.key, l.version, l.columns, l.merge, l.notify
	FROM tables l
	JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) l.objoid
	WHERE l.t OPERATOR(pg_catalog.?) 'mode'
	  AND (r.relkind OPERATOR(pg_catalog.=) 'r' OR r.relkind OPERATOR(pg_catalog.=) 'p')
)
SELECT r.oid::pg_catalog.regclass AS target,
	coalesce((r.t OPERATOR(pg_catalog.->>) 'metadata')::pg_catalog.bool, false) AS metadata,
	r.key, r.version, coalesce(r.columns, '{}') AS columns,
	coalesce(r.merge, '{}') AS merge,
	r.t OPERATOR(pg_catalog.->>) 'mode' AS mode,
	r.t OPERATOR(pg_catalog.->>) 'channel' AS channel,
	CASE WHEN r.t OPERATOR(pg_catalog.?) 'channel' THEN r.notify END AS notify,
	(r.t OPERATOR(pg_catalog.->>) 'batch_size')::pg_catalog.int4 AS batch_size,
	(r.t OPERATOR(pg_catalog.->>) 'flush_interval')::pg_catalog.float8
		OPERATOR(pg_catalog.*) interval '1 microsecond' AS flush_interval,
	pg_catalog.pg_get_userbyid(r.relowner) AS owner
FROM attached r
UNION ALL
SELECT r.oid::pg_catalog.regclass, true,
	ARRAY['agent_id', 'key']::pg_catalog.name[], 'collected_at'::pg_catalog.name,
	ARRAY['value', 'error']::pg_catalog.name[], '{}'::pg_catalog.jsonb, 'upsert',
	'workspace_agent_metadata_batch', 'agent_id'::pg_catalog.name,
	NULL, NULL, pg_catalog.pg_get_userbyid(r.relowner)
FROM pg_catalog.pg_class r
WHERE r.oid OPERATOR(pg_catalog.=) '@extschema@.mdbatch_metadata'::pg_catalog.regclass
  AND NOT EXISTS (SELECT 1 FROM attached a
		WHERE (a.t OPERATOR(pg_catalog.->>) 'metadata')::pg_catalog.bool);
COMMENT ON VIEW @extschema@.mdbatch_target IS 'a row per attached table';
COMMENT ON COLUMN @extschema@.mdbatch_target.target IS
	'the attached table';
COMMENT ON COLUMN @extschema@.mdbatch_target.metadata IS
	'true if mdbatch_add writes to this table';
COMMENT ON COLUMN @extschema@.mdbatch_target.key IS
	'columns that identify a row';
COMMENT ON COLUMN @extschema@.mdbatch_target.version IS
	'column that tells which of two entries is newer; null if the order of arrival does';
COMMENT ON COLUMN @extschema@.mdbatch_target.columns IS
	'columns that an entry carries beside key and version';
COMMENT ON COLUMN @extschema@.mdbatch_target.merge IS
	'sum, min or max for each column that is merged';
COMMENT ON COLUMN @extschema@.mdbatch_target.mode IS
	'upsert inserts missing rows, update writes only rows that exist';
COMMENT ON COLUMN @extschema@.mdbatch_target.channel IS
	'channel of the notifications; null if none are sent';
COMMENT ON COLUMN @extschema@.mdbatch_target.notify IS
	'column whose values are announced';
COMMENT ON COLUMN @extschema@.mdbatch_target.batch_size IS
	'batch size of this table; null if the setting holds';
COMMENT ON COLUMN @extschema@.mdbatch_target.flush_interval IS
	'flush interval of this table; null if the setting holds';
COMMENT ON COLUMN @extschema@.mdbatch_target.owner IS
	'owner of the table, as whom the worker writes';
GRANT SELECT ON @extschema@.mdbatch_target TO PUBLIC;

CREATE FUNCTION @extschema@.mdbatch_stat_rows(
	OUT datid oid, OUT relid oid, OUT target text, OUT worker_pid integer,
	OUT pending bigint, OUT in_flight bigint, OUT reserved bigint,
	OUT capacity bigint, OUT memory_used bigint, OUT memory_limit bigint,
	OUT added bigint, OUT coalesced bigint, OUT stale bigint,
	OUT dropped bigint, OUT flushed bigint, OUT skipped bigint,
	OUT rejected bigint, OUT discarded bigint,
	OUT batches_scheduled bigint, OUT batches_capacity bigint,
	OUT batches_requested bigint, OUT batches_shutdown bigint,
	OUT flush_failures bigint, OUT notifications bigint,
	OUT oldest_pending timestamptz, OUT last_flush timestamptz,
	OUT last_flush_duration interval, OUT last_failure timestamptz,
	OUT last_error text, OUT stats_reset timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mdbatch_stat_rows'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION @extschema@.mdbatch_stat_rows() IS
	'the rows of mdbatch_stat';

CREATE VIEW @extschema@.mdbatch_stat AS
SELECT s.datid, d.datname, s.relid, s.target, s.worker_pid, s.pending,
	s.in_flight, s.reserved, s.capacity, s.memory_used, s.memory_limit,
	s.added, s.coalesced, s.stale, s.dropped, s.flushed, s.skipped,
	s.rejected, s.discarded, s.batches_scheduled, s.batches_capacity,
	s.batches_requested, s.batches_shutdown, s.flush_failures,
	s.notifications, s.oldest_pending, s.last_flush, s.last_flush_duration,
	s.last_failure, s.last_error, s.stats_reset
FROM @extschema@.mdbatch_stat_rows() s
LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) s.datid;
COMMENT ON VIEW @extschema@.mdbatch_stat IS
	'a row per batch of the whole server: what is pending and what became of the rest';
COMMENT ON COLUMN @extschema@.mdbatch_stat.datid IS
	'database, by OID';
COMMENT ON COLUMN @extschema@.mdbatch_stat.datname IS
	'database; null if it is gone';
COMMENT ON COLUMN @extschema@.mdbatch_stat.relid IS
	'table, by OID';
COMMENT ON COLUMN @extschema@.mdbatch_stat.target IS
	'name of the table when last resolved; null for other databases, but for pg_read_all_stats';
COMMENT ON COLUMN @extschema@.mdbatch_stat.worker_pid IS
	'process that flushes the batches of the database; null if none runs';
COMMENT ON COLUMN @extschema@.mdbatch_stat.pending IS
	'entries that are not in the table yet';
COMMENT ON COLUMN @extschema@.mdbatch_stat.in_flight IS
	'those of them that a flush is writing now';
COMMENT ON COLUMN @extschema@.mdbatch_stat.reserved IS
	'places held by transactions that have not committed';
COMMENT ON COLUMN @extschema@.mdbatch_stat.capacity IS
	'entries that may wait, as mdbatch.queue_size holds for this batch';
COMMENT ON COLUMN @extschema@.mdbatch_stat.memory_used IS
	'bytes that this batch takes; null for roles without SELECT on key and version';
COMMENT ON COLUMN @extschema@.mdbatch_stat.memory_limit IS
	'bytes that this batch could take at most';
COMMENT ON COLUMN @extschema@.mdbatch_stat.added IS
	'entries accepted and committed';
COMMENT ON COLUMN @extschema@.mdbatch_stat.coalesced IS
	'entries replaced by, or merged into, another while they waited; stale ones too where stale is null';
COMMENT ON COLUMN @extschema@.mdbatch_stat.stale IS
	'entries that arrived older than the one that waited; null for roles without SELECT on key and version';
COMMENT ON COLUMN @extschema@.mdbatch_stat.dropped IS
	'entries not accepted as the batch was full; not part of added';
COMMENT ON COLUMN @extschema@.mdbatch_stat.flushed IS
	'entries written; null for roles without SELECT on key and version';
COMMENT ON COLUMN @extschema@.mdbatch_stat.skipped IS
	'entries flushed without a row written: newer, missing, or a trigger said no; null for roles without SELECT on key and version';
COMMENT ON COLUMN @extschema@.mdbatch_stat.rejected IS
	'entries that the table refused for good, see mdbatch_rejected';
COMMENT ON COLUMN @extschema@.mdbatch_stat.discarded IS
	'entries thrown away by mdbatch_discard, or with their table, extension or database';
COMMENT ON COLUMN @extschema@.mdbatch_stat.batches_scheduled IS
	'flushes after the flush interval';
COMMENT ON COLUMN @extschema@.mdbatch_stat.batches_capacity IS
	'flushes because batch_size entries waited';
COMMENT ON COLUMN @extschema@.mdbatch_stat.batches_requested IS
	'flushes asked for by mdbatch_flush or a procedure that acknowledges';
COMMENT ON COLUMN @extschema@.mdbatch_stat.batches_shutdown IS
	'last flushes of a worker that was told to stop';
COMMENT ON COLUMN @extschema@.mdbatch_stat.flush_failures IS
	'flushes that failed';
COMMENT ON COLUMN @extschema@.mdbatch_stat.notifications IS
	'notification payloads sent';
COMMENT ON COLUMN @extschema@.mdbatch_stat.oldest_pending IS
	'when the oldest pending entry arrived';
COMMENT ON COLUMN @extschema@.mdbatch_stat.last_flush IS
	'end of the last flush that committed';
COMMENT ON COLUMN @extschema@.mdbatch_stat.last_flush_duration IS
	'how long that flush took';
COMMENT ON COLUMN @extschema@.mdbatch_stat.last_failure IS
	'when a flush last failed, or stepped over entries';
COMMENT ON COLUMN @extschema@.mdbatch_stat.last_error IS
	'error of that flush; only SQLSTATE, table and constraint for roles other than the owner of the table and pg_read_all_stats';
COMMENT ON COLUMN @extschema@.mdbatch_stat.stats_reset IS
	'when the counters began';
GRANT SELECT ON @extschema@.mdbatch_stat TO PUBLIC;

CREATE FUNCTION @extschema@.mdbatch_stat_histogram_rows(
	OUT datid oid, OUT relid oid, OUT target text, OUT metric text,
	OUT reason text, OUT le double precision, OUT bucket_count bigint,
	OUT sum double precision, OUT count bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'mdbatch_stat_histogram_rows'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION @extschema@.mdbatch_stat_histogram_rows() IS
	'the rows of mdbatch_stat_histogram';

CREATE VIEW @extschema@.mdbatch_stat_histogram AS
SELECT d.datname, h.target, h.metric, h.reason, h.le, h.bucket_count, h.sum,
	h.count
FROM @extschema@.mdbatch_stat_histogram_rows() h
LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) h.datid;
COMMENT ON VIEW @extschema@.mdbatch_stat_histogram IS
	'histograms of batch size, batch utilization and flush duration, with cumulative buckets';
COMMENT ON COLUMN @extschema@.mdbatch_stat_histogram.datname IS
	'database; null if it is gone';
COMMENT ON COLUMN @extschema@.mdbatch_stat_histogram.target IS
	'name of the table when last resolved; null for other databases, but for pg_read_all_stats';
COMMENT ON COLUMN @extschema@.mdbatch_stat_histogram.metric IS
	'batch_size, batch_utilization or flush_duration_seconds';
COMMENT ON COLUMN @extschema@.mdbatch_stat_histogram.reason IS
	'reason of the flushes that are counted; null if all are';
COMMENT ON COLUMN @extschema@.mdbatch_stat_histogram.le IS
	'upper bound of the bucket, inclusive; the last one is Infinity';
COMMENT ON COLUMN @extschema@.mdbatch_stat_histogram.bucket_count IS
	'observations up to that bound, smaller buckets included; of batch_utilization null for roles without SELECT on key and version';
COMMENT ON COLUMN @extschema@.mdbatch_stat_histogram.sum IS
	'sum of all observations; null where bucket_count is';
COMMENT ON COLUMN @extschema@.mdbatch_stat_histogram.count IS
	'number of all observations; null where bucket_count is';
GRANT SELECT ON @extschema@.mdbatch_stat_histogram TO PUBLIC;

CREATE FUNCTION @extschema@.mdbatch_stat_reset()
RETURNS void
AS 'MODULE_PATHNAME', 'mdbatch_stat_reset'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.mdbatch_stat_reset() IS
	'zero the counters of the batches of this database';
REVOKE ALL ON FUNCTION @extschema@.mdbatch_stat_reset() FROM PUBLIC;

-- ALTER DEFAULT PRIVILEGES can have granted rights on what was made here. The
-- roles that it names keep none; PUBLIC keeps what this script says. (Grants to
-- other roles can stand anywhere, those to such a role would be lost above.)
DO LANGUAGE plpgsql $$
DECLARE
	made record;
BEGIN
	FOR made IN
		SELECT CASE WHEN p.oid IS NULL THEN 'TABLE' ELSE 'ROUTINE' END AS kind,
			i.identity, g.rolname,
			g.oid IS NULL AND pg_catalog.bool_or(a.privilege_type OPERATOR(pg_catalog.=) 'SELECT') AS readable
		FROM pg_catalog.pg_extension e
		JOIN pg_catalog.pg_depend d
		  ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
		 AND d.refobjid OPERATOR(pg_catalog.=) e.oid
		 AND d.deptype OPERATOR(pg_catalog.=) 'e'
		LEFT JOIN pg_catalog.pg_class c
		  ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
		 AND c.oid OPERATOR(pg_catalog.=) d.objid
		LEFT JOIN pg_catalog.pg_proc p
		  ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
		 AND p.oid OPERATOR(pg_catalog.=) d.objid
		CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(c.relacl, p.proacl)) a
		LEFT JOIN pg_catalog.pg_roles g
		  ON g.oid OPERATOR(pg_catalog.=) a.grantee
		CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
		WHERE e.extname OPERATOR(pg_catalog.=) 'mdbatch'
		  AND a.grantee OPERATOR(pg_catalog.<>) coalesce(c.relowner, p.proowner)
		  AND (g.oid IS NOT NULL OR c.oid IS NOT NULL)
		  AND EXISTS (
			SELECT 1
			FROM pg_catalog.pg_default_acl f
			CROSS JOIN LATERAL pg_catalog.aclexplode(f.defaclacl) b
			WHERE pg_catalog.pg_get_userbyid(f.defaclrole) OPERATOR(pg_catalog.=) current_user
			  AND b.grantee OPERATOR(pg_catalog.=) a.grantee)
		GROUP BY p.oid, i.identity, g.oid, g.rolname
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM %s CASCADE', made.kind,
			made.identity, coalesce(pg_catalog.quote_ident(made.rolname), 'PUBLIC'));
		IF made.readable THEN
			EXECUTE pg_catalog.format('GRANT SELECT ON TABLE %s TO PUBLIC', made.identity);
		END IF;
	END LOOP;
END $$;

-- The owner of the database can dump it with this.
GRANT SELECT ON @extschema@.mdbatch_rejected TO pg_database_owner;

-- The worker calls the first as the owner of a target, readers of the views the
-- others, also where ALTER DEFAULT PRIVILEGES lets PUBLIC call nothing.
GRANT EXECUTE ON FUNCTION @extschema@.mdbatch_flushing(),
	@extschema@.mdbatch_is_label(text, boolean),
	@extschema@.mdbatch_stat_rows(), @extschema@.mdbatch_stat_histogram_rows()
	TO PUBLIC;
