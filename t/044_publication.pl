# Logical replication: what a flush writes is published like any other change, a
# key once; without a replica identity nothing is lost (doc/tables.md).  Only
# rows are replicated: the subscriber attaches for itself.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = new_server('publisher', 'streaming' => 'logical');
my $subscriber = new_server('subscriber', 'streaming' => 'logical');

sub sql { return $publisher->safe_psql('postgres', $_[0]); }

# The error of a flush, with its SQLSTATE.
sub flush_error
{
	my ($table) = @_;
	my ($status, $out, $error) = $publisher->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT mdbatch_flush('$table')");

	return $status == 0 ? '' : $error;
}

# What the subscriber has, once it has all that was committed here.
sub replicated
{
	my ($query) = @_;

	$publisher->wait_for_catchup('everything');
	return $subscriber->safe_psql('postgres', $query);
}

foreach my $node ($publisher, $subscriber)
{
	$node->safe_psql('postgres', <<'SQL');
CREATE TABLE device (id int PRIMARY KEY, v text, at timestamptz NOT NULL);
CREATE TABLE hit (id int NOT NULL, n bigint);
CREATE UNIQUE INDEX hit_id ON hit (id);
CREATE TABLE part (id int PRIMARY KEY, v text);
CREATE TABLE filtered (id int PRIMARY KEY, v text);
SQL
}
sql(<<'SQL');
DROP TABLE part;
CREATE TABLE part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (100) TO (200);
SELECT mdbatch_attach('device', version => 'at');
SELECT mdbatch_attach('hit', key => '{id}', merge => '{"n": "sum"}');
SELECT mdbatch_attach('part');
SELECT mdbatch_attach('filtered');
CREATE PUBLICATION everything
	FOR TABLE device, hit, part, filtered WHERE (id < 100)
	WITH (publish_via_partition_root = true);
SQL
# Here, too: else the subscriber does not know which row to update.
$subscriber->safe_psql('postgres', 'ALTER TABLE hit REPLICA IDENTITY USING INDEX hit_id;
	ALTER TABLE filtered REPLICA IDENTITY FULL');
my $connection = $publisher->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION everything CONNECTION '$connection' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($publisher, 'everything');

# One row for each key, whatever was added.
sql(q{SELECT mdbatch_put('device', jsonb_build_object('id', i % 3, 'v', i,
	'at', timestamptz '2026-01-01 00:00+00' + i * interval '1 s'))
	FROM generate_series(1, 300) i});
sql(q{SELECT mdbatch_put('part', '[{"id": 7, "v": "low"}, {"id": 107, "v": "high"}]')});
sql(q{SELECT mdbatch_put('filtered', '[{"id": 1, "v": "in"}, {"id": 100, "v": "out"}]')});
sql("SELECT mdbatch_flush('$_')") foreach qw(device part filtered);
is(replicated('SELECT id, v FROM device ORDER BY id'), "0|300\n1|298\n2|299",
	'the newest values arrive');
is(replicated('SELECT id, v FROM part ORDER BY id'), "7|low\n107|high",
	'those of a partitioned target arrive in a plain table');
is(replicated('SELECT id, v FROM filtered'), '1|in', 'a row filter holds');
sql(q{SELECT mdbatch_put('part', '{"id": 107, "v": "higher"}')});
sql(q{SELECT mdbatch_flush('part')});
is(replicated('SELECT id, v FROM part ORDER BY id'), "7|low\n107|higher",
	'and updates');

# Without a replica identity the flush fails, and nothing is rejected.
sql(q{SELECT mdbatch_put('hit', '{"id": 1, "n": 2}')});
sql(q{SELECT mdbatch_put('hit', '{"id": 1, "n": 3}')});
like(flush_error('hit'),
	qr/ERROR:  55000: could not flush.*\n?.*does not have a replica identity and publishes updates/s,
	'no replica identity');
is(sql(q{SELECT pending, rejected FROM mdbatch_stat WHERE target = 'public.hit'}),
	'1|0', 'it stays pending');
sql('ALTER TABLE hit REPLICA IDENTITY USING INDEX hit_id');
sql(q{SELECT mdbatch_flush('hit')});
sql(q{SELECT mdbatch_put('hit', '{"id": 1, "n": 10}')});
sql(q{SELECT mdbatch_flush('hit')});
is(replicated('SELECT id, n FROM hit'), '1|15', 'the index of the key is one');

# A row filter that needs more than the replica identity has.
sql(q{ALTER PUBLICATION everything SET TABLE device, hit, part,
	filtered WHERE (v <> 'secret')});
sql(q{SELECT mdbatch_put('filtered', '{"id": 2, "v": "new"}')});
like(flush_error('filtered'), qr/ERROR:  42P10: could not flush/, 'a filter on a value');
sql('ALTER TABLE filtered REPLICA IDENTITY FULL');
sql(q{SELECT mdbatch_flush('filtered')});
is(replicated('SELECT id, v FROM filtered ORDER BY id'), "1|in\n2|new",
	'with all columns as identity it works');

# The subscriber has a batch of its own; older entries do not overwrite what was
# replicated (R2).
is($subscriber->safe_psql('postgres',
		q{SELECT count(*) FROM mdbatch_target WHERE NOT metadata}),
	'0', 'attachments are not replicated');
$subscriber->safe_psql('postgres', $_) foreach (
	q{SELECT mdbatch_attach('device', version => 'at')},
	q{SELECT mdbatch_put('device', '[
		{"id": 0, "v": "old", "at": "2025-01-01 00:00+00"},
		{"id": 1, "v": "new", "at": "2026-02-01 00:00+00"}]')},
	'SELECT mdbatch_flush()');
is($subscriber->safe_psql('postgres', 'SELECT id, v FROM device ORDER BY id'),
	"0|300\n1|new\n2|299", 'versions decide on both sides');

books_ok($_, 'postgres') foreach $publisher, $subscriber;
is(sql('SELECT count(*) FROM mdbatch_rejected'), '0', 'nothing was rejected');
$subscriber->stop;
$publisher->stop;
done_testing();
