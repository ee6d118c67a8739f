-- R18: what adding and flushing need, privilege by privilege, and naming a table.
CREATE ROLE mdb_app;
CREATE ROLE mdb_owner;
CREATE ROLE mdb_heir;
CREATE SCHEMA priv;
GRANT USAGE ON SCHEMA priv TO mdb_app, mdb_owner, mdb_heir;
CREATE TABLE priv.t (k1 int, k2 int, ver int, n int, v text, other text, PRIMARY KEY (k1, k2));
ALTER TABLE priv.t OWNER TO mdb_owner;

-- Adding: with these privileges it works, without any one of them it does not.
CREATE FUNCTION adds(entry jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  SET LOCAL ROLE mdb_app;
  PERFORM mdbatch_put('priv.t', entry);
  RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
  RETURN false;
END $$;
CREATE PROCEDURE needs(VARIADIC privileges text[]) LANGUAGE plpgsql AS $$
DECLARE
  p text;
  unneeded text[];
  entry jsonb := (SELECT jsonb_object_agg(name, 1)
    FROM mdbatch_target, unnest(key || columns || version) AS name
    WHERE target = 'priv.t'::regclass AND name IS NOT NULL);
BEGIN
  REVOKE ALL ON priv.t FROM mdb_app;
  FOREACH p IN ARRAY privileges LOOP
    EXECUTE format('GRANT %s ON priv.t TO mdb_app', p);
  END LOOP;
  RAISE INFO 'with all: %', adds(entry);
  RESET ROLE;
  FOREACH p IN ARRAY privileges LOOP
    EXECUTE format('REVOKE %s ON priv.t FROM mdb_app', p);
    IF adds(entry) THEN unneeded := unneeded || p; END IF;
    RESET ROLE;
    EXECUTE format('GRANT %s ON priv.t TO mdb_app', p);
  END LOOP;
  RAISE INFO 'not needed: %', unneeded;
  REVOKE ALL ON priv.t FROM mdb_app;
END $$;
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n,v}');
CALL needs('INSERT (k1)', 'INSERT (k2)', 'INSERT (ver)', 'INSERT (n)', 'INSERT (v)', 'UPDATE (ver)', 'UPDATE (n)', 'UPDATE (v)');
CALL needs('INSERT', 'UPDATE');
CALL needs('INSERT', 'UPDATE (ver, n, v)');
CALL needs('INSERT', 'UPDATE', 'SELECT', 'DELETE', 'UPDATE (k1)', 'UPDATE (other)', 'TRIGGER');
SET ROLE mdb_app;
CALL fails($$SELECT mdbatch_put('priv.t', '{"k1": 1, "k2": 1}')$$);
RESET ROLE;
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n,v}', merge => '{"n": "sum"}');
CALL needs('INSERT (k1, k2, ver, n, v)', 'UPDATE (ver)', 'UPDATE (n)', 'UPDATE (v)', 'SELECT (n)');
CALL needs('INSERT', 'UPDATE', 'SELECT');
SET ROLE mdb_app;
CALL fails($$SELECT mdbatch_put('priv.t', '{"k1": 1, "k2": 1}')$$);
RESET ROLE;
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n,v}', merge => '{"n": "min"}');
CALL needs('INSERT', 'UPDATE', 'SELECT (n)');
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n,v}', mode => 'update');
CALL needs('SELECT (k1)', 'SELECT (k2)', 'UPDATE (ver)', 'UPDATE (n)', 'UPDATE (v)');
CALL needs('SELECT', 'UPDATE');
SET ROLE mdb_app;
CALL fails($$SELECT mdbatch_put('priv.t', '{"k1": 1, "k2": 1}')$$);
RESET ROLE;
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n,v}', mode => 'update', merge => '{"n": "max"}');
CALL needs('SELECT (k1)', 'SELECT (k2)', 'SELECT (n)', 'UPDATE (ver, n, v)');
SET ROLE mdb_app;
CALL fails($$SELECT mdbatch_put('priv.t', '{"k1": 1, "k2": 1}')$$);
RESET ROLE;
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{}');
CALL needs('INSERT (k1, k2, ver)', 'UPDATE (ver)');
SELECT mdbatch_attach('priv.t', columns => '{}');
CALL needs('INSERT (k1)', 'INSERT (k2)');
DROP PROCEDURE needs(text[]);
DROP FUNCTION adds(jsonb);

-- Flushing needs the same, or ownership.
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n,v}', merge => '{"n": "sum"}');
SELECT mdbatch_put('priv.t', '{"k1": 1, "k2": 1, "ver": 1, "n": 1}');
GRANT INSERT (k1, k2, ver, n, v), UPDATE (ver, n, v) ON priv.t TO mdb_app;
SET ROLE mdb_app;
CALL fails($$SELECT mdbatch_flush('priv.t')$$);
SELECT mdbatch_flush();
RESET ROLE;
GRANT SELECT (n) ON priv.t TO mdb_app;
SET ROLE mdb_app;
SELECT mdbatch_flush('priv.t');
SET ROLE mdb_owner;
SELECT mdbatch_flush('priv.t');
RESET ROLE;

-- A number or a value of a row type names a table without a look-up: USAGE on
-- its schema is needed all the same.
CREATE TABLE sample AS SELECT NULL::priv.t AS t, 'priv.t'::regclass AS relid;
GRANT SELECT ON sample TO PUBLIC;
SELECT relid::oid AS oid FROM sample \gset
SELECT mdbatch_attach('priv.t', version => 'ver', columns => '{n,v}');
GRANT ALL ON priv.t TO mdb_app;
SET ROLE mdb_app;
SELECT mdbatch_put(:oid, '{"k1": 5, "k2": 1, "ver": 100}');
RESET ROLE;
REVOKE USAGE ON SCHEMA priv FROM mdb_app;
CREATE PROCEDURE all_fail() LANGUAGE plpgsql AS $$
DECLARE q text; target text := (SELECT relid::oid::text FROM sample);
BEGIN
  FOREACH q IN ARRAY ARRAY[
    $q$mdbatch_put(%s, '{"k1": 5, "k2": 1, "ver": 100}') FROM sample$q$,
    'mdbatch_put(relid, ''{"k1": 5, "k2": 1, "ver": 100}'') FROM sample',
    'mdbatch_put_row(jsonb_populate_record(t, ''{"k1": 5, "k2": 1, "ver": 100}'')) FROM sample',
    'mdbatch_flush(relid) FROM sample',
    'mdbatch_pending_rows(t) FROM sample',
    'mdbatch_discard(relid) FROM sample',
    'mdbatch_retry(relid) FROM sample',
    'mdbatch_attach(relid, version => ''ver'') FROM sample',
    'mdbatch_detach(relid) FROM sample',
    'mdbatch_set_target(relid, ''k1'', ''k2'', ''v'', ''other'', ''ver'') FROM sample']
  LOOP
    RAISE INFO '%', q;
    CALL fails('SELECT ' || format(q, target));
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION mdbatch_attach, mdbatch_detach, mdbatch_discard, mdbatch_retry, mdbatch_set_target TO mdb_app;
SET ROLE mdb_app;
CALL all_fail();
CALL mdbatch_put_sync(:oid, '{"k1": 5, "k2": 1, "ver": 100}');
-- all that the role may flush, whatever it can name
SELECT mdbatch_flush();
RESET ROLE;
-- the owner, too
ALTER TABLE priv.t OWNER TO mdb_app;
SET ROLE mdb_app;
CALL all_fail();
RESET ROLE;
ALTER TABLE priv.t OWNER TO mdb_owner;
GRANT ALL ON priv.t TO mdb_app;
-- the right comes and goes, in one session and from role to role
GRANT USAGE ON SCHEMA priv TO mdb_heir;
GRANT INSERT, UPDATE ON priv.t TO mdb_heir;
SET ROLE mdb_heir;
SELECT mdbatch_put(:oid, '{"k1": 5, "k2": 1, "ver": 101}');
SET ROLE mdb_app;
CALL fails(format('SELECT mdbatch_put(%s, %L)', :oid, '{"k1": 5, "k2": 1, "ver": 102}'));
RESET ROLE;
GRANT USAGE ON SCHEMA priv TO mdb_app;
SET ROLE mdb_app;
SELECT mdbatch_put(:oid, '{"k1": 5, "k2": 1, "ver": 102}');
RESET ROLE;
REVOKE USAGE ON SCHEMA priv FROM mdb_app;
SET ROLE mdb_app;
CALL fails(format('SELECT mdbatch_put(%s, %L)', :oid, '{"k1": 5, "k2": 1, "ver": 103}'));
RESET ROLE;
CREATE SCHEMA hidden_priv;
GRANT USAGE ON SCHEMA hidden_priv TO mdb_owner, mdb_app;
ALTER TABLE priv.t SET SCHEMA hidden_priv;
SET ROLE mdb_app;
SELECT mdbatch_put(:oid, '{"k1": 5, "k2": 1, "ver": 103}');
RESET ROLE;
ALTER TABLE hidden_priv.t SET SCHEMA priv;
SET ROLE mdb_app;
CALL fails(format('SELECT mdbatch_put(%s, %L)', :oid, '{"k1": 5, "k2": 1, "ver": 104}'));
RESET ROLE;

-- A view reaches its target for the role that inserts, but not one that the
-- owner of the view could not name.
CREATE VIEW public.priv_view AS SELECT k1, k2, ver, n, v FROM priv.t;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON public.priv_view FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('priv.t');
GRANT INSERT ON public.priv_view TO mdb_app;
GRANT CREATE ON SCHEMA public TO mdb_app;
SET ROLE mdb_app;
INSERT INTO priv_view VALUES (6, 1, 100, 1, 'through a view');
CREATE VIEW public.own_view AS SELECT 1 AS k1, 1 AS k2, 1 AS ver;
DO $$
BEGIN
  EXECUTE format('CREATE TRIGGER enqueue INSTEAD OF INSERT ON public.own_view FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue(%L)',
    (SELECT relid::oid FROM sample));
END $$;
CALL fails('INSERT INTO own_view VALUES (7, 1, 100)');
DROP TRIGGER enqueue ON own_view;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON public.own_view FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('priv.t');
CALL fails('INSERT INTO own_view VALUES (7, 1, 100)');
RESET ROLE;
GRANT USAGE ON SCHEMA priv TO mdb_app;
SET ROLE mdb_app;
INSERT INTO own_view VALUES (8, 1, 100);
-- names that are none
DROP TRIGGER enqueue ON own_view;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON public.own_view FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('priv.nothing');
CALL fails('INSERT INTO own_view VALUES (9, 1, 100)');
RESET ROLE;
SELECT mdbatch_flush('priv.t') IS NOT NULL AS flushed;
SELECT k1, ver, v FROM priv.t WHERE k1 >= 5 ORDER BY 1;

-- mdbatch_add has a target that an administrator has chosen.
CREATE TABLE priv.m (agent_id uuid, key text, value text, error text, collected_at timestamptz, PRIMARY KEY (agent_id, key));
GRANT INSERT, UPDATE, SELECT ON priv.m TO mdb_app;
SELECT mdbatch_set_target('priv.m');
REVOKE USAGE ON SCHEMA priv FROM mdb_app;
SET ROLE mdb_app;
SELECT mdbatch_add(agent(1), '{k}', '{v}');
SELECT value FROM mdbatch_pending();
SELECT mdbatch_flush();
RESET ROLE;
SELECT value FROM priv.m;

DROP VIEW public.priv_view, public.own_view;
DROP TABLE priv.t, priv.m, sample;
DROP PROCEDURE all_fail();
DROP SCHEMA priv, hidden_priv;
DROP OWNED BY mdb_app, mdb_owner, mdb_heir;
DROP ROLE mdb_app, mdb_owner, mdb_heir;
SELECT mdbatch_flush() IS NOT NULL AS flushed;
SELECT * FROM books WHERE NOT balanced;
