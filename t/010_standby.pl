# A hot standby refuses adds (R7); after its promotion it works (R16).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_server('primary', 'streaming' => 1);
my $agent = agent(1);

$primary->safe_psql('postgres', "SELECT mdbatch_add('$agent', '{a}', '{v}')");
$primary->safe_psql('postgres', 'SELECT mdbatch_flush()');
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

# What is pending on the primary is not on the standby; what is flushed is.
$primary->safe_psql('postgres', "SELECT mdbatch_add('$agent', '{b}', '{v}')");
$primary->safe_psql('postgres', 'SELECT mdbatch_flush()');
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM mdbatch_metadata'),
	'2', 'the standby has what was flushed');

foreach my $call (
	[ 'mdbatch_add', "SELECT mdbatch_add('$agent', '{c}', '{v}')" ],
	[ 'mdbatch_add_many', "SELECT mdbatch_add_many('{$agent}', '{c}', '{v}')" ],
	[ 'mdbatch_add_sync', "CALL mdbatch_add_sync('$agent', '{c}', '{v}')" ],
	[ 'mdbatch_flush', 'SELECT mdbatch_flush()' ])
{
	my ($ret, $stdout, $stderr) = $standby->psql('postgres',
		"\\set VERBOSITY verbose\n$call->[1];");

	like($stderr, qr/ERROR:  25006: cannot execute $call->[0]\(\) during recovery/,
		"$call->[0] is refused");
}
is($standby->safe_psql('postgres', 'SELECT count(*) FROM mdbatch_stat'),
	'0', 'looking in works');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM mdbatch_pending()'),
	'0', 'and is empty');
is($standby->safe_psql('postgres', 'SELECT target FROM mdbatch_target'),
	'mdbatch_metadata', 'there is a target');

# Promoted while a session that was refused is still there.
my $session = session($standby, 'postgres');
$session->query("SELECT mdbatch_add('$agent', '{c}', '{v}')");
$standby->promote;
wait_for($standby, 'postgres', 'NOT pg_is_in_recovery()', 'promoted');
$session->{stderr} = '';
is($session->query_safe("SELECT mdbatch_add('$agent', '{c}', '{v}')"),
	'1', 'then adds work');
is($session->query_safe('SELECT mdbatch_flush()'), '1', 'and flushes');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM mdbatch_metadata'),
	'3', 'the row is there');
is($primary->safe_psql('postgres', "SELECT mdbatch_add('$agent', '{d}', '{v}')"),
	'1', 'the former primary works, too');
books_ok($standby, 'postgres');

$session->quit;
$standby->stop;
$primary->stop;
done_testing();
