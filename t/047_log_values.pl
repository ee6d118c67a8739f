# No statement of the extension's own carries values into the log (R18): not of
# what is written, rejected, merged there, retried or dropped, with auto_explain
# as talkative as it can be.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main',
	'shared_preload_libraries' => 'mdbatch, auto_explain',
	'auto_explain.log_min_duration' => '0',
	'auto_explain.log_nested_statements' => 'on',
	'auto_explain.log_analyze' => 'on',
	'auto_explain.log_verbose' => 'on',
	'auto_explain.log_triggers' => 'on',
	'log_statement' => 'all',
	'log_parameter_max_length' => '-1',
	'log_parameter_max_length_on_error' => '-1',
	'log_min_messages' => 'debug1',
	'log_error_verbosity' => 'verbose',
	'debug_print_plan' => 'on',
	'log_executor_stats' => 'on');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What names a value is said by a role whose sessions log nothing.
sql(q{CREATE ROLE quiet SUPERUSER LOGIN;
	ALTER ROLE quiet SET log_statement = none;
	ALTER ROLE quiet SET auto_explain.log_min_duration = -1;
	ALTER ROLE quiet SET log_min_messages = fatal;
	ALTER ROLE quiet SET log_executor_stats = off;
	ALTER ROLE quiet SET debug_print_plan = off});

sub quietly
{
	return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'quiet' ]);
}

# Every value has this in it, in every shape; numbers and times too.
my $needle = 'needle';
my $hex = unpack('H*', $needle);
my $number = '7316290571';

sub entries
{
	my ($first, $last, $v) = @_;

	return qq{(SELECT jsonb_agg(jsonb_build_object('k', 'needle key ' || i, 'v', '$v needle ' || i,
		'n', $number + i, 'at', timestamptz '2731-05-07' + i * interval '1 s', 'j', '{"needle": "needle"}'::jsonb,
		'a', '{needle}'::text[], 'b', '$needle'::bytea, 'c', ROW($number, 'needle')::pair)) FROM generate_series($first, $last) i)};
}

sub no_value
{
	my ($what) = @_;
	my $log = slurp_file($node->logfile);

	foreach my $value ($needle, $hex, substr($number, 0, 6), '2731-05')
	{
		my @lines = grep { /\Q$value\E/ } split /\n/, $log;

		is(join("\n", @lines), '', "$what: no \"$value\" in the log");
	}
	return;
}

my $offset = -s $node->logfile;
quietly(q{CREATE TYPE pair AS (n bigint, t text);
	CREATE TABLE t (k text PRIMARY KEY, v text, n bigint, at timestamptz, j jsonb, a text[], b bytea, c pair,
		CONSTRAINT shut CHECK (v NOT LIKE 'bad%'));
	CREATE TABLE u (k text PRIMARY KEY, v text);
	SELECT mdbatch_attach('t', version => 'at', merge => '{"n": "sum"}', batch_size => 100, channel => 'c', notify => 'n');
	SELECT mdbatch_attach('u', mode => 'update');
	INSERT INTO u VALUES ('needle 1', 'old')});
quietly(q{SELECT mdbatch_put('t', } . entries(1, 10, 'good') . ')');
sql('SELECT mdbatch_flush()');
is(quietly(q{SELECT count(*) FROM t WHERE v ~ 'good needle'}), '10', 'entries are written');
no_value('written');

quietly(q{SELECT mdbatch_put('u', '[{"k": "needle 1", "v": "needle new"}, {"k": "needle 2", "v": "needle"}]')});
quietly(qq{SELECT mdbatch_add('@{[agent(1)]}', '{needle a,needle b}', '{needle,needle}')});
sql('SELECT mdbatch_flush()');
no_value('updated, and agent metadata');

# Refused; once more, which merges; a locked row; of a batch that was refused whole.
quietly(q{SELECT mdbatch_put('t', } . entries(11, 15, 'bad') . ' || ' . entries(16, 20, 'good') . ')');
sql('SELECT mdbatch_flush()');
quietly(q{SELECT mdbatch_put('t', } . entries(11, 12, 'bad') . ' || ' . entries(21, 22, 'bad') . ')');
my $locker = $node->background_psql('postgres', extra_params => [ '-U', 'quiet' ]);
$locker->query_safe(q{BEGIN; SELECT 1 FROM t WHERE k = 'needle key 1' FOR UPDATE});
quietly(q{SELECT mdbatch_put('t', } . entries(1, 1, 'good') . ')');
sql(q{ALTER SYSTEM SET mdbatch.lock_timeout = '50ms'; SELECT pg_reload_conf()});
$node->psql('postgres', 'SELECT mdbatch_flush()');
$locker->query_safe('ROLLBACK');
$locker->quit;
sql('SELECT mdbatch_flush()');
is(quietly(q{SELECT count(*), sum((entry->>'n')::numeric) > 4 * 7316290571 FROM mdbatch_rejected}), '7|t',
	'entries are kept, and merged');
no_value('rejected');

# Retried; one that cannot be is left, with a warning.
quietly(q{ALTER TABLE t DROP CONSTRAINT shut;
	UPDATE mdbatch_rejected SET entry = entry || '{"n": "needle"}' WHERE key->>'k' = 'needle key 13'});
sql(q{SELECT mdbatch_retry('t')});
is(quietly('SELECT count(*) FROM mdbatch_rejected'), '1', 'entries are retried');
sql('SELECT mdbatch_flush()');
no_value('retried');

# Evicted, renamed, dropped
sql(q{ALTER SYSTEM SET mdbatch.max_rejected = 3; SELECT pg_reload_conf()});
quietly(q{ALTER TABLE t ADD CONSTRAINT shut CHECK (v NOT LIKE 'bad%') NOT VALID; ALTER TABLE t RENAME TO s});
quietly(q{SELECT mdbatch_put('s', } . entries(30, 39, 'bad') . ')');
sql('SELECT mdbatch_flush()');
is(quietly('SELECT count(*) FROM mdbatch_rejected'), '3', 'as many as may be are kept');
ok($node->log_contains(qr/gave up 8 rejected entries of table public\.s/), 'the log tells how many went');
sql('DROP TABLE s');
is(quietly('SELECT count(*) FROM mdbatch_rejected'), '0', 'they go with the table');
no_value('evicted and dropped');
ok($node->log_contains(qr/Query Text: INSERT INTO public\.t AS t/, $offset),
	'and yet the statements were logged');

$node->stop;
done_testing();
