# What the server log says, and what never gets into it (R18): SQLSTATE, target
# and constraint, but no value. Drops are told at most once every 10 s (R9).

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('log', 'log_statement' => 'none', 'mdbatch.queue_size' => 1);
my $session = session($node, 'postgres');

$node->safe_psql('postgres',
	"ALTER TABLE mdbatch_metadata ADD CONSTRAINT harmless CHECK (value NOT LIKE 'secret%')");
# The value comes from a table, so that no statement has it in its text.
$node->safe_psql('postgres', "CREATE TABLE source AS SELECT 'secret ' || md5('x') AS v");
$session->query_safe(q{SELECT mdbatch_add('00000000-0000-0000-0000-000000000001', '{k}', ARRAY[v]) FROM source});
$session->query('SELECT mdbatch_flush()');
like($session->{stderr}, qr/secret/, 'the owner sees the whole error');
$session->{stderr} = '';

my $log = slurp_file($node->logfile);
like($log, qr/LOG:  could not flush the batch of table public\.mdbatch_metadata: SQLSTATE 23514/,
	'the log has the SQLSTATE and the target');
like($log, qr/DETAIL:  Constraint "harmless" refused an entry/, 'and the constraint');
my @lines = grep { /secret [0-9a-f]/ } split /\n/, $log;
is(scalar(grep { !/client backend|DETAIL:|ERROR:|STATEMENT:/ } @lines), 0,
	'no line of the worker has the value');
unlike($log, qr/mdbatch worker.*secret/, 'nor does any that names it');

# Drops: many, one line.
my $offset = -s $node->logfile;
$session->query_safe(
	q{SELECT mdbatch_add('00000000-0000-0000-0000-000000000001', ARRAY['new' || i], ARRAY[v]) FROM source, generate_series(1, 50) i});
$log = slurp_file($node->logfile, $offset);
my $told = () = $log =~ /LOG:  batch of table public\.mdbatch_metadata is full/g;
is($told, 1, 'fifty drops, one line');
unlike($log, qr/secret|new1/, 'without a value');
is($node->safe_psql('postgres', 'SELECT dropped FROM mdbatch_stat'), '50', 'all are counted');

$node->safe_psql('postgres', 'ALTER TABLE mdbatch_metadata DROP CONSTRAINT harmless');
is($session->query_safe('SELECT mdbatch_flush()'), '1', 'mended, it is written');
books_ok($node, 'postgres');
$session->quit;
$node->stop;
done_testing();
