# Merging two entries of a key (R21), the part of it that happens in shared
# memory: slots combine whichever entry is newer, the newer version stays (R1).

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('merge');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'mdbatch'");
$node->start;

# The module calls the library's own functions.
my $module = build_module($node, 'merge_test');
$node->safe_psql('postgres', qq{
	CREATE FUNCTION merge_test(role text, is_float bool, a text, a_version int8,
		b text, b_version int8) RETURNS text
	AS '$module' LANGUAGE C VOLATILE CALLED ON NULL INPUT});

# role, is_float, a, its version, b, its version => value, newer version
my @cases = (
	[ "'sum', false, '5', 1, '7', 2",  '12 2' ],
	[ "'sum', false, '5', 2, '7', 1",  '12 2', 'a stale entry still counts' ],
	[ "'sum', false, NULL, 1, '7', 2", '7 2' ],
	[ "'sum', false, '5', 1, NULL, 2", '5 2' ],
	[ "'sum', false, NULL, 1, NULL, 2", 'null 2' ],
	[ "'sum', true, '0.5', 1, '0.25', 2", '0.75 2' ],
	[ "'min', false, '5', 1, '7', 2",  '5 2' ],
	[ "'min', false, '7', 1, '5', 2",  '5 2' ],
	[ "'min', false, '-7', 2, '5', 1", '-7 2' ],
	[ "'max', false, '5', 1, '7', 2",  '7 2' ],
	[ "'max', false, '7', 1, '5', 2",  '7 2' ],
	[ "'max', false, NULL, 1, '5', 2", '5 2' ],
	[ "'max', true, 'NaN', 1, '5', 2", 'NaN 2', 'NaN is above everything' ],
	[ "'max', true, '5', 1, 'NaN', 2", 'NaN 2' ],
	[ "'min', true, 'NaN', 1, '5', 2", '5 2' ],
	[ "'min', true, '5', 1, 'NaN', 2", '5 2' ]);
for my $case (@cases)
{
	my ($arguments, $expected, $why) = @$case;

	is($node->safe_psql('postgres', "SELECT merge_test($arguments)"),
		$expected, $why // $arguments);
}

# An overflow is marked, not wrapped unseen.
like($node->safe_psql('postgres',
		"SELECT merge_test('sum', false, '9223372036854775807', 1, '1', 2)"),
	qr/ 2 overflow$/, 'an integer sum out of range is marked');

$node->stop;
done_testing();
