# Commands that want a database for themselves (R16): as without mdbatch, within
# seconds, whatever its worker is doing; no entry is lost.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $limit = 10;    # seconds, for any command
my $node = new_server('main', 'max_prepared_transactions' => '5',
	'mdbatch.queue_size' => '100000');
my ($oid, $added);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# In the database, whatever it is called now.
sub db { return $node->safe_psql(name(), $_[0]); }

sub name { return sql("SELECT datname FROM pg_database WHERE oid = $oid"); }

# SQL: the worker of the database, if it is another one than that pid.
sub has_worker
{
	my ($not) = @_;

	return "EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = 'mdbatch worker' AND datid = $oid AND pid <> "
	  . ($not || 0) . ')';
}

sub pid
{
	return sql("SELECT coalesce(max(pid), 0) FROM pg_stat_activity
		WHERE backend_type = 'mdbatch worker' AND datid = $oid");
}

# A statement of an administrator, with a time limit; its error.
sub command
{
	my ($statement, $db) = @_;
	my ($ret, $stdout, $stderr) = $node->psql($db || 'postgres',
		"SET statement_timeout = '${limit}s';\n$statement;");

	$stderr =~ s/^psql:<stdin>:\d+: //mg;
	return $stderr;
}

sub works
{
	my ($statement, $what) = @_;
	my $start = time;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(command($statement), '', $what);
	cmp_ok(time - $start, '<', $limit, '... within seconds');
	return;
}

# A database with a target whose trigger does what a switch says, and one that
# is always busy: one entry per flush.
sub make
{
	sql('CREATE DATABASE db');
	$oid = sql("SELECT oid FROM pg_database WHERE datname = 'db'");
	$added = 0;
	db(<<'SQL');
CREATE EXTENSION mdbatch;
CREATE TABLE switch (position text);
INSERT INTO switch VALUES ('off');
CREATE TABLE t (k int PRIMARY KEY, v int);
CREATE FUNCTION obey() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE (SELECT position FROM public.switch)
		WHEN 'sleep' THEN PERFORM pg_sleep(600);
		WHEN 'stubborn' THEN
			LOOP
				BEGIN
					PERFORM pg_sleep(600);
				EXCEPTION WHEN query_canceled THEN NULL;
				END;
			END LOOP;
		WHEN 'fail' THEN RAISE 'no' USING ERRCODE = '58030';
		WHEN 'slow' THEN PERFORM pg_sleep(0.01);
		ELSE NULL;
	END CASE;
	RETURN NEW;
END $$;
CREATE TRIGGER obey BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION obey();
SELECT mdbatch_attach('t');
CREATE PROCEDURE adds(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN first..last LOOP
		PERFORM mdbatch_put('t', jsonb_build_object('k', i, 'v', i));
		COMMIT;
	END LOOP;
END $$;
SQL
	return;
}

sub add
{
	my ($n) = @_;
	my ($first, $last) = ($added + 1, $added + $n);

	db("SELECT mdbatch_put('t', jsonb_agg(jsonb_build_object('k', i, 'v', i)))
		FROM generate_series($first, $last) i");
	$added = $last;
	return;
}

# Another worker than that pid, soon.
sub comes_back
{
	my ($what, $not) = @_;

	local $PostgreSQL::Test::Utils::timeout_default = $limit;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_for($node, 'postgres', has_worker($not), $what);
}

# What the worker is doing when the command comes; nobody else is connected.
my %busy = (
	'idle' => sub {
		add(1);
		db('SELECT mdbatch_flush()');
	},
	'waiting' => sub {
		add(3);
		wait_for($node, 'postgres', has_worker(), '... a worker waits');
	},
	'flushing' => sub {
		db("UPDATE switch SET position = 'slow';
			SELECT mdbatch_attach('t', batch_size => 1)");
		add(2000);
		wait_for($node, 'postgres', "EXISTS (SELECT FROM mdbatch_stat
			WHERE datid = $oid AND batches_capacity > 0)", '... flush by flush');
	},
	'failing' => sub {
		db("UPDATE switch SET position = 'fail';
			SELECT mdbatch_attach('t', flush_interval => '10ms')");
		add(3);
		wait_for($node, 'postgres', "EXISTS (SELECT FROM mdbatch_stat
			WHERE datid = $oid AND flush_failures > 0)", '... flushes fail');
	},
	'stuck' => sub {
		db("UPDATE switch SET position = 'sleep';
			SELECT mdbatch_attach('t', flush_interval => '10ms')");
		add(3);
		wait_for($node, 'postgres', "EXISTS (SELECT FROM pg_stat_activity
			WHERE datid = $oid AND wait_event = 'PgSleep')", '... in a long trigger');
	});

# Nothing in the way: what was added is written, once.
sub all_there
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	db("UPDATE switch SET position = 'off'");
	sql("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
		WHERE datid = $oid AND wait_event = 'PgSleep'");
	db("SELECT mdbatch_attach('t')");
	db("SELECT mdbatch_flush('t')");
	is(db('SELECT count(*), sum(v) FROM t'),
		"$added|" . $added * ($added + 1) / 2, $what);
	books_ok($node, 'postgres');
	return;
}

sql(q{SET allow_in_place_tablespaces = on; CREATE TABLESPACE other LOCATION ''});

foreach my $state (sort keys %busy)
{
	foreach my $command (
		[ 'RENAME', 'ALTER DATABASE db RENAME TO renamed',
			'ALTER DATABASE renamed RENAME TO db' ],
		[ 'SET TABLESPACE', 'ALTER DATABASE db SET TABLESPACE other',
			'ALTER DATABASE db SET TABLESPACE pg_default' ],
		[ 'ALLOW_CONNECTIONS', 'ALTER DATABASE db ALLOW_CONNECTIONS false',
			'ALTER DATABASE db ALLOW_CONNECTIONS true' ],
		[ 'TEMPLATE', 'CREATE DATABASE copy TEMPLATE db', 'DROP DATABASE copy' ])
	{
		my ($noun, $there, $back) = @$command;
		my $pid;

		make() unless sql("SELECT count(*) FROM pg_database WHERE datname = 'db'");
		$busy{$state}->();
		$pid = pid();
		works($there, "$noun, $state");
		comes_back('... the worker comes back', $pid)
		  if $state ne 'idle';
		works($back, '... and undone');
		all_there('... nothing is lost');
	}

	# The copy starts with what had been written, and nothing pending.
	if ($state eq 'waiting')
	{
		add(2);
		works('CREATE DATABASE copy TEMPLATE db', 'a copy');
		is($node->safe_psql('copy', 'SELECT mdbatch_flush()'), '0',
			'... has nothing pending');
		is($node->safe_psql('copy', "SELECT mdbatch_put('t', '{\"k\": 0, \"v\": 0}')"),
			'1', '... is attached, too');
		is($node->safe_psql('copy', 'SELECT mdbatch_flush()'), '1', '... and works');
		is( $node->safe_psql('copy', "SELECT count(*) FROM t WHERE k IN (0, $added)"),
			'1', '... by itself');
		works('DROP DATABASE copy', '... until it is dropped');
		all_there('the entries stay where they were added');
	}

	# Of the database that one is connected to.
	$busy{$state}->();
	my $start = time;
	is(command('CREATE DATABASE copy TEMPLATE db', 'db'), '',
		"TEMPLATE of the current database, $state");
	cmp_ok(time - $start, '<', $limit, '... within seconds');
	works('DROP DATABASE copy', '... and dropped');
	all_there('... nothing is lost');

	# At last.
	$busy{$state}->();
	my $pending = sql("SELECT sum(pending) FROM mdbatch_stat WHERE datid = $oid");
	works('DROP DATABASE db', "DROP DATABASE, $state");
	is(sql("SELECT sum(pending), sum(discarded) > 0 FROM mdbatch_stat WHERE datid = $oid"),
		$pending > 0 ? '0|t' : '0|f', '... what was pending is discarded');
	books_ok($node, 'postgres');
}

# Adds go on while connections are forbidden.
make();
my $adder = session($node, 'db');
start_query($adder, 'CALL adds(1, 3000)');
wait_for($node, 'postgres', "EXISTS (SELECT FROM mdbatch_stat
	WHERE datid = $oid AND added > 10)", 'adds go on');
works('ALTER DATABASE db ALLOW_CONNECTIONS false', 'no connections, busy');
is((finish_query($adder))[1], '', '... the adds go on to their end');
works('ALTER DATABASE db ALLOW_CONNECTIONS true', '... and back');
end_session($adder);
$added = 3000;
all_there('... nothing is lost');

# Somebody else is connected: PostgreSQL's own error, and the worker comes back.
my $guest = session($node, 'db');
$guest->query_safe("SELECT mdbatch_put('t', '{\"k\": 3001, \"v\": 3001}')");
$added++;
foreach my $statement ('ALTER DATABASE db RENAME TO renamed',
	'ALTER DATABASE db SET TABLESPACE other', 'CREATE DATABASE copy TEMPLATE db')
{
	wait_for($node, 'postgres', has_worker(), 'a worker');
	my $pid = pid();
	like(command($statement),
		qr/^ERROR:  (source )?database "db" is being accessed by other users\nDETAIL:  There is 1 other session using the database/,
		"$statement: the guest is in the way, and nobody else");
	comes_back('... the worker comes back', $pid);
}
$guest->quit;
all_there('... nothing is lost');

# Whatever else is wrong with the command.
sql('CREATE DATABASE taken');
foreach my $case (
	[ 'ALTER DATABASE db RENAME TO taken', qr/database "taken" already exists/ ],
	[ 'ALTER DATABASE db SET TABLESPACE no_such',
		qr/tablespace "no_such" does not exist/ ],
	[ 'CREATE DATABASE taken TEMPLATE db', qr/database "taken" already exists/ ],
	[ 'BEGIN; CREATE DATABASE copy TEMPLATE db; COMMIT',
		qr/CREATE DATABASE cannot run inside a transaction block/ ],
	[ 'BEGIN; ALTER DATABASE db SET TABLESPACE other; COMMIT',
		qr/SET TABLESPACE cannot run inside a transaction block/ ],
	[ 'BEGIN; DROP DATABASE db; COMMIT',
		qr/DROP DATABASE cannot run inside a transaction block/ ],
	[ 'ALTER DATABASE db ALLOW_CONNECTIONS maybe', qr/requires a Boolean value/ ],
	[ 'ALTER DATABASE db RENAME TO renamed', qr/current database cannot be renamed/,
		'db' ],
	[ 'ALTER DATABASE db SET TABLESPACE other',
		qr/cannot change the tablespace of the currently open database/, 'db' ],
	[ 'DROP DATABASE db', qr/cannot drop the currently open database/, 'db' ],
	[ 'ALTER DATABASE no_such RENAME TO renamed',
		qr/database "no_such" does not exist/ ])
{
	my ($statement, $error, $db) = @$case;

	add(1);
	like(command($statement, $db), qr/ERROR:  .*$error/, "fails: $statement");
	comes_back('... the worker comes back');
	all_there('... nothing is lost');
}

# A role that may not: the worker is not disturbed.
sql('CREATE ROLE nobody; CREATE ROLE creator CREATEDB;
	CREATE ROLE owner LOGIN');
add(1);
foreach my $role (qw(nobody creator owner))
{
	foreach my $case (
		[ 'ALTER DATABASE db RENAME TO renamed', qr/must be owner of database db/ ],
		[ 'ALTER DATABASE db SET TABLESPACE other', qr/must be owner of database db/ ],
		[ 'ALTER DATABASE db ALLOW_CONNECTIONS false',
			qr/must be owner of database db/ ],
		[ 'DROP DATABASE db', qr/must be owner of database db/ ],
		[ 'CREATE DATABASE copy TEMPLATE db',
			$role eq 'creator' ? qr/permission denied to copy database "db"/ :
			qr/permission denied to create database/ ])
	{
		wait_for($node, 'postgres', has_worker(), 'a worker');
		my $pid = pid();
		like(command("SET ROLE $role; $case->[0]"), qr/ERROR:  $case->[1]/,
			"$role may not: $case->[0]");
		is(pid(), $pid, '... and the worker stays');
	}
}
all_there('nothing is lost');

# Who owns it, and may not create databases, may forbid connections.
sql('ALTER DATABASE db OWNER TO owner');
add(1);
wait_for($node, 'postgres', has_worker(), 'a worker');
works('SET ROLE owner; ALTER DATABASE db ALLOW_CONNECTIONS false',
	'its owner forbids connections');
works('SET ROLE owner; ALTER DATABASE db ALLOW_CONNECTIONS true', '... and allows');
all_there('nothing is lost');

# In a transaction block; the session lives on.
my $admin;
sub in_transaction
{
	my ($begin, $end) = @_;

	$admin = session($node, 'postgres');
	add(1);
	wait_for($node, 'postgres', has_worker(), 'a worker');
	$admin->query_safe("SET statement_timeout = '${limit}s'; $begin");
	$admin->query_safe('ALTER DATABASE db RENAME TO renamed');
	is(pid(), '0', 'the worker keeps away until the transaction ends');
	$admin->query_safe($end);
	$admin->query_safe("COMMIT PREPARED 'p'") if $end =~ /PREPARE/;
	comes_back("$begin; ... $end: it comes back");
	$admin->quit;
	command('ALTER DATABASE renamed RENAME TO db') if name() eq 'renamed';
	all_there('... nothing is lost');
	return;
}
in_transaction('BEGIN', $_)
  foreach 'COMMIT', 'ROLLBACK', "PREPARE TRANSACTION 'p'";
in_transaction('BEGIN; SAVEPOINT s', $_)
  foreach 'COMMIT', "PREPARE TRANSACTION 'p'";

# Two of them in one transaction.
$node->safe_psql('taken', "CREATE EXTENSION mdbatch;
	SELECT mdbatch_add('@{[agent(1)]}', '{a}', '{v}')");
add(1);
wait_for($node, 'postgres', has_worker(), 'a worker');
wait_for($node, 'postgres', "EXISTS (SELECT FROM pg_stat_activity
	WHERE backend_type = 'mdbatch worker' AND datname = 'taken')", '... and another');
works(q{BEGIN;
ALTER DATABASE db RENAME TO renamed;
ALTER DATABASE taken RENAME TO db;
ALTER DATABASE renamed RENAME TO taken;
COMMIT}, 'two databases swap their names');
all_there('... nothing is lost in the one');
is($node->safe_psql('db', 'SELECT mdbatch_flush()'), '1', '... nor in the other');
works(q{BEGIN;
ALTER DATABASE db RENAME TO renamed;
ALTER DATABASE taken RENAME TO db;
ALTER DATABASE renamed RENAME TO taken;
COMMIT}, '... and back');

# A transaction that takes its time: the worker is back soon after it.
add(1);
wait_for($node, 'postgres', has_worker(), 'a worker');
$admin = session($node, 'postgres');
$admin->query_safe('BEGIN; ALTER DATABASE db ALLOW_CONNECTIONS false');
$adder = session($node, 'db');
$adder->query_safe("SELECT mdbatch_put('t', jsonb_build_object('k', $added + 1, 'v', $added + 1))");
$added++;
wait_for($node, 'postgres', "EXISTS (SELECT FROM pg_stat_activity
	WHERE query LIKE 'ALTER DATABASE%' AND xact_start < clock_timestamp() - interval '8 s')",
	'a long transaction');
is(pid(), '0', 'no worker meanwhile');
$admin->query_safe('ROLLBACK');
my $start = time;
comes_back('it comes back');
cmp_ok(time - $start, '<', 5, '... within seconds');
$_->quit foreach $admin, $adder;
all_there('... nothing is lost');

# DROP EXTENSION in use, and again CREATE. A flush that is stuck ends by itself
# within flush_timeout.
$node->append_conf('postgresql.conf', "mdbatch.flush_timeout = '2s'");
$node->reload;
foreach my $state (sort keys %busy)
{
	$busy{$state}->();
	my $begin = time;
	is(command('DROP EXTENSION mdbatch', 'db'), '', "DROP EXTENSION, $state");
	cmp_ok(time - $begin, '<', $limit, '... within seconds');
	wait_for($node, 'postgres', "NOT EXISTS (SELECT FROM mdbatch_stat
		WHERE datid = $oid AND pending > 0)", '... what was pending is discarded');
	books_ok($node, 'postgres');
	db(q{UPDATE switch SET position = 'off'; TRUNCATE t;
		CREATE EXTENSION mdbatch; SELECT mdbatch_attach('t')});
	$added = 0;
	add(2);
	all_there('... and again CREATE: it works');
	is(db('SELECT count(*) FROM mdbatch_pending()'), '0', '... and starts empty');
}

# TRUNCATE and DROP TABLE of a target with entries that wait.
foreach my $state (qw(idle waiting failing))
{
	$busy{$state}->();
	my $begin = time;
	is(command('TRUNCATE t', 'db'), '', "TRUNCATE, $state");
	cmp_ok(time - $begin, '<', $limit, '... within seconds');
	db("UPDATE switch SET position = 'off'; SELECT mdbatch_attach('t');
		SELECT mdbatch_flush('t')");
	is(db('SELECT count(*) FROM t'), $state eq 'idle' ? '0' : '3',
		'... what is pending survives it');
	db('TRUNCATE t');
	$added = 0;
}

# A flush that is stuck holds a lock, as any INSERT would, for that long.
foreach my $statement ('TRUNCATE t', 'DROP TABLE t')
{
	$busy{'stuck'}->();
	my $begin = time;
	is(command($statement, 'db'), '', "$statement, stuck");
	cmp_ok(time - $begin, '<', $limit, '... within seconds');
	next if $statement ne 'TRUNCATE t';
	db("UPDATE switch SET position = 'off'");
	db("SELECT mdbatch_attach('t')");

	# The worker may still be stuck in one of them, which that flush reports.
	ok($node->poll_query_until('db', "SELECT mdbatch_flush('t') IS NOT NULL"),
		'... it can be flushed');
	is(db('SELECT count(*) FROM t'), '3', '... the entries survive');
	db('TRUNCATE t');
	$added = 0;
}

wait_for($node, 'postgres', "NOT EXISTS (SELECT FROM mdbatch_stat
	WHERE datid = $oid AND pending > 0)", '... what was pending is discarded');
books_ok($node, 'postgres');
sql('DROP DATABASE db');

# A trigger that catches the cancel of its flush does not hold up anybody, either.
$node->append_conf('postgresql.conf', "mdbatch.flush_timeout = '15s'");
$node->reload;
make();
db("UPDATE switch SET position = 'stubborn';
	SELECT mdbatch_attach('t', flush_interval => '10ms')");
add(3);
wait_for($node, 'postgres', "EXISTS (SELECT FROM pg_stat_activity
	WHERE datid = $oid AND wait_event = 'PgSleep')", 'a stubborn trigger');
works('ALTER DATABASE db RENAME TO renamed', 'RENAME, stubborn');
command('ALTER DATABASE renamed RENAME TO db') if name() eq 'renamed';
all_there('... nothing is lost');

# What is rolled back to a savepoint, or with it, holds nothing any more.
in_transaction('BEGIN; SAVEPOINT s', $_) foreach 'ROLLBACK TO s; COMMIT', 'ROLLBACK';

# So is an error that a block catches.
$admin = session($node, 'postgres');
add(1);
wait_for($node, 'postgres', has_worker(), 'a worker');
$admin->query_safe(q{DO $$
BEGIN
	ALTER DATABASE db RENAME TO taken;
EXCEPTION WHEN duplicate_database THEN NULL;
END $$});
comes_back('a caught error: the worker comes back');
$admin->quit;
all_there('... nothing is lost');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'no process crashed');
$node->stop;
done_testing();
