# The timer alone (R4): scheduled flushes, and what restarts the interval.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $channel = 'workspace_agent_metadata_batch';
my $node = new_server(
	'main',
	'mdbatch.flush_interval' => '100ms',
	'track_commit_timestamp' => 'on');
my $listener = listen_to($node, 'postgres', $channel);
my @heard;

sub books
{
	my ($columns) = @_;

	return $node->safe_psql('postgres',
		"SELECT $columns FROM mdbatch_stat WHERE datname = 'postgres'");
}

sub add
{
	my ($key) = @_;

	return $node->safe_psql('postgres',
		"SELECT mdbatch_add('@{[agent(1)]}', '{$key}', '{v}')");
}

# A batch that is never full is flushed by the timer.
add('a');
wait_for($node, 'postgres', '(SELECT count(*) = 1 FROM mdbatch_metadata)',
	'a scheduled flush');
is(books('batches_scheduled, batches_capacity, batches_requested'),
	'1|0|0', 'counted as scheduled');

# Empty batches are not flushed: some intervals later it is one more, no more.
wait_for($node, 'postgres',
	q{clock_timestamp() > last_flush + interval '350ms' FROM mdbatch_stat},
	'three intervals pass with nothing to flush');
is(books('batches_scheduled'), '1', 'an empty batch is not flushed');
add('b');
wait_for($node, 'postgres', '(SELECT count(*) = 2 FROM mdbatch_metadata)',
	'and the next scheduled flush comes');
is(books('batches_scheduled'), '2', 'the second');

# 600 agents: 500 by capacity, 100 by the timer, three payloads in all.
notifications($node, 'postgres', $listener, $channel);
$node->safe_psql('postgres', 'SELECT mdbatch_stat_reset()');
is( $node->safe_psql(
		'postgres', "SELECT mdbatch_add_many(" . agents(1001, 1600)
		  . ", array_fill('k'::text, ARRAY[600]), array_fill('v'::text, ARRAY[600]))"),
	'600',
	'600 agents are accepted');
wait_for($node, 'postgres', "(SELECT count(*) = 600 FROM mdbatch_metadata
	WHERE key = 'k')", 'all are written');
is(books('batches_capacity, batches_scheduled, flushed, notifications'),
	'1|1|600|3', '500 by capacity, 100 scheduled, three payloads');
@heard = notifications($node, 'postgres', $listener, $channel);
is_deeply([ map { length($_) / 22 } @heard ], [ 363, 137, 100 ],
	'of 363, 137 and 100 ids');
is_deeply([ map { decode_agents($_) } @heard ],
	[ map { agent($_) } 1001 .. 1600 ], 'each agent once');
is( $node->safe_psql(
		'postgres', "SELECT DISTINCT le, bucket_count, count
		 FROM mdbatch_stat_histogram
		 WHERE metric = 'batch_size' AND le IN (100, 500) ORDER BY le"),
	"100|1|2\n500|2|2",
	'the histogram of batch sizes knows both');

# Any flush restarts the interval: here one by capacity, held up until half of
# the interval of the entry beside it has passed.  That entry's flush still
# comes a whole interval after the capacity flush.
$node->append_conf('postgresql.conf', <<'CONF');
mdbatch.flush_interval = '1s'
mdbatch.batch_size = 2
CONF
$node->reload;
wait_for($node, 'postgres', q{current_setting('mdbatch.batch_size') = '2'},
	'settings change with a reload');
my $locker = session($node, 'postgres');
$locker->query_safe(
	'BEGIN; LOCK TABLE mdbatch_metadata IN EXCLUSIVE MODE');
$node->safe_psql('postgres',
	"SELECT mdbatch_add('@{[agent(2)]}', '{a,b}', '{v,v}')");
stuck_worker($node, 'postgres');
add('c');
wait_for(
	$node,
	'postgres',
	q{collected_at + interval '600ms' < clock_timestamp()
		FROM mdbatch_pending() WHERE key = 'c'},
	'more than half of the interval passes');
$locker->query_safe('COMMIT');
wait_for($node, 'postgres', '(SELECT pending = 0 FROM mdbatch_stat)',
	'both flushes are done');
is( $node->safe_psql(
		'postgres', "SELECT pg_xact_commit_timestamp(c.xmin)
			>= pg_xact_commit_timestamp(a.xmin) + interval '1s'
		 FROM mdbatch_metadata a, mdbatch_metadata c
		 WHERE a.agent_id = '@{[agent(2)]}' AND a.key = 'a' AND c.key = 'c'"),
	't',
	'the scheduled flush comes an interval after the capacity flush');

# The same for a flush that was asked for; counted from the arrival where that
# is later.
add('d');
$node->safe_psql('postgres', 'SELECT mdbatch_flush()');
add('e');
wait_for($node, 'postgres', '(SELECT pending = 0 FROM mdbatch_stat)',
	'a requested flush and a scheduled one');
is( $node->safe_psql(
		'postgres', "SELECT pg_xact_commit_timestamp(e.xmin)
			>= e.collected_at + interval '1s'
		 FROM mdbatch_metadata e WHERE e.key = 'e'"),
	't',
	'the latter an interval after its arrival');
books_ok($node, 'postgres');

$_->quit foreach $listener, $locker;
$node->stop;
done_testing();
