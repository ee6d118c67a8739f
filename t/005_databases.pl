# Workers of several databases: one each, as far as there are places.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my ($error, $offset);

sub sql { return $node->safe_psql(@_); }

sub make_database
{
	my ($server, $db) = @_;

	$server->safe_psql('postgres', "CREATE DATABASE $db");
	$server->safe_psql($db, 'CREATE EXTENSION mdbatch');
	return;
}

sub add
{
	my ($key) = @_;

	return "SELECT mdbatch_add('@{[agent(1)]}', '{$key}', '{v}')";
}

sub is_worker_of
{
	my ($db) = @_;

	return "EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = 'mdbatch worker' AND datname = '$db')";
}

# One worker for each database.
make_database($node, $_) foreach qw(one two);
sql($_, add('a')) foreach qw(one two postgres);
wait_for($node, 'postgres', join(' AND ', map { is_worker_of($_) } qw(one two postgres)),
	'each of three databases has a worker');
is(sql('one', 'SELECT mdbatch_flush()'), '1', 'a flush is of one database');
is( sql('postgres', q{SELECT string_agg(datname || pending, ' ' ORDER BY datname)
	FROM mdbatch_stat}),
	'one0 postgres1 two1',
	'mdbatch_stat has the batches of all databases');
is( sql('postgres', q{SELECT count(DISTINCT worker_pid), bool_and(worker_pid IN
	(SELECT pid FROM pg_stat_activity a WHERE a.datname = s.datname))
	FROM mdbatch_stat s}),
	'3|t',
	'and their workers');

# One place for two databases: a worker with nothing due makes room at once,
# though it has entries that wait.
sql('postgres', 'SELECT mdbatch_flush()');
sql('postgres', 'ALTER SYSTEM SET mdbatch.max_workers = 1');
$node->reload;
sql('postgres', "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
	WHERE backend_type = 'mdbatch worker'");
sql('one', add('b'));
wait_for($node, 'postgres', is_worker_of('one'), 'a worker for the first');
sql('two', add('b'));
is(sql('two', 'SELECT mdbatch_flush()'), '1', 'the second is served');
is( sql('postgres', q{SELECT string_agg(datname, ' ') FROM pg_stat_activity
	WHERE backend_type = 'mdbatch worker'}),
	'two', 'instead of the first');
is(sql('one', 'SELECT mdbatch_flush()'), '1', 'and then the first again');
is(sql('one', 'SELECT count(*) FROM mdbatch_metadata'), '2', 'with its entry');

# A worker that flushes does not make room before it is done.
my $locker = session($node, 'one');
my $waiter = session($node, 'two');
$locker->query_safe('BEGIN; LOCK TABLE mdbatch_metadata IN EXCLUSIVE MODE');
sql('one', add('c'));
my $first = session($node, 'one');
start_query($first, 'SELECT mdbatch_flush()');
stuck_worker($node, 'postgres');
sql('two', add('c'));
start_query($waiter, 'SELECT mdbatch_flush()');
wait_for($node, 'postgres', waiting('SELECT mdbatch_flush%', 'Extension'),
	'the other database waits for a place');
$locker->query_safe('COMMIT');
is(scalar finish_query($first), '1', 'the flush ends');
is(scalar finish_query($waiter), '1', 'then the other database is served');
books_ok($node, 'postgres');

# A database that allows no connections: its worker is none of those that it
# keeps out (R16).
sql('postgres', 'ALTER SYSTEM RESET mdbatch.max_workers');
$node->reload;
my $adder = session($node, 'two');
$adder->query_safe(add('d'));
wait_for($node, 'postgres', is_worker_of('two'), 'a worker');
my $pid = worker_pid($node, 'two');
$offset = -s $node->logfile;
sql('postgres', 'ALTER DATABASE two ALLOW_CONNECTIONS false');
is($adder->query_safe(add('e')), '1', 'adds go on');
is($adder->query_safe('SELECT mdbatch_flush()'), '2', 'and are flushed');
isnt(worker_pid($node, 'two'), $pid, 'by a worker that came afterwards');
unlike(slurp_file($node->logfile, $offset), qr/FATAL/, 'which met no obstacle');
sql('postgres', 'ALTER DATABASE two ALLOW_CONNECTIONS true');
books_ok($node, 'postgres');

$_->quit foreach $locker, $waiter, $first, $adder;
$node->stop;

# No background worker is free: adds go on, the log tells, nothing crashes.
# Two are taken by the launchers of the server and of mdbatch.
$node = new_server('full', 'max_worker_processes' => '2');
is(sql('postgres', add('a')), '1', 'an add without a worker');
$node->wait_for_log(qr/LOG:  no background worker is free for mdbatch/);
(undef, undef, $error) = $node->psql('postgres',
	"SET statement_timeout = '100ms'; SELECT mdbatch_flush()");
like($error, qr/ERROR:  canceling statement due to statement timeout/,
	'a flush waits until it times out');
is(sql('postgres', add('b')), '1', 'adds go on');
is(sql('postgres', 'SELECT pending, worker_pid IS NULL FROM mdbatch_stat'),
	'2|t', 'the entries wait');
$node->stop;

# One is free for two databases: they take turns.
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->start;
make_database($node, 'other');
sql('postgres', add('c'));
wait_for($node, 'postgres', is_worker_of('postgres'), 'the one worker');
sql('other', add('a'));
is(sql('other', 'SELECT mdbatch_flush()'), '1',
	'it makes room for another database');
is(sql('postgres', 'SELECT mdbatch_flush() > 0'), 't', 'and back');
$node->stop;
done_testing();
