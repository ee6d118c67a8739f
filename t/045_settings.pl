# No setting of a database, a role, a file or of a target's code changes how a
# worker fails or lives (R18).  What a worker does about each setting is in
# t/settings.tsv: here it is compared with what the server has, and with what
# code of a target sees and can set.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my (%decision, %value);

foreach (split /\n/, slurp_file('t/settings.tsv'))
{
	next if /^#/;
	my ($name, $decision, $value, $reason) = split /\t/;

	is(scalar(split /\t/), 4, "$name: four columns")
	  unless defined $reason && $reason ne '';
	fail("$name is listed twice") if exists $decision{$name};
	fail("$name: no such decision")
	  unless $decision =~ /^(locked|flush|server|superuser|code|tuning|none)$/;
	($decision{$name}, $value{$name}) = ($decision, $value);
}

# Is each setting listed, and is what nobody but the administrator sets so?
my $library = build_module($node, 'mdbatch_settings');
my %context = map { split /\t/ } split /\n/, $node->safe_psql('postgres', <<SQL);
CREATE FUNCTION all_settings() RETURNS text LANGUAGE c AS '$library';
LOAD 'plpgsql';
SELECT all_settings();
SQL

sub listed
{
	my ($condition) = @_;

	return join ' ', grep { $condition->($_) } sort keys %context;
}

cmp_ok(scalar(keys %context), '>', 300, 'the server tells its settings');
is(listed(sub { !exists $decision{ $_[0] } }), '',
	'each setting is in t/settings.tsv');
is( listed(
		sub {
			($decision{ $_[0] } // '') eq 'server'
			  && $context{ $_[0] } !~
			  /^(internal|postmaster|sighup|backend|superuser-backend)$/;
		}),
	'',
	'no SQL sets what the server decides');
is( listed(
		sub {
			($decision{ $_[0] } // '') eq 'superuser'
			  && $context{ $_[0] } ne 'superuser';
		}),
	'',
	'nobody but superusers sets what is theirs');

# Another value for each setting that a worker decides about.
my %other = (
	'application_name' => 'other',
	'DateStyle' => 'SQL, DMY',
	'restrict_nonsystem_relation_kind' => 'view',
	'role' => 'other',
	'search_path' => 'public',
	'session_authorization' => 'other',
	'TimeZone' => 'Asia/Tokyo');
my @pinned = grep { ($decision{$_} // '') =~ /^(locked|flush)$/ && $_ ne 'seed' }
  sort keys %context;

foreach my $name (@pinned)
{
	next if exists $other{$name};
	my ($type, $max, $values) = split /\|/, $node->safe_psql('postgres',
		"SELECT vartype, max_val, array_to_string(enumvals, ' ')
		 FROM pg_settings WHERE name = '$name'");

	$other{$name} =
		$type eq 'bool' ? ($value{$name} eq 'on' ? 'off' : 'on')
	  : $type eq 'integer' ? ($max < 3600000 ? $max : 3600000)
	  : $type eq 'enum' ? (grep { $_ ne $value{$name} } split / /, $values)[0]
	  : fail("another value for $name");
}

# Two targets of different owners, whose code reports what it sees, and tries to
# set it otherwise for later.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alice;
CREATE ROLE bob;
CREATE ROLE other;
CREATE DATABASE d;
SQL
my $d = session($node, 'd');
sub sql { return $d->query_safe($_[0]); }

sql(<<'SQL');
CREATE EXTENSION mdbatch;
CREATE SCHEMA s;
GRANT USAGE ON SCHEMA s TO PUBLIC;
CREATE TABLE s.pinned (name text, other text);
CREATE TABLE s.seen (k int, name text, value text);
CREATE TABLE s.tried (k int, name text, result text);
GRANT SELECT, INSERT ON s.pinned, s.seen, s.tried TO PUBLIC;
CREATE FUNCTION s.report() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	pinned record;
	result text;
BEGIN
	IF NEW.what = 'fail' THEN
		RAISE EXCEPTION 'it fails' USING ERRCODE = '58030';
	ELSIF NEW.what = 'reject' THEN
		RAISE EXCEPTION 'it is rejected' USING ERRCODE = '22000';
	ELSIF NEW.what LIKE 'SET %' THEN
		EXECUTE NEW.what;
		PERFORM 1 / 0;
	ELSIF NEW.what = 'reset' THEN
		RESET ALL;
	END IF;
	INSERT INTO s.seen SELECT NEW.k, name, current_setting(name) FROM s.pinned;
	INSERT INTO s.seen SELECT NEW.k, 'decided', string_agg(name, ' ' ORDER BY name)
		FROM pg_settings WHERE source IN ('override', 'session')
			AND name NOT IN (SELECT name FROM s.pinned);
	FOR pinned IN SELECT * FROM s.pinned WHERE name !~ '^transaction_(read|iso|def)'
	LOOP
		BEGIN
			PERFORM set_config(pinned.name, pinned.other, false);
			result := 'set';
		EXCEPTION WHEN OTHERS THEN
			result := SQLSTATE;
		END;
		INSERT INTO s.tried VALUES (NEW.k, pinned.name, result);
	END LOOP;
	RETURN NEW;
END $$;
CREATE TABLE s.a (k int PRIMARY KEY, what text);
CREATE TABLE s.b (k int PRIMARY KEY, what text);
ALTER TABLE s.a OWNER TO alice;
ALTER TABLE s.b OWNER TO bob;
GRANT USAGE ON SCHEMA public TO alice, bob;
CREATE TRIGGER report BEFORE INSERT ON s.a FOR EACH ROW EXECUTE FUNCTION s.report();
CREATE TRIGGER report BEFORE INSERT ON s.b FOR EACH ROW EXECUTE FUNCTION s.report();
SELECT mdbatch_attach('s.a'), mdbatch_attach('s.b');
SQL
# This session goes on whatever is set for others; it quotes all names, though.
sql("SET $_ = '$value{$_}'") foreach
  grep { $value{$_} ne '-' && !/^(role|session_authorization|quote.*|search_path|transaction_(read|iso|def).*)$/ }
  @pinned;
sql("SET search_path = public; SET statement_timeout = '30s'");
sql("INSERT INTO s.pinned VALUES ('$_', '$other{$_}')") foreach @pinned;

my $k = 0;

# Flush an entry of each; what does their code see and reach?
sub check_round
{
	my ($what, $action) = @_;

	$action = 'report' unless defined $action;
	foreach my $table ('s.a', 's.b')
	{
		my $of = "$what, " . ($table eq 's.a' ? 'alice' : 'bob');
		my (%seen, %tried);

		$k++;
		sql("SELECT mdbatch_put('$table', '{\"k\": $k, \"what\": \"$action\"}')");
		sql("SELECT mdbatch_flush('$table')");
		%seen = map { my ($n, $v) = split /\|/, $_, 2; $n => $v } split /\n/,
		  sql("SELECT name, value FROM s.seen WHERE k = $k");
		%tried = map { split /\|/ } split /\n/,
		  sql("SELECT name, result FROM s.tried WHERE k = $k");
		is( join(' ', grep { ($seen{$_} // 'no value') ne $value{$_} }
				  grep { $decision{$_} eq 'locked'
					  || $action eq 'report' && $value{$_} ne '-' } @pinned),
			'', "$of: what a worker decides is so");
		is($seen{lock_timeout}, '1h', "$of: lock_timeout is the flush's")
		  if $action eq 'report';
		is($seen{deadlock_timeout}, '500ms', "$of: so is deadlock_timeout")
		  if $action eq 'report';
		is($seen{decided} // '', '', "$of: it decides about nothing else");
		is( join(' ', grep { $decision{$_} eq 'locked' && $tried{$_} ne '42501' }
				  @pinned), '', "$of: what is locked cannot be set");
	}
	return;
}

# The worker ends, the next one starts with what is set now.
sub new_worker
{
	my $pid = worker_pid($node, 'd');

	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	return wait_for($node, 'postgres',
		"NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)",
		'the worker ends');
}

check_round('nothing is set');
check_round('RESET ALL', 'reset');

# What would end a worker while it connects.
SKIP:
{
	skip 'there is no transaction_timeout', 1 unless exists $context{transaction_timeout};
	local $ENV{PGOPTIONS} = '-c transaction_timeout=0';

	$node->safe_psql('postgres', 'CREATE DATABASE e');
	$node->safe_psql('postgres', q{ALTER DATABASE e SET transaction_timeout = '1ms'});
	$node->safe_psql('e', q{CREATE EXTENSION mdbatch});
	$node->safe_psql('e', q{SELECT mdbatch_add(gen_random_uuid(), '{k}', '{v}')});
	is($node->safe_psql('e', 'SELECT mdbatch_flush(); SELECT count(*) FROM mdbatch_metadata'),
		"1\n1", 'a transaction timeout does not end the worker');
}

# The settings, by a session that goes on whatever is set: ALTER ... SET each.
sub set_all
{
	my ($alter, $skipped) = @_;

	$node->safe_psql('postgres', join ";\n", 'SET default_transaction_read_only = off',
		map { "$alter SET $_ = " . (/^(search_path|DateStyle)$/ ? $other{$_} : "'$other{$_}'") }
		grep { $_ !~ $skipped } @pinned);
	return;
}

# In the file, while a worker runs and before one starts.
my $pid = worker_pid($node, 'd');
set_all('ALTER SYSTEM', qr/^(role|session_authorization)$|^transaction_(read|iso|def)/);
$node->safe_psql('postgres', 'ALTER SYSTEM SET work_mem = 4321');
sql("INSERT INTO s.pinned VALUES ('work_mem', '4MB')");
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('work_mem') = '4321kB'});

# The worker reads the file between two flushes; it was told before the flush.
check_round('set in the file');
is(worker_pid($node, 'd'), $pid, 'it is the same worker');
is(sql("SELECT value FROM s.seen WHERE k = $k AND name = 'work_mem'"), '4321kB',
	'a setting that only tunes follows the file');
sql("DELETE FROM s.pinned WHERE name = 'work_mem'");
new_worker();
check_round('set in the file before');

# For the database, then for the role that the worker is.
set_all('ALTER DATABASE d', qr/^transaction_(iso|def)/);
new_worker();
my $offset = -s $node->logfile;
check_round('set for the database');
ok(slurp_file($node->logfile, $offset) =~ /WARNING:  parameter "role" cannot be changed/,
	'the log tells of a role that cannot be');

my $me = $node->safe_psql('postgres', 'SELECT quote_ident(current_user)');
set_all("ALTER ROLE $me", qr/^(role|session_authorization)$|^transaction_(iso|def)/);
new_worker();
check_round('set for the role');
check_round('set for the role, RESET ALL', 'reset');
is( sql('SELECT session_user = current_user'), 't', 'the session is as it was');

# An error ends a flush, not the worker, and others go on.
$pid = worker_pid($node, 'd');
foreach my $case (
	[ 'fail', '58030', 'exit_on_error of the database' ],
	[ 'SET exit_on_error = on', '42501', 'exit_on_error of a trigger' ],
	[ 'SET LOCAL exit_on_error = on', '42501', '... for the transaction' ])
{
	my ($action, $sqlstate, $what) = @$case;

	$k++;
	sql("SELECT mdbatch_put('s.a', '[{\"k\": $k, \"what\": \"$action\"}]')");
	$d->query("SELECT mdbatch_flush('s.a')");
	$d->{stderr} = '';
	like(sql("SELECT last_error FROM mdbatch_stat WHERE relid = 's.a'::regclass"),
		qr/^$sqlstate: /, "$what: the flush fails");
	sql("SELECT mdbatch_put('s.b', '{\"k\": $k}'), mdbatch_discard('s.a')");
	sql("SELECT mdbatch_flush('s.b')");
	is(sql("SELECT count(*) FROM s.b WHERE k = $k"), '1',
		'... the other target is flushed');
	is(worker_pid($node, 'd'), $pid, '... by the same worker');
}
is(sql(q{SELECT flush_failures FROM mdbatch_stat WHERE relid = 's.a'::regclass}), '3',
	'each was a failure');

# quote_all_identifiers is on for all: names that are stored are the same.
is(sql(q{SHOW quote_all_identifiers}), 'on', 'names are quoted here');
is(sql(q{SELECT target FROM mdbatch_stat WHERE relid = 's.a'::regclass}), 's.a',
	'a target has its name');
$k++;
sql("SELECT mdbatch_put('s.a', '{\"k\": $k, \"what\": \"reject\"}')");
$d->query(q{SELECT mdbatch_flush('s.a')});
$d->{stderr} = '';
is(sql('SELECT target FROM mdbatch_rejected'), 's.a', '... where it is rejected');
is(sql(q{SELECT mdbatch_retry('s.a')}), '1', '... and is found there');

$d->quit;
$node->stop;
done_testing();
