# The log gets SQLSTATE, target and constraint, never a value (R18).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server(
	'main',
	'log_statement' => 'none',
	'log_min_error_statement' => 'panic',
	'log_error_verbosity' => 'verbose',
	'log_autovacuum_min_duration' => '-1',
	'debug_print_plan' => 'off');
my $agent = agent(1);
my $offset;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Flush what cannot be flushed, and let it be better afterwards.
sub refuse
{
	my ($key, $value, $error, $sqlstate, $constraint) = @_;

	$offset = -s $node->logfile;
	sql("SELECT mdbatch_add('$agent', '{$key}', '{$value}', '{$error}')");

	# By the timer, so that no client hears of the error and has it logged.
	$node->wait_for_log(
		qr/LOG:  .*could not flush the batch of table public\.mdbatch_metadata: SQLSTATE $sqlstate/,
		$offset);
	if (defined $constraint)
	{
		$node->wait_for_log(qr/DETAIL:  Constraint "$constraint"/, $offset);
	}
	like(sql('SELECT last_error FROM mdbatch_stat'), qr/^$sqlstate: /,
		"$sqlstate in mdbatch_stat");
	sql("SELECT mdbatch_add('$agent', '{$key}', '{fine}', '{fine}')");
	wait_for($node, 'postgres', '(SELECT pending = 0 FROM mdbatch_stat)',
		'written in the end');
	return;
}

# Flush what the target refuses for good: that is no failure.
my $rejected = 0;

sub reject
{
	my ($key, $value, $error, $sqlstate, $constraint) = @_;

	$offset = -s $node->logfile;
	$rejected++;
	sql("SELECT mdbatch_add('$agent', '{$key}', '{$value}', '{$error}')");
	wait_for($node, 'postgres',
		"(SELECT pending = 0 AND rejected = $rejected FROM mdbatch_stat)",
		"$sqlstate rejects");
	$node->wait_for_log(
		qr/LOG:  .*table public\.mdbatch_metadata refused 1 entry for good/,
		$offset);
	$node->wait_for_log(qr/DETAIL:  .*SQLSTATE $sqlstate/, $offset);
	if (defined $constraint)
	{
		like(slurp_file($node->logfile, $offset),
			qr/DETAIL:  .*"$constraint"/, 'the log names the constraint');
	}
	is( sql("SELECT sqlstate FROM mdbatch_rejected WHERE key ->> 'key' = '$key'"),
		$sqlstate, "$sqlstate in mdbatch_rejected");
	return;
}

sql(<<'SQL');
ALTER TABLE mdbatch_metadata
	ADD CONSTRAINT well_formed CHECK (value NOT LIKE 'secret%');
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE split_part(NEW.error, ' ', 1)
		WHEN 'constraint' THEN
			RAISE EXCEPTION 'refused: %', NEW.value
				USING ERRCODE = '58030', CONSTRAINT = 'by_trigger';
		WHEN 'hidden' THEN
			RAISE EXCEPTION 'refused: %', NEW.error
				USING ERRCODE = '58030', DETAIL = NEW.value, HINT = NEW.value;
		WHEN 'execute' THEN EXECUTE NEW.value;
		WHEN 'raise' THEN
			RAISE EXCEPTION 'refused: %', NEW.error
				USING DETAIL = NEW.value, HINT = NEW.value;
		WHEN 'cast' THEN PERFORM NEW.value::int;
		ELSE NULL;
	END CASE;
	RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON mdbatch_metadata
	FOR EACH ROW EXECUTE FUNCTION public.refuse();
ALTER SYSTEM SET mdbatch.flush_interval = '10ms';
SQL
$node->reload;
my $start = -s $node->logfile;

refuse('a', 'secret1', 'constraint', '58030', 'by_trigger');
refuse('b', 'secret2', 'hidden secret3', '58030');
refuse('c', 'topsecret4', 'execute', '42601');
my $seen = 'SELECT last_error FROM mdbatch_stat';
my $whole = sql($seen);
reject('d', 'secret5', 'none', '23514', 'well_formed');
reject('e', 'secret6', 'raise secret7', 'P0001');
reject('f', 'topsecret8', 'cast', '22P02');
unlike(slurp_file($node->logfile, $start), qr/secret/,
	'no value is in the log');

# Whoever may see values sees them in mdbatch_stat, others get SQLSTATE and
# target. What was refused for good is in mdbatch_rejected instead.
sql('CREATE ROLE nobody LOGIN');
like($whole, qr/topsecret4/, 'the owner sees the whole error');
is(sql($seen), $whole, 'a rejection is no failure');
is(sql("SET ROLE nobody; $seen"), '42601: public.mdbatch_metadata',
	'others see SQLSTATE and target');

# Dropped entries: the log tells so, once in a while, and no value either.
sql('ALTER SYSTEM SET mdbatch.queue_size = 1');
sql("ALTER SYSTEM SET mdbatch.flush_interval = '1h'");
$node->reload;
wait_for($node, 'postgres', q{current_setting('mdbatch.queue_size') = '1'},
	'a queue of one');
$offset = -s $node->logfile;
is(sql("SELECT mdbatch_add('$agent', '{d,e,f}', '{secret,secret,secret}')"),
	'1', 'two are dropped');
is(sql("SELECT mdbatch_add('$agent', '{g,h}', '{secret,secret}')"),
	'0', 'and two more');
is(sql('SELECT dropped FROM mdbatch_stat'), '4', 'counted');
my $log = slurp_file($node->logfile, $offset);
my @told = $log =~ /LOG:  .*batch of table public\.mdbatch_metadata is full/g;
is(scalar(@told), 1, 'the log tells once');
unlike($log, qr/secret/, 'and no value');

$node->stop('immediate');
done_testing();
