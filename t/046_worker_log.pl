# Values never reach the log, however a worker ends (R18): the code of a target
# puts them into SQL text, and the server logs that text with whatever it logs
# meanwhile.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_server(
	'main',
	'mdbatch.flush_interval' => '10ms',
	'mdbatch.lock_timeout' => '200ms',
	'logging_collector' => 'on',
	'log_destination' => 'stderr,csvlog,jsonlog',
	'log_error_verbosity' => 'verbose',
	'log_statement' => 'none',
	'log_lock_waits' => 'on',
	'log_temp_files' => '0',
	'backtrace_functions' => 'exec_stmt_raise',
	'restart_after_crash' => 'on');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# All that was logged, in all formats.
sub log_text
{
	return join '', map { slurp_file($_) } glob $node->data_dir . '/log/*';
}

sub wait_for_text
{
	my ($pattern, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return until_true(sub { log_text() =~ $pattern }, $what);
}

sql(<<'SQL');
CREATE TABLE big AS SELECT g AS i, 'x'::text AS v FROM generate_series(1, 5000) g;
CREATE TABLE locked (i int);
CREATE FUNCTION bad(v text) RETURNS boolean PARALLEL SAFE LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'bad: %', v USING ERRCODE = '58030';
END $$;
CREATE TABLE t (k int PRIMARY KEY, act text, v text);
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE NEW.act
		WHEN 'resist' THEN
			LOOP
				BEGIN
					EXECUTE format('SELECT pg_sleep(60), %L', NEW.v);
				EXCEPTION WHEN query_canceled THEN NULL;
				END;
			END LOOP;
		WHEN 'sleep' THEN
			EXECUTE format('SELECT pg_sleep(60), %L', NEW.v);
		WHEN 'raise' THEN
			RAISE EXCEPTION 'refused: %', NEW.v
				USING ERRCODE = '58030', DETAIL = NEW.v, HINT = NEW.v;
		WHEN 'wait' THEN
			EXECUTE format('SELECT %L FROM public.locked', NEW.v);
		WHEN 'parallel' THEN
			SET LOCAL min_parallel_table_scan_size = 0;
			SET LOCAL parallel_setup_cost = 0;
			SET LOCAL parallel_tuple_cost = 0;
			SET LOCAL parallel_leader_participation = off;
			EXECUTE format('SELECT count(*) FROM public.big WHERE public.bad(v || %L)', NEW.v);
		WHEN 'escape' THEN
			SET LOCAL standard_conforming_strings = off;
			SET LOCAL escape_string_warning = on;
			EXECUTE 'SELECT ''' || NEW.v || '\t''';
		WHEN 'say' THEN
			EXECUTE format('DO %L', 'BEGIN RAISE LOG ''announced''; PERFORM ''' || NEW.v || '''; END');
		ELSE NULL;
	END CASE;
	RETURN NEW;
END $$;
CREATE TRIGGER act BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION act();
SELECT mdbatch_attach('t');
SQL

my $ends = qr/LOG:  .*the worker ends during a flush of the batch of table public\.t: SQLSTATE/;
my $n = 0;

# Have the worker write an entry, and wait until the condition is true.
sub act
{
	my ($act, $condition) = @_;

	$n++;
	sql("SELECT mdbatch_put('t', '{\"k\": $n, \"act\": \"$act\", \"v\": \"secret$n\"}')");
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for($node, 'postgres', $condition, "$act: the code runs") if defined $condition;
	return worker_pid($node, 'postgres');
}

# The flush fails, and the entry is thrown away; the worker is the same.
sub fails
{
	my ($act, $sqlstate) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	act($act);
	$node->psql('postgres', q{SELECT mdbatch_flush('t')});
	like(sql(q{SELECT last_error FROM mdbatch_stat WHERE relid = 't'::regclass}),
		qr/^$sqlstate: /, "$act: the flush fails");
	sql("SELECT mdbatch_discard('t')");
	return;
}

sub no_values
{
	my ($what) = @_;
	my ($line) = log_text() =~ /([^\n]*secret[^\n]*)/;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($line, undef, "$what: no value is in the log");
}

my $sleeps = q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'mdbatch worker'
	AND wait_event = 'PgSleep')};

# What the code says is logged, without what it was doing.
act('say');
wait_for_text(qr/LOG:  .*announced/, 'what the code says is logged');
no_values('... without context');
ok(log_text() =~ /"message":"announced"/ && log_text() =~ /,LOG,00000,"announced"/,
	'... in each format');

# Failures that do not end the worker.
my $pid = worker_pid($node, 'postgres');
fails('raise', '58030');
no_values('an error');
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET exit_on_error = on');
fails('raise', '58030');
no_values('an error where each is fatal');
my $locker = session($node, 'postgres');
$locker->query_safe('SET exit_on_error = off; BEGIN; LOCK TABLE locked');
fails('wait', '55P03');
$locker->query_safe('ROLLBACK');
wait_for_text(qr/LOG:  .*still waiting for AccessShareLock/, 'waits for locks are logged');
no_values('... without context');
SKIP:
{
	skip 'no warning of an escape', 2
	  if sql(q{SELECT count(*) FROM pg_settings WHERE name = 'escape_string_warning'}) eq '0';
	act('escape');
	sql(q{SELECT mdbatch_flush('t')});
	wait_for_text(qr/WARNING:  .*nonstandard use of escape/, 'a warning with a query');
	no_values('... without it');
}
fails('parallel', '58030');
wait_for_text(qr/LOG:  .*a parallel worker of a flush failed: SQLSTATE 58030/,
	'a parallel worker of a query in the code fails');
no_values('... and tells no value');
is(worker_pid($node, 'postgres'), $pid, 'it was one worker');
unlike(log_text(), $ends, '... which did not end');

# The end of the time.
sql('ALTER SYSTEM SET mdbatch.flush_timeout = 10');
$node->reload;
act('resist');
wait_for_text(qr/$ends 57P01/, 'a flush that does not end ends the worker');
no_values('... without a value');
sql('ALTER SYSTEM RESET mdbatch.flush_timeout');
$node->reload;

# A signal to stop, until the worker ends that has more time.
wait_for($node, 'postgres', "$sleeps AND (SELECT now() - xact_start > '1500 ms'
	FROM pg_stat_activity WHERE backend_type = 'mdbatch worker')",
	'the next worker is in that flush');
$pid = worker_pid($node, 'postgres');
my $told = () = log_text() =~ /$ends 57P01/g;
until_true(
	sub {
		sql("SELECT pg_terminate_backend($pid)");
		return sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") eq '0';
	},
	'a worker ends that is told to');
until_true(sub { my $again = () = log_text() =~ /$ends 57P01/g; $again > $told },
	'... the log tells so');
no_values('... and no value');
$locker->quit;

# A worker that crashes, and the server with it.
$pid = act('sleep', $sleeps);
kill 'KILL', $pid;
wait_for_text(qr/all server processes terminated; reinitializing/, 'the server restarts');
wait_for_text(qr/DETAIL:  .*Failed process was running: mdbatch: flush of/,
	'... and tells what the worker did');
$node->poll_query_until('postgres', 'SELECT true');
no_values('... without a value');

# auto_explain: what is ours has no values in it, in whatever detail.
sql(q{ALTER DATABASE postgres RESET ALL});
sql(q{ALTER SYSTEM SET shared_preload_libraries = 'mdbatch', 'auto_explain'});
$node->restart;
sql(qq{ALTER DATABASE postgres SET auto_explain.$_}) foreach
  'log_min_duration = 0', 'log_analyze = on', 'log_verbose = on', 'log_triggers = on',
  'log_settings = on', 'log_nested_statements = on';
{
	local $ENV{PGOPTIONS} = '-c auto_explain.log_min_duration=-1';

	act('nothing');
	wait_for($node, 'postgres', "EXISTS (SELECT FROM t WHERE k = $n)", 'a row is written');
	wait_for_text(qr/Query Text: INSERT INTO public\.t AS t/, 'auto_explain logs the statement');
	no_values('... without values');
}
$node->stop;
done_testing();
