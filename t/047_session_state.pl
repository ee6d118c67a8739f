# One worker runs the code of many owners in one session.  What the code of one
# leaves there does not reach that of another (R18).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Two owners; the code of each does what its entry says, as a value, and keeps
# what comes of it.
sql(<<'SQL');
CREATE ROLE alice;
CREATE ROLE bob;
CREATE SCHEMA alice AUTHORIZATION alice;
CREATE SCHEMA bob AUTHORIZATION bob;
SET SESSION AUTHORIZATION alice;
CREATE SEQUENCE alice.numbers;
CREATE TABLE alice.t (k int PRIMARY KEY, act text, result text, r float8 DEFAULT random());
SET SESSION AUTHORIZATION bob;
CREATE DOMAIN bob.kind AS text;
CREATE FUNCTION bob.kind() RETURNS text LANGUAGE sql SET search_path = bob
	AS $$ SELECT cast('x' AS kind) $$;
CREATE TABLE bob.t (k int PRIMARY KEY, act text, result text, r float8 DEFAULT random());
RESET SESSION AUTHORIZATION;
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.act LIKE 'SELECT%' THEN
		EXECUTE NEW.act INTO NEW.result;
	ELSE
		EXECUTE NEW.act;
	END IF;
	RETURN NEW;
EXCEPTION WHEN OTHERS THEN
	NEW.result := SQLSTATE;
	RETURN NEW;
END $$;
CREATE TRIGGER act BEFORE INSERT ON alice.t FOR EACH ROW
	WHEN (NEW.act IS NOT NULL) EXECUTE FUNCTION act();
CREATE TRIGGER act BEFORE INSERT ON bob.t FOR EACH ROW
	WHEN (NEW.act IS NOT NULL) EXECUTE FUNCTION act();
SELECT mdbatch_attach('alice.t', columns => '{act}'), mdbatch_attach('bob.t', columns => '{act}');
SQL

my $k = 0;

# Have the code of an owner do something in a flush of its own; what comes of it.
sub act
{
	my ($owner, $act) = @_;

	$k++;
	sql("SELECT mdbatch_put('$owner.t', jsonb_build_object('k', $k, 'act', \$a\$$act\$a\$));
		SELECT mdbatch_flush('$owner.t')");
	return sql("SELECT result FROM $owner.t WHERE k = $k");
}

my $pid;

# What alice does leaves nothing that bob finds.
sub hidden
{
	my ($alice, $bob, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(act('alice', $alice), '', "$what: it can be done");
	is(act('bob', $bob), $expected, '... and is not there for another owner');
	$pid = worker_pid($node, 'postgres') unless defined $pid;
	is(worker_pid($node, 'postgres'), $pid, '... in the same session');
	return;
}

like(act('alice', 'CREATE DOMAIN pg_temp.kind AS text CHECK (VALUE IS NULL)'), qr/^(42501)?$/,
	'a type in pg_temp that hides another: later servers refuse it');
is(act('bob', 'SELECT bob.kind()'), 'x', '... and the type of another owner is found');
is(sql(q{SELECT count(*) FROM pg_type WHERE typnamespace IN
	(SELECT oid FROM pg_namespace WHERE nspname LIKE 'pg_temp%')}), '0',
	'nothing stays in pg_temp');
hidden(q{CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS $f$ SELECT 'trap' $f$},
	'SELECT pg_temp.f()', '42883', 'a function in pg_temp');
hidden(q{SET my.secret = 'x'}, q{SELECT current_setting('my.secret', true)}, '',
	'a setting of its own');
hidden(q{SET DateStyle = 'SQL, DMY'}, q{SELECT date '2000-12-31'}, '2000-12-31',
	'a setting of the server');
hidden(q{SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY}, 'SELECT 1', '1',
	'the next transactions are read-only');
hidden('DO $d$ BEGIN PERFORM pg_advisory_lock(7); END $d$',
	q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}, '0', 'an advisory lock');
hidden('DO $d$ BEGIN PERFORM nextval($s$alice.numbers$s$); END $d$', 'SELECT lastval()', '42501',
	'the last number of a sequence');
hidden('DO $d$ DECLARE c refcursor := $s$c$s$; BEGIN OPEN c FOR SELECT 1; END $d$',
	q{SELECT count(*) FROM pg_cursors WHERE name = 'c'}, '0', 'a cursor');

# What PostgreSQL refuses in such a session.
foreach my $case (
	[ 'CREATE TEMP TABLE kind (i int)', '42501', 'a temporary table' ],
	[ 'CREATE TEMP VIEW kind AS SELECT 1', '42501', 'a temporary view' ],
	[ 'PREPARE p AS SELECT 1', '42501', 'a prepared statement' ],
	[ 'DEALLOCATE ALL', '42501', '... and the end of one' ],
	[ 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', '42501', 'a cursor that outlives the flush' ],
	[ 'LISTEN x', '42501', 'LISTEN' ],
	[ 'SET ROLE bob', '42501', 'another role' ],
	[ 'SET SESSION AUTHORIZATION bob', '42501', 'another user' ],
	[ 'DISCARD SEQUENCES', '42501', 'DISCARD' ])
{
	my ($act, $sqlstate, $what) = @$case;

	is(act('alice', $act), $sqlstate, "$what is refused");
}

# A seed that alice knows: what does bob get after it, in three ways to make it?
sub randoms
{
	my ($seed) = @_;

	act('alice', $seed);
	$k++;
	sql("SELECT mdbatch_put('bob.t', jsonb_build_object('k', $k)); SELECT mdbatch_flush('bob.t')");
	return sql("SELECT r FROM bob.t WHERE k = $k");
}

foreach my $seed ('DO $d$ BEGIN PERFORM setseed(0.5); END $d$', 'SET seed = 0.5',
	'SET LOCAL seed = 0.5')
{
	isnt(randoms($seed), randoms($seed), "random() after $seed");
}

# Nor does bob's own.
act('bob', 'SET seed = 0.5');
my $r1 = sql("SELECT r FROM bob.t WHERE k = $k");
act('bob', 'SELECT 1');
my $r2 = sql("SELECT r FROM bob.t WHERE k = $k");
$k++;
isnt($r1, $r2, 'a seed ends with its flush');
is(worker_pid($node, 'postgres'), $pid, 'it was one session');
books_ok($node, 'postgres');
$node->stop;
done_testing();
