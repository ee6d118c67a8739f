# pg_dump and restore bring back attachments and rows (R27).

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('dump');
my $dump = $node->basedir . '/dump.sql';
my $add = q{SELECT mdbatch_add('00000000-0000-0000-0000-000000000001', '{k}', '{v}')};
my $table = q{(agent_id uuid, key text, value text, error text,
	collected_at timestamptz, PRIMARY KEY (agent_id, key))};

sub dump_database
{
	my ($database, @options) = @_;
	$node->command_ok(
		[ 'pg_dump', '-f', $dump, '-d', $node->connstr($database), @options ],
		"dump of $database @options");
	return;
}

sub restore_into
{
	my ($database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->command_ok(
		[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d',
			$node->connstr($database) ], "restore into $database");
	return;
}

my $targets = 'SELECT target, metadata, key, version, columns, mode, channel, notify FROM mdbatch_target';

# The default: rows of mdbatch_metadata, no label.
$node->safe_psql('postgres', 'CREATE DATABASE plain');
$node->safe_psql('plain', 'CREATE EXTENSION mdbatch');
$node->safe_psql('plain', $add);
$node->safe_psql('plain', 'SELECT mdbatch_flush()');
dump_database('plain');
restore_into('plain_again');
is($node->safe_psql('plain_again', 'SELECT key, value FROM mdbatch_metadata'),
	'k|v', 'rows of mdbatch_metadata are back');
is($node->safe_psql('plain_again', $targets),
	$node->safe_psql('plain', $targets), 'so is the default target');

# A table of one's own, and rows of both.
$node->safe_psql('plain', "CREATE TABLE state $table");
$node->safe_psql('plain',
	"SELECT mdbatch_set_target('state', mode => 'upsert', channel => 'a \"channel\"')");
$node->safe_psql('plain', $add);
$node->safe_psql('plain', 'SELECT mdbatch_flush()');
dump_database('plain');
restore_into('own');
is($node->safe_psql('own', $targets), $node->safe_psql('plain', $targets),
	'the attachment is back');
like($node->safe_psql('own', $targets), qr/^state\|t\|.*a "channel"/, 'as it was');
is($node->safe_psql('own', $add), '1', 'adds go there');
is($node->safe_psql('own', 'SELECT mdbatch_flush()'), '1', 'and are flushed');
is($node->safe_psql('own', 'SELECT count(*) FROM state'), '1', 'into it');

# The target left out of the dump; dropped before it; labels left out.
dump_database('plain', '--exclude-table=state');
restore_into('without');
like($node->safe_psql('without', $targets), qr/^mdbatch_metadata\|t/,
	'without the target it is the default again');
dump_database('plain', '--no-security-labels');
restore_into('unlabelled');
like($node->safe_psql('unlabelled', $targets), qr/^mdbatch_metadata\|t/,
	'without labels, too');
$node->safe_psql('plain', 'DROP TABLE state');
dump_database('plain');
restore_into('dropped');
like($node->safe_psql('dropped', $targets), qr/^mdbatch_metadata\|t/,
	'a dropped target is not in the dump');
books_ok($node, 'postgres');

# A server without the library: only the attachment fails, clearly.
$node->safe_psql('plain', "CREATE TABLE state $table");
$node->safe_psql('plain', "SELECT mdbatch_set_target('state')");
dump_database('plain');
my $bare = PostgreSQL::Test::Cluster->new('bare');
$bare->init;
$bare->start;
my ($status, $out, $err) = (0);
$status = $bare->psql('postgres', slurp_file($dump), stdout => \$out, stderr => \$err, on_error_stop => 0);
my @errors = $err =~ /ERROR:  (.*)/g;
is(scalar(grep { !/security label provider "mdbatch" is not loaded/ } @errors), 0,
	'nothing but labels fails')
  or diag $err;
is(scalar @errors, 6, 'one error for the table and one for each column');
is($bare->safe_psql('postgres', 'SELECT key, value FROM mdbatch_metadata'),
	'k|v', 'the rows are there');

# Not preloaded: what needs shared memory says so; the rest works (R17).
($status, $out, $err) = $bare->psql('postgres', "\\set VERBOSITY verbose\n$add");
like($err, qr/ERROR:  55000: mdbatch is not loaded.*HINT:  Add "mdbatch" to "shared_preload_libraries" and restart the server\./s,
	'mdbatch_add is refused with a hint');
foreach my $query ('SELECT mdbatch_flush()', 'SELECT * FROM mdbatch_pending()',
	'SELECT * FROM mdbatch_stat', 'SELECT mdbatch_stat_reset()',
	"SELECT mdbatch_set_target('state')", 'SELECT * FROM mdbatch_stat_histogram')
{
	($status, $out, $err) = $bare->psql('postgres', $query);
	like($err, qr/mdbatch is not loaded/, $query);
}
is($bare->safe_psql('postgres',
		q{SELECT d FROM mdbatch_encode_agent_ids('{00000000-0000-0000-0000-000000000007}') e,
		mdbatch_decode_agent_ids(e) d}),
	'00000000-0000-0000-0000-000000000007', 'payload functions work');
like($bare->safe_psql('postgres', $targets), qr/^mdbatch_metadata/, 'so does the view of targets');

$bare->stop;
$node->stop;
done_testing();
