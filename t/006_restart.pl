# Stops and crashes (R4, R14, R15): what a clean stop flushes, what was
# acknowledged, and that everything works again afterwards.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', 'restart_after_crash' => 'on');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub add
{
	my ($keys) = @_;
	my $n = () = $keys =~ /\w+/g;

	return "SELECT mdbatch_add('@{[agent(1)]}', '{$keys}', array_fill('v'::text, ARRAY[$n]))";
}

sub keys_written
{
	return sql("SELECT string_agg(key, ' ' ORDER BY key) FROM mdbatch_metadata");
}

sql('CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION mdbatch');

# A clean stop flushes what is pending, of each database.
foreach my $mode (qw(smart fast))
{
	sql(add($mode));
	$node->safe_psql('other', add($mode));
	wait_for($node, 'postgres', q{(SELECT count(DISTINCT datname) = 2
		FROM pg_stat_activity WHERE backend_type = 'mdbatch worker')},
		'a worker for each of two databases');
	$node->stop($mode);
	$node->start;
	is( sql("SELECT count(*) FROM mdbatch_metadata WHERE key = '$mode'"),
		'1', "a $mode stop flushes");
	is( $node->safe_psql(
			'other', "SELECT count(*) FROM mdbatch_metadata WHERE key = '$mode'"),
		'1',
		'each database');
	is(sql('SELECT count(*) FROM mdbatch_stat WHERE pending > 0'),
		'0', 'nothing is pending after the start');
}

# More than one batch, and a flush that waits for a lock of a session that is
# stopped as well.
sql("ALTER SYSTEM SET mdbatch.batch_size = 2");
$node->reload;
wait_for($node, 'postgres', q{current_setting('mdbatch.batch_size') = '2'},
	'a small batch');
my $locker = session($node, 'postgres');
$locker->query_safe('BEGIN; LOCK TABLE mdbatch_metadata IN EXCLUSIVE MODE');
sql(add('a,b,c,d,e'));
stuck_worker($node, 'postgres');
$node->stop('fast');
$node->start;
is(sql("SELECT count(*) FROM mdbatch_metadata WHERE key IN ('a', 'b', 'c', 'd', 'e')"),
	'5', 'a fast stop cuts a waiting flush short and flushes all');
sql('DELETE FROM mdbatch_metadata');

# An immediate stop loses what was not flushed; what was acknowledged is there.
sql(add('flushed'));
sql('SELECT mdbatch_flush()');
sql("CALL mdbatch_add_sync('@{[agent(1)]}', '{sync}', '{v}')");
sql('SET synchronous_commit = off; '
	  . "CALL mdbatch_add_sync('@{[agent(1)]}', '{unsync}', '{v}')");
sql(add('lost'));
$node->stop('immediate');
$node->start;
is(keys_written(), 'flushed sync unsync',
	'an immediate stop: what was acknowledged is there');
is(sql('SELECT count(*) FROM mdbatch_stat WHERE added > 0'),
	'0', 'the rest is not');
sql(add('after'));
is(sql('SELECT mdbatch_flush()'), '1', 'it works again');

# A backend that is killed resets the batches; the log says so.
my $victim = session($node, 'postgres');
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
$victim->query_safe('BEGIN; ' . add('reserved'));
sql(add('lost2'));
my $start = sql('SELECT pg_postmaster_start_time()');
my $offset = -s $node->logfile;
kill 'KILL', $pid;
$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
$node->wait_for_log(qr/database system is ready to accept connections/, $offset);
$node->poll_query_until('postgres', 'SELECT true');
is(sql('SELECT pg_postmaster_start_time()'), $start, 'a backend is killed');
is(sql('SELECT count(*) FROM mdbatch_stat WHERE pending + reserved > 0'),
	'0', 'the batches are empty');
ok($node->log_contains(qr/LOG:  the batches of mdbatch were reset/, $offset),
	'the log says so (R15)');
is(sql(add('again')), '1', 'adds work');
is(sql('SELECT mdbatch_flush()'), '1', 'and flushes');
is(keys_written(), 'after again flushed sync unsync',
	'what was acknowledged is still there');

# The same with a worker, in the middle of a flush.
end_session($locker);
end_session($victim);
$locker = session($node, 'postgres');
$locker->query_safe('BEGIN; LOCK TABLE mdbatch_metadata IN EXCLUSIVE MODE');
sql(add('gone,gone2,gone3'));
stuck_worker($node, 'postgres');
$offset = -s $node->logfile;
kill 'KILL', worker_pid($node, 'postgres') || die 'there is no worker';
$node->wait_for_log(qr/database system is ready to accept connections/, $offset);
$node->poll_query_until('postgres', 'SELECT true');
sql(add('z'));
is(sql('SELECT mdbatch_flush()'), '1', 'a worker is killed: it works again');
is(keys_written(), 'after again flushed sync unsync z', 'with nothing half done');
books_ok($node, 'postgres');

# The postmaster is killed: nobody stays behind.
sql(add('y'));
my $worker = worker_pid($node, 'postgres');
my $launcher = process_pid($node, 'mdbatch launcher');
isnt($worker * $launcher, 0, 'a worker and a launcher');
$node->kill9;
foreach my $process ($worker, $launcher)
{
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	while (kill(0, $process) && time < $deadline)
	{
		select(undef, undef, undef, 0.01);
	}
	ok(!kill(0, $process), 'it goes with the postmaster');
}
end_session($locker);
$node->start;
is(keys_written(), 'after again flushed sync unsync z', 'and all is as it was');
$node->stop;
done_testing();
