# A standby takes no adds; promoted, it works (R7, R16).

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = new_server('primary', streaming => 1);
my $add = q{SELECT mdbatch_add('00000000-0000-0000-0000-000000000001', '{k}', '{v}')};

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', $add);
$primary->safe_psql('postgres', 'SELECT mdbatch_flush()');
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT key, value FROM mdbatch_metadata'),
	'k|v', 'what was flushed is on the standby');

foreach my $query ($add, 'SELECT mdbatch_flush()')
{
	my ($status, $out, $err) =
	  $standby->psql('postgres', "\\set VERBOSITY sqlstate\n$query");
	like($err, qr/25006/, "$query is refused in recovery");
}
is($standby->safe_psql('postgres', 'SELECT count(*) FROM mdbatch_pending()'), '0',
	'looking is allowed');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM mdbatch_stat'), '0', 'so are the books');

$standby->promote;
is($standby->safe_psql('postgres', $add), '1', 'promoted, it takes adds');
is($standby->safe_psql('postgres', 'SELECT mdbatch_flush()'), '1', 'and flushes');
books_ok($standby, 'postgres');

$standby->stop;
$primary->stop;
done_testing();
