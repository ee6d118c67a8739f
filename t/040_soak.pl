# 16 sessions on 4 targets in 2 databases, while workers are terminated and
# cancelled, tables and rows locked, columns altered, targets attached again and
# the server restarted; at the end each target holds just what was committed (R1,
# R7, R11, R12, R14, R21, R23, R26), and the books balance (R19).
#
# The model is a table: each transaction writes there what it adds, so that both
# commit, or neither.  MDBATCH_SOAK_SECONDS is how long (600 for a long form),
# MDBATCH_SOAK_SEED repeats the faults.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seconds = $ENV{MDBATCH_SOAK_SECONDS} || 20;
my $seed = $ENV{MDBATCH_SOAK_SEED} || 1 + int rand 1_000_000_000;
my @databases = ('postgres', 'other');
my $nsessions = 16;

diag "MDBATCH_SOAK_SEED=$seed";
srand $seed;

my $node = new_server('main', 'mdbatch.flush_interval' => '100ms',
	'mdbatch.batch_size' => '50', 'mdbatch.queue_size' => '250',
	'mdbatch.lock_timeout' => '100ms', 'mdbatch.flush_timeout' => '2s',
	'mdbatch.idle_timeout' => '1s', 'deadlock_timeout' => '100ms',
	'log_statement' => 'none');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION mdbatch');

my %attach = (
	summed => q{mdbatch_attach('summed',
		merge => '{"n": "sum", "lo": "min", "hi": "max"}')},
	newest => q{mdbatch_attach('newest', version => 'version',
		channel => 'newest', mode => 'update')});

foreach my $database (@databases)
{
	$node->safe_psql($database, <<"SQL");
-- Key 13 is refused for good.
CREATE TABLE summed (id int PRIMARY KEY CHECK (id <> 13), n bigint, lo bigint,
	hi bigint);
CREATE TABLE newest (k text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, v text);
INSERT INTO newest SELECT 'k' || i, 0, 'old' FROM generate_series(0, 299) i;
CREATE TABLE summed_model (id int, n bigint);
CREATE TABLE newest_model (k text COLLATE "C", version bigint);
CREATE SEQUENCE versions;
SELECT $attach{summed}, $attach{newest};

-- Add to one target or both, in transactions of one call or several.
CREATE PROCEDURE work(until timestamptz) LANGUAGE plpgsql AS \$\$
DECLARE
  ids int[]; ns int[]; keys text[]; vs bigint[]; way float8;
BEGIN
  WHILE clock_timestamp() < until LOOP
    BEGIN
      FOR i IN 1 .. 1 + floor(3 * random()) LOOP
        way := random();
        IF way < 0.7 THEN
          SELECT array_agg(CASE WHEN random() < 0.001 THEN 13 ELSE floor(400 * random()) END),
              array_agg(floor(2000 * random()) - 1000)
            INTO ids, ns FROM generate_series(1, 1 + floor(5 * random())::int);
          INSERT INTO summed_model SELECT * FROM unnest(ids, ns);
          IF mdbatch_put('summed', (SELECT jsonb_agg(jsonb_build_object('id', id, 'n', n, 'lo', n, 'hi', n))
              FROM unnest(ids, ns) t (id, n))) <> cardinality(ids) THEN
            RAISE EXCEPTION 'dropped';
          END IF;
        END IF;
        IF way > 0.5 THEN
          -- Versions are unique, and come in any order.
          SELECT array_agg('k' || floor(300 * random())), array_agg(nextval('versions') # 7)
            INTO keys, vs FROM generate_series(1, 1 + floor(5 * random())::int);
          INSERT INTO newest_model SELECT * FROM unnest(keys, vs);
          PERFORM mdbatch_put_row(ROW(k, version, 'v' || version)::newest)
            FROM unnest(keys, vs) t (k, version);
        END IF;
        -- It never was.
        IF random() < 0.1 THEN RAISE EXCEPTION 'changed my mind'; END IF;
      END LOOP;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    IF random() < 0.05 THEN ROLLBACK; ELSE COMMIT; END IF;
  END LOOP;
END \$\$;
SQL
}

#
# The sessions.  One that was cancelled, or lost its server, comes again.
#
my $stop = time + $seconds;
my @sessions;

sub start_session
{
	my ($database) = @_;
	my %session = (database => $database, err => '');

	$session{run} = IPC::Run::start(
		[ 'psql', '-X', '-q', '-d',
			$node->connstr($database)
			  . " application_name=worker options='-c statement_timeout=0"
			  . " -c mdbatch.on_full=error'",
			'-c', "CALL work(to_timestamp($stop))" ],
		'<', \undef, '>', '/dev/null', '2>', \$session{err});
	return \%session;
}

my $returns = 0;
my @strange;

# A new session for each that has ended early; how many run?
sub tend_sessions
{
	my $running = 0;

	foreach my $session (@sessions)
	{
		# It dies when the process has just ended.
		if ($session->{run}->pumpable && eval { $session->{run}->pump_nb; 1 }
			&& $session->{run}->pumpable)
		{
			$running++;
			next;
		}
		$session->{run}->finish unless $session->{done}++;
		push @strange, $session->{err}
		  if $session->{err} ne ''
		  && $session->{err} !~ /canceling statement|terminating connection|server closed|could not connect|connection to server|starting up|shutting down/;
		$session->{err} = '';
		next if time > $stop - 1;
		$session = start_session($session->{database});
		$returns++;
		$running++;
	}
	return $running;
}

#
# The faults
#
sub pick { return $_[ int rand @_ ]; }

# Errors are all right here: what a fault wants may be locked.
sub try { $node->psql($_[0], "SET lock_timeout = '2s'; $_[1]"); return; }

my %locker;

sub new_lockers
{
	%locker = map { $_ => session($node, $_) } @databases;
	# There is not always a transaction.
	$_->query_safe('SET client_min_messages = error') foreach values %locker;
	return;
}

my %faults = (
	terminate => [ 4, sub {
		try('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE backend_type = 'mdbatch worker'});
	} ],
	cancel => [ 4, sub {
		try('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity
			WHERE backend_type = 'mdbatch worker'});
	} ],
	cancel_session => [ 3, sub {
		try('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity
			WHERE application_name = 'worker' ORDER BY random() LIMIT 2});
	} ],
	lock_table => [ 4, sub {
		my $table = pick(qw(summed newest));

		$locker{ $_[0] }->query("BEGIN; LOCK TABLE $table IN EXCLUSIVE MODE");
	} ],
	lock_rows => [ 4, sub {
		my $table = pick(qw(summed newest));

		$locker{ $_[0] }->query("BEGIN; SELECT FROM $table ORDER BY random() LIMIT 5
			FOR UPDATE");
	} ],
	unlock => [ 10, sub { $_->query('ROLLBACK') foreach values %locker; } ],
	alter => [ 3, sub {
		try($_[0], pick('ALTER TABLE summed ADD COLUMN IF NOT EXISTS extra int DEFAULT 1',
				'ALTER TABLE summed DROP COLUMN IF EXISTS extra',
				'ALTER TABLE newest ALTER v TYPE varchar(100)',
				'ALTER TABLE newest ALTER v TYPE text', 'VACUUM FULL summed',
				'ALTER TABLE summed RENAME TO summed2; ALTER TABLE summed2 RENAME TO summed'));
	} ],
	attach => [ 2, sub {
		my $table = pick(sort keys %attach);

		try($_[0], (pick('', "SELECT mdbatch_detach('$table');"))
			. "SELECT $attach{$table}");
		# A detached one is attached again, whatever was locked.
		$locker{ $_[0] }->query('ROLLBACK');
		$node->poll_query_until($_[0],
			"SELECT EXISTS (SELECT FROM mdbatch_target WHERE target = '$table'::regclass)")
		  if $node->psql($_[0], "SELECT $attach{$table}");
	} ],
	flush => [ 3, sub { try($_[0], 'SELECT mdbatch_flush()'); } ],
	reload => [ 1, sub {
		try('postgres', 'ALTER SYSTEM SET mdbatch.batch_size = ' . pick(1, 10, 50, 200));
		$node->reload;
	} ],
	restart => [ 0.5, sub {
		end_session($_) foreach values %locker;
		$node->restart;
		new_lockers();
	} ]);
my @wheel = map { ($_) x (2 * $faults{$_}[0]) } sort keys %faults;
my %did;

sub fault
{
	my ($name) = @_;

	$did{$name}++;
	$faults{$name}[1]->(pick(@databases));
	return;
}

new_lockers();
push @sessions, start_session($databases[ $_ % @databases ]) foreach 1 .. $nsessions;

# One of a kind at least, however short the time is.
my @first = sort { rand() <=> 0.5 } grep { $_ ne 'restart' } keys %faults;
splice @first, @first / 2, 0, 'restart';
while (time < $stop)
{
	tend_sessions();
	fault(shift @first // pick(@wheel));
}
fault(shift @first) while @first;
$locker{$_}->query('ROLLBACK') foreach @databases;
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
usleep(50_000) while tend_sessions() > 0 && time < $deadline;
is(tend_sessions(), 0, 'all sessions came to their end');
is("@strange", '', 'of their own, or by a fault');
end_session($_) foreach values %locker;
note "$returns sessions came again; " . join(', ', map { "$_ $did{$_}" } sort keys %did);

#
# What is left
#
foreach my $database (@databases)
{
	$node->safe_psql($database, 'SELECT mdbatch_flush()');
	is( $node->safe_psql(
			$database, "SELECT coalesce(sum(pending), 0), coalesce(sum(in_flight), 0), coalesce(sum(reserved), 0)
			 FROM mdbatch_stat WHERE datname = '$database'"),
		'0|0|0', "$database: nothing waits after a flush");

	my $model = 'SELECT id, sum(n)::bigint, min(n), max(n) FROM summed_model
		WHERE id <> 13 GROUP BY id';

	is( $node->safe_psql(
			$database, "(SELECT '+', id, n, lo, hi FROM summed
			 EXCEPT SELECT '+', * FROM ($model) m)
			 UNION ALL
			 (SELECT '-', * FROM ($model) m
			 EXCEPT SELECT '-', id, n, lo, hi FROM summed) LIMIT 20"),
		'', "$database: sums and extremes are what was committed (seed $seed)");

	$model = q{SELECT k, max(version), 'v' || max(version) FROM newest_model GROUP BY k};
	is( $node->safe_psql(
			$database, "(SELECT '+', k, version, v FROM newest WHERE version > 0
			 EXCEPT SELECT '+', * FROM ($model) m)
			 UNION ALL
			 (SELECT '-', * FROM ($model) m
			 EXCEPT SELECT '-', k, version, v FROM newest) LIMIT 20"),
		'', "$database: the newest version is there (seed $seed)");
	is( $node->safe_psql(
			$database, q{SELECT string_agg(DISTINCT
				replace(target, 'summed2', 'summed') || key::text, ' ')
			 FROM mdbatch_rejected}),
		$node->safe_psql($database, q{SELECT 'public.summed{"id": 13}'
			FROM summed_model WHERE id = 13 LIMIT 1}),
		"$database: nothing was rejected but what is to be (R12)");
	note "$database: " . $node->safe_psql($database,
		'SELECT count(*) FROM summed_model') . ' and ' . $node->safe_psql($database,
		'SELECT count(*) FROM newest_model') . ' entries';
	cmp_ok($node->safe_psql($database, 'SELECT count(*) FROM summed_model'),
		'>', 100, "$database: there was something to do");
}
books_ok($node, 'postgres');
unlike(slurp_file($node->logfile),
	qr/PANIC|TRAP|terminated by (?:signal|exception)|batches were reset|ERROR:  XX/,
	'and the log tells of no crash');

done_testing();
