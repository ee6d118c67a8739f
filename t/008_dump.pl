# Dump and restore (R27).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $dumps = PostgreSQL::Test::Utils::tempdir;

sub sql { return $node->safe_psql(@_); }

# Dump a database and restore it into a new one; returns what psql says.
sub copy
{
	my ($from, $to, @options) = @_;
	my $file = "$dumps/$to.sql";

	sql('postgres', "CREATE DATABASE $to");
	$node->command_ok(
		[ 'pg_dump', '-d', $node->connstr($from), '-f', $file, @options ],
		"pg_dump of $from for $to");
	return restore($node, $to, $file);
}

sub restore
{
	my ($server, $db, $file) = @_;
	my ($ret, $stdout, $stderr) =
	  $server->psql($db, '', extra_params => [ '-f', $file ], on_error_stop => 0);

	return $stderr;
}

my $targets = q{SELECT target, metadata, key, version, columns, mode, channel, notify
	FROM mdbatch_target ORDER BY target::text};

# A database as it was created.
sql('postgres', 'CREATE DATABASE plain');
sql('plain', 'CREATE EXTENSION mdbatch');
sql('plain', "SELECT mdbatch_add('@{[agent(1)]}', '{a}', '{v}', NULL, '{2020-01-01}')");
sql('plain', 'SELECT mdbatch_flush()');
is(copy('plain', 'plain2'), '', 'restored without an error');
is(sql('plain2', 'SELECT agent_id, key, value FROM mdbatch_metadata'),
	agent(1) . '|a|v', 'the rows of mdbatch_metadata are there');
is(sql('plain2', $targets), sql('plain', $targets), 'it is the target');
is(sql('plain2', "SELECT mdbatch_add('@{[agent(2)]}', '{a}', '{v}')"),
	'1', 'an add');
is(sql('plain2', 'SELECT mdbatch_flush()'), '1', 'and a flush');

# One with a target of its own, with other names, renamed since; and rows in
# both tables.
sql('postgres', 'CREATE DATABASE own');
sql('own', <<"SQL");
CREATE EXTENSION mdbatch;
SELECT mdbatch_add('@{[agent(1)]}', '{a}', '{default}');
SELECT mdbatch_flush();
CREATE SCHEMA "My Schema";
CREATE TABLE "My Schema"."My Table" (
	extra int, "Value" text, at timestamptz, error varchar(100), k varchar(30),
	agent uuid, PRIMARY KEY (k, agent));
SELECT mdbatch_set_target('"My Schema"."My Table"', 'agent', 'k', 'Value',
	'error', 'at', 'upsert', 'my channel');
ALTER TABLE "My Schema"."My Table" RENAME at TO "At";
SELECT mdbatch_add('@{[agent(1)]}', '{a}', '{own}');
SELECT mdbatch_flush();
SQL
is(copy('own', 'own2'), '', 'restored without an error');
is(sql('own2', $targets),
	'"My Schema"."My Table"|t|{agent,k}|At|{Value,error}|upsert|my channel|agent',
	'the attachment is back');
is(sql('own2', 'SELECT "Value" FROM "My Schema"."My Table"'),
	'own', 'its rows are there');
is(sql('own2', 'SELECT value FROM mdbatch_metadata'),
	'default', 'and those of mdbatch_metadata');
is(sql('own2', "SELECT mdbatch_add('@{[agent(2)]}', '{a}', '{new}')"),
	'1', 'an add');
is(sql('own2', 'SELECT mdbatch_flush()'), '1', 'and a flush');
is(sql('own2', 'SELECT string_agg("Value", $$ $$ ORDER BY agent) FROM "My Schema"."My Table"'),
	'own new', 'go there');

# The target is left out of the dump; was dropped; and is not the target any
# more.
is(copy('own', 'without', '--exclude-table=*."My Table"'),
	'', 'restored without the target');
is(sql('without', 'SELECT target, metadata FROM mdbatch_target'),
	'mdbatch_metadata|t', 'then mdbatch_metadata is');
is(sql('without', 'SELECT value FROM mdbatch_metadata'),
	'default', 'with its rows');
sql('own2', 'DROP TABLE "My Schema"."My Table"');
is(copy('own2', 'dropped'), '', 'restored after the target was dropped');
is(sql('dropped', 'SELECT target, metadata FROM mdbatch_target'),
	'mdbatch_metadata|t', 'mdbatch_metadata is the target');
sql('own', q{SELECT mdbatch_set_target('mdbatch_metadata')});
is(copy('own', 'back'), '', 'restored after mdbatch_metadata was taken back');
is(sql('back', 'SELECT target, metadata FROM mdbatch_target'),
	'mdbatch_metadata|t', 'it is the target');

# Only the schema; in a custom format, in parallel.
sql('own', q{SELECT mdbatch_set_target('"My Schema"."My Table"', 'agent', 'k',
	'Value', 'error', 'At', 'update', NULL)});
is(copy('own', 'skeleton', '--schema-only'), '', 'the schema only');
is(sql('skeleton', $targets), sql('own', $targets), 'has the attachment');
is(sql('skeleton', 'SELECT count(*) FROM mdbatch_metadata'), '0', 'and no rows');
sql('postgres', 'CREATE DATABASE parallel');
$node->command_ok(
	[ 'pg_dump', '-d', $node->connstr('own'), '-Fc', '-f', "$dumps/own.dump" ],
	'a dump in custom format');
$node->command_ok(
	[ 'pg_restore', '-d', $node->connstr('parallel'), '-j', '2', "$dumps/own.dump" ],
	'restored in parallel');
is(sql('parallel', $targets), sql('own', $targets), 'the attachment is back');

# Into a server without the library preloaded: the labels fail, nothing else.
my $bare = PostgreSQL::Test::Cluster->new('bare');
$bare->init;
$bare->start;
my @errors = restore($bare, 'postgres', "$dumps/own2.sql") =~ /ERROR:  (.*)/g;
is(scalar(@errors), 6, 'an error for each label');
is_deeply(
	[ grep { $_ ne 'security label provider "mdbatch" is not loaded' } @errors ],
	[], 'and no other');
is($bare->safe_psql('postgres', 'SELECT "Value" FROM "My Schema"."My Table"'),
	'own', 'the rows of the target are there');
is($bare->safe_psql('postgres', 'SELECT value FROM mdbatch_metadata'),
	'default', 'and those of mdbatch_metadata');
$bare->stop;

$node->stop;
done_testing();
