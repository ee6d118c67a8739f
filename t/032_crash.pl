# Crashes: an immediate stop, and processes that are killed (R15): the batches
# are reset, the log says so, everything works again at once; what was
# acknowledged is there, and nothing is added up twice (R26).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{MDBATCH_CRASH_SEED} || 1 + int rand 1_000_000_000;
diag "MDBATCH_CRASH_SEED=$seed";
srand $seed;

my $node = new_server('main', 'restart_after_crash' => 'on',
	'max_prepared_transactions' => '5', 'mdbatch.lock_timeout' => '1h',
	'mdbatch.queue_size' => '1000000', 'mdbatch.batch_size' => '100');
my $log_reset = qr/LOG:  the batches of mdbatch were reset/;

# By key: what was acknowledged, and what was accepted at the most.
my (%sure, %possible);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub books
{
	my ($columns) = @_;

	return sql("SELECT $columns FROM mdbatch_stat
		WHERE relid = 'counter'::regclass");
}

sub entries
{
	my ($n, @ids) = @_;

	$possible{$_} += $n foreach @ids;
	return "'[" . join(',', map { qq({"id": $_, "n": $n}) } @ids) . "]'";
}

sub put { return sql("SELECT mdbatch_put('counter', " . entries(@_) . ')'); }

sub put_sync
{
	my ($n, @ids) = @_;

	sql("CALL mdbatch_put_sync('counter', " . entries($n, @ids) . ')');
	%sure = (%sure, map { $_ => $possible{$_} } @ids);
	return;
}

sub flush
{
	sql('SELECT mdbatch_flush()');
	%sure = %possible;
	return;
}

# The table has what was acknowledged, and nothing beyond what was accepted; from
# then on what it has is what counts.
sub check_table
{
	my ($what) = @_;
	my %is = map { split /\|/ } split /\n/, sql('SELECT id, n FROM counter');
	my @lost = grep { ($is{$_} // 0) < $sure{$_} } sort keys %sure;
	my @beyond = grep { $is{$_} > ($possible{$_} // 0) } sort keys %is;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is("@lost", '', "$what: what was acknowledged is there");
	is("@beyond", '', "$what: nothing is more than what was accepted");
	%sure = %possible = %is;
	return;
}

# Reset, and ready: adds and flushes work at once.
sub works_again
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql('SELECT count(*) FROM mdbatch_stat WHERE pending + reserved + in_flight > 0'),
		'0', "$what: the batches are empty");
	check_table($what);
	my $start = time;
	is(put(1, 1, 2), '2', "$what: adds work");
	is(sql('SELECT mdbatch_flush()'), '2', "$what: so do flushes");
	%sure = %possible;
	put_sync(1, 3);
	cmp_ok(time - $start, '<', 20, "$what: at once");
	check_table("$what, and then");
	books_ok($node, 'postgres', "$what: the books balance");
	return;
}

# The server has come back from the death of a process.
sub comes_back
{
	my ($offset, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->wait_for_log(qr/all server processes terminated; reinitializing/,
		$offset);
	$node->wait_for_log(qr/database system is ready to accept connections/,
		$offset);
	ok($node->poll_query_until('postgres', 'SELECT true'), "$what: it is back");
	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $offset);
	my $n = () = $log =~ /$log_reset/g;

	is($n, 1, "$what: the log says once that the batches were reset");
	return works_again($what);
}

sql(<<'SQL');
CREATE TABLE counter (id int PRIMARY KEY, n bigint);
SELECT mdbatch_attach('counter', merge => '{"n": "sum"}');
CREATE TABLE gate ();
SQL

# An immediate stop: with entries that wait, and with a flush under way.
my $offset = -s $node->logfile;
put(1, 1 .. 5);
flush();
put_sync(10, 5, 6);
sql('SET synchronous_commit = off; '
	  . q{CALL mdbatch_put_sync('counter', } . entries(7, 7) . ')');
$sure{7} = $possible{7};
put(100, 1 .. 10);
$node->stop('immediate');
ok(!-e $node->data_dir . '/mdbatch.pending', 'an immediate stop saves nothing');
$node->start;
ok(!$node->log_contains(qr/pending entries/, $offset), 'nor says so');
works_again('immediate stop');

my $locker = session($node, 'postgres');
$locker->query_safe('BEGIN; LOCK TABLE counter IN EXCLUSIVE MODE');
put(1000, 1 .. 150);
stuck_worker($node, 'postgres', 'a flush is under way');
is(books('in_flight'), '100', 'with a full batch');
$node->stop('immediate');
end_session($locker);
$node->start;
works_again('immediate stop in a flush');

# A backend that has entries of its own, not committed, in a transaction and in a
# savepoint, while those of others wait.
my $victim = session($node, 'postgres');
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
put(1, 11 .. 20);
$victim->query_safe(q{BEGIN; SELECT mdbatch_put('counter', '{"id": 30, "n": 1}');
	SAVEPOINT s; SELECT mdbatch_put('counter', '{"id": 31, "n": 1}')});
is(books('pending, reserved'), '10|2', 'ten wait, two are reserved');
$offset = -s $node->logfile;
kill 'KILL', $pid;
comes_back($offset, 'a backend with reservations');
end_session($victim);
is(sql('SELECT count(*) FROM counter WHERE id BETWEEN 11 AND 31'), '0',
	'nothing of that was written');

# A backend in the middle of a call, at random times.
foreach my $round (1 .. 4)
{
	my $first = 1000 * $round;

	put_sync($round, $first);
	put($round, $first);
	$victim = session($node, 'postgres');
	$pid = $victim->query_safe('SELECT pg_backend_pid()');
	$possible{$_} += 1 foreach $first .. $first + 999;
	start_query($victim, "SELECT count(mdbatch_put('counter', jsonb_build_object(
		'id', $first + i % 1000, 'n', CASE WHEN i < 1000 THEN 1 ELSE 0 END)))
		FROM generate_series(0, 2000000) i");
	wait_for($node, 'postgres', q{EXISTS (SELECT FROM mdbatch_stat
		WHERE relid = 'counter'::regclass AND reserved > 0)}, 'a call runs');
	usleep(rand 200_000);
	$offset = -s $node->logfile;
	kill 'KILL', $pid;
	comes_back($offset, "a backend in mdbatch_put ($round)");
	end_session($victim);
}

# The same with many small transactions, so that it dies at a commit, too; in
# mdbatch_add as well.
sql(<<'SQL');
CREATE PROCEDURE puts() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 1000000 LOOP
		PERFORM mdbatch_put('counter', jsonb_build_object('id', 50000 + i, 'n', 1));
		PERFORM mdbatch_add('00000000-0000-0000-0000-000000000001',
			ARRAY[(i % 100)::text], ARRAY[i::text]);
		COMMIT;
	END LOOP;
END $$;
SQL
foreach my $round (1 .. 3)
{
	my @sessions = map { session($node, 'postgres') } 1 .. 2;
	my @pids = map { $_->query_safe('SET statement_timeout = 0; SELECT pg_backend_pid()') }
	  @sessions;

	start_query($_, 'CALL puts()') foreach @sessions;
	wait_for($node, 'postgres', q{(SELECT added > 100 FROM mdbatch_stat
		WHERE relid = 'counter'::regclass)}, 'two sessions commit');
	usleep(rand 300_000);
	# More than that many keys are out of reach by then.
	$possible{ 50000 + $_ } += 2 foreach 1 .. 200_000;
	$offset = -s $node->logfile;
	kill 'KILL', ($pids[ int rand 2 ] =~ /(\d+)/);
	comes_back($offset, "a backend at its commits ($round)");
	end_session($_) foreach @sessions;
	is(sql('SELECT count(*) FROM counter WHERE n > ' . 2 * $round . ' AND id > 50000'),
		'0', 'no key was added up more often than it was put');
}

# The worker: in flight and waiting for a lock; having written, before its
# commit.
$locker = session($node, 'postgres');
$locker->query_safe('BEGIN; LOCK TABLE counter IN EXCLUSIVE MODE');
put(1, 1 .. 120);
my $waiter = session($node, 'postgres');
start_query($waiter, q{CALL mdbatch_put_sync('counter', '{"id": 1, "n": 1}')});
$possible{1} += 1;
stuck_worker($node, 'postgres', 'a flush waits for a lock');
$offset = -s $node->logfile;
kill 'KILL', worker_pid($node, 'postgres') || die 'there is no worker';
comes_back($offset, 'the worker, in flight');
end_session($_) foreach $locker, $waiter;

sql(<<'SQL');
CREATE FUNCTION public.pass_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	LOCK TABLE public.gate IN ROW EXCLUSIVE MODE;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER gate AFTER INSERT OR UPDATE ON counter
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pass_gate();
SQL
$locker = session($node, 'postgres');
$locker->query_safe('BEGIN; LOCK TABLE gate IN EXCLUSIVE MODE');
put(1, 1 .. 5, 700);
put(1, 701 .. 800);
stuck_worker($node, 'postgres', 'a flush has written, and has yet to commit');
$offset = -s $node->logfile;
kill 'KILL', worker_pid($node, 'postgres') || die 'there is no worker';
comes_back($offset, 'the worker, before its commit');
end_session($locker);
is(sql('SELECT count(*) FROM counter WHERE id BETWEEN 700 AND 800'), '0',
	'nothing of the flush is there');
sql('DROP TRIGGER gate ON counter');

# The worker at random times, while clients call mdbatch_put_sync one after the
# other: each call that returned counts, once.
sql(<<'SQL');
CREATE TABLE acknowledged (id int, i int);
CREATE PROCEDURE syncs(id int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 1000000 LOOP
		CALL mdbatch_put_sync('counter', jsonb_build_object('id', id, 'n', 1));
		INSERT INTO acknowledged VALUES (id, i);
		COMMIT;
	END LOOP;
END $$;
SQL
foreach my $round (1 .. 4)
{
	my @ids = map { 300_000 + 10 * $round + $_ } 1 .. 3;
	my @sessions = map { session($node, 'postgres') } @ids;

	$sessions[$_]->query_safe('SET statement_timeout = 0') foreach 0 .. $#ids;
	start_query($sessions[$_], "CALL syncs($ids[$_])") foreach 0 .. $#ids;
	wait_for($node, 'postgres', "(SELECT count(DISTINCT id) = 3 FROM acknowledged
		WHERE id > 300000 + 10 * $round)", 'three sessions call');
	usleep(rand 500_000);
	$offset = -s $node->logfile;
	my $worker = worker_pid($node, 'postgres') || die 'there is no worker';
	kill 'KILL', $worker;
	$possible{$_} = 1_000_000 foreach @ids;
	comes_back($offset, "the worker, at a random time ($round)");
	end_session($_) foreach @sessions;
	# At most one call of each session was under way.
	is( sql("SELECT id, n, calls FROM counter
			JOIN (SELECT id, count(*) AS calls FROM acknowledged GROUP BY id) a
				USING (id)
			WHERE id > 300000 AND n - calls NOT IN (0, 1)"),
		'', 'what was acknowledged counts once');
	is( sql("SELECT count(*) FROM acknowledged a LEFT JOIN counter c USING (id)
			WHERE c.id IS NULL"), '0', 'and all of it is there');
}

# The launcher: with entries that wait.
put(1, 1 .. 10);
$offset = -s $node->logfile;
kill 'KILL', process_pid($node, 'mdbatch launcher');
comes_back($offset, 'the launcher');

# Several crashes in a row, one of them before anybody has added anything.
foreach my $round (1 .. 3)
{
	put(1, 900) if $round != 2;
	$victim = session($node, 'postgres');
	$pid = $victim->query_safe('SELECT pg_backend_pid()');
	$offset = -s $node->logfile;
	kill 'KILL', $pid;
	comes_back($offset, "crash $round in a row");
	end_session($victim);
}

# A clean stop after crashes saves what waits, and no more.
flush();
sql("BEGIN; LOCK TABLE counter IN EXCLUSIVE MODE; PREPARE TRANSACTION 'p'");
put(1, 900, 901);
$node->stop('fast');
ok(-s $node->data_dir . '/mdbatch.pending', 'a clean stop saves after crashes');
$node->start;
is(books('pending, added'), '2|2', 'and what waited waits again');
sql("COMMIT PREPARED 'p'");
flush();
my $total = sql('SELECT n FROM counter WHERE id = 900');
is($total, $possible{900}, 'and counts once');
check_table('at the end');
books_ok($node, 'postgres');

# A crash after that does not bring it back.
$victim = session($node, 'postgres');
$pid = $victim->query_safe('SELECT pg_backend_pid()');
$offset = -s $node->logfile;
kill 'KILL', $pid;
comes_back($offset, 'a crash after a load');
end_session($victim);
is(sql('SELECT n FROM counter WHERE id = 900'), $total, 'it still counts once');

$node->stop;
done_testing();
