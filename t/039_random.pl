# Random calls of everything, with arguments of every kind, from a few sessions
# at once, among savepoints, cancels and ALTERs: no crash, no internal error, and
# the books balance (R17, R19).  MDBATCH_RANDOM_SEED repeats what is called (not
# how the sessions meet), MDBATCH_RANDOM_CALLS makes it longer.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{MDBATCH_RANDOM_SEED} || 1 + int rand 1_000_000_000;
my $calls = $ENV{MDBATCH_RANDOM_CALLS} || 2000;
my $sessions = 4;

diag "MDBATCH_RANDOM_SEED=$seed";
srand $seed;

# So small that it is full at times.
my $node = new_server('main', 'mdbatch.memory' => '1MB',
	'mdbatch.max_batches' => '8', 'mdbatch.queue_size' => '40',
	'mdbatch.batch_size' => '20', 'mdbatch.flush_interval' => '200ms',
	'mdbatch.lock_timeout' => '100ms', 'mdbatch.flush_timeout' => '5s',
	'deadlock_timeout' => '100ms', 'max_prepared_transactions' => '4');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE counts (id int PRIMARY KEY, n int, lowest bigint, highest float8);
CREATE TABLE texts (k text, k2 int, at timestamptz NOT NULL, v varchar(20),
	doc jsonb, PRIMARY KEY (k, k2));
-- What is refused as data, and where nothing is written.
CREATE TABLE devices (id uuid PRIMARY KEY, version bigint NOT NULL,
	a int CHECK (a <> 13), tags text[], raw bytea);
CREATE TABLE bystander (id int PRIMARY KEY, v text);
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.a = 14 THEN RETURN NULL; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER skip BEFORE INSERT OR UPDATE ON devices FOR EACH ROW
	EXECUTE FUNCTION skip();
CREATE VIEW counts_view AS SELECT * FROM counts;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON counts_view FOR EACH ROW
	EXECUTE FUNCTION mdbatch_enqueue('counts');
CREATE VIEW devices_view AS SELECT * FROM devices;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON devices_view FOR EACH ROW
	EXECUTE FUNCTION mdbatch_enqueue('devices');
SQL

sub pick { return $_[ int rand @_ ]; }
sub chance { return rand() < $_[0]; }
sub quote { my ($text) = @_; $text =~ s/'/''/g; return "'$text'"; }

# Literals, mostly good ones.
sub maybe_null { return chance(0.05) ? 'NULL' : $_[0]; }

sub text
{
	return quote(
		pick('a', 'b', 'c', 'it\'s', '', ' ', '\\', '"', '{}', 'null', "\x01",
			"\xc3\xa4", 'x' x 30, 'y' x int rand 3000, 'z' x (chance(0.05) ? 300_000 : 1)));
}

sub uuid
{
	return quote(sprintf '%08x-0000-4000-8000-%012x', rand 5, rand 3);
}

sub number
{
	return pick(0, 1, -1, 13, 14, int rand 20, 2147483647, -2147483648, 99999999999,
		'1.5', '1e300', "'NaN'", "'x'");
}

sub timestamp
{
	return pick('now()', "'2026-01-01 00:00:" . int(rand 60) . "+00'", "'infinity'",
		"'-infinity'", "'4714-11-24 00:00:00+00 BC'");
}

sub array
{
	my ($type, $make, $n) = @_;

	return 'NULL' if chance(0.03);
	return "'{}'::${type}[]" if chance(0.03);
	return "'{{a,b},{c,d}}'::${type}[]" if chance(0.02);
	$n += pick(-1, 1) if chance(0.03);
	return "ARRAY[" . join(', ', map { maybe_null($make->()) } 1 .. $n)
	  . "]::${type}[]";
}

sub json
{
	my @pairs = (
		sub { '"id": ' . pick(int rand 10, '"' . uuid() =~ s/'//gr . '"', 'null') },
		sub { '"n": ' . pick(int rand 10, 2147483647, '"x"', 'null', '1e400') },
		sub { '"lowest": ' . int rand 100 },
		sub { '"highest": ' . pick(1.5, '"NaN"', '"infinity"') },
		sub { '"version": ' . int rand 100 },
		sub { '"a": ' . (10 + int rand 6) },
		sub { '"tags": ' . pick('["a", null]', '"{a,b}"', '[[1],[2]]', '[]') },
		sub { '"k": "' . pick('a', 'b', '\u0000', '\u00e4') . '", "k2": ' . int rand 5 },
		sub { '"at": "2026-01-01"' },
		sub { '"v": "' . ('v' x rand 25) . '"' },
		sub { '"doc": ' . pick('{}', '[1, {"x": null}]', 'null', '"s"') },
		sub { '"nothing": 1' });
	my @objects;

	return quote(pick('', '1', 'null', '[1]', '"x"', '[[]]', '{', '[]', '{}'))
	  if chance(0.05);
	foreach (1 .. (chance(0.7) ? 1 : 1 + rand 30))
	{
		# Those that a target has, as a rule.
		my @which = @{ pick([ 0 .. 3 ], [ 0, 4, 5, 6 ], [ 7 .. 10 ]) };

		push @which, int rand @pairs if chance(0.05);
		shift @which if chance(0.05);
		push @objects, '{' . join(', ', map { $pairs[$_]->() } @which) . '}';
	}
	return quote(@objects == 1 && chance(0.8) ? $objects[0]
		: '[' . join(', ', @objects) . ']');
}

sub target
{
	return quote(pick(('counts') x 5, ('texts') x 5, ('devices') x 5, 'bystander',
			'mdbatch_metadata', 'pg_class', 'counts_view', 'missing', 'mdbatch_rejected'));
}

sub good_row
{
	return pick(
		'ROW(' . join(', ', int rand 10, number(), number(), number()) . ')::counts',
		'ROW(' . join(', ', text(), int rand 5, timestamp(), text(), "'{}'")
		  . ')::texts',
		'ROW(' . join(', ', uuid(), int rand 100, number(), "'{a}'", "'\\x00ff'")
		  . ')::devices',
		'ROW(1, 2)', 'NULL::counts', 'NULL', "ROW(1, 'x')::bystander");
}

my %attach = (
	counts => [
		q{merge => '{"n": "sum", "lowest": "min", "highest": "max"}'},
		q{columns => '{n}', merge => '{"n": "sum"}', mode => 'update'},
		q{channel => 'counts', batch_size => 5} ],
	texts => [ q{version => 'at', channel => 'texts', notify => 'v'},
		q{version => 'at', key => '{k2,k}', flush_interval => '100ms'},
		q{columns => '{}'} ],
	devices => [ q{version => 'version', channel => 'devices'},
		q{version => 'version', mode => 'update', columns => '{a,tags}'},
		q{merge => '{"a": "max"}', batch_size => 1},
		q{mode => 'wrong'}, q{key => '{a}'}, q{batch_size => -1},
		q{merge => '{"tags": "sum"}'}, q{version => 'missing'} ]);

sub attach
{
	my $table = pick(sort keys %attach);
	my $options = pick(@{ $attach{$table} });

	return "SELECT mdbatch_attach('$table', $options)";
}

my @savepoints = map { "s$_" } 1 .. 4;

# Each makes a statement; the number is how often.
my @operations = (
	[ 12, sub {
		my $n = int rand 8;
		return pick('SELECT mdbatch_add', 'CALL mdbatch_add_sync') . '('
		  . join(', ', maybe_null(uuid()), array('text', \&text, $n),
			array('text', \&text, $n), array('text', \&text, $n),
			array('timestamptz', \&timestamp, $n)) . ')';
	} ],
	[ 8, sub {
		my $n = int rand 30;
		return 'SELECT mdbatch_add_many(' . join(', ', array('uuid', \&uuid, $n),
			array('text', \&text, $n), array('text', \&text, $n)) . ')';
	} ],
	[ 20, sub { 'SELECT mdbatch_put(' . target() . ', ' . json() . ')' } ],
	[ 4, sub { 'CALL mdbatch_put_sync(' . target() . ', ' . json() . ')' } ],
	[ 15, sub { 'SELECT mdbatch_put_row(' . good_row() . ')' } ],
	[ 8, sub {
		pick("INSERT INTO counts_view VALUES (" . join(', ', int rand 10, number()) . ')',
			"INSERT INTO counts_view SELECT i % 7, i FROM generate_series(1, "
			  . int(rand 60) . ') i',
			"INSERT INTO devices_view (id, version, a) VALUES (" . uuid() . ', '
			  . int(rand 9) . ', ' . int(rand 20) . ')');
	} ],
	[ 4, sub { 'SELECT mdbatch_flush(' . pick('', target(), 'NULL') . ')' } ],
	[ 3, sub { pick('SELECT count(*) FROM mdbatch_pending()',
			map { "SELECT count(*) FROM mdbatch_pending_rows(NULL::$_)" }
			  qw(counts texts devices bystander)) } ],
	[ 2, sub { 'SELECT mdbatch_discard(' . target() . ')' } ],
	[ 2, sub { 'SELECT mdbatch_retry(' . target() . ')' } ],
	[ 3, \&attach ],
	[ 1, sub { 'SELECT mdbatch_detach(' . target() . ')' } ],
	[ 2, sub {
		'SELECT count(*) FROM ' . pick(qw(mdbatch_target mdbatch_stat
			mdbatch_stat_histogram mdbatch_rejected));
	} ],
	[ 1, sub { 'SELECT mdbatch_stat_reset()' } ],
	[ 2, sub {
		pick('SELECT count(*) FROM mdbatch_decode_agent_ids(' . maybe_null(
				pick(text(), "repeat('A', " . 11 * int(rand 9) . ')')) . ')',
			'SELECT count(*) FROM mdbatch_encode_agent_ids('
			  . array('uuid', \&uuid, int rand 400) . ')');
	} ],
	[ 1, sub { 'SELECT mdbatch_set_target(' . pick(target(), "'mdbatch_metadata'") . ')' } ],
	[ 8, sub { pick('BEGIN', 'BEGIN READ ONLY', 'BEGIN', 'BEGIN ISOLATION LEVEL SERIALIZABLE') } ],
	[ 8, sub { 'COMMIT' } ],
	[ 4, sub { 'ROLLBACK' } ],
	[ 8, sub { 'SAVEPOINT ' . pick(@savepoints) } ],
	[ 5, sub { 'ROLLBACK TO ' . pick(@savepoints) } ],
	[ 3, sub { 'RELEASE ' . pick(@savepoints) } ],
	[ 1, sub { "PREPARE TRANSACTION 'p'" } ],
	[ 1, sub { "ROLLBACK PREPARED 'p'" } ],
	[ 3, sub { 'SET mdbatch.on_full = ' . pick('drop', 'wait', 'error') } ],
	[ 3, sub { 'SET statement_timeout = ' . pick("'1ms'", "'5ms'", "'3s'", "'3s'", "'3s'") } ],
	[ 1, sub { q{SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
			WHERE application_name = 'random' AND state = 'active'
			AND pid <> pg_backend_pid()} } ],
	[ 1, sub { q{SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
			WHERE backend_type = 'mdbatch worker'} } ],
	[ 0.2, sub { q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE backend_type = 'mdbatch worker'} } ],
	[ 1, sub {
		pick('ALTER TABLE counts ADD COLUMN IF NOT EXISTS extra int DEFAULT 7',
			'ALTER TABLE counts DROP COLUMN IF EXISTS extra',
			'ALTER TABLE texts ALTER v TYPE varchar(' . (10 + int rand 20) . ')',
			'ALTER TABLE texts ALTER v TYPE text', 'TRUNCATE devices',
			'ALTER TABLE devices ALTER a TYPE bigint', 'VACUUM FULL counts',
			'ALTER TABLE devices ALTER a TYPE int', 'ANALYZE texts');
	} ],
	[ 2, sub { pick('LOCK TABLE counts IN EXCLUSIVE MODE',
			'SELECT count(*) FROM (SELECT FROM counts FOR UPDATE) c',
			'SELECT pg_advisory_lock(1)', 'SELECT pg_advisory_unlock_all()',
			'DELETE FROM counts WHERE id < 3', 'UPDATE texts SET v = NULL') } ],
	[ 1, sub { 'DISCARD ' . pick('ALL', 'PLANS') } ]);
my @wheel = map { ($_->[1]) x (5 * $_->[0]) } @operations;

$node->safe_psql('postgres', <<'SQL');
SELECT mdbatch_attach('counts', merge => '{"n": "sum", "lowest": "min"}'),
	mdbatch_attach('texts', version => 'at'),
	mdbatch_attach('devices', version => 'version', channel => 'devices');
SQL

# A script for each session; errors do not end it.
my $start = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my @psqls;
foreach my $session (1 .. $sessions)
{
	my $script = $node->basedir . "/random_$session.sql";
	my @statements = map { pick(@wheel)->() } 1 .. $calls / $sessions;
	my %psql = (err => '');

	# DISCARD ALL resets what was set.
	append_to_file($script, join '', map { "$_;\n" } @statements, 'ROLLBACK');
	# Half of them go on after an error, by a savepoint for each statement.
	$psql{run} = IPC::Run::start(
		[ 'psql', '-X', '-q', '-A', '-t', '-v', 'VERBOSITY=sqlstate',
			'-v', 'ON_ERROR_ROLLBACK=' . ($session % 2 ? 'on' : 'off'), '-f', $script,
			'-d', $node->connstr('postgres')
			  . " application_name=random options='-c statement_timeout=3s'" ],
		'<', \undef, '>', '/dev/null', '2>', \$psql{err},
		IPC::Run::timer(60 + $calls));
	push @psqls, \%psql;
}
my %states;
foreach my $psql (@psqls)
{
	my $finished = eval { $psql->{run}->finish };

	ok($finished, 'a session came to its end')
	  or diag substr($psql->{err}, -2000), $@ // '';
	$states{$1}++ while $psql->{err} =~ /(?:ERROR|FATAL):  (\w{5})/g;
}
note 'errors: ' . join(', ', map { "$_ $states{$_}" } sort keys %states);

# What nobody may ever see: internal errors, a lost connection, a lost server.
is(join(' ', grep { /^(?:XX|08|58|57P)/ } sort keys %states),
	'', "no internal error (seed $seed)");
cmp_ok(scalar(keys %states), '>', 5, 'though there were errors of many kinds');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'),
	$start, 'the server is the same');

# Whoever prepared a transaction had nothing added (R7).
$node->safe_psql('postgres', "ROLLBACK PREPARED 'p'")
  if $node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts');
$node->safe_psql('postgres', 'SELECT mdbatch_flush()');
is( $node->safe_psql(
		'postgres', 'SELECT sum(pending), sum(in_flight), sum(reserved)
		 FROM mdbatch_stat'),
	'0|0|0',
	'nothing waits and nothing is reserved after a flush (R8)');
books_ok($node, 'postgres');

# (The counters may have been reset.)
cmp_ok(
	$node->safe_psql('postgres', q{SELECT (SELECT count(*) FROM mdbatch_metadata)
		+ (SELECT count(*) FROM counts) + (SELECT count(*) FROM texts)
		+ (SELECT count(*) FROM devices)}),
	'>', 0, 'something was written');
my $log = slurp_file($node->logfile);
unlike($log,
	qr/PANIC|TRAP|terminated by (?:signal|exception)|batches were reset|ERROR:  XX/,
	'and the log tells of no crash');

done_testing();
