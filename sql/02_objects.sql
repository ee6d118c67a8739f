-- The settings: name, default, unit, context, range.
SELECT name, boot_val, unit, context, vartype, min_val, max_val, enumvals
FROM pg_settings WHERE name LIKE 'mdbatch.%' ORDER BY name COLLATE "C";
SELECT name, short_desc FROM pg_settings WHERE name LIKE 'mdbatch.%'
  AND short_desc NOT LIKE 'Sets %.';
SET mdbatch.on_full = 'maybe';
SET mdbatch.no_such_setting = 1;
SET mdbatch.batch_size = 10;
ALTER SYSTEM SET mdbatch.queue_size = 0;
ALTER SYSTEM SET mdbatch.queue_size = -2;
ALTER SYSTEM SET mdbatch.batch_size = 0;
ALTER SYSTEM SET mdbatch.batch_size = 100001;
-- (The ranges are shown above; the message has units in some versions only.)
\set VERBOSITY sqlstate
ALTER SYSTEM SET mdbatch.flush_interval = '9ms';
ALTER SYSTEM SET mdbatch.flush_interval = '25h';
ALTER SYSTEM SET mdbatch.flush_timeout = '61min';
ALTER SYSTEM SET mdbatch.lock_timeout = 0;
ALTER SYSTEM SET mdbatch.memory = '1023kB';
\set VERBOSITY default
ALTER SYSTEM SET mdbatch.max_batches = 4097;
ALTER SYSTEM SET mdbatch.max_workers = 0;
SET mdbatch.memory = '64MB';

-- The library tells its name and version where it is asked (18 on).
DO $$
DECLARE library text;
BEGIN
  SELECT name || ' ' || default_version INTO library FROM pg_available_extensions WHERE name = 'mdbatch';
  IF to_regproc('pg_get_loaded_modules') IS NOT NULL THEN
    EXECUTE $q$SELECT module_name || ' ' || version FROM pg_get_loaded_modules() WHERE file_name LIKE 'mdbatch%'$q$ INTO library;
  END IF;
  RAISE INFO '%', library;
END $$;

-- The objects of the extension, and that each says what it is for. (The types
-- of its tables are among them from 17 on.)
SELECT pg_describe_object(classid, objid, 0) COLLATE "C" AS object,
  coalesce(obj_description(objid, classid::regclass::text::name), '') <> '' AS has_comment
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid <> 'pg_type'::regclass
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mdbatch')
ORDER BY 1;

-- R18: what PUBLIC may not call.
SELECT proname::text COLLATE "C" AS proname FROM pg_proc
WHERE proname LIKE 'mdbatch%' AND NOT has_function_privilege('public', oid, 'EXECUTE')
ORDER BY 1;
-- All rights, but those of the superuser who made the extension, and MAINTAIN,
-- which owners have from 17 on.
SELECT c.relname, CASE a.grantee WHEN 0 THEN 'public' ELSE a.grantee::regrole::text END AS grantee,
  string_agg(a.privilege_type, ',' ORDER BY a.privilege_type COLLATE "C") AS rights
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid,
  aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mdbatch')
  AND a.grantee <> (SELECT extowner FROM pg_extension WHERE extname = 'mdbatch')
  AND a.privilege_type <> 'MAINTAIN'
GROUP BY 1, 2 ORDER BY c.relname COLLATE "C", 2;

-- No overloads, as drivers send untyped parameters; and how each runs.
SELECT proname::text COLLATE "C" AS name, prokind AS kind, provolatile AS volatile, proisstrict AS strict,
  proparallel AS parallel, proretset AS set, prosecdef AS definer, pg_get_function_arguments(oid) AS arguments
FROM pg_proc WHERE proname LIKE 'mdbatch%' ORDER BY 1;

-- R27: the extension's tables are dumped with their rows; it cannot move.
SELECT array_agg(c::regclass ORDER BY c::regclass::text) AS dumped, extcondition, extrelocatable, extversion
FROM pg_extension, unnest(extconfig) c WHERE extname = 'mdbatch' GROUP BY 2, 3, 4;
CREATE SCHEMA elsewhere;
ALTER EXTENSION mdbatch SET SCHEMA elsewhere;
DROP SCHEMA elsewhere;
SELECT reloptions, relowner::regrole FROM pg_class WHERE oid = 'mdbatch_metadata'::regclass;
SELECT count(*) AS rows_after_create FROM mdbatch_metadata;
SELECT target, metadata, key, version, columns, merge, mode, channel, notify, batch_size, flush_interval, owner = current_user AS mine
FROM mdbatch_target;
\d mdbatch_metadata
\d mdbatch_rejected
\d mdbatch_stat
\d mdbatch_stat_histogram
\d mdbatch_target
