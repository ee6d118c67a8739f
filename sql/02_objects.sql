-- The settings: name, default, unit, context, range.
SELECT name, setting, unit, context, vartype, min_val, max_val, enumvals
FROM pg_settings WHERE name LIKE 'mdbatch.%' AND name NOT IN ('mdbatch.flush_interval', 'mdbatch.lock_timeout')
ORDER BY name COLLATE "C";
SELECT name, boot_val, unit, context, min_val, max_val
FROM pg_settings WHERE name IN ('mdbatch.flush_interval', 'mdbatch.lock_timeout')
ORDER BY name COLLATE "C";
SET mdbatch.on_full = 'maybe';
SET mdbatch.no_such_setting = 1;
SET mdbatch.batch_size = 10;
ALTER SYSTEM SET mdbatch.queue_size = 0;

-- The objects of the extension, and that each says what it is for.
SELECT pg_describe_object(classid, objid, 0) COLLATE "C" AS object,
  coalesce(obj_description(objid, classid::regclass::text::name), '') <> '' AS has_comment
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mdbatch')
ORDER BY 1;
SELECT count(*) AS columns_without_comment
FROM pg_attribute
WHERE attrelid = 'mdbatch_metadata'::regclass AND attnum > 0
  AND col_description(attrelid, attnum) IS NULL;

-- R18: what PUBLIC may not call.
SELECT proname::text COLLATE "C" AS proname FROM pg_proc
WHERE proname LIKE 'mdbatch%' AND NOT has_function_privilege('public', oid, 'EXECUTE')
ORDER BY 1;
\d mdbatch_metadata
\d mdbatch_stat
\d mdbatch_stat_histogram
\d mdbatch_target
