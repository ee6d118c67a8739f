# Many databases, few workers (R4, R16), and one that takes all there is: others
# go on with what is guaranteed to them (R10).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', 'max_worker_processes' => '12');
my $agent = agent(1);
my $ndatabases = 20;
my @databases = map { "db$_" } 1 .. $ndatabases;
my $offset;

sub sql { return $node->safe_psql(@_); }

sub add
{
	my ($key) = @_;

	return "SELECT mdbatch_add('$agent', '{$key}', '{v}')";
}

my $workers = "(SELECT count(*) FROM pg_stat_activity
	WHERE backend_type = 'mdbatch worker')";

# How often does the log tell that?
sub logged
{
	my ($what, $from) = @_;
	my $n = () = slurp_file($node->logfile, $from) =~ /$what/g;

	return $n;
}

# A template saves twenty CREATE EXTENSIONs.
sql('postgres', 'CREATE DATABASE template');
sql('template', 'CREATE EXTENSION mdbatch;
	CREATE TABLE t (k int PRIMARY KEY, v text);
	SELECT mdbatch_attach($$t$$, flush_interval => $$100ms$$)');
sql('postgres', join('', map { "CREATE DATABASE $_ TEMPLATE template;\n" } @databases));

# All of them have something due: each is served, though there are four places.
sql($_, q{SELECT mdbatch_put('t', '{"k": 1, "v": "a"}')}) foreach @databases;
wait_for($node, 'postgres', "(SELECT count(*) = $ndatabases AND sum(flushed) = $ndatabases
	FROM mdbatch_stat WHERE datname LIKE 'db%')", 'all are flushed');
is(join(' ', grep { sql($_, 'SELECT v FROM t') ne 'a' } @databases), '',
	'each in its table');
cmp_ok(sql('postgres', "SELECT $workers"), '<=', 4, 'by no more workers than allowed');

# Again and again, with a database that never rests among them.
sql('db1', q{SELECT mdbatch_attach('t', batch_size => 1);
	SELECT mdbatch_put('t', jsonb_agg(jsonb_build_object('k', i, 'v', 'busy')))
	FROM generate_series(2, 6) i});
my $busy = session($node, 'db1');
start_query($busy, q{DO $$
BEGIN
	FOR i IN 1..3000 LOOP
		PERFORM mdbatch_put('t', jsonb_build_object('k', i % 5, 'v', i));
		COMMIT;
	END LOOP;
END $$});
foreach my $round (2 .. 3)
{
	sql($_, qq{SELECT mdbatch_put('t', '{"k": $round, "v": "b"}')})
	  foreach @databases[ 1 .. $#databases ];
}
wait_for($node, 'postgres', "(SELECT sum(flushed) = 3 * ($ndatabases - 1)
	FROM mdbatch_stat WHERE datname LIKE 'db%' AND datname <> 'db1')",
	'others are flushed beside a busy one');
is((finish_query($busy))[1], '', 'which gets its adds in');
$busy->quit;
is(sql('db1', q{SELECT mdbatch_flush('t') >= 0; SELECT v FROM t WHERE k = 0}),
	"t\n3000", 'and its values out');

# An entry that is not due does not keep a place from one that is.
sql($_, add('waits')) foreach @databases;
is(sql($_, 'SELECT mdbatch_flush()'), '1', "a flush in $_")
  foreach reverse @databases;
is(join(' ', grep { sql($_, 'SELECT count(*) FROM mdbatch_metadata') ne '1' } @databases),
	'', 'each has its row');
books_ok($node, 'postgres');

# One place for all of them.
sql('postgres', 'ALTER SYSTEM SET mdbatch.max_workers = 1');
$node->reload;
sql($_, add('one')) foreach @databases[ 0 .. 7 ];
is(sql($_, 'SELECT mdbatch_flush()'), '1', "one place: a flush in $_")
  foreach @databases[ 0 .. 7 ];
is(sql('postgres', "SELECT $workers <= 1"), 't', 'by one worker');

# Dropped, all of them, while entries wait: nobody is left.
sql($_, add('gone')) foreach @databases;
$offset = -s $node->logfile;
sql('postgres', join('', map { "DROP DATABASE $_;\n" } @databases));
is( sql('postgres', q{SELECT count(*), sum(pending) FROM mdbatch_stat
		WHERE datid NOT IN (SELECT oid FROM pg_database) AND pending > 0}),
	'0|', 'nothing is pending for them');
books_ok($node, 'postgres');
sql('postgres', add('last'));
is(sql('postgres', 'SELECT mdbatch_flush()'), '1', 'another one works');
# (One that was just starting when its database was dropped had to be ended.)
is(logged(qr/FATAL:  (?!terminating background worker)/, $offset),
	0, 'no worker was started in vain');
$node->stop;

# All workers of the server are taken by others: adds go on, the log tells it
# once, nothing crash-loops; when one is free, it all goes on.
$node = new_server('taken', 'max_worker_processes' => '4',
	'max_parallel_workers' => '4', 'max_parallel_workers_per_gather' => '4',
	'log_min_messages' => 'debug1');
sql('postgres', 'CREATE TABLE big AS SELECT i FROM generate_series(1, 10000) i;
	CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
	$$ BEGIN PERFORM pg_sleep(600); RETURN i; END $$');
my $hog = session($node, 'postgres');
$hog->query_safe('SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0; SET statement_timeout = 0;
	ALTER TABLE big SET (parallel_workers = 4)');
start_query($hog, 'SELECT sum(slow(i)) FROM big');
wait_for($node, 'postgres', "(SELECT count(*) = 2 FROM pg_stat_activity
	WHERE backend_type = 'parallel worker')", 'others have all the places');
$offset = -s $node->logfile;
is(sql('postgres', add('a')), '1', 'an add');
$node->wait_for_log(qr/LOG:  no background worker is free for mdbatch/, $offset);
is(sql('postgres', add($_)), '1', 'adds go on') foreach 'b' .. 'd';
my ($ret, $stdout, $stderr) = $node->psql('postgres',
	"SET statement_timeout = '3s'; SELECT mdbatch_flush()");
like($stderr, qr/canceling statement due to statement timeout/, 'a flush waits');
is(sql('postgres', 'SELECT pending, flush_failures FROM mdbatch_stat'), '4|0',
	'nothing is lost, nothing has failed');
is(logged(qr/no background worker is free/, $offset), 1, 'the log tells it once');
cmp_ok(logged(qr/starting background worker process/, $offset), '<=', 1,
	'nothing crash-loops');
sql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
	WHERE query LIKE 'SELECT sum(slow%' AND backend_type = 'client backend'");
finish_query($hog);
is(sql('postgres', 'SELECT mdbatch_flush()'), '4', 'then it goes on');
$hog->quit;
books_ok($node, 'postgres');
$node->stop;

# With one, which the launcher of logical replication or ours gets; or none at
# all: the server starts, adds work, a shutdown keeps them (R14).
foreach my $n (1, 0)
{
	$node->append_conf('postgresql.conf', "max_worker_processes = $n");
	$node->start;
	$offset = -s $node->logfile;
	is(sql('postgres', add("with$n")), '1', "max_worker_processes = $n: an add");
	is(sql('postgres', add('again')), '1', '... and another one');
	is(sql('postgres', "SELECT count(*) > 0 FROM mdbatch_pending() WHERE key = 'with$n'"),
		't', '... wait');
	($ret, $stdout, $stderr) = $node->psql('postgres',
		"SET statement_timeout = '2s'; SELECT mdbatch_flush()");
	like($stderr, qr/canceling statement due to statement timeout/,
		'... a flush waits until it times out');
	books_ok($node, 'postgres');
	is(logged(qr/PANIC|FATAL|terminated by signal/, $offset), 0, '... nothing crashes');
	$node->stop;
}
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->start;
is(sql('postgres', 'SELECT mdbatch_flush() >= 0'), 't', 'with enough of them');
is(sql('postgres', "SELECT string_agg(key, ' ' ORDER BY key) FROM mdbatch_metadata"),
	'a again b c d with0 with1', 'all are written');
books_ok($node, 'postgres');
$node->stop;

# R10: one database fills the memory, and another one's owner does what he can
# to get more than his share: 1 MB, half of it in shares of 64 kB.
$node = new_server('memory', 'mdbatch.memory' => '1MB', 'mdbatch.max_batches' => '8',
	'mdbatch.queue_size' => '100000', 'mdbatch.batch_size' => '100000');
sql('postgres', "CREATE DATABASE $_") foreach qw(greedy modest);
sql($_, 'CREATE EXTENSION mdbatch') foreach qw(greedy modest);
sql('greedy', q{CREATE ROLE attacker LOGIN;
	GRANT CREATE ON SCHEMA public TO attacker;
	GRANT EXECUTE ON FUNCTION mdbatch_attach TO attacker});

# As many entries of 1 kB in batches as he gets: six of the eight.
my $accepted = sql('greedy', q{SET SESSION AUTHORIZATION attacker;
	DO $$
	BEGIN
		FOR i IN 1..6 LOOP
			EXECUTE format('CREATE TABLE t%s (k int PRIMARY KEY, v text)', i);
			PERFORM mdbatch_attach(format('t%s', i)::regclass);
		END LOOP;
	END $$;
	SELECT sum(mdbatch_put(format('t%s', i)::regclass,
		jsonb_build_object('k', j, 'v', repeat('x', 1000))))
	FROM generate_series(1, 6) i, generate_series(1, 500) j});
cmp_ok($accepted, '<', 3000, 'memory is bounded');
cmp_ok($accepted, '>', 300, '... and can be used');
is( sql('greedy', q{SELECT sum(memory_used) <= 1048576 * 7 / 8,
		sum(memory_used) > 1048576 * 3 / 4, sum(dropped) > 0 FROM mdbatch_stat}),
	't|t|t', '... by one role to what is not guaranteed to the other batches');
my $entry = "SELECT count(*) FILTER (WHERE n = 1) FROM (SELECT mdbatch_add('$agent',
	ARRAY['k' || i], ARRAY[repeat('y', 1000)]) AS n FROM generate_series(1, 40) i) s";
cmp_ok(sql('modest', $entry), '>=', 30, 'another database has its share');
cmp_ok(sql('greedy', $entry), '>=', 30, '... and another batch of this one');
is(sql('postgres', 'SELECT sum(memory_used) <= 1048576 FROM mdbatch_stat'), 't',
	'... all within the memory');

# All slots are taken, and none of them is empty.
sql('greedy', q{SET SESSION AUTHORIZATION attacker;
	CREATE TABLE t7 (k int PRIMARY KEY, v text);
	SELECT mdbatch_attach('t7')});
($ret, $stdout, $stderr) = $node->psql('greedy',
	"\\set VERBOSITY verbose\nSELECT mdbatch_put('t7', '{\"k\": 1}');");
like($stderr, qr/ERROR:  53400: /, 'max_batches used up');
is(sql('modest', add('still')), '1', '... those that have a batch go on');
is(sql('modest', 'SELECT mdbatch_flush() > 30'), 't', '... and are flushed');
is(sql('greedy', "SELECT mdbatch_put('t7', '{\"k\": 1}')"), '1',
	'... a batch that is empty makes room');
($ret, $stdout, $stderr) = $node->psql('modest',
	"\\set VERBOSITY verbose\n" . add('late') . ';');
like($stderr, qr/ERROR:  53400: /, '... then there is none for its target');

# Flushed, everything is as before.
is(sql('greedy', "SELECT mdbatch_flush() > $accepted"), 't', 'a flush of all');
is(sql('modest', add('late')), '1', '... and there is room');
is(sql('modest', 'SELECT mdbatch_flush()'), '1', '... for all');
is( sql('greedy', 'SELECT (SELECT count(*) FROM t1) + (SELECT count(*) FROM t2)
		+ (SELECT count(*) FROM t3) + (SELECT count(*) FROM t4)
		+ (SELECT count(*) FROM t5) + (SELECT count(*) FROM t6)'),
	$accepted, '... nothing that was accepted is lost');
books_ok($node, 'postgres');
$node->stop;
done_testing();
