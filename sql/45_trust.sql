-- R18: no code runs as the owner of a table that a lesser role has put there,
-- or can replace.
CREATE ROLE mdb_low;
CREATE ROLE mdb_boss;
CREATE SCHEMA low AUTHORIZATION mdb_low;
CREATE SCHEMA boss;
GRANT USAGE ON SCHEMA low TO PUBLIC;
GRANT USAGE, CREATE ON SCHEMA boss TO mdb_low, mdb_boss;
SET client_min_messages = warning;

-- Code that runs leaves a line here, with the role that ran it.
CREATE TABLE ran (what text, who name);
GRANT INSERT, SELECT ON ran TO PUBLIC;
CREATE FUNCTION boss.note(what text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO public.ran VALUES (what, current_user); RETURN true; END $$;
-- A superuser's function that executes what it is told, as query_to_xml does.
CREATE FUNCTION boss.execute(what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN EXECUTE what; RETURN true; END $$;

CREATE PROCEDURE try_flush() LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
  COMMIT;
  BEGIN
    PERFORM mdbatch_flush('boss.t');
    RAISE INFO '  written';
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE INFO '  flush: % %', SQLSTATE, replace(split_part(detail, '  DETAIL:  ', 2), current_user, 'boss');
  END;
END $$;
CREATE PROCEDURE try_attach() LANGUAGE plpgsql AS $$
BEGIN
  PERFORM mdbatch_attach('boss.t');
  RAISE INFO '  attached';
EXCEPTION WHEN OTHERS THEN
  RAISE INFO '  attach: % %', SQLSTATE, SQLERRM;
END $$;
-- A table boss.t with code that its owner trusts is attached and written. Then
-- the code is given to the lesser role: each flush and each attaching fails
-- until it is taken back, as everything is checked anew after a change.
CREATE PROCEDURE try(what text, code text, columns text, object text, ddl text DEFAULT '') LANGUAGE plpgsql AS $$
BEGIN
  RAISE INFO '%', what;
  EXECUTE code;
  EXECUTE format('CREATE TABLE boss.t (id int PRIMARY KEY, %s); %s', columns, ddl);
  CALL try_attach();
  PERFORM mdbatch_put('boss.t', '{"id": 1}');
  CALL try_flush();
  EXECUTE format('ALTER %s OWNER TO mdb_low', object);
  PERFORM mdbatch_put('boss.t', '{"id": 2}');
  CALL try_flush();
  CALL try_attach();
  EXECUTE format('ALTER %s OWNER TO CURRENT_USER', object);
  CALL try_flush();
  DROP TABLE boss.t;
  COMMIT;
END $$;
CREATE FUNCTION boss.f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 > 0; END $$;

-- What a row can run: whatever has a place for code.
CALL try('trigger', $$CREATE FUNCTION boss.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'$$,
  'v text', 'FUNCTION boss.fire()', 'CREATE TRIGGER f BEFORE INSERT ON boss.t FOR EACH ROW EXECUTE FUNCTION boss.fire()');
CALL try('WHEN of a trigger', '', 'v text', 'FUNCTION boss.f(int)',
  'CREATE TRIGGER f BEFORE INSERT ON boss.t FOR EACH ROW WHEN (boss.f(NEW.id)) EXECUTE FUNCTION boss.fire()');
CALL try('CHECK', '', 'v text CHECK (boss.f(id))', 'FUNCTION boss.f(int)');
CALL try('default', '', 'v boolean DEFAULT boss.f(1)', 'FUNCTION boss.f(int)');
CALL try('generated column', '', 'v boolean GENERATED ALWAYS AS (boss.f(id)) STORED, w int', 'FUNCTION boss.f(int)');
CALL try('index expression', '', 'v text', 'FUNCTION boss.f(int)', 'CREATE INDEX ON boss.t ((boss.f(id)))');
CALL try('index predicate', '', 'v text', 'FUNCTION boss.f(int)', 'CREATE INDEX ON boss.t (v) WHERE boss.f(id)');
CALL try('exclusion constraint', '', 'v text', 'FUNCTION boss.f(int)',
  'ALTER TABLE boss.t ADD EXCLUDE USING btree ((boss.f(id)::int) WITH =) WHERE (id < 0)');
CALL try('domain', 'CREATE DOMAIN boss.d AS int', 'v boss.d', 'DOMAIN boss.d');
CALL try('array of a domain', '', 'v boss.d[]', 'DOMAIN boss.d');
CALL try('domain in a composite type', 'CREATE TYPE boss.c AS (a boss.d)', 'v boss.c', 'DOMAIN boss.d');
CALL try('domain in a range', 'CREATE TYPE boss.r AS RANGE (SUBTYPE = boss.d)', 'v boss.r', 'DOMAIN boss.d');
CALL try('CHECK of a domain', 'CREATE DOMAIN boss.e AS int CHECK (boss.f(VALUE))', 'v boss.e', 'FUNCTION boss.f(int)');
CALL try('default of a domain', 'CREATE DOMAIN boss.g AS boolean DEFAULT boss.f(1)', 'v boss.g', 'FUNCTION boss.f(int)');
CREATE FUNCTION boss.g(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN true; END $$;
CREATE FUNCTION boss.h(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN true; END $$;
CREATE FUNCTION boss.compare(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 - $2; END $$;
CALL try('operator', 'CREATE OPERATOR boss.<<< (FUNCTION = boss.g, LEFTARG = int, RIGHTARG = int)',
  'v int CHECK (id OPERATOR(boss.<<<) 1)', 'FUNCTION boss.g(int, int)');
CALL try('its commutator', 'CREATE OPERATOR boss.>>> (FUNCTION = boss.h, LEFTARG = int, RIGHTARG = int, COMMUTATOR = OPERATOR(boss.<<<))',
  'v int CHECK (id OPERATOR(boss.<<<) 1)', 'FUNCTION boss.h(int, int)');
CALL try('operator class', 'CREATE OPERATOR CLASS boss.o FOR TYPE int USING btree AS OPERATOR 3 pg_catalog.=, FUNCTION 1 boss.compare(int, int)',
  'v int', 'FUNCTION boss.compare(int, int)', 'CREATE INDEX ON boss.t (v boss.o)');
CALL try('function behind a function: the affair of its owner',
  $$CREATE FUNCTION boss.behind() RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
  CREATE FUNCTION boss.before(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN boss.behind(); END'$$,
  'v text CHECK (boss.before(id))', 'FUNCTION boss.behind()');
CALL try('function that belongs to an extension', 'ALTER EXTENSION plpgsql ADD FUNCTION boss.f(int)', 'v text CHECK (boss.f(id))', 'FUNCTION boss.f(int)');
ALTER EXTENSION plpgsql DROP FUNCTION boss.f(int);
CALL try('partition', '', 'v text', 'TABLE boss.p1',
  'ALTER TABLE boss.t RENAME TO p1; CREATE TABLE boss.t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); ALTER TABLE boss.t ATTACH PARTITION boss.p1 FOR VALUES FROM (0) TO (10)');
CALL try('CHECK of a partition at the second level', '', 'v text', 'FUNCTION boss.f(int)',
  'ALTER TABLE boss.t RENAME TO p1; ALTER TABLE boss.p1 ADD CHECK (boss.f(id));
  CREATE TABLE boss.p2 (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); ALTER TABLE boss.p2 ATTACH PARTITION boss.p1 FOR VALUES FROM (0) TO (10);
  CREATE TABLE boss.t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); ALTER TABLE boss.t ATTACH PARTITION boss.p2 FOR VALUES FROM (0) TO (10)');
-- An operator class of a type that is the default one for its values: it sorts
-- the keys of a flush.
CREATE FUNCTION boss.v_in(cstring) RETURNS boss.v LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION boss.v_out(boss.v) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE boss.v (INPUT = boss.v_in, OUTPUT = boss.v_out, LIKE = int4);
CREATE FUNCTION boss.v_eq(boss.v, boss.v) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4eq';
CREATE FUNCTION boss.v_hash(boss.v) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'hashint4';
CREATE OPERATOR boss.= (FUNCTION = boss.v_eq, LEFTARG = boss.v, RIGHTARG = boss.v, HASHES);
CREATE OPERATOR CLASS boss.v_ops DEFAULT FOR TYPE boss.v USING hash AS OPERATOR 1 boss.=, FUNCTION 1 boss.v_hash(boss.v);
CALL try('base type', '', 'v boss.v', 'TYPE boss.v');
CALL try('its output function', '', 'v boss.v', 'FUNCTION boss.v_out(boss.v)');
CALL try('its default operator class', '', 'v boss.v', 'FUNCTION boss.v_hash(boss.v)');
CALL try('the operator in that', '', 'v boss.v', 'FUNCTION boss.v_eq(boss.v, boss.v)');
-- A composite gets a part of the lesser role, which takes no lock on the table.
CREATE DOMAIN low.part AS int CHECK (boss.note('part'));
ALTER DOMAIN low.part OWNER TO mdb_low;
CREATE TYPE boss.grows AS (a int);
CREATE TABLE boss.t (id int PRIMARY KEY, v boss.grows[]);
CALL try_attach();
SELECT mdbatch_put('boss.t', '{"id": 1, "v": [{"a": 1}]}');
CALL try_flush();
ALTER TYPE boss.grows ADD ATTRIBUTE b low.part;
SELECT mdbatch_put('boss.t', '{"id": 1, "v": [{"a": 2}]}');
TRUNCATE ran;
CALL try_flush();
ALTER TYPE boss.grows DROP ATTRIBUTE b;
CALL try_flush();
SELECT v FROM boss.t;
DROP TABLE boss.t;
-- Owners of enums, composites and ranges can bring casts and attributes at any
-- time. Collations have no code.
CALL try('enum', $$CREATE TYPE boss.mood AS ENUM ('good', 'bad')$$, 'v boss.mood', 'TYPE boss.mood');
CALL try('composite', 'CREATE TYPE boss.pair AS (a int, b text)', 'v boss.pair', 'TYPE boss.pair');
CALL try('range', 'CREATE TYPE boss.span AS RANGE (SUBTYPE = int)', 'v boss.span', 'TYPE boss.span');
CALL try('collation', 'CREATE COLLATION boss.order FROM "C"', 'v text COLLATE boss.order', 'COLLATION boss.order');

-- What is common goes on working.
CREATE TABLE boss.t (id int PRIMARY KEY, v text CHECK (boss.f(id)), a tsvector GENERATED ALWAYS AS (to_tsvector('simple', v)) STORED);
ALTER TABLE boss.t OWNER TO mdb_boss;
CREATE TRIGGER f BEFORE INSERT OR UPDATE ON boss.t FOR EACH ROW EXECUTE FUNCTION boss.fire();
CREATE TRIGGER s BEFORE UPDATE ON boss.t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CALL try_attach();
SELECT mdbatch_put('boss.t', '{"id": 1, "v": "functions of a superuser"}');
CALL try_flush();
-- A role that is a member of the owner, whether it inherits or can SET ROLE.
CREATE ROLE mdb_member IN ROLE mdb_boss;
CREATE ROLE mdb_noinherit NOINHERIT IN ROLE mdb_boss;
ALTER FUNCTION boss.f(int) OWNER TO mdb_member;
ALTER FUNCTION boss.fire() OWNER TO mdb_noinherit;
SELECT mdbatch_put('boss.t', '{"id": 2, "v": "functions of members"}');
CALL try_flush();
CALL try_attach();
-- No more, when it is none any more.
REVOKE mdb_boss FROM mdb_member;
SELECT mdbatch_put('boss.t', '{"id": 3, "v": "functions of a former member"}');
CALL try_flush();
GRANT mdb_boss TO mdb_member;
CALL try_flush();
-- The other way round: the owner has the privileges of the lesser role.
GRANT mdb_low TO mdb_boss;
ALTER FUNCTION boss.fire() OWNER TO mdb_low;
SELECT mdbatch_put('boss.t', '{"id": 4}');
CALL try_flush();
-- A disabled trigger does not run.
ALTER TABLE boss.t DISABLE TRIGGER f;
CALL try_flush();
ALTER TABLE boss.t ENABLE REPLICA TRIGGER f;
SELECT mdbatch_put('boss.t', '{"id": 5}');
CALL try_flush();
ALTER TABLE boss.t ENABLE ALWAYS TRIGGER f;
SELECT mdbatch_put('boss.t', '{"id": 6}');
CALL try_flush();
REVOKE mdb_low FROM mdb_boss;
-- A new owner: the table's code is to be trusted by that one.
ALTER TABLE boss.t OWNER TO mdb_low;
CALL try_flush();
ALTER FUNCTION boss.f(int) OWNER TO CURRENT_USER;
CALL try_flush();
SELECT id, v FROM boss.t ORDER BY id;
DROP TABLE boss.t;
ALTER FUNCTION boss.fire() OWNER TO CURRENT_USER;
DROP ROLE mdb_member, mdb_noinherit;

-- The right to create triggers. A trigger of the lesser role needs no function
-- of its own.
CREATE TABLE boss.t (id int PRIMARY KEY, v text);
ALTER TABLE boss.t OWNER TO mdb_boss;
GRANT ALL ON boss.t TO mdb_low;
GRANT EXECUTE ON FUNCTION boss.fire() TO PUBLIC;
SELECT mdbatch_attach('boss.t');
SET ROLE mdb_low;
SELECT mdbatch_put('boss.t', '{"id": 1}');
CALL fails($$CREATE TRIGGER low BEFORE INSERT ON boss.t FOR EACH ROW
  WHEN (boss.execute('SELECT boss.note(''WHEN'')')) EXECUTE FUNCTION boss.fire()$$);
CALL fails($$CREATE CONSTRAINT TRIGGER low AFTER INSERT ON boss.t DEFERRABLE FOR EACH ROW
  WHEN (boss.execute('SELECT boss.note(''WHEN'')')) EXECUTE FUNCTION boss.fire()$$);
CALL fails($$CREATE TRIGGER low AFTER INSERT ON boss.t EXECUTE FUNCTION suppress_redundant_updates_trigger()$$);
RESET ROLE;
-- The owner may; and only the owner may replace it.
CREATE TRIGGER mine BEFORE INSERT ON boss.t FOR EACH ROW EXECUTE FUNCTION boss.fire();
SET ROLE mdb_low;
CALL fails($$CREATE OR REPLACE TRIGGER mine BEFORE INSERT ON boss.t FOR EACH ROW
  WHEN (boss.execute('SELECT boss.note(''WHEN'')')) EXECUTE FUNCTION boss.fire()$$);
RESET ROLE;
CALL try_flush();
-- Foreign keys make triggers, too: these do not count.
GRANT REFERENCES ON boss.t TO mdb_low;
SET ROLE mdb_low;
CREATE TABLE low.child (id int REFERENCES boss.t ON UPDATE CASCADE ON DELETE SET NULL);
RESET ROLE;
SELECT mdbatch_put('boss.t', '{"id": 1, "v": "referenced"}');
CALL try_flush();
DROP TABLE low.child;
-- Attaching with such a right and with triggers: the owner has to choose.
CALL fails($$SELECT mdbatch_attach('boss.t')$$);
REVOKE TRIGGER ON boss.t FROM mdb_low;
GRANT TRIGGER ON boss.t TO PUBLIC;
CALL fails($$SELECT mdbatch_attach('boss.t')$$);
REVOKE TRIGGER ON boss.t FROM PUBLIC;
SELECT mdbatch_attach('boss.t');
-- Detached, it is a table like others.
SELECT mdbatch_detach('boss.t');
GRANT TRIGGER ON boss.t TO mdb_low;
SET ROLE mdb_low;
CREATE TRIGGER low BEFORE INSERT ON boss.t FOR EACH ROW
  WHEN (boss.execute('SELECT boss.note(''WHEN'')')) EXECUTE FUNCTION boss.fire();
RESET ROLE;
CALL fails($$SELECT mdbatch_attach('boss.t')$$);
DROP TABLE boss.t;

-- Partitions, at each level, and those to come.
CREATE TABLE boss.t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE boss.p1 PARTITION OF boss.t FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
CREATE TABLE boss.p2 PARTITION OF boss.p1 FOR VALUES FROM (0) TO (10);
CREATE TABLE boss.p3 (id int PRIMARY KEY, v text);
ALTER TABLE boss.t OWNER TO mdb_boss;
ALTER TABLE boss.p1 OWNER TO mdb_boss;
ALTER TABLE boss.p2 OWNER TO mdb_boss;
ALTER TABLE boss.p3 OWNER TO mdb_boss;
GRANT ALL ON boss.p1, boss.p2, boss.p3 TO mdb_low;
SELECT mdbatch_attach('boss.t');
SET ROLE mdb_low;
CREATE PROCEDURE low.trigger_on(name regclass) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER low BEFORE INSERT ON %s FOR EACH ROW
    WHEN (boss.execute(''SELECT boss.note(WHEN)'')) EXECUTE FUNCTION boss.fire()', name);
END $$;
CALL fails($$CALL low.trigger_on('boss.p1')$$);
CALL fails($$CALL low.trigger_on('boss.p2')$$);
CALL low.trigger_on('boss.p3');
RESET ROLE;
CALL fails($$ALTER TABLE boss.t ATTACH PARTITION boss.p3 FOR VALUES FROM (10) TO (20)$$);
DROP TRIGGER low ON boss.p3;
ALTER TABLE boss.t ATTACH PARTITION boss.p3 FOR VALUES FROM (10) TO (20);
SET ROLE mdb_low;
CALL fails($$CALL low.trigger_on('boss.p3')$$);
RESET ROLE;
SELECT mdbatch_put('boss.t', '[{"id": 1}, {"id": 11}]');
CALL try_flush();
CREATE TRIGGER mine BEFORE INSERT ON boss.p2 FOR EACH ROW EXECUTE FUNCTION boss.fire();
CALL fails($$SELECT mdbatch_attach('boss.t')$$);
-- The owner of a partition is a lesser role: neither it nor its rules help.
ALTER TABLE boss.p3 OWNER TO mdb_low;
SET ROLE mdb_low;
CALL fails($$CALL low.trigger_on('boss.p3')$$);
CALL fails($$CREATE RULE r AS ON INSERT TO boss.p3 DO ALSO SELECT boss.note('rule')$$);
CALL fails($$CREATE POLICY p ON boss.p3 USING (boss.note('policy'))$$);
RESET ROLE;
SELECT mdbatch_put('boss.t', '{"id": 12}');
CALL try_flush();
ALTER TABLE boss.p3 OWNER TO CURRENT_USER;
CALL try_flush();
DROP TABLE boss.t;

-- A referencing table that changes with its target, as a column that is not in
-- the key is referenced; and what changes with that one.
CREATE TABLE boss.t (id int PRIMARY KEY, code int UNIQUE);
GRANT REFERENCES ON boss.t TO mdb_low;
CREATE TABLE boss.child (code int UNIQUE REFERENCES boss.t (code) ON UPDATE CASCADE);
ALTER TABLE boss.t OWNER TO mdb_boss;
ALTER TABLE boss.child OWNER TO mdb_boss;
GRANT ALL ON boss.child TO mdb_low;
SELECT mdbatch_attach('boss.t');
INSERT INTO boss.t VALUES (1, 1);
INSERT INTO boss.child VALUES (1);
SET ROLE mdb_low;
CALL fails($$CALL low.trigger_on('boss.child')$$);
RESET ROLE;
SELECT mdbatch_put('boss.t', '{"id": 1, "code": 2}');
CALL try_flush();
-- (the lesser role may not reference that one, either)
SET ROLE mdb_low;
CALL fails($$CREATE TABLE low.grandchild (code int REFERENCES boss.child (code) ON UPDATE SET NULL)$$);
RESET ROLE;
CREATE TABLE low.grandchild (code int REFERENCES boss.child (code) ON UPDATE SET NULL);
ALTER TABLE low.grandchild OWNER TO mdb_low;
SET ROLE mdb_low;
CREATE FUNCTION low.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM boss.note('grandchild'); RETURN NULL; END $$;
CREATE TRIGGER low AFTER UPDATE ON low.grandchild FOR EACH ROW EXECUTE FUNCTION low.fire();
RESET ROLE;
SELECT mdbatch_put('boss.t', '{"id": 1, "code": 3}');
CALL try_flush();
DROP TABLE low.grandchild;
CALL try_flush();
SELECT code FROM boss.child;
DROP TABLE boss.child, boss.t;

-- A cast for values that wait since before their column was retyped.
CREATE TYPE low.mood AS ENUM ('good', 'bad');
CREATE TABLE boss.t (id int PRIMARY KEY, v low.mood, w low.mood[]);
SELECT mdbatch_attach('boss.t');
SELECT mdbatch_put('boss.t', '{"id": 1, "v": "good", "w": ["bad"]}');
ALTER TABLE boss.t ALTER v TYPE text USING v::text, ALTER w TYPE text[] USING NULL;
ALTER TYPE low.mood OWNER TO mdb_low;
SET ROLE mdb_low;
CREATE FUNCTION low.to_text(low.mood) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM boss.note('cast'); RETURN 'cast'; END $$;
CREATE CAST (low.mood AS text) WITH FUNCTION low.to_text(low.mood) AS ASSIGNMENT;
RESET ROLE;
CALL try_flush();
ALTER TYPE low.mood OWNER TO CURRENT_USER;
CALL try_flush();
ALTER FUNCTION low.to_text(low.mood) OWNER TO CURRENT_USER;
CALL try_flush();
SELECT v, w FROM boss.t;
SELECT DISTINCT who = current_user AS by_us FROM ran;
TRUNCATE ran;
DROP TABLE boss.t;
DROP CAST (low.mood AS text);

-- Casts that are looked up at run time: to json where a rejected entry is
-- shown, and in the check of a foreign key.
CREATE FUNCTION low.to_json(low.mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM boss.note('cast to json'); RETURN '1'; END $$;
CREATE CAST (low.mood AS json) WITH FUNCTION low.to_json(low.mood);
CREATE TABLE boss.t (id int PRIMARY KEY, v low.mood, w low.mood[], n int CHECK (n > 0));
SELECT mdbatch_attach('boss.t');
SELECT mdbatch_put('boss.t', '{"id": 1, "v": "good", "w": ["bad"], "n": 0}');
SELECT mdbatch_flush('boss.t');
SELECT entry FROM mdbatch_rejected WHERE target = 'boss.t';
ALTER TYPE low.mood OWNER TO mdb_low;
CALL try_attach();
DROP TABLE boss.t;

-- An operator of the lesser role for the domain of a key is not the one that is
-- meant.
GRANT CREATE ON SCHEMA boss TO mdb_low;
CREATE FUNCTION boss.v_cmp(boss.v, boss.v) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE FUNCTION boss.v_equalimage(oid) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'btequalimage';
CREATE FUNCTION boss.v_lt(boss.v, boss.v) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE OPERATOR boss.< (FUNCTION = boss.v_lt, LEFTARG = boss.v, RIGHTARG = boss.v);
CREATE OPERATOR CLASS boss.v_btree DEFAULT FOR TYPE boss.v USING btree AS OPERATOR 1 boss.<, OPERATOR 3 boss.=,
  FUNCTION 1 boss.v_cmp(boss.v, boss.v), FUNCTION 4 boss.v_equalimage(oid);
CREATE FUNCTION boss.v_recv(internal) RETURNS boss.v LANGUAGE internal IMMUTABLE STRICT AS 'int4recv';
ALTER TYPE boss.v SET (RECEIVE = boss.v_recv);
CREATE DOMAIN boss.dv AS boss.v;
CREATE TABLE boss.t (id boss.dv PRIMARY KEY, n int);
INSERT INTO boss.t VALUES ('1', 1), ('2', 1);
SELECT mdbatch_attach('boss.t', mode => 'update');
SET ROLE mdb_low;
CREATE FUNCTION boss.evil(boss.dv, boss.v) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM boss.note('operator'); RETURN true; END $$;
CREATE OPERATOR boss.= (FUNCTION = boss.evil, LEFTARG = boss.dv, RIGHTARG = boss.v);
RESET ROLE;
SELECT mdbatch_put('boss.t', '{"id": "2", "n": 5}');
CALL try_flush();
SELECT id, n FROM boss.t ORDER BY n;
DROP TABLE boss.t;

-- The tables of foreign keys that a flush checks: their owners' code runs
-- then, as themselves, but can change what the code of ours finds.
CREATE TABLE low.parent (id int PRIMARY KEY);
CREATE TABLE boss.t (id int PRIMARY KEY, parent int REFERENCES low.parent, code int UNIQUE);
CALL try_attach();
ALTER TABLE low.parent OWNER TO mdb_low;
SELECT mdbatch_put('boss.t', '{"id": 1}');
CALL try_flush();
CALL try_attach();
ALTER TABLE low.parent OWNER TO CURRENT_USER;
CALL try_flush();
-- A lesser role cannot stop flushes by a foreign key to them; one to the key
-- does no harm.
ALTER TABLE boss.t OWNER TO mdb_boss;
GRANT REFERENCES ON boss.t TO mdb_low;
SET ROLE mdb_low;
CALL fails($$CREATE TABLE low.child (code int REFERENCES boss.t (code))$$);
CALL fails($$CREATE TABLE low.child (code int REFERENCES boss.t (code) ON UPDATE CASCADE)$$);
CREATE TABLE low.child (id int REFERENCES boss.t);
CALL fails($$ALTER TABLE low.child ADD FOREIGN KEY (id) REFERENCES boss.t (code)$$);
RESET ROLE;
SELECT mdbatch_put('boss.t', '{"id": 1, "code": 7}');
CALL try_flush();
DROP TABLE low.child;
-- A table that has triggers of a lesser role already cannot reference them.
CREATE TABLE boss.child (code int);
GRANT TRIGGER ON boss.child TO mdb_low;
SET ROLE mdb_low;
CALL low.trigger_on('boss.child');
RESET ROLE;
CALL fails($$ALTER TABLE boss.child ADD FOREIGN KEY (code) REFERENCES boss.t (code) ON UPDATE CASCADE$$);
DROP TABLE boss.child, boss.t, low.parent;

-- Partitions once more: one that has partitions, one that gets the triggers of
-- the table above it, and the key of that one.
CREATE TABLE boss.t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE boss.p1 (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE boss.p2 PARTITION OF boss.p1 FOR VALUES FROM (0) TO (10);
GRANT TRIGGER ON boss.p2 TO mdb_low;
SET ROLE mdb_low;
CALL low.trigger_on('boss.p2');
RESET ROLE;
ALTER TABLE boss.t OWNER TO mdb_boss;
SELECT mdbatch_attach('boss.t');
CALL fails($$ALTER TABLE boss.t ATTACH PARTITION boss.p1 FOR VALUES FROM (0) TO (10)$$);
DROP TABLE boss.t, boss.p1;
CREATE TABLE boss.p1 (id int, v text) PARTITION BY RANGE (id);
GRANT TRIGGER ON boss.p1 TO mdb_low;
SET ROLE mdb_low;
CALL low.trigger_on('boss.p1');
RESET ROLE;
CREATE TABLE boss.t PARTITION OF boss.p1 (PRIMARY KEY (id)) FOR VALUES FROM (0) TO (10);
ALTER TABLE boss.t OWNER TO mdb_boss;
CALL fails($$SELECT mdbatch_attach('boss.t')$$);
ALTER TABLE boss.p1 DETACH PARTITION boss.t;
SELECT mdbatch_attach('boss.t');
CALL fails($$ALTER TABLE boss.p1 ATTACH PARTITION boss.t FOR VALUES FROM (0) TO (10)$$);
DROP TABLE boss.t, boss.p1;
CREATE TABLE boss.p1 (id int, v text) PARTITION BY RANGE ((boss.compare(id, 0)));
CREATE TABLE boss.t PARTITION OF boss.p1 (PRIMARY KEY (id)) FOR VALUES FROM (0) TO (10);
CALL try_attach();
SELECT mdbatch_put('boss.t', '{"id": 1}');
CALL try_flush();
ALTER FUNCTION boss.compare(int, int) OWNER TO mdb_low;
SELECT mdbatch_put('boss.t', '{"id": 2}');
CALL try_flush();
ALTER FUNCTION boss.compare(int, int) OWNER TO CURRENT_USER;
CALL try_flush();
ALTER TABLE boss.p1 OWNER TO mdb_low;
SELECT mdbatch_put('boss.t', '{"id": 3}');
CALL try_flush();
DROP TABLE boss.p1;

-- What looks at a table as a superuser runs no code of its owner: an index whose
-- predicate can be computed.
SET ROLE mdb_low;
CREATE FUNCTION low.spy(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM boss.note('predicate'); RETURN true; END $$;
CREATE TABLE low.t (id int PRIMARY KEY, v text);
CREATE UNIQUE INDEX ON low.t (id) WHERE low.spy(1);
RESET ROLE;
TRUNCATE ran;
SELECT mdbatch_attach('low.t');
SELECT mdbatch_flush('low.t');
SELECT mdbatch_discard('low.t');
SELECT mdbatch_retry('low.t');
SELECT mdbatch_detach('low.t');
SELECT count(*) FROM ran WHERE who = current_user;
DROP TABLE low.t;

-- Retrying reads texts as the owner of the table does, whoever calls.
SET ROLE mdb_low;
CREATE FUNCTION low.domain_check(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM boss.note('domain'); RETURN true; END $$;
CREATE DOMAIN low.checked AS int CHECK (low.domain_check(VALUE));
CREATE TABLE low.t (id int PRIMARY KEY, v low.checked, n int CHECK (n > 0));
RESET ROLE;
DELETE FROM mdbatch_rejected;
SELECT mdbatch_attach('low.t');
SET ROLE mdb_low;
SELECT mdbatch_put('low.t', '{"id": 1, "v": 1, "n": 0}');
RESET ROLE;
SET client_min_messages = error;
SELECT mdbatch_flush('low.t');
RESET client_min_messages;
TRUNCATE ran;
SELECT mdbatch_retry('low.t');
SELECT DISTINCT what, who FROM ran;
SELECT mdbatch_discard('low.t');
-- Identities can be read and copied: rows of another owner are not got by that,
-- not given, and not removed.
CREATE TABLE boss.t (id int PRIMARY KEY, n int CHECK (n > 0));
ALTER TABLE boss.t OWNER TO mdb_boss;
SELECT mdbatch_attach('boss.t');
SELECT mdbatch_put('boss.t', '{"id": 1, "n": 0}');
SELECT mdbatch_put('low.t', '{"id": 7, "v": 1, "n": 0}');
SELECT label::jsonb ->> 'identity' AS copied FROM pg_seclabel WHERE objoid = 'boss.t'::regclass AND objsubid = 0 \gset
SELECT format('SECURITY LABEL FOR mdbatch ON TABLE low.t IS %L', jsonb_set(label::jsonb, '{identity}', to_jsonb(:'copied'::text))) AS command
FROM pg_seclabel WHERE objoid = 'low.t'::regclass AND objsubid = 0 \gset
SET client_min_messages = error;
:command;
SELECT mdbatch_flush('boss.t'), mdbatch_flush('low.t');
SELECT mdbatch_retry('low.t');
SELECT count(*) FROM mdbatch_pending_rows(NULL::low.t) WHERE id <> 7;
SELECT mdbatch_flush('low.t');
SELECT mdbatch_retry('boss.t');
SELECT id FROM mdbatch_pending_rows(NULL::boss.t);
SELECT mdbatch_flush('boss.t');
SECURITY LABEL FOR mdbatch ON TABLE boss.t IS NULL;
DROP TABLE low.t;
SELECT owner, entry FROM mdbatch_rejected;
RESET client_min_messages;
CALL fails($$SECURITY LABEL FOR mdbatch ON TABLE boss.t IS '{"identity": "00000000-0000-0000-0000-000000000000"}'$$);
DROP TABLE boss.t;
DELETE FROM mdbatch_rejected;
DROP DOMAIN low.checked;

-- The guard stands while entries wait, also after the table was detached.
CREATE TABLE boss.t (id int PRIMARY KEY, v text);
ALTER TABLE boss.t OWNER TO mdb_boss;
GRANT TRIGGER ON boss.t TO mdb_low;
SELECT mdbatch_attach('boss.t');
SELECT mdbatch_put('boss.t', '{"id": 1}');
SELECT mdbatch_detach('boss.t');
SET ROLE mdb_low;
CALL fails($$CALL low.trigger_on('boss.t')$$);
RESET ROLE;
CALL try_flush();
SET ROLE mdb_low;
CALL low.trigger_on('boss.t');
RESET ROLE;
DROP TABLE boss.t;

-- What the planner computes: statistics, and indexes of a table that a foreign
-- key looks at.
SET ROLE mdb_low;
CREATE FUNCTION low.g(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
RESET ROLE;
CREATE TABLE low.parent (id int PRIMARY KEY);
CREATE INDEX ON low.parent ((low.g(id)));
CREATE TABLE boss.t (id int PRIMARY KEY, v int);
CREATE STATISTICS boss.st ON (low.g(v)) FROM boss.t;
CALL try_attach();
DROP STATISTICS boss.st;
CALL try_attach();
ALTER TABLE boss.t ADD FOREIGN KEY (v) REFERENCES low.parent;
SELECT mdbatch_put('boss.t', '{"id": 1}');
CALL try_flush();
DROP TABLE boss.t, low.parent;
-- Rules of a table that is written with the target.
CREATE TABLE boss.t (id int PRIMARY KEY, code int UNIQUE);
CREATE TABLE boss.child (code int REFERENCES boss.t (code) ON UPDATE CASCADE);
CREATE RULE r AS ON UPDATE TO boss.child DO ALSO SELECT boss.note('rule');
CALL fails($$SELECT mdbatch_attach('boss.t')$$);
DROP TABLE boss.child, boss.t;

-- The guard is no weapon: a lesser role that attaches its own table does not
-- stop what others do with theirs.
SET ROLE mdb_low;
CREATE TABLE low.t (id int PRIMARY KEY, code int UNIQUE);
GRANT REFERENCES ON low.t TO mdb_boss;
RESET ROLE;
CREATE TABLE boss.child (id int PRIMARY KEY, code int UNIQUE, parent int REFERENCES low.t ON UPDATE CASCADE ON DELETE CASCADE);
ALTER TABLE boss.child OWNER TO mdb_boss;
SELECT mdbatch_attach('low.t');
SET ROLE mdb_boss;
CREATE TABLE boss.grandchild (code int REFERENCES boss.child (code) ON UPDATE CASCADE);
CREATE TRIGGER f BEFORE UPDATE ON boss.child FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
RESET ROLE;
DROP TABLE boss.grandchild, boss.child;
-- not even with a label that cannot be used any more
ALTER TABLE low.t DROP COLUMN id;
CREATE TABLE boss.child (code int REFERENCES low.t (code));
DROP TABLE boss.child, low.t;

-- Names of ours in our schema: a second function of that name makes all calls
-- ambiguous.
GRANT CREATE ON SCHEMA public TO mdb_low;
SET ROLE mdb_low;
CALL fails($$CREATE FUNCTION public.mdbatch_flushing(x int DEFAULT 1) RETURNS SETOF record LANGUAGE sql AS 'SELECT 1'$$);
CALL fails($$CREATE FUNCTION public.mdbatch_add(uuid, text, text) RETURNS int LANGUAGE sql AS 'SELECT 1'$$);
CREATE FUNCTION public.low_function() RETURNS int LANGUAGE sql AS 'SELECT 1';
CALL fails($$ALTER FUNCTION public.low_function() RENAME TO mdbatch_put$$);
CREATE FUNCTION low.mdbatch_put(regclass, jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1';
CALL fails($$ALTER FUNCTION low.mdbatch_put(regclass, jsonb) SET SCHEMA public$$);
DROP FUNCTION public.low_function();
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM mdb_low;

-- Row-level security that applies to the owner, rules, and what is no table any
-- more: none is attached, and none is flushed.
CREATE TABLE boss.t (id int PRIMARY KEY, v text);
ALTER TABLE boss.t OWNER TO mdb_boss;
SELECT mdbatch_attach('boss.t');
SELECT mdbatch_put('boss.t', '{"id": 1}');
ALTER TABLE boss.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CALL try_flush();
ALTER TABLE boss.t NO FORCE ROW LEVEL SECURITY;
CREATE RULE r AS ON INSERT TO boss.t DO INSTEAD NOTHING;
CALL try_flush();
DROP RULE r ON boss.t;
CREATE TABLE boss.heir () INHERITS (boss.t);
CALL try_flush();
DROP TABLE boss.heir;
CALL try_flush();
DROP TABLE boss.t;
-- (A table cannot become a view from 16 on.)
CREATE TABLE boss.t (id int PRIMARY KEY, v text);
CREATE TABLE boss.other (id int PRIMARY KEY, v text);
SELECT mdbatch_attach('boss.t');
SELECT mdbatch_put('boss.t', '{"id": 2}');
ALTER TABLE boss.t DROP CONSTRAINT t_pkey, ALTER id DROP NOT NULL;
VACUUM boss.t;
DO $$
BEGIN
  CREATE RULE "_RETURN" AS ON SELECT TO boss.t DO INSTEAD SELECT id, v FROM boss.other;
EXCEPTION WHEN wrong_object_type OR feature_not_supported OR invalid_object_definition THEN
  DROP TABLE boss.t;
  CREATE VIEW boss.t AS SELECT id, v FROM boss.other;
END $$;
SELECT pg_get_viewdef('boss.t') IS NOT NULL AS is_view;
CREATE PROCEDURE flush_view() LANGUAGE plpgsql AS $$
BEGIN
  PERFORM mdbatch_flush('boss.t');
  RAISE 'flushed';
EXCEPTION WHEN OTHERS THEN
  -- (a table that is no target, from 16 on)
  IF SQLSTATE NOT IN ('42809', '55000') THEN RAISE; END IF;
END $$;
CALL flush_view();
SELECT count(*) FROM boss.other;
DROP VIEW boss.t;
DROP TABLE boss.other;

-- mdbatch's own tables. mdbatch_metadata is the database owner's; also while
-- another table is the metadata target.
GRANT TRIGGER ON mdbatch_metadata, mdbatch_rejected TO mdb_low;
SET ROLE mdb_low;
CALL fails($$CALL low.trigger_on('mdbatch_metadata')$$);
RESET ROLE;
CREATE TABLE boss.t (LIKE mdbatch_metadata INCLUDING ALL);
SELECT mdbatch_set_target('boss.t');
SET ROLE mdb_low;
CALL fails($$CALL low.trigger_on('mdbatch_metadata')$$);
CALL fails($$CALL low.trigger_on('mdbatch_rejected')$$);
RESET ROLE;
SELECT mdbatch_set_target('mdbatch_metadata');
CREATE TRIGGER f BEFORE INSERT ON mdbatch_metadata FOR EACH ROW EXECUTE FUNCTION boss.fire();
DROP TRIGGER f ON mdbatch_metadata;
-- Of mdbatch_rejected, nobody is allowed to change anything.
CALL fails($$CREATE TRIGGER f BEFORE INSERT ON mdbatch_rejected FOR EACH ROW EXECUTE FUNCTION boss.fire()$$);
CALL fails($$CREATE RULE r AS ON INSERT TO mdbatch_rejected DO INSTEAD NOTHING$$);
CALL fails($$CREATE POLICY p ON mdbatch_rejected$$);
CALL fails($$ALTER TABLE mdbatch_rejected ENABLE ROW LEVEL SECURITY$$);
CALL fails($$ALTER TABLE mdbatch_rejected ADD COLUMN more int DEFAULT 1$$);
CALL fails($$ALTER TABLE mdbatch_rejected ALTER message SET DEFAULT boss.note('default')::text$$);
CALL fails($$ALTER TABLE mdbatch_rejected ADD CHECK (boss.note('check'))$$);
CALL fails($$ALTER TABLE mdbatch_rejected OWNER TO mdb_low$$);
CALL fails($$ALTER TABLE mdbatch_rejected RENAME TO other$$);
CALL fails($$ALTER TABLE mdbatch_rejected SET SCHEMA boss$$);
CALL fails($$CREATE TABLE low.heir () INHERITS (mdbatch_rejected)$$);
CALL fails($$ALTER TABLE mdbatch_rejected SET TABLESPACE pg_default, DISABLE TRIGGER ALL$$);
-- but for what VACUUM and pg_restore do
VACUUM FULL mdbatch_rejected;
ALTER TABLE mdbatch_rejected DISABLE TRIGGER ALL;
ALTER TABLE mdbatch_rejected ENABLE TRIGGER ALL;
ALTER TABLE mdbatch_rejected ENABLE REPLICA TRIGGER mdbatch_not_replicated;
REVOKE TRIGGER ON mdbatch_metadata, mdbatch_rejected FROM mdb_low;

SELECT * FROM ran;
SELECT * FROM books WHERE NOT balanced;
DROP PROCEDURE try, try_attach, try_flush, flush_view;
DROP TABLE boss.t, ran;
DROP SCHEMA boss, low CASCADE;
DROP ROLE mdb_low, mdb_boss;
