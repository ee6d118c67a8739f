# Without the library in shared_preload_libraries (R17): what needs shared
# memory says so, the rest works.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', 'shared_preload_libraries' => '');
my $agent = agent(1);
my $hint =
  'Add "mdbatch" to "shared_preload_libraries" and restart the server.';

sub sql { return $node->safe_psql('postgres', $_[0]); }

is(sql("SELECT extversion FROM pg_extension WHERE extname = 'mdbatch'"),
	'1.0', 'CREATE EXTENSION works');
sql('CREATE TABLE t (agent_id uuid, key text, value text, error text,
	collected_at timestamptz, PRIMARY KEY (agent_id, key))');

foreach my $call (
	"SELECT mdbatch_add('$agent', '{a}', '{v}')",
	"SELECT mdbatch_add_many('{$agent}', '{a}', '{v}')",
	"CALL mdbatch_add_sync('$agent', '{a}', '{v}')",
	'SELECT mdbatch_flush()',
	'SELECT * FROM mdbatch_pending()',
	'SELECT * FROM mdbatch_stat',
	'SELECT * FROM mdbatch_stat_histogram',
	'SELECT mdbatch_stat_reset()',
	"SELECT mdbatch_set_target('t')")
{
	my ($ret, $stdout, $stderr) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\n$call;");

	like($stderr, qr/ERROR:  55000: mdbatch is not loaded\nHINT:  \Q$hint\E\n/,
		$call);
}

is( sql("SELECT mdbatch_decode_agent_ids(p) FROM mdbatch_encode_agent_ids('{$agent}') p"),
	$agent,
	'the payload functions work');
is(sql('SELECT target, metadata FROM mdbatch_target'),
	'mdbatch_metadata|t', 'mdbatch_target works');
is(sql("INSERT INTO mdbatch_metadata VALUES ('$agent', 'a', 'v'); SELECT count(*) FROM mdbatch_metadata"),
	'1', 'mdbatch_metadata is a table');
sql('DROP TABLE t');

# CREATE EXTENSION warns, also in a session that has loaded the library before.
my (undef, undef, $created) = $node->psql('postgres', <<'SQL');
LOAD '$libdir/mdbatch';
\set VERBOSITY verbose
DROP EXTENSION mdbatch;
CREATE EXTENSION mdbatch;
DROP EXTENSION mdbatch;
CREATE EXTENSION mdbatch;
SQL
my @warnings = $created =~ /^.*WARNING:  55000: mdbatch is not loaded via "shared_preload_libraries"\nDETAIL:  .*\nHINT:  \Q$hint\E$/mg;
is(scalar @warnings, 2, 'each CREATE EXTENSION warns');
is(sql("SELECT count(*) FROM pg_proc WHERE proname = 'mdbatch_check_preload'"),
	'0', 'the function that warns is gone');
sql('DROP EXTENSION mdbatch');
is(sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'mdbatch%'"),
	'0', 'DROP EXTENSION works');

# A database that was used with the library, on a server without it, and back.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'mdbatch'");
$node->restart;
(undef, undef, $created) = $node->psql('postgres',
	"CREATE EXTENSION mdbatch; SELECT mdbatch_add('$agent', '{a}', '{v}')");
is($created, '', 'with the library CREATE EXTENSION does not warn');
is(sql('SELECT mdbatch_flush()'), '1', 'with the library it works');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
my ($ret, $stdout, $stderr) = $node->psql('postgres', 'SELECT mdbatch_flush()');
like($stderr, qr/mdbatch is not loaded/, 'without it again it says so');
is(sql('SELECT count(*) FROM mdbatch_metadata'), '1', 'the rows are there');

$node->stop;
done_testing();
