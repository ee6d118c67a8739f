# mdbatch.on_full = wait, behind a flush (R9, R13), and waits that are cut
# short.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', 'mdbatch.batch_size' => '2');
my $locker = session($node, 'postgres');
my $holder = session($node, 'postgres');
my @waiters = map { session($node, 'postgres') } 1 .. 2;
my ($result, $error);

sub add
{
	my (@keys) = @_;

	return sprintf("SELECT mdbatch_add('%s', '{%s}', '{%s}')",
		agent(1), join(',', @keys), join(',', ('v') x @keys));
}

sub books
{
	my ($columns) = @_;

	return $node->safe_psql('postgres', "SELECT $columns FROM mdbatch_stat");
}

# Lock the target, and fill its batch: 2 in flight, 10 wait.
sub fill
{
	$locker->query_safe('BEGIN; LOCK TABLE mdbatch_metadata IN EXCLUSIVE MODE');
	$node->safe_psql('postgres', add('a' .. 'b'));
	stuck_worker($node, 'postgres');
	is($node->safe_psql('postgres', add('c' .. 'l')), '10', 'a full batch');
	return;
}

$_->query_safe('SET mdbatch.on_full = wait') foreach @waiters;

# Two wait for room, with locks that everybody sees, and go on.
fill();
start_query($waiters[0], add('m'));
start_query($waiters[1], add('n', 'o', 'p'));
wait_for($node, 'postgres', q{(SELECT count(*) = 2 FROM pg_stat_activity
	WHERE query LIKE 'SELECT mdbatch_add%' AND wait_event = 'virtualxid')},
	'two wait for room');
is(books('pending, in_flight, reserved'), '12|2|0', 'they have reserved nothing');
$locker->query_safe('COMMIT');
is(scalar finish_query($waiters[0]), '1', 'the one goes on');
is(scalar finish_query($waiters[1]), '3', 'and the other');
wait_for($node, 'postgres', '(SELECT pending = 0 FROM mdbatch_stat)',
	'all is flushed');
is(books('added, flushed, dropped, batches_capacity'), '16|16|0|8',
	'nothing was dropped');

# A wait that is cut short leaves nothing behind.
fill();
start_query($waiters[0], add('m'));
wait_for($node, 'postgres', waiting('SELECT mdbatch_add%'), 'one waits');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid)
	FROM pg_stat_activity WHERE query LIKE 'SELECT mdbatch_add%' AND state = 'active'");
($result, $error) = finish_query($waiters[0]);
like($error, qr/ERROR:  canceling statement due to user request/, 'cancelled');
$waiters[0]->query_safe("SET statement_timeout = '50ms'");
start_query($waiters[0], add('m'));
($result, $error) = finish_query($waiters[0]);
like($error, qr/ERROR:  canceling statement due to statement timeout/, 'statement_timeout');
$waiters[0]->query_safe("SET statement_timeout = '60s'");
$waiters[0]->query_safe("SET lock_timeout = '50ms'");
start_query($waiters[0], add('m'));
($result, $error) = finish_query($waiters[0]);
like($error, qr/ERROR:  canceling statement due to lock timeout/, 'lock_timeout');
$waiters[0]->query_safe('RESET lock_timeout');

# So do mdbatch_flush and mdbatch_add_sync; the latter has committed.
start_query($waiters[1], 'SELECT mdbatch_flush()');
wait_for($node, 'postgres', waiting('SELECT mdbatch_flush%'), 'a flush waits');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid)
	FROM pg_stat_activity WHERE query LIKE 'SELECT mdbatch_flush%' AND state = 'active'");
($result, $error) = finish_query($waiters[1]);
like($error, qr/ERROR:  canceling statement due to user request/, 'cancelled');
$waiters[1]->query_safe("SET statement_timeout = '50ms'");
start_query($waiters[1],
	"CALL mdbatch_add_sync('@{[agent(1)]}', '{a}', '{sync}')");
($result, $error) = finish_query($waiters[1]);
like($error, qr/ERROR:  canceling statement due to statement timeout\nHINT:  The entries have been committed/,
	'mdbatch_add_sync tells that the entries stay');
$waiters[1]->query_safe("SET statement_timeout = '60s'");
is(books('pending, in_flight, reserved'), '13|2|0', 'as they do');
$locker->query_safe('COMMIT');
is($node->safe_psql('postgres', 'SELECT mdbatch_flush() >= 0'), 't', 'all is flushed');
is( $node->safe_psql(
		'postgres', q{SELECT count(*), max(value) FILTER (WHERE key = 'a')
		 FROM mdbatch_metadata}),
	'16|sync',
	'with the entry of the procedure');

# An entry waits, others are reserved: no flush is due for an hour, but the
# reservations end.
$node->safe_psql('postgres', add('a'));
$holder->query_safe('BEGIN');
is($holder->query_safe(add('b' .. 'j')), '9', 'nine are reserved beside one that waits');
start_query($waiters[0], add('x', 'y'));
wait_for($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity
	WHERE query LIKE 'SELECT mdbatch_add%' AND state = 'active'
	  AND wait_event IS NOT NULL)}, 'one waits for room');
$holder->query_safe('ROLLBACK');
($result, $error) = finish_query($waiters[0]);
is("$result$error", '2', 'it goes on when the reservations are given back');

$node->safe_psql('postgres', 'SELECT mdbatch_flush()');
$holder->query_safe('BEGIN');
$holder->query_safe(add('a' .. 'e'));
$holder->query_safe('SAVEPOINT s');
$holder->query_safe(add('f' .. 'j'));
start_query($waiters[0], add('x', 'y'));
wait_for($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity
	WHERE query LIKE 'SELECT mdbatch_add%' AND state = 'active'
	  AND wait_event IS NOT NULL)}, 'one waits for room');
$holder->query_safe('ROLLBACK TO s');
$holder->query_safe('COMMIT');
is(scalar finish_query($waiters[0]), '2', 'it goes on when the transaction ends');

# Two that have taken the last place in vain do not wait for each other.
$node->safe_psql('postgres', 'SELECT mdbatch_flush()');
my $late = session($node, 'postgres');
$late->query_safe('BEGIN');
is($late->query_safe(add('a' .. 'i')), '9', 'one place is left');
$_->query_safe(q{SET deadlock_timeout = '10ms'}) foreach @waiters;
start_query($waiters[0], add('p', 'q'));
start_query($waiters[1], add('r', 's'));
wait_for($node, 'postgres', q{(SELECT count(*) = 2 FROM pg_stat_activity
	WHERE query LIKE 'SELECT mdbatch_add%' AND state = 'active'
	  AND wait_event IS NOT NULL
	  AND query_start < clock_timestamp() - interval '500ms')},
	'two want two, and wait for long');
$late->query_safe('ROLLBACK');
($result, $error) = finish_query($_), is("$result$error", '2', 'both go on')
  foreach @waiters;
is($node->safe_psql('postgres', 'SELECT mdbatch_flush() >= 0'), 't', 'all is flushed');
is(books('pending, reserved, dropped'), '0|0|0', 'nothing is left over');
books_ok($node, 'postgres');

# Who waited for a flush that failed hears why, also if the counters were reset
# before it looked.
$locker->query_safe('BEGIN; LOCK TABLE mdbatch_metadata IN EXCLUSIVE MODE');
$node->safe_psql('postgres', add('a'));
my $pid = $waiters[0]->query_safe('SELECT pg_backend_pid()');
start_query($waiters[0], "\\set VERBOSITY verbose\nSELECT mdbatch_flush()");
wait_for($node, 'postgres', waiting('SELECT mdbatch_flush%'), 'it waits for the flush');
kill 'STOP', $pid;
$node->safe_psql('postgres', sprintf 'SELECT pg_cancel_backend(%s)',
	worker_pid($node, 'postgres'));
wait_for($node, 'postgres', '(SELECT flush_failures > 0 FROM mdbatch_stat)', 'it fails');
$node->safe_psql('postgres', 'SELECT mdbatch_stat_reset()');
is(books('flush_failures, last_failure IS NULL, last_error IS NULL'), '0|t|t',
	'nothing of that is in the counters');
kill 'CONT', $pid;
($result, $error) = finish_query($waiters[0]);
like($error,
	qr/ERROR:  57014: could not flush.*\nDETAIL:  .*canceling statement due to user request/,
	'the waiter is told all the same');
$locker->query_safe('COMMIT');
is($node->safe_psql('postgres', 'SELECT mdbatch_flush() >= 0'), 't', 'and it is flushed');
books_ok($node, 'postgres');

$_->quit foreach $locker, $holder, $late, @waiters;
$node->stop;
done_testing();
