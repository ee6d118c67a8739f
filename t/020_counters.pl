# Counters: sums, extremes and newest values are exact, however often the worker
# is terminated (R21, R26).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# Writing is slow, by a trigger, so that most workers are terminated in a flush.
my $node = new_server('main', 'mdbatch.flush_timeout' => '15s');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What is counted beside mdbatch: a row for each call that was accepted, in the
# same transaction.  A trigger tells how many rows were written.
sql(<<'SQL');
CREATE TABLE counters (id int PRIMARY KEY, calls int, total bigint,
	half double precision, low int, high bigint, seen timestamptz, who text);
CREATE TABLE newest (id int PRIMARY KEY, v bigint NOT NULL, total bigint,
	value text);
CREATE SEQUENCE versions;
CREATE TABLE accepted (id int, n int, v bigint, accepted int);
CREATE TABLE written (target text);
CREATE FUNCTION public.log_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.written VALUES (TG_TABLE_NAME);
	PERFORM pg_sleep(0.005);
	RETURN NULL;
END $$;
CREATE TRIGGER log AFTER INSERT OR UPDATE ON counters
	FOR EACH ROW EXECUTE FUNCTION public.log_write();
CREATE TRIGGER log AFTER INSERT OR UPDATE ON newest
	FOR EACH ROW EXECUTE FUNCTION public.log_write();
SELECT mdbatch_attach('counters', flush_interval => '100ms',
	merge => '{"calls": "sum", "total": "sum", "half": "sum", "low": "min",
		"high": "max", "seen": "max"}');
SELECT mdbatch_attach('newest', version => 'v', merge => '{"total": "sum"}',
	flush_interval => '100ms');
SQL

my %scripts = (
	# An entry; two of the same key in one call; then one that rolls back, and
	# a savepoint that does.
	'020_put' => [ 10, q{
\set id random(1, 12)
\set n random(-1000, 100000)
BEGIN;
INSERT INTO accepted SELECT :id, :n, NULL, mdbatch_put('counters',
	jsonb_build_object('id', :id, 'calls', 1, 'total', :n, 'half', :n / 2.0,
		'low', :n, 'high', :n, 'seen', to_timestamp(:n)));
COMMIT;
} ],
	'020_twice' => [ 4, q{
\set id random(1, 12)
\set n random(-1000, 100000)
BEGIN;
WITH put AS (SELECT mdbatch_put('counters', jsonb_build_array(
	jsonb_build_object('id', :id, 'calls', 1, 'total', :n, 'half', :n / 2.0,
		'low', :n, 'high', :n, 'seen', to_timestamp(:n)),
	jsonb_build_object('id', :id, 'calls', 1, 'total', :n + 1,
		'half', (:n + 1) / 2.0, 'low', :n + 1, 'high', :n + 1,
		'seen', to_timestamp(:n + 1)))) AS n)
INSERT INTO accepted
SELECT :id, :n, NULL::bigint, 1 FROM put UNION ALL
SELECT :id, :n + 1, NULL, n - 1 FROM put;
COMMIT;
} ],
	'020_rollback' => [ 2, q{
\set id random(1, 12)
BEGIN;
SELECT mdbatch_put('counters', jsonb_build_object('id', :id, 'calls', 1,
	'total', 1000000, 'low', -1000000, 'high', 1000000));
ROLLBACK;
BEGIN;
INSERT INTO accepted SELECT :id, 1, NULL, mdbatch_put('counters',
	jsonb_build_object('id', :id, 'calls', 1, 'total', 1, 'half', 0.5,
		'low', 1, 'high', 1, 'seen', to_timestamp(1)));
SAVEPOINT s;
SELECT mdbatch_put('counters', jsonb_build_object('id', :id, 'calls', 1,
	'total', 1000000, 'low', -1000000, 'high', 1000000));
ROLLBACK TO s;
COMMIT;
} ],
	# Versions do not come in their order.
	'020_newest' => [ 4, q{
\set id random(1, 12)
\set n random(1, 1000)
\set back random(0, 20)
BEGIN;
SELECT nextval('versions') * 1000 - :back * 1500 + :n AS v \gset
INSERT INTO accepted SELECT 100 + :id, :n, :v, mdbatch_put('newest',
	jsonb_build_object('id', :id, 'v', :v, 'total', :n,
		'value', (:v)::text));
COMMIT;
} ],
	# Acknowledged: counted before, as the procedure commits.
	'020_sync' => [ 1, q{
\set id random(1, 12)
\set n random(-1000, 100000)
INSERT INTO accepted VALUES (:id, :n, NULL, 1);
CALL mdbatch_put_sync('counters', jsonb_build_object('id', :id, 'calls', 1,
	'total', :n, 'half', :n / 2.0, 'low', :n, 'high', :n,
	'seen', to_timestamp(:n)));
} ]);
my @files;
foreach my $name (sort keys %scripts)
{
	my ($weight, $script) = @{ $scripts{$name} };
	my $file = $node->basedir . "/$name.sql";

	append_to_file($file, $script);
	push @files, '-f', "$file\@$weight";
}

# 8 sessions for 5 seconds, in which the worker has no peace.
my ($out, $err) = ('', '');
my $sessions = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '8', '-j', '2', '-T', '5', @files,
		$node->connstr('postgres') ], '>', \$out, '2>', \$err,
	IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
my %workers;
my $in_flight = 0;
my $killer = session($node, 'postgres');
while ($sessions->pumpable)
{
	# The pace of the terminations: nothing is waited for here.
	usleep(250_000);
	$sessions->pump_nb;
	my ($pid, $flying) = split /\|/, $killer->query_safe(
		q{SELECT pid, (SELECT sum(in_flight) FROM mdbatch_stat)
		  FROM pg_stat_activity WHERE backend_type = 'mdbatch worker'
		    AND datname = 'postgres'}) || next;

	$workers{$pid}++;
	$in_flight++ if $flying > 0;
	$killer->query_safe("SELECT pg_terminate_backend($pid)");
}
ok($sessions->finish, 'no session met an error') or diag $err;
$killer->quit;
# The last flush of a terminated worker does not go on as long as adds come: the
# next one takes over within 2 s (R11).
cmp_ok(scalar(keys %workers), '>', 4, 'workers were replaced');
cmp_ok($in_flight, '>', 0, 'some in a flush');
note scalar(keys %workers) . " workers, $in_flight times in a flush";
$out =~ /^number of transactions actually processed: (\d+)/m;
note "$1 transactions";

like(sql('SELECT mdbatch_flush()'), qr/^\d+$/, 'the last flush');
my $counts = sql(q{SELECT id, count(*), sum(n), sum(n) / 2.0::float8, min(n), max(n),
		extract(epoch FROM to_timestamp(max(n)))
	FROM accepted WHERE id <= 12 GROUP BY id ORDER BY id});
is(scalar(split /\n/, $counts), 12, 'every counter was used');
is(sql(q{SELECT id, calls, total, half, low, high, extract(epoch FROM seen)
		FROM counters ORDER BY id}),
	$counts, 'the counters are exact');
$counts = sql(q{SELECT id - 100, max(v), sum(n), max(v)
	FROM accepted WHERE id > 100 GROUP BY id ORDER BY id});
is(scalar(split /\n/, $counts), 12, 'every versioned one was used');
is(sql('SELECT id, v, total, value FROM newest ORDER BY id'),
	$counts, 'the newest version and the sum of all');

# Every entry that was accepted is in the books, every row that was written too.
is(sql(q{SELECT target, added, flushed, pending, in_flight, reserved, dropped,
		skipped, rejected, discarded, flush_failures
	FROM mdbatch_stat ORDER BY target}),
	sql(q{SELECT format('public.%s|%s|%s|0|0|0|0|0|0|0|0', t,
			(SELECT sum(accepted) FROM accepted WHERE (id > 100) = (t = 'newest')),
			(SELECT count(*) FROM written WHERE target = t))
		FROM unnest('{counters,newest}'::text[]) t ORDER BY t}),
	'added what was accepted, flushed what was written, no flush failed');
books_ok($node, 'postgres');

$node->stop;
done_testing();
