# The examples run as they are, twice, on a server with default settings.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $examples = "$FindBin::RealBin/../examples";
my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'mdbatch'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION mdbatch');
$node->safe_psql('postgres', q{ALTER DATABASE postgres SET timezone = 'UTC'});

my $listener = listen_to($node, 'postgres', 'example_heartbeat');

# The rows that each example ends with.
my %rows = (
	'last_seen' => {
		# Who is seen now has a time of today.  User 99 was not made, and is
		# not left waiting (R19).
		query => q{SELECT id, name, CASE WHEN id = 1
			THEN (last_seen BETWEEN now() - interval '10 min' AND now())::text
			ELSE last_seen::text END
			FROM example_last_seen.users ORDER BY id},
		result => "1|ann|true\n2|bob|2024-05-01 12:00:00+00\n3|cleo|",
		target => 'example_last_seen.users',
	},
	'heartbeat' => {
		query => 'SELECT * FROM example_heartbeat.workers ORDER BY id',
		result =>
		  "5e2b6a60-0c1d-4c8e-9a57-2f3f1f6f1c01|idle|2024-05-01 10:00:00+00\n"
		  . 'c0ffee00-0000-4000-8000-000000000002|busy|2024-05-01 10:00:05+00',
		target => 'example_heartbeat.workers',
	},
	'counters' => {
		query => 'SELECT * FROM example_counters.pages ORDER BY page',
		result => "/|5|480|2024-05-01 09:00:00+00\n"
		  . '/about|1|7|2024-05-01 10:00:02+00',
		target => 'example_counters.pages',
	},
	'devices' => {
		query => 'SELECT * FROM example_devices.readings ORDER BY 1, 2',
		result => "1|humidity|40|2024-05-01 10:00:10+00\n"
		  . "1|temperature|21.5|2024-05-01 10:00:10+00\n"
		  . "2|temperature|18.5|2024-05-01 10:00:20+00\n"
		  . '3|humidity|55|2024-05-01 10:00:20+00',
		target => 'example_devices.readings',
	},);

is_deeply(
	[ sort map { s{.*/(.*)\.sql$}{$1}r } glob "$examples/*.sql" ],
	[ sort keys %rows ],
	'every example is tested');

foreach my $name (sort keys %rows)
{
	my $example = $rows{$name};

	foreach my $run (1, 2)
	{
		$node->command_ok(
			[
				'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d',
				$node->connstr('postgres'), '-f', "$examples/$name.sql"
			],
			"$name runs, time $run");
		is($node->safe_psql('postgres', $example->{query}),
			$example->{result}, "rows of $name, time $run");
		is( $node->safe_psql(
				'postgres', "SELECT pending, dropped, rejected, discarded,
				 flush_failures FROM mdbatch_stat
				 WHERE relid = '$example->{target}'::regclass"),
			'0|0|0|0|0',
			"nothing of $name is left, lost or refused");
	}
}

# The heartbeat was announced to whoever listens, with the payload that the
# example decodes (R6).  (A flush in between, by the timer, would make it two.)
my @heard = notifications($node, 'postgres', $listener, 'example_heartbeat');
my %announced = map { $_ => 1 } map { decode_agents($_) } @heard;
my $text = slurp_file("$examples/heartbeat.sql");
my ($payload) = $text =~ /mdbatch_decode_agent_ids\('(.*?)'\)/;

is_deeply(
	[ sort keys %announced ],
	[
		'5e2b6a60-0c1d-4c8e-9a57-2f3f1f6f1c01',
		'c0ffee00-0000-4000-8000-000000000002'
	],
	'both workers were announced');
is_deeply([ decode_agents($payload) ],
	[ sort keys %announced ], 'the payload of the example names them');

# What each example shows that its rows do not.
is( $node->safe_psql(
		'postgres', q{SELECT flushed, skipped, coalesced + stale
		FROM mdbatch_stat WHERE relid = 'example_last_seen.users'::regclass}),
	'2|1|2',
	'last_seen: a user who does not exist is skipped (R19)');
is( $node->safe_psql(
		'postgres', q{SELECT mode, version, columns, flush_interval, batch_size
		FROM mdbatch_target WHERE target = 'example_last_seen.users'::regclass}),
	'update|last_seen|{}|00:01:00|5000',
	'last_seen: the attachment');

# A role of the application needs no more than the comment in devices.sql says
# (R18).
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app;
GRANT USAGE ON SCHEMA example_devices TO app;
GRANT INSERT ON example_devices.inbox TO app;
SQL
my $insert = q{SET ROLE app;
	INSERT INTO example_devices.inbox VALUES (4, 'humidity', 60, now())};
my ($ret, $stdout, $stderr) = $node->psql('postgres', $insert);
like($stderr, qr/permission denied/, 'devices: not with less');
$node->safe_psql('postgres',
	'GRANT INSERT, UPDATE ON example_devices.readings TO app');
$node->safe_psql('postgres', $insert);
$node->safe_psql('postgres',
	q{SELECT mdbatch_flush('example_devices.readings')});
is( $node->safe_psql('postgres',
		'SELECT value FROM example_devices.readings WHERE device = 4'),
	'60',
	'devices: the rights that the comment names');

books_ok($node, 'postgres');
end_session($listener);
$node->stop;
done_testing();
