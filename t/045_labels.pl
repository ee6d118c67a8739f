# Labels as they are restored, and as a weapon: what an owner does with his own
# table makes no dump and no restore fail (R36), and does not keep the calls of
# others from returning (R18).
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
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');

sub sql { return $node->safe_psql(@_); }

# Restore a dump, and stop at an error: what psql says.
sub restore
{
	my ($db, $file) = @_;
	my ($ret, $stdout, $stderr) =
	  $node->psql($db, '', extra_params => [ '-v', 'ON_ERROR_STOP=1', '-f', $file ]);

	is($ret, 0, "$db: restored without an error");
	return $stderr;
}

my $labels = q{SELECT c.relname, a.attname, label FROM pg_seclabel
	JOIN pg_class c ON c.oid = objoid
	LEFT JOIN pg_attribute a ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
	WHERE provider = 'mdbatch' ORDER BY 1, 2 NULLS FIRST};
my $targets = 'SELECT * FROM mdbatch_target ORDER BY target::text';

# Tables that are not what their labels say.
sql('postgres', 'CREATE DATABASE odd');
sql('odd', <<'SQL');
CREATE EXTENSION mdbatch;
CREATE TABLE unfit (id int PRIMARY KEY, v int);
SELECT mdbatch_attach('unfit');
ALTER TABLE unfit DROP CONSTRAINT unfit_pkey;
CREATE TABLE was_table (id int PRIMARY KEY, v int);
SELECT mdbatch_attach('was_table');
CREATE TABLE detached (id int PRIMARY KEY, v int);
SELECT mdbatch_attach('detached');
SELECT mdbatch_detach('detached');
CREATE TABLE twin_a (id int PRIMARY KEY, v int);
SELECT mdbatch_attach('twin_a');
CREATE TABLE twin_b (LIKE twin_a INCLUDING ALL);
CREATE TABLE marked_a (LIKE mdbatch_metadata INCLUDING ALL);
SELECT mdbatch_set_target('marked_a');
CREATE TABLE marked_b (LIKE marked_a INCLUDING ALL);
-- the labels of one table for another, with another identity or the same
CREATE FUNCTION copy_labels(source regclass, target text, identity text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE l record;
BEGIN
  FOR l IN SELECT objsubid, label, attname FROM pg_seclabel
    LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
    WHERE objoid = source ORDER BY objsubid
  LOOP
    EXECUTE format('SECURITY LABEL FOR mdbatch ON %s %I%s IS %L',
      CASE l.objsubid WHEN 0 THEN 'TABLE' ELSE 'COLUMN' END, target, coalesce('.' || quote_ident(l.attname), ''),
      regexp_replace(l.label, '"identity": "[^"]*"', format('"identity": "%s"', identity)));
  END LOOP;
END $$;
SELECT copy_labels('marked_a', 'marked_b', gen_random_uuid()::text);
SELECT copy_labels('twin_a', 'twin_b', label::json ->> 'identity')
FROM pg_seclabel WHERE objoid = 'twin_a'::regclass AND objsubid = 0;
SQL
# R36: up to PostgreSQL 15 a table can become a view.  Its labels stay, and a
# dump has them as labels of the view; later on one can write them by hand.
if ($version < 160000)
{
	sql('odd', <<'SQL');
ALTER TABLE was_table DROP CONSTRAINT was_table_pkey;
VACUUM was_table;
CREATE RULE "_RETURN" AS ON SELECT TO was_table DO INSTEAD SELECT id, v FROM detached;
SQL
}
else
{
	sql('odd', <<'SQL');
DROP TABLE was_table;
CREATE VIEW was_table AS SELECT id, v FROM detached;
SECURITY LABEL FOR mdbatch ON VIEW was_table IS '{"mode": "upsert", "key": 1, "columns": 1}';
SECURITY LABEL FOR mdbatch ON COLUMN was_table.id IS '{"key": 1}';
SECURITY LABEL FOR mdbatch ON COLUMN was_table.v IS '{"column": 1}';
SQL
}
is(sql('odd', q{SELECT relkind FROM pg_class WHERE relname = 'was_table'}), 'v',
	'a view, which was a table');
is(sql('odd', 'SELECT target, metadata FROM mdbatch_target ORDER BY target::text'),
	"marked_a|t\nmarked_b|t\ntwin_a|f\ntwin_b|f\nunfit|f", 'what is attached');
sub odd_adds
{
	my ($db) = @_;
	my $put = q{SELECT mdbatch_put('%s', '{"id": 1, "v": 1}')};
	my $stderr;

	foreach my $case (
		[ sprintf($put, 'unfit'), qr/key column "id" of table "unfit" is nullable|no unique index/ ],
		[ sprintf($put, 'was_table'), qr/table "was_table" is not attached/ ],
		[ sprintf($put, 'detached'), qr/table "detached" is not attached/ ],
		[ "SELECT mdbatch_add('@{[agent(1)]}', '{k}', '{v}')",
			qr/several tables are marked as the metadata target.*marked_[ab] and marked_[ab]/s ])
	{
		$node->psql($db, $case->[0], stderr => \$stderr);
		like($stderr, $case->[1], "$db: $case->[0]");
	}
	is(sql($db, sprintf($put, 'twin_a')), '1', "$db: an add to a twin");
	is(sql($db, 'SELECT mdbatch_flush()'), '1', "$db: and a flush");
	return;
}
odd_adds('odd');

# Dump and restore, as text, in custom format, and by several processes.
$node->command_ok([ 'pg_dump', '-d', $node->connstr('odd'), '-f', "$dumps/odd.sql" ],
	'a dump');
sql('postgres', 'CREATE DATABASE odd2');
my @warnings = restore('odd2', "$dumps/odd.sql") =~ /WARNING:  (.*)/g;
is_deeply(
	[ sort @warnings ],
	[
		('"was_table" is not an ordinary or partitioned table') x 3,
		'there is a metadata target already',
		'there is a table with this identity already'
	],
	'with a WARNING for each odd label (R36)');
is(sql('odd2', $labels), sql('odd', $labels), 'the labels are the same');
is(sql('odd2', $targets), sql('odd', $targets), 'and the attachments');
odd_adds('odd2');
$node->command_ok(
	[ 'pg_dump', '-d', $node->connstr('odd'), '-Fc', '-f', "$dumps/odd.dump" ],
	'a dump in custom format');
foreach my $jobs (1, 2)
{
	sql('postgres', "CREATE DATABASE jobs$jobs");
	$node->command_ok(
		[ 'pg_restore', '-d', $node->connstr("jobs$jobs"), '-j', $jobs, "$dumps/odd.dump" ],
		"restored by $jobs processes");
	is(sql("jobs$jobs", $labels), sql('odd', $labels), 'with the same labels');
}
# One mark is enough; so is none.
sql('odd2', 'DROP TABLE marked_a');
is(sql('odd2', "SELECT mdbatch_add('@{[agent(1)]}', '{k}', '{v}')"), '1',
	'an add when one mark is gone');
is(sql('odd2', 'SELECT mdbatch_flush(); SELECT value FROM marked_b'), "1\nv",
	'goes to the other');

# A label that the restore into another encoding makes longer: 63 bytes of
# LATIN1 are 126 of UTF8.
sql('postgres',
	q{CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
sql('postgres', q{CREATE DATABASE utf8 ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0});
sql('latin1', <<'SQL');
SET client_encoding = 'UTF8';
CREATE EXTENSION mdbatch;
CREATE TABLE t (id int PRIMARY KEY, v int);
SELECT mdbatch_attach('t', channel => repeat(U&'\00e9', 63));
SQL
$node->command_ok(
	[ 'pg_dump', '-d', $node->connstr('latin1'), '-f', "$dumps/latin1.sql" ],
	'a dump of a database in LATIN1');
is(restore('utf8', "$dumps/latin1.sql"), '', 'without a WARNING');
is(sql('utf8', q{SELECT mdbatch_put('t', '{"id": 1}')}), '1', 'an add');
my $cut = sql('utf8', q{SELECT repeat(U&'\00e9', 31)});
my $listener = listen_to($node, 'utf8', qq{"$cut"});
is(sql('utf8', 'SELECT mdbatch_flush()'), '1', 'and a flush');
is_deeply([ notifications($node, 'utf8', $listener, $cut) ], ['["1"]'],
	'which announces on the channel, cut as LISTEN cuts it');
end_session($listener);

# Owners who relabel their tables without an end.  There are many tables, and an
# old label with many fields, so that reading all of them takes longer than the
# next change does.
sql('postgres', <<'SQL');
CREATE ROLE mal;
CREATE SCHEMA mal AUTHORIZATION mal;
GRANT EXECUTE ON FUNCTION mdbatch_attach, mdbatch_set_target TO mal;
CREATE TABLE mal.t (id int PRIMARY KEY, v int);
ALTER TABLE mal.t OWNER TO mal;
SELECT mdbatch_attach('mal.t');
CREATE TABLE meta (LIKE mdbatch_metadata INCLUDING ALL);
CREATE TABLE other (LIKE mdbatch_metadata INCLUDING ALL);
ALTER TABLE meta OWNER TO mal;
ALTER TABLE other OWNER TO mal;
DO $$
BEGIN
  FOR i IN 1..1000 LOOP
    EXECUTE format('CREATE TABLE many%s (id int PRIMARY KEY, v int)', i);
    PERFORM mdbatch_attach('many' || i);
  END LOOP;
END $$;
SET allow_system_table_mods = on;
UPDATE pg_seclabel SET label = (SELECT json_object_agg(i, i)::jsonb || label::jsonb FROM generate_series(1, 200000) i)
WHERE objoid = 'many1'::regclass AND objsubid = 0;
SQL

# Do something again and again, each time in a transaction, as the owner of a
# table: it changes the label.  What adds meanwhile return, and their errors.
sub go_on_with
{
	my ($what, $table, @adds) = @_;
	my $session = session($node, 'postgres');
	my $stamp = "(SELECT xmin::text FROM pg_seclabel WHERE objoid = '$table'::regclass AND objsubid = 0)";
	my (@returned, $stderr);

	$session->query_safe('SET statement_timeout = 0; SET ROLE mal');
	my $before = sql('postgres', "SELECT $stamp");
	start_query($session, "DO \$\$ BEGIN LOOP $what COMMIT; END LOOP; END \$\$");
	wait_for($node, 'postgres', "$stamp <> '$before'", 'it goes on');
	my $ret = $node->psql('postgres', join(";\n", 'SET statement_timeout = 30000', @adds),
		stdout => \my $stdout, stderr => \$stderr, on_error_stop => 0);
	my $after = sql('postgres', "SELECT $stamp");
	wait_for($node, 'postgres', "$stamp <> '$after'", 'and still does');
	sql('postgres',
		q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO $$ BEGIN LOOP%'});
	end_session($session);
	wait_for($node, 'postgres',
		q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'DO $$ BEGIN LOOP%'
			AND pid <> pg_backend_pid())},
		'it has ended');
	return ($stdout, $stderr);
}

my @adds = map { "SELECT mdbatch_add('@{[agent(1)]}', '{k$_}', '{v}')" } 1 .. 50;
my ($stdout, $stderr) =
  go_on_with(q{SECURITY LABEL FOR mdbatch ON TABLE mal.t IS '{"mode": "upsert", "key": 1, "columns": 1}';},
	'mal.t', @adds);
is($stderr, '', 'no add failed while a table was relabelled');
is($stdout, join("\n", (1) x @adds), 'each was accepted');
($stdout, $stderr) = go_on_with(q{PERFORM public.mdbatch_attach('mal.t');}, 'mal.t', @adds);
is($stderr, '', 'no add failed while a table was attached');
is($stdout, join("\n", (1) x @adds), 'each was accepted');

# The table that the adds go to: its label and columns are written anew each
# time.
sql('postgres', q{SELECT mdbatch_set_target('meta')});
($stdout, $stderr) = go_on_with(q{PERFORM public.mdbatch_set_target('meta');}, 'meta', @adds);
is($stderr, '', 'no add failed while their table was attached');
is($stdout, join("\n", (1) x @adds), 'each was accepted');
is( sql('postgres', q{SELECT target, metadata FROM mdbatch_target WHERE metadata}),
	'meta|t', 'it is the metadata target');

# The metadata target changes without an end: an add finds one, or says that it
# does not.
($stdout, $stderr) = go_on_with(
	q{PERFORM public.mdbatch_set_target('meta'); COMMIT; PERFORM public.mdbatch_set_target('other');},
	'meta', @adds);
my $accepted = () = $stdout =~ /^1$/mg;
my $refused = () = $stderr =~ /ERROR:  the metadata target changes all the time/g;
my $errors = () = $stderr =~ /ERROR/g;
is($errors, $refused, 'no add failed for another reason') or diag($stderr);
is($accepted + $refused, scalar(@adds), 'each returned');
cmp_ok($accepted, '>', 0, 'some were accepted');
sql('postgres', 'SELECT mdbatch_flush()');
books_ok($node, 'postgres');

# The same step by step: an add that waits for the table finds that it is another
# one by then, which is locked as well; after some rounds it gives up.
my %owner = map { $_ => session($node, 'postgres') } qw(meta other);
my $adding = session($node, 'postgres');
my ($now, $next) = ('meta', 'other');

sql('postgres', "SELECT mdbatch_set_target('$now')");
$owner{$now}->query_safe("BEGIN; LOCK TABLE $now");
start_query($adding, $adds[0]);
foreach my $round (1 .. 10)
{
	my $add_waits = "EXISTS (SELECT FROM pg_locks WHERE NOT granted
		AND relation = '$now'::regclass AND mode = 'AccessShareLock')";

	wait_for($node, 'postgres', $add_waits, "round $round: the add waits for $now");
	$owner{$now}->query_safe("SELECT mdbatch_set_target('$next'); LOCK TABLE $next");
	# It gets the lock before the add asks for it.
	start_query($owner{$next}, "BEGIN; LOCK TABLE $next");
	wait_for($node, 'postgres', "EXISTS (SELECT FROM pg_locks WHERE NOT granted
		AND relation = '$next'::regclass AND mode = 'AccessExclusiveLock')", "$next is next");
	$owner{$now}->query_safe('COMMIT');
	finish_query($owner{$next});
	($now, $next) = ($next, $now);
}
like((finish_query($adding))[1],
	qr/the metadata target changes all the time/, 'the add gives up');
$owner{$now}->query_safe('COMMIT');
is(finish_query($adding), '', 'and is over');
is($adding->query_safe($adds[0]), '1', 'the next one finds its table');
$_->quit foreach values %owner, $adding;

# DROP EXTENSION takes the labels of all of them along.
sql('postgres', 'DROP EXTENSION mdbatch');
is(sql('postgres', q{SELECT count(*) FROM pg_seclabel WHERE provider = 'mdbatch'}), '0',
	'no label is left');

$node->stop;
done_testing();
