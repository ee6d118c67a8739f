# Many sessions at once: the same key, and the acknowledged procedure.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', 'mdbatch.flush_interval' => '10ms',
	'synchronous_commit' => 'off');

sub books
{
	my ($columns) = @_;

	return $node->safe_psql('postgres',
		"SELECT $columns FROM mdbatch_stat WHERE datname = 'postgres'");
}

# 20 sessions add to the same agent, while flushes run: the newest version wins,
# and every add is in the books.  (What a session reports goes through a log of
# its own, so that the test knows what the newest is.)
$node->safe_psql('postgres', 'CREATE TABLE reported (n int)');
$node->pgbench(
	'--no-vacuum --client=20 --jobs=2 --transactions=100',
	0,
	[qr{processed: 2000/2000}],
	[qr{^$}],
	'20 sessions add to the same agent',
	{
		'003_add' => q{
\set n random(1, 1000000000)
INSERT INTO reported VALUES (:n);
SELECT mdbatch_add('00000000-0000-0000-0000-000000000001', '{k,l}',
	ARRAY[(:n)::text, (:n)::text], NULL,
	ARRAY[to_timestamp(:n), to_timestamp(-(:n))]);
}
	});
$node->safe_psql('postgres', 'SELECT mdbatch_flush()');
is( $node->safe_psql(
		'postgres', q{SELECT bool_and(value::int = CASE key
			WHEN 'k' THEN (SELECT max(n) FROM reported)
			ELSE (SELECT min(n) FROM reported) END), count(*)
		 FROM mdbatch_metadata}),
	't|2',
	'the newest version is in the table');
is(books('added, dropped, pending, reserved, in_flight'),
	'4000|0|0|0|0', 'every add is in the books');
books_ok($node, 'postgres');
cmp_ok(books('batches_scheduled'), '>', 1, 'flushes ran meanwhile');

# Every row of mdbatch_add_sync is in the table as soon as the call has returned.
$node->safe_psql('postgres',
	q{ALTER SYSTEM SET mdbatch.flush_interval = '1h'});
$node->reload;
wait_for($node, 'postgres', q{current_setting('mdbatch.flush_interval') = '1h'},
	'the timer is off');
$node->safe_psql('postgres', 'SELECT mdbatch_stat_reset()');
$node->pgbench(
	'--no-vacuum --client=50 --jobs=2 --transactions=20',
	0,
	[qr{processed: 1000/1000}],
	[qr{^$}],
	'50 sessions call mdbatch_add_sync',
	{
		'003_sync' => q{
\set n random(1, 1000000000000)
CALL mdbatch_add_sync('00000000-0000-0000-0000-000000000002',
	ARRAY[(:client_id)::text || ':' || (:n)::text], '{v}');
SELECT 1 / count(*) FROM mdbatch_metadata
WHERE agent_id = '00000000-0000-0000-0000-000000000002'
  AND key = (:client_id)::text || ':' || (:n)::text;
}
	});
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM mdbatch_metadata
		 WHERE agent_id = '00000000-0000-0000-0000-000000000002'}),
	'1000',
	'every acknowledged row is in the table');
is(books('added, flushed, pending, batches_scheduled'),
	'1000|1000|0|0', 'once each');
note('flushes: ' . books('batches_requested + batches_capacity'));
books_ok($node, 'postgres');

# Group commit: 50 callers that wait at the same time share flushes.  The first
# flush, which a lock holds up, has the entries that came before it; the next
# one has all the others.
$node->safe_psql('postgres', 'SELECT mdbatch_stat_reset()');
my $locker = session($node, 'postgres');
$locker->query_safe('BEGIN; LOCK TABLE mdbatch_metadata IN EXCLUSIVE MODE');
my $script = $node->basedir . '/sync.sql';
append_to_file($script, q{CALL mdbatch_add_sync(
	'00000000-0000-0000-0000-000000000003', ARRAY[(:client_id)::text], '{v}');});
my ($out, $err) = ('', '');
my $callers = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '50', '-j', '2', '-t', '1', '-f', $script,
		$node->connstr('postgres') ], '>', \$out, '2>', \$err);
wait_for($node, 'postgres', q{(SELECT count(*) FROM pg_stat_activity
	WHERE query LIKE 'CALL mdbatch_add_sync%' AND wait_event_type = 'Lock') = 50},
	'50 callers wait for a flush');
$locker->query_safe('COMMIT');
ok($callers->finish, 'all of them return') or diag $err;
is(books('added, flushed, pending'), '50|50|0', 'acknowledged');
cmp_ok(books('batches_requested'), '<=', 2, 'after two flushes at the most');
books_ok($node, 'postgres');
$locker->quit;

$node->stop;
done_testing();
