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
		ok(!$node->log_contains(qr/saved \d+ pending/, $offset),
			'and the log does not say otherwise');
		return;
	}
	is(files(), 'mdbatch.pending', "a $mode stop leaves one file");
	ok( $node->log_contains(
			qr/LOG:  saved $entries pending entr(?:y|ies)/, $offset),
		"the log tells of $entries entries");
	return;
}

sub start_loading
{
	my ($entries) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$offset = -s $node->logfile;
	$node->start;
	ok($node->log_contains(qr/LOG:  loaded $entries pending entr(?:y|ies)/, $offset),
		"$entries entries are loaded");
	until_true(sub { files() eq '' }, 'the file is gone after the start');
	return;
}

# Stop the server while a backend sleeps that the stop has to wait for: the
# worker has made its last flush before that backend goes on.
sub stop_behind
{
	my ($pid, $mode, $entries, $targets) = @_;
	my $pid_file = $node->data_dir . '/postmaster.pid';

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = 'mdbatch worker' AND datname = 'postgres')},
		'there is a worker');
	my $worker = worker_pid($node, 'postgres');
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
	# One that has not come yet would leave the entry to the next.
	wait_for($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = 'mdbatch worker' AND state = 'idle')}, 'a worker');
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

	# A worker that is still connecting has no last flush.
	wait_for($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = 'mdbatch worker' AND state = 'idle')}, 'a worker');
	stop_saving($mode, $n, 1);
	ok($node->log_contains(
			qr/LOG:  worker stops with $n entr(?:y|ies) pending for table public\.counter/,
			$offset),
		'the worker tells what it leaves');
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
SELECT mdbatch_attach('small', batch_size => 2);
SELECT mdbatch_attach('defined', columns => '{a}');
SELECT mdbatch_put('defined', '[{"id": 2, "a": "one"}, {"id": 1, "a": "one"}]');
SELECT mdbatch_attach('defined', columns => '{b}');
SELECT mdbatch_put('defined', '[{"id": 1, "b": "two"}, {"id": 3, "b": "two"}]');
SELECT mdbatch_attach('defined', columns => '{a,b}');
SELECT mdbatch_put('defined', '{"id": 1, "a": "three", "b": "three"}');
SELECT mdbatch_attach('counter', merge => '{"n": "sum"}', batch_size => 3);
SQL
{
	my $locker = session($node, 'postgres');
	my $pid = $locker->query_safe('SELECT pg_backend_pid()');
	$locker->query_safe(
		'BEGIN; LOCK TABLE small, defined, counter IN EXCLUSIVE MODE');
	put('counter', '{"id": 100, "n": 5}', '{"id": 101, "n": 6}');
	put('small', map { qq({"id": $_, "v": "a"}) } 1 .. 5);
	is(sql("SELECT count(*) FROM mdbatch_pending_rows(NULL::defined)"), '5',
		'five entries of three definitions');
	stop_behind($pid, 'fast', 12, 3);
	end_session($locker);
	start_loading(12);
	wait_for($node, 'postgres', '(SELECT count(*) = 5 FROM small)',
		'the entries of a batch_size of its own are flushed at once, all');
	# The books follow the commit, before a waiter returns.
	sql("SELECT mdbatch_flush('small')");
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
	start_query($late, q{WITH w AS (INSERT INTO written (n) VALUES (0))
		SELECT mdbatch_put('counter',
			'[{"id": 200, "n": 10}, {"id": 201, "n": 20}]')});
	wait_for($node, 'postgres', waiting('WITH w%', 'IPC'),
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

# A smart stop waits for a session, which works on as before: it adds, it is
# flushed for, and what it adds last is written, or saved.
foreach my $locked (0, 1)
{
	my $last = session($node, 'postgres');
	my $pid_file = $node->data_dir . '/postmaster.pid';
	my $id = 300 + 10 * $locked;

	$offset = -s $node->logfile;
	system_or_bail('pg_ctl', '-D', $node->data_dir, '-m', 'smart', '-W', '-s',
		'stop');
	# A psql that is refused may be gone before it is told what to do.
	until_true(sub { (eval { $node->psql('postgres', 'SELECT') } // 1) != 0 },
		'nobody else may connect');
	is($last->query_safe(qq{SELECT mdbatch_put('counter', '{"id": $id, "n": 1}')}),
		'1', 'a session that a smart stop waits for can add');
	is($last->query_safe(q{SELECT mdbatch_flush('counter')}), '1', 'and flush');
	$last->query_safe(q{BEGIN; LOCK TABLE counter IN EXCLUSIVE MODE;
		PREPARE TRANSACTION 'freeze_counter'}) if $locked;
	is($last->query_safe(qq{SELECT mdbatch_put('counter',
		'[{"id": $id, "n": 10}, {"id": @{[$id + 1]}, "n": 20}]')}), '2', 'and add');
	end_session($last);
	until_true(sub { !-e $pid_file }, 'when it ends, the server stops');
	$node->_update_pid(0);
	saved($locked ? (2, 1) : (0, 0), 'smart');
	$node->start;
	thaw('counter') if $locked;
	sql('SELECT mdbatch_flush()');
	is(sql("SELECT n FROM counter WHERE id IN ($id, $id + 1) ORDER BY id"),
		"11\n20", 'each counts once');
}

# All kinds of values, null and large; sums beyond the type of their column.
sql(<<'SQL');
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS varchar(10);
CREATE FUNCTION agent(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS
	$$ SELECT lpad(n::text, 32, '0')::uuid $$;
CREATE TABLE kinds (id uuid, sub text, at timestamptz, t text, n numeric,
	a int[], ta text[], j jsonb, m mood, p pair, ps pair[], d short, b bytea,
	f float8, r daterange, bits varbit, c "char", net inet, flag bool,
	PRIMARY KEY (id, sub));
SELECT mdbatch_attach('kinds', version => 'at');
CREATE TABLE kinds_expected (LIKE kinds);
INSERT INTO kinds_expected VALUES
	(agent(1), 'all', '2026-01-01 00:00+00', 'text', 12345678901234567890.000123,
	 '{{1,2},{3,NULL}}', ARRAY['a', NULL, '', 'ä"\'], '{"a": [1, null, "ü"]}',
	 'happy', ROW(1, NULL), ARRAY[ROW(1, 'x'), NULL, ROW(NULL, '')]::pair[],
	 'short', '\x00ff00', 'NaN', '[2026-01-01,)', B'10101', 'x', '::1/64', false),
	(agent(1), 'null', 'infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
	 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(agent(2), 'empty', '-infinity', '', 'NaN', '{}', '{}', 'null', 'sad',
	 ROW(NULL, NULL), '{}', '', '', '-0', 'empty', B'', '', '0.0.0.0/0', true),
	(agent(3), repeat('long key', 1000), '2026-01-02', repeat('m', 3 * 1024 * 1024),
	 repeat('9', 10000)::numeric, array_fill(7, ARRAY[100000]), NULL,
	 to_jsonb(array_fill('j'::text, ARRAY[10000])), NULL, ROW(2, repeat('p', 100000)),
	 NULL, NULL, decode(repeat('00', 1024 * 1024), 'hex'), 1e-300, NULL, NULL, NULL,
	 NULL, NULL);
CREATE TABLE sums (id int PRIMARY KEY, big bigint, small smallint, r real,
	d double precision, lo date, hi timestamptz, last text);
SELECT mdbatch_attach('sums', merge => '{"big": "sum", "small": "sum",
	"r": "sum", "d": "sum", "lo": "min", "hi": "max"}');
SQL
freeze('kinds');
freeze('sums');
sql('SELECT mdbatch_put_row(k::text::kinds) FROM kinds_expected k');
sql('SET mdbatch.on_full = error; SELECT mdbatch_put_row(k::text::kinds)
	FROM kinds_expected k');
sub sums
{
	my ($big, $small, $lo, $hi, $last) = @_;

	return put('sums', qq({"id": 1, "big": $big, "small": $small, "r": 0.5,
		"d": 0.25, "lo": $lo, "hi": $hi, "last": $last}));
}
sums('9223372036854775807', 32767, '"2026-01-01"', '"2026-01-01 00:00+00"', '"x"');
sums('9223372036854775807', 32767, 'null', '"2026-03-01 00:00+00"', '"y"');
put('sums', '{"id": 2}');
my $rows = pending_rows('kinds');
is(sql('SELECT count(*) FROM mdbatch_pending_rows(NULL::kinds)'), '4',
	'four rows of many types wait');
foreach my $mode (qw(fast smart))
{
	stop_saving($mode, 6, 2);
	start_loading(6);
	is(pending_rows('kinds'), $rows, "pending as before the $mode stop");
}
sums('-9223372036854775807', -32767, '"2025-12-31"', 'null', 'null');
sums('5', 5, '"2026-06-01"', '"2026-02-01 00:00+00"', '"z"');
sums('-9223372036854775807', -32767, 'null', 'null', '"last"');
stop_saving('fast', 6, 2);
start_loading(6);
thaw('kinds');
thaw('sums');
sql('SELECT mdbatch_flush()');
is( sql('SELECT count(*) FROM (SELECT k::text FROM kinds k
		INTERSECT SELECT k::text FROM kinds_expected k) x') . ' '
	  . sql('SELECT count(*) FROM kinds'),
	'4 4', 'each value is written as it was put');
is( sql("SET timezone = 'UTC'; SELECT * FROM sums ORDER BY id"),
	"1|5|5|2.5|1.25|2025-12-31|2026-03-01 00:00:00+00|last\n2|||||||",
	'sums keep what is beyond their type');
books_ok($node, 'postgres');

# Entries that are refused, and such as are stepped over.
sql(<<'SQL');
CREATE TABLE picky (id int PRIMARY KEY, v int CHECK (v < 100));
SELECT mdbatch_attach('picky');
INSERT INTO picky VALUES (1, 0);
BEGIN; UPDATE picky SET v = 0 WHERE id = 1; PREPARE TRANSACTION 'row';
SQL
put('picky', map { qq({"id": $_, "v": 1}) } 1 .. 2);
my ($ret, $stdout, $stderr) =
  $node->psql('postgres', "SELECT mdbatch_flush('picky')");
like($stderr, qr/stepped over|locked/, 'a row is locked');
wait_for($node, 'postgres', 'EXISTS (SELECT FROM picky WHERE id = 2)',
	'the other is written');
put('picky', '{"id": 3, "v": 1000}', '{"id": 4, "v": 1}');
stop_saving('fast', 1, 1);
start_loading(1);
is(sql('SELECT * FROM picky ORDER BY id'), "1|0\n2|1\n4|1",
	'the last flush writes all but the locked row and what was refused');
is(sql("SELECT key, sqlstate FROM mdbatch_rejected WHERE target = 'public.picky'"),
	'{"id": 3}|23514', 'which is in mdbatch_rejected');
is(sql('SELECT * FROM mdbatch_pending_rows(NULL::picky)'), '1|1',
	'what was stepped over is saved');
sql("COMMIT PREPARED 'row'");
sql("SELECT mdbatch_flush('picky')");
is(sql('SELECT v FROM picky WHERE id = 1'), '1', 'and written');

# Entries of a detached target are still written, and then its batch is gone; those
# of a dropped one are not saved.
sql(<<'SQL');
CREATE TABLE detached (id int PRIMARY KEY, v int);
CREATE TABLE dropped (id int PRIMARY KEY, v int);
SELECT mdbatch_attach('detached');
SELECT mdbatch_attach('dropped');
SELECT mdbatch_put('detached', '{"id": 1, "v": 1}');
SELECT mdbatch_put('dropped', '{"id": 1, "v": 1}');
SELECT mdbatch_detach('detached');
DROP TABLE dropped;
SQL
freeze('detached');
stop_saving('smart', 1, 1);
start_loading(1);
thaw('detached');
wait_for($node, 'postgres', 'EXISTS (SELECT FROM detached)',
	'what waits for a detached target is written after the restart');
wait_for($node, 'postgres', "NOT EXISTS (SELECT FROM mdbatch_stat
	WHERE relid = 'detached'::regclass)", 'then its batch is gone');

# Several databases, one of them without a worker at the stop.
$node->append_conf('postgresql.conf', 'mdbatch.max_workers = 1');
sql("CREATE DATABASE db$_") foreach 1 .. 3;
foreach my $db (qw(db1 db2 db3))
{
	$node->safe_psql($db, <<"SQL");
CREATE EXTENSION mdbatch;
CREATE TABLE counter (id int PRIMARY KEY, n bigint);
SELECT mdbatch_attach('counter', merge => '{"n": "sum"}');
BEGIN; LOCK TABLE counter IN EXCLUSIVE MODE; PREPARE TRANSACTION 'freeze_$db';
SELECT mdbatch_put('counter', '[{"id": 1, "n": 1}, {"id": 2, "n": 2}]');
SQL
}
foreach my $mode (qw(fast smart))
{
	stop_saving($mode, 6, 3);
	start_loading(6);
}
foreach my $db (qw(db1 db2 db3))
{
	is($node->safe_psql($db, 'SELECT * FROM mdbatch_pending_rows(NULL::counter)'),
		"1|1\n2|2", "what waits in $db");
	$node->safe_psql($db, "COMMIT PREPARED 'freeze_$db'");
	# The worker may have waited for just that, and been first.
	is( $node->safe_psql($db,
			'SELECT mdbatch_flush() IN (0, 2); SELECT * FROM counter'),
		"t\n1|1\n2|2", 'is written there');
}
$node->append_conf('postgresql.conf', 'mdbatch.max_workers = 8');

# Ten locked targets at the stop take one flush_timeout together.
sql(join ';', map {
	"CREATE TABLE ten$_ (id int PRIMARY KEY, n int);
	 SELECT mdbatch_attach('ten$_', merge => '{\"n\": \"sum\"}')" } 1 .. 10);
$node->append_conf('postgresql.conf', 'mdbatch.lock_timeout = 1h');
$node->reload;
freeze("ten$_") foreach 1 .. 10;
put("ten$_", '{"id": 1, "n": 1}') foreach 1 .. 10;
my $start = time;
stop_saving('fast', 10, 10);
cmp_ok(time - $start, '>', 1.5, 'a stop tries to flush');
cmp_ok(time - $start, '<', 8, 'ten locked targets do not take ten timeouts');
$node->append_conf('postgresql.conf', "mdbatch.lock_timeout = '100ms'");

# In single-user mode, in between, they stay saved.
$offset = -s $node->logfile;
sub single
{
	my (@statements) = @_;
	my ($in, $out) = (join('', map { "$_\n" } @statements), '');

	IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ],
		'<', \$in, '>', \$out, '2>&1');
	return $out;
}
my $out = single("COMMIT PREPARED 'freeze_ten1'",
	'SELECT count(*) AS pending FROM mdbatch_pending_rows(NULL::ten1)');
like($out, qr/pending = "1"/, 'single-user mode has them, too');
is(files(), 'mdbatch.pending', 'and saves them again');
like(single('SELECT mdbatch_flush()'),
	qr/ERROR: *(?:55000: )?mdbatch does not work in single-user mode/,
	'but nobody to flush them');
$out = single('SELECT 1 AS one');
like($out, qr/one = "1"/, 'twice');
start_loading(10);
wait_for($node, 'postgres', 'EXISTS (SELECT FROM ten1)',
	'the one that is no longer locked is flushed at once');
thaw("ten$_") foreach 2 .. 10;
sql('SELECT mdbatch_flush()');
is( sql('SELECT sum(n), count(*) FROM (' . join(' UNION ALL ',
			map { "SELECT n FROM ten$_" } 1 .. 10) . ') x'),
	'10|10', 'each is written once');

# Sessions that commit all the time, while the server stops: each transaction
# notes what it adds, so that what was committed is what counts.
sql(<<'SQL');
CREATE TABLE noted (id int);
CREATE TABLE busy (id int PRIMARY KEY, n bigint);
SELECT mdbatch_attach('busy', merge => '{"n": "sum"}', batch_size => 5);
CREATE PROCEDURE work(id int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 1000000 LOOP
		INSERT INTO noted VALUES (id + i % 7);
		PERFORM mdbatch_put('busy', jsonb_build_object('id', id + i % 7, 'n', 1));
		COMMIT;
	END LOOP;
END $$;
SQL
foreach my $round (1 .. 6)
{
	my @sessions = map { session($node, 'postgres') } 1 .. 3;

	freeze('busy') if $round % 2;
	start_query($sessions[$_], "SET statement_timeout = 0; CALL work(10 * $_)")
	  foreach 0 .. $#sessions;
	wait_for($node, 'postgres', "(SELECT count(DISTINCT id) = 21 FROM noted)",
		'three sessions work');
	usleep(rand 300_000);
	$node->stop('fast');
	end_session($_) foreach @sessions;
	$node->start;
	thaw('busy') if $round % 2;
	sql('SELECT mdbatch_flush()');
	is( sql('SELECT id, n, c FROM busy
			FULL JOIN (SELECT id, count(*) AS c FROM noted GROUP BY id) x USING (id)
			WHERE n IS DISTINCT FROM c'),
		'', "round $round: what was committed is added up once, no more, no less");
}
books_ok($node, 'postgres');

# Stopped again while it starts, at any moment: what is saved stays saved.
freeze('busy');
sql(q{SELECT mdbatch_put('busy', jsonb_agg(jsonb_build_object('id', i, 'n', 1)))
	FROM generate_series(1001, 1020) i});
$node->stop;
foreach my $round (1 .. 6)
{
	my $pid_file = $node->data_dir . '/postmaster.pid';

	system_or_bail('pg_ctl', '-D', $node->data_dir, '-l', $node->logfile, '-W',
		'-s', 'start');
	until_true(sub { -s $pid_file }, 'it starts');
	usleep(rand 80_000);
	system_or_bail('pg_ctl', '-D', $node->data_dir, '-m',
		$round % 2 ? 'fast' : 'smart', '-W', '-s', 'stop');
	until_true(sub { !-e $pid_file }, 'and stops');
	is(files(), 'mdbatch.pending', "round $round: stopped while it starts");
}

# A start that fails, after it has loaded the file, leaves it for the next.
rename $node->data_dir . '/pg_hba.conf', $node->data_dir . '/no_hba.conf';
$offset = -s $node->logfile;
is($node->start(fail_ok => 1), 0, 'a start fails');
ok($node->log_contains(qr/could not load.*pg_hba\.conf/, $offset),
	'for another reason');
is(files(), 'mdbatch.pending', 'the file is left');
rename $node->data_dir . '/no_hba.conf', $node->data_dir . '/pg_hba.conf';
start_loading(20);
thaw('busy');
sql('SELECT mdbatch_flush()');
is(sql('SELECT count(*), sum(n) FROM busy WHERE id > 1000'), '20|20',
	'each counts once');

# Sizes of its own that a target was given while entries waited, and none has
# come since.
sql(q{SELECT mdbatch_attach('busy', merge => '{"n": "sum"}', batch_size => 7);
	SELECT mdbatch_put('busy', '{"id": 2000, "n": 1}');
	SELECT mdbatch_attach('busy', merge => '{"n": "sum"}', batch_size => 9)});
is(books('busy', 'capacity'), '45', 'a new batch_size');
freeze('busy');
stop_saving('fast', 1, 1);
start_loading(1);
is(books('busy', 'capacity'), '45', 'is that of the batch after a restart');
thaw('busy');

# A target that is changed, and one that is dropped, before the entries that were
# loaded are written.
sql(<<'SQL');
CREATE TABLE changed (id int PRIMARY KEY, a text, b text);
CREATE TABLE dropped (id int PRIMARY KEY, a text);
SELECT mdbatch_attach('changed');
SELECT mdbatch_attach('dropped');
SELECT mdbatch_put('changed', '{"id": 1, "a": "a", "b": "b"}');
SELECT mdbatch_put('dropped', '{"id": 1, "a": "a"}');
SQL
freeze('changed');
freeze('dropped');
stop_saving('fast', 2, 2);
start_loading(2);
sql(q{COMMIT PREPARED 'freeze_changed'; COMMIT PREPARED 'freeze_dropped'});
sql('BEGIN; LOCK TABLE changed; ALTER TABLE changed DROP COLUMN a;
	ALTER TABLE changed RENAME TO renamed; DROP TABLE dropped; COMMIT');
sql('SELECT mdbatch_flush()');
is(sql('SELECT * FROM renamed'), '1|b', 'a changed target has what fits');
wait_for($node, 'postgres', '(SELECT coalesce(sum(pending), 0) = 0 FROM mdbatch_stat)',
	'nothing is left for a dropped one');
books_ok($node, 'postgres');

# Random stops, compared with a model.  An immediate one loses what was not
# acknowledged, and never adds anything twice.
sql(<<'SQL');
CREATE TABLE random (id int PRIMARY KEY, n bigint);
SELECT mdbatch_attach('random', merge => '{"n": "sum"}');
SQL
my (%sure, %possible);
my $frozen = 0;
my @did;
foreach my $round (1 .. 10)
{
	my $mode = (qw(fast smart immediate))[ int rand 3 ];

	foreach (1 .. 1 + int rand 5)
	{
		my $id = 1 + int rand 5;
		my $n = 1 + int rand 1000;

		put('random', qq({"id": $id, "n": $n}), qq({"id": @{[100 * $round + $_]}, "n": 1}));
		$possible{$id} += $n;
		$possible{ 100 * $round + $_ } += 1;
		if (!$frozen && rand() < 0.3)
		{
			sql('SELECT mdbatch_flush()');
			%sure = %possible;
		}
	}
	if (!$frozen && rand() < 0.5)
	{
		freeze('random');
		$frozen = 1;
	}
	elsif ($frozen && rand() < 0.5)
	{
		thaw('random');
		$frozen = 0;
	}
	push @did, $mode . ($frozen ? ' frozen' : '');
	$node->stop($mode);
	$node->start;
	if ($mode eq 'immediate')
	{
		# What is lost is lost for good: the table is right from now on.
		my %is = map { split /\|/ } split /\n/, sql('SELECT * FROM random');
		my @bad = grep { ($is{$_} // 0) < ($sure{$_} // 0)
			  || ($is{$_} // 0) > ($possible{$_} // 0) }
		  keys %possible, keys %is;

		is("@bad", '', "round $round: nothing twice, no acknowledged one lost");
		is(books('random', 'pending') || '0', '0', 'the rest is gone');
		%possible = %sure = %is;
	}
	elsif (!$frozen)
	{
		sql('SELECT mdbatch_flush()');
		%sure = %possible;
		is( sql('SELECT * FROM random ORDER BY id'),
			join("\n", map { "$_|$sure{$_}" } sort { $a <=> $b } keys %sure),
			"round $round: once after a $mode stop");
	}
}
note join ', ', @did;
thaw('random') if $frozen;
sql('SELECT mdbatch_flush()');
is( sql('SELECT * FROM random ORDER BY id'),
	join("\n", map { "$_|$possible{$_}" } sort { $a <=> $b } keys %possible),
	'once at the end');
books_ok($node, 'postgres');
is(files(), '', 'no file is left');

$node->stop;
done_testing();
