-- doc/reference.md is made of the comments: each object has one (02_objects
-- says so), each column of a table or view too, and each argument has a name.
CREATE TEMP VIEW members AS
SELECT classid, objid FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mdbatch');
SELECT attrelid::regclass AS relation, attname AS column_without_comment
FROM members JOIN pg_attribute ON attrelid = objid
WHERE classid = 'pg_class'::regclass AND attnum > 0 AND NOT attisdropped
  AND coalesce(col_description(attrelid, attnum), '') = ''
ORDER BY attrelid::regclass::text COLLATE "C", attnum;
SELECT objid::regprocedure AS function_with_nameless_argument
FROM members JOIN pg_proc p ON p.oid = objid
WHERE classid = 'pg_proc'::regclass AND pronargs > 0
  AND (proargnames IS NULL OR '' = ANY (proargnames))
ORDER BY proname COLLATE "C";

-- They read like those of PostgreSQL: no sentences, plain characters.
SELECT pg_describe_object(classoid, d.objoid, objsubid) AS object, description
FROM members JOIN pg_description d ON d.objoid = objid AND classoid = classid
WHERE description !~ '^[ -~]+$' OR description ~ '^[A-Z][a-z]|\.$'
ORDER BY 1, 2;

-- How many were looked at.
SELECT count(*) FILTER (WHERE classid = 'pg_proc'::regclass) > 20 AS functions,
  count(*) FILTER (WHERE classid = 'pg_class'::regclass) >= 5 AS relations
FROM members;
DROP VIEW members;
