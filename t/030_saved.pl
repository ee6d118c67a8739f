# What is pending at a clean stop is pending again after the start, and due at
# once (R14), with the books right (R19), exactly once (R26).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{MDBATCH_SAVED_SEED} || 1 + int rand 1_000_000_000;
diag "MDBATCH_SAVED_SEED=$seed";
srand $seed;

# A locked target costs a flush little time.  max_wal_senders is for commits that
# wait for a standby.
my $node = new_server('main', 'streaming' => 1,
	'max_prepared_transactions' => '20', 'mdbatch.lock_timeout' => '100ms',
	'mdbatch.flush_timeout' => '2s', 'max_worker_processes' => '16');
my $file = $node->data_dir . '/mdbatch.pending';
my $offset = 0;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub files
{
	return join ' ', map { s{.*/}{}r } sort glob "$file*";
}

sub books
{
	my ($target, $columns) = @_;

	return sql("SELECT $columns FROM mdbatch_stat
		WHERE datname = 'postgres' AND relid = '$target'::regclass");
}

# What waits for a target, in flush order.
sub pending_rows
{
	my ($target) = @_;

	return sql("SELECT md5(r::text), left(r::text, 100)
		FROM mdbatch_pending_rows(NULL::$target) r");
}

# Keep a table locked over restarts, until thawed.
sub freeze
{
	my ($table) = @_;

	return sql("BEGIN; LOCK TABLE $table IN EXCLUSIVE MODE;
		PREPARE TRANSACTION 'freeze_$table'");
}

sub thaw { return sql("COMMIT PREPARED 'freeze_$_[0]'"); }

sub put
{
	my ($target, @entries) = @_;

	return sql("SELECT mdbatch_put('$target', '[" . join(',', @entries) . "]')");
}

# A condition of this side, not of the server's.
sub until_true
{
	my ($condition, $what) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	usleep(10_000) until $condition->() || time > $deadline;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($condition->(), $what);
}

# Stop it, with so many entries of so many targets saved; nothing saved, no file.
sub stop_saving
{
	my ($mode, $entries, $targets) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$offset = -s $node->logfile;
	$node->stop($mode);
	return saved($entries, $targets, $mode);
}

sub saved
{
	my ($entries, $targets, $mode) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	if ($entries == 0)
	{
		is(files(), '', "nothing is saved by a $mode stop");
		ok(!$node->log_contains(qr/pending entries of/, $offset),
			'and the log does not say otherwise');
		return;
	}
	is(files(), 'mdbatch.pending', "a $mode stop leaves one file");
	ok( $node->log_contains(
			qr/LOG:  saved $entries pending entries of $targets tables/, $offset),
		"the log tells of $entries entries");
	return;
}

sub start_loading
{
	my ($entries) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$offset = -s $node->logfile;
	$node->start;
	ok($node->log_contains(qr/LOG:  loaded $entries pending entries/, $offset),
		"$entries entries are loaded");
	until_true(sub { files() eq '' }, 'the file is gone after the start');
	return;
}

# Stop the server while a backend sleeps that the stop has to wait for: the
# worker has made its last flush before that backend goes on.
sub stop_behind
{
	my ($pid, $mode, $entries, $targets) = @_;
	my $worker = worker_pid($node, 'postgres');
	my $pid_file = $node->data_dir . '/postmaster.pid';

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	isnt($worker, 0, 'there is a worker');
	$offset = -s $node->logfile;
	kill 'STOP', $pid;
	system_or_bail('pg_ctl', '-D', $node->data_dir, '-m', $mode, '-W', '-s',
		'stop');
	until_true(sub { !kill 0, $worker }, 'the worker has made its last flush');
	kill 'CONT', $pid;
	until_true(sub { !-e $pid_file }, "the server stops ($mode)");
	$node->_update_pid(0);
	return saved($entries, $targets, $mode);
}

sql(<<'SQL');
CREATE TABLE counter (id int PRIMARY KEY, n bigint);
SELECT mdbatch_attach('counter', merge => '{"n": "sum"}');
SQL

# Nothing is pending: nothing is left.
foreach my $mode (qw(fast smart))
{
	put('counter', '{"id": 0, "n": 1}');
	stop_saving($mode, 0);
	$node->start;
}
is(sql('SELECT * FROM counter'), '0|2', 'the last flushes wrote the entries');

# A lock that outlives the server, over several restarts in a row: the entries
# are there each time, and are added up once.
freeze('counter');
my %expected = (0 => 2);
foreach my $round (1 .. 4)
{
	my $mode = $round % 2 ? 'fast' : 'smart';

	foreach my $id (0, $round, $round % 2)
	{
		put('counter', qq({"id": $id, "n": $round}));
		$expected{$id} += $round;
	}
	my $n = books('counter', 'pending');
	my $rows = pending_rows('counter');
	stop_saving($mode, $n, 1);
	start_loading($n);
	is(pending_rows('counter'), $rows, "round $round: pending as before");
	is(books('counter', 'pending, added, coalesced, stale, flushed, rejected,
		discarded, dropped, reserved'), "$n|$n|0|0|0|0|0|0|0",
		'the books start from what is pending');
	is(books('counter', 'target'), 'public.counter', 'under its name');
}
thaw('counter');
sql("SELECT mdbatch_flush('counter')");
is( sql('SELECT id, n FROM counter ORDER BY id'),
	join("\n", map { "$_|$expected{$_}" } sort keys %expected),
	'added up once, over four restarts');
is(books('counter', 'pending, added = flushed'), '0|t', 'nothing is left');
books_ok($node, 'postgres');

# A lock that ends with the server: what was saved is flushed at once after the
# start, unasked, though the interval is 1h; all of it, by as many flushes as
# the own batch_size takes, and with several definitions the older first.
sql(<<'SQL');
CREATE TABLE small (id int PRIMARY KEY, v text);
CREATE TABLE defined (id int PRIMARY KEY, a text, b text);
CREATE TABLE written (n serial, target text, id int, a text, b text);
CREATE FUNCTION public.log_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.written (target, id, a, b)
	SELECT TG_TABLE_NAME, NEW.id, to_jsonb(NEW)->>'a', to_jsonb(NEW)->>'b';
	RETURN NULL;
END $$;
CREATE TRIGGER log AFTER INSERT OR UPDATE ON defined
	FOR EACH ROW EXECUTE FUNCTION log_write();
SELECT mdbatch_attach('small', batch_size => 10);
SELECT mdbatch_put('small', '[{"id": 1, "v": "a"}, {"id": 2, "v": "a"},
	{"id": 3, "v": "a"}, {"id": 4, "v": "a"}, {"id": 5, "v": "a"}]');
SELECT mdbatch_attach('small', batch_size => 2);
SELECT mdbatch_attach('defined', columns => '{a}');
SELECT mdbatch_put('defined', '[{"id": 2, "a": "one"}, {"id": 1, "a": "one"}]');
SELECT mdbatch_attach('defined', columns => '{b}');
SELECT mdbatch_put('defined', '[{"id": 1, "b": "two"}, {"id": 3, "b": "two"}]');
SELECT mdbatch_attach('defined', columns => '{a,b}');
SELECT mdbatch_put('defined', '{"id": 1, "a": "three", "b": "three"}');
SELECT mdbatch_attach('counter', merge => '{"n": "sum"}', batch_size => 3);
SQL
SKIP:
{
	my $locker = session($node, 'postgres');
	my $pid = $locker->query_safe('SELECT pg_backend_pid()');
	$locker->query_safe(
		'BEGIN; LOCK TABLE small, defined, counter IN EXCLUSIVE MODE');
	put('counter', '{"id": 100, "n": 5}', '{"id": 101, "n": 6}');
	my $defined = pending_rows('defined');
	is(sql("SELECT count(*) FROM mdbatch_pending_rows(NULL::defined)"), '5',
		'five entries of three definitions');
	stop_behind($pid, 'fast', 12, 3);
	end_session($locker);
	start_loading(12);
	wait_for($node, 'postgres', '(SELECT count(*) = 5 FROM small)',
		'the entries of a batch_size of its own are flushed at once, all');
	is(books('small', 'batches_capacity + batches_scheduled + batches_requested,
		flushed, pending, capacity'), '3|5|0|10', 'in batches of that size');
	wait_for($node, 'postgres', '(SELECT count(*) = 2 FROM counter WHERE id >= 100)',
		'those of another target');
	wait_for($node, 'postgres', '(SELECT count(*) = 5 FROM written)',
		'those of each definition');
	is( sql("SELECT id, a, b FROM written WHERE target = 'defined' ORDER BY n"),
		"1|one|\n2|one|\n1|one|two\n3||two\n1|three|three",
		'the older definition first');
	sql('SELECT mdbatch_flush()');
	is(sql('SELECT * FROM defined ORDER BY id'), "1|three|three\n2|one|\n3||two",
		'each written as it was defined');
	is(sql('SELECT n FROM counter WHERE id >= 100 ORDER BY id'), "5\n6", 'once');
	books_ok($node, 'postgres');
}

# The same with more than the own batch_size and one definition only.
{
	my $locker = session($node, 'postgres');
	my $pid = $locker->query_safe('SELECT pg_backend_pid()');

	$locker->query_safe('BEGIN; LOCK TABLE small IN EXCLUSIVE MODE');
	put('small', map { qq({"id": $_, "v": "b"}) } 1 .. 5);
	stop_behind($pid, 'fast', 5, 1);
	end_session($locker);
	start_loading(5);
	wait_for($node, 'postgres', q{(SELECT count(*) = 5 FROM small WHERE v = 'b')},
		'more than one batch is due at once, to the last entry');
	sql('SELECT mdbatch_flush()');
}

# A commit that comes after the last flush: a transaction that waits for a
# standby is published when the wait is cut short, by the stop.
{
	my $late = session($node, 'postgres');
	my $pid = $late->query_safe('SELECT pg_backend_pid()');

	sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
	$node->reload;
	wait_for($node, 'postgres',
		q{current_setting('synchronous_standby_names') = 'nobody'}, 'a standby');
	# A worker, with something to do before.
	sql("SET synchronous_commit = local; SELECT mdbatch_put('counter',
		'{\"id\": 200, \"n\": 1}')");
	wait_for($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = 'mdbatch worker' AND state = 'idle')}, 'a worker');
	$late->query_safe('CREATE TEMP TABLE t (i int)')
	  if 0;
	start_query($late, q{SELECT pg_current_xact_id(), mdbatch_put('counter',
		'[{"id": 200, "n": 10}, {"id": 201, "n": 20}]')});
	wait_for($node, 'postgres', waiting('SELECT pg_current_xact_id%', 'IPC'),
		'a commit waits');
	stop_behind($pid, 'fast', 2, 1);
	end_session($late);
	$node->append_conf('postgresql.auto.conf', "synchronous_standby_names = ''");
	start_loading(2);
	wait_for($node, 'postgres', 'EXISTS (SELECT FROM counter WHERE id = 201)',
		'an add that commits after the last flush is saved');
	is(sql('SELECT n FROM counter WHERE id IN (200, 201) ORDER BY id'),
		"11\n20", 'and adds up with what the last flush wrote');
	sql('ALTER SYSTEM RESET synchronous_standby_names');
	$node->reload;
}

# All kinds of values, and those of a merging target.
sql(<<'SQL');
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS varchar(10);
CREATE TABLE kinds (id uuid, sub text, at timestamptz, t text, n numeric,
	a int[], ta text[], j jsonb, m mood, p pair, ps pair[], d short, b bytea,
	f float8, r daterange, bit varbit, c "char", net inet, flag bool,
	PRIMARY KEY (id, sub));
SELECT mdbatch_attach('kinds', version => 'at');
INSERT INTO kinds VALUES (agent_id => NULL) ON CONFLICT DO NOTHING;
SQL
pass('unreached');
