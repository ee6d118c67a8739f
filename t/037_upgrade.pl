# pg_upgrade brings attachments and rows along (R16, R27), to a cluster that has
# the library preloaded, and says so where it is not.  Then a standby that is
# promoted while somebody wants to add (R16, R7).
use strict;
use warnings;

use Cwd;
use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = new_server('old');

chomp(my $bindir = `pg_config --bindir`);

# A new cluster with such libraries, not started.
sub new_cluster
{
	my ($name, $libraries) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'
mdbatch.flush_interval = '1h'
mdbatch.lock_timeout = '1h'
statement_timeout = '60s'
autovacuum = off");
	return $node;
}

# Run pg_upgrade; its result, what it has said, and what its logs say.
sub upgrade
{
	my ($new, @options) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir;
	my $cwd = getcwd();
	my ($stdout, $stderr);

	chdir $dir or die;
	my $ok = run_log(
		[
			'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
			'-b', $bindir, '-B', $bindir, '-s', $new->host,
			'-p', $old->port, '-P', $new->port, @options
		],
		'>', \$stdout, '2>', \$stderr);
	chdir $cwd or die;
	foreach my $log (glob($new->data_dir . '/pg_upgrade_output.d/*/*/*.log'),
		glob("$dir/*.log"), glob("$dir/*.txt"))
	{
		$stdout .= slurp_file($log);
	}
	return ($ok, "$stdout\n$stderr");
}

# Attachments of several kinds, in two databases.
$old->safe_psql('postgres', <<"SQL");
CREATE ROLE owner;
CREATE SCHEMA "S p" AUTHORIZATION owner;
CREATE DOMAIN "S p".small AS int CHECK (VALUE < 100);
CREATE TABLE "S p"."T'x" (dropped int, b text, "A a" uuid, gone int, "sum" bigint,
	"max" date, ver timestamptz, v "S p".small CONSTRAINT fifty CHECK (v < 50), gen int GENERATED ALWAYS AS (v + 1) STORED,
	PRIMARY KEY (b, "A a"));
ALTER TABLE "S p"."T'x" DROP dropped;
ALTER TABLE "S p"."T'x" OWNER TO owner;
SELECT mdbatch_attach('"S p"."T''x"', key => '{A a,b}', version => 'ver',
	columns => '{v,max,sum}', merge => '{"sum": "sum", "max": "max"}',
	channel => 'C h', notify => 'v', batch_size => 77, flush_interval => '12345 ms');
ALTER TABLE "S p"."T'x" DROP gone;
CREATE TABLE updates (k int PRIMARY KEY, v jsonb);
SELECT mdbatch_attach('updates', mode => 'update');
INSERT INTO updates VALUES (1, '0');
CREATE TABLE parts (k int PRIMARY KEY, v text) PARTITION BY RANGE (k);
CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE part2 PARTITION OF parts DEFAULT;
SELECT mdbatch_attach('parts');
CREATE VIEW plain AS SELECT * FROM parts;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON plain
	FOR EACH ROW EXECUTE FUNCTION mdbatch_enqueue('parts');
CREATE TABLE refusing (k int PRIMARY KEY, v int CHECK (v > 0));
SELECT mdbatch_attach('refusing');
SELECT mdbatch_put('refusing', '{"k": 1, "v": -1}');
-- attached, and detached
CREATE TABLE former (k int PRIMARY KEY);
SELECT mdbatch_attach('former');
SELECT mdbatch_detach('former');
SELECT mdbatch_add('@{[agent(1)]}', '{before}', '{v}');
SELECT mdbatch_put('parts', '[{"k": 1, "v": "one"}, {"k": 11, "v": "two"}]');
SELECT mdbatch_put('"S p"."T''x"',
	'[{"A a": "@{[agent(1)]}", "b": "x", "sum": 1, "ver": "2020-01-01", "v": 60},
	  {"A a": "@{[agent(1)]}", "b": "y", "sum": 1, "ver": "2020-01-01", "v": 1}]');
SELECT mdbatch_flush();
-- the metadata target has moved, and its columns have names of their own
CREATE TABLE meta (at timestamptz, "the key" text, id uuid, e text, v varchar(10),
	PRIMARY KEY (id, "the key"));
SELECT mdbatch_set_target('meta', 'id', 'the key', 'v', 'e', 'at', channel => 'moved');
SELECT mdbatch_add('@{[agent(2)]}', '{moved}', '{v}');
SELECT mdbatch_flush();
CREATE DATABASE second;
SQL
$old->safe_psql('second', <<"SQL");
CREATE SCHEMA ext;
CREATE EXTENSION mdbatch SCHEMA ext;
SELECT ext.mdbatch_add('@{[agent(3)]}', '{second}', '{v}');
SELECT ext.mdbatch_flush();
SQL

# Labels that do not fit, of a view among them, stop nothing (R36).
$old->safe_psql('postgres', 'CREATE DATABASE odd');
$old->safe_psql('odd', <<'SQL');
CREATE EXTENSION mdbatch;
CREATE TABLE unfit (id int PRIMARY KEY);
SELECT mdbatch_attach('unfit');
ALTER TABLE unfit DROP CONSTRAINT unfit_pkey;
CREATE TABLE copied (id int PRIMARY KEY);
CREATE TABLE meta (LIKE mdbatch_metadata INCLUDING ALL);
SELECT mdbatch_set_target('meta');
CREATE TABLE meta2 (LIKE meta INCLUDING ALL);
DO $$
BEGIN
  EXECUTE format('SECURITY LABEL FOR mdbatch ON TABLE copied IS %L',
    (SELECT label FROM pg_seclabel WHERE objoid = 'unfit'::regclass AND objsubid = 0));
  EXECUTE format('SECURITY LABEL FOR mdbatch ON TABLE meta2 IS %L',
    (SELECT label FROM pg_seclabel WHERE objoid = 'meta'::regclass AND objsubid = 0));
END $$;
CREATE VIEW labelled AS SELECT * FROM unfit;
SECURITY LABEL FOR mdbatch ON VIEW labelled IS '{"mode": "upsert", "key": 1, "columns": 0}';
SECURITY LABEL FOR mdbatch ON COLUMN labelled.id IS '{"key": 1}';
SQL

my $labels = q{SELECT c.relname, a.attname, label FROM pg_seclabel l
	JOIN pg_class c ON c.oid = objoid
	LEFT JOIN pg_attribute a ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
	WHERE provider = 'mdbatch' ORDER BY 1, 2 NULLS FIRST};
my @state = (
	[ 'postgres', 'the targets', 'SELECT * FROM mdbatch_target ORDER BY target::text' ],
	[ 'postgres', 'the labels', $labels ],
	[ 'odd', 'the odd labels', $labels ],
	[ 'odd', 'what is attached there', 'SELECT * FROM mdbatch_target ORDER BY target::text' ],
	[ 'postgres', 'the default metadata', 'SELECT * FROM mdbatch_metadata' ],
	[ 'postgres', 'the metadata', 'SELECT * FROM meta' ],
	[ 'postgres', 'what was refused', 'SELECT * FROM mdbatch_rejected ORDER BY target' ],
	[ 'postgres', 'rows', q{SELECT * FROM "S p"."T'x" ORDER BY b} ],
	[ 'postgres', 'the storage settings',
		q{SELECT reloptions, pg_get_userbyid(relowner), coalesce(relacl, acldefault('r', relowner))
		FROM pg_class WHERE relname LIKE 'mdbatch\_%' ORDER BY relname} ],
	[ 'postgres', 'the rights', q{SELECT proname, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
		WHERE proname LIKE 'mdbatch\_%' ORDER BY 1} ],
	[ 'second', 'the targets', 'SELECT * FROM ext.mdbatch_target' ],
	[ 'second', 'the metadata', 'SELECT * FROM ext.mdbatch_metadata' ]);

sub state_of
{
	my ($node) = @_;

	return map { $node->safe_psql($_->[0], $_->[2]) } @state;
}
my @before = state_of($old);
like($before[6], qr/public|S p/, 'something was refused');
is(scalar(split /\n/, $before[3]), 4, 'four are attached, two of them marked');
is(scalar(split /\n/, $before[0]), 5, 'there are five targets');
$old->stop;

# Without the library it fails, and says why.
my $bare = new_cluster('bare', '');
my ($ok, $said) = upgrade($bare);
ok(!$ok, 'pg_upgrade fails without the library');
like($said, qr/mdbatch/, '... and says what is missing')
  or diag($said);
like($said, qr/security label provider "mdbatch" is not loaded|mdbatch is not loaded/,
	'... as a restore does');

# It tells beforehand, too, if nothing is wrong.
my $new = new_cluster('new', 'mdbatch');
($ok, $said) = upgrade($new, '--check');
ok($ok, 'pg_upgrade --check') or diag($said);
($ok, $said) = upgrade($new);
ok($ok, 'pg_upgrade') or diag($said);
$new->start;
my @after = state_of($new);
is($after[$_], $before[$_], "$state[$_]->[1] of $state[$_]->[0]") foreach 0 .. $#state;

# All of it works.
sub sql { return $new->safe_psql('postgres', $_[0]); }
is(sql('SELECT count(*) FROM mdbatch_stat WHERE pending > 0'), '0', 'nothing is pending');
my $listener = listen_to($new, 'postgres', '"C h"');
is(sql(qq{SELECT mdbatch_add('@{[agent(4)]}', '{new}', '{v}')}), '1', 'an add');
is(sql(qq{SELECT mdbatch_put('"S p"."T''x"', '[{"A a": "@{[agent(1)]}", "b": "y",
	"sum": 2, "max": "2020-01-01", "ver": "2019-01-01", "v": 2}]')}), '1', 'a put');
is(sql(q{SELECT mdbatch_put('updates', '[{"k": 1, "v": 1}, {"k": 2, "v": 2}]')}), '2',
	'for updates');
is(sql(q{INSERT INTO plain VALUES (2, 'three'), (12, 'four');
	SELECT count(*) FROM mdbatch_pending_rows(NULL::parts)}), '2', 'through a view');
is(sql('SELECT mdbatch_flush()'), '6', 'a flush');
is(sql('SELECT "the key", v FROM meta ORDER BY 1'), "moved|v\nnew|v", '... of metadata');
is(sql(q{SELECT "sum", "max", v FROM "S p"."T'x"}), '3|2020-01-01|1', '... merged');
is(sql('SELECT * FROM updates'), '1|1', '... updated');
is(sql('SELECT string_agg(v, $$ $$ ORDER BY k) FROM parts'), 'one three two four',
	'... into partitions');
is(join(' ', notifications($new, 'postgres', $listener, 'C h')), '["1"]',
	'... and announced');
is(sql(qq{SELECT mdbatch_put('"S p"."T''x"', '[{"A a": "@{[agent(1)]}", "b": "x",
	"sum": 41, "max": "2020-01-01", "ver": "2019-01-01", "v": 70}]')}), '1', 'more is refused');
is(sql(q{SELECT mdbatch_flush(); SELECT entry->>'sum', entry->>'v', target FROM mdbatch_rejected
	WHERE key->>'b' = 'x'}), qq{1\n42|60|"S p"."T'x"}, '... and merged into what there is');
is(sql(q{ALTER TABLE "S p"."T'x" DROP CONSTRAINT fifty;
	SELECT mdbatch_retry('"S p"."T''x"')}), '1', 'what was refused can be tried again');
is(sql(q{SELECT mdbatch_flush(); SELECT v, "sum" FROM "S p"."T'x" WHERE b = 'x'}), "1\n60|42",
	'... and is written');
is(sql(q{SELECT target FROM mdbatch_rejected}), 'public.refusing', 'others stay');
is(sql(q{DROP TABLE refusing; SELECT count(*) FROM mdbatch_rejected}), '0',
	'... and go with their table');
is($new->safe_psql('second', "SELECT ext.mdbatch_add('@{[agent(3)]}', '{more}', '{v}')"),
	'1', 'the other database');
is($new->safe_psql('second', 'SELECT ext.mdbatch_flush()'), '1', '... works, too');
sql(q{DROP TABLE meta});
is(sql('SELECT target FROM mdbatch_target WHERE metadata'), 'mdbatch_metadata',
	'the default is there for when it is needed');
is(sql("SELECT mdbatch_add('@{[agent(5)]}', '{default}', '{v}')"), '1', '... and works');
is(sql('SELECT mdbatch_flush()'), '1', '... with its key');
books_ok($new, 'postgres');
sql('DROP VIEW plain; DROP EXTENSION mdbatch');
is(sql(q{SELECT count(*) FROM pg_seclabel WHERE provider = 'mdbatch'}), '0',
	'dropped, it leaves nothing');
$listener->quit;
$new->stop;

# Entries that a shutdown has saved are not carried, and stop nobody.
$old->start;
$old->safe_psql('postgres', q{CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN RAISE 'no' USING ERRCODE = '58000'; END $$;
	CREATE TRIGGER no BEFORE UPDATE ON updates FOR EACH ROW EXECUTE FUNCTION no();
	SELECT mdbatch_put('updates', '{"k": 1, "v": "saved"}')});
$old->stop;
ok(-e $old->data_dir . '/mdbatch.pending', 'a shutdown has saved an entry');
my $later = new_cluster('later', 'mdbatch');
($ok, $said) = upgrade($later);
ok($ok, 'pg_upgrade of a cluster with saved entries') or diag($said);
$later->start;
is($later->safe_psql('postgres', 'SELECT count(*) FROM mdbatch_stat WHERE pending > 0'),
	'0', 'they are not in the new one');
is($later->safe_psql('postgres', q{SELECT mdbatch_put('parts', '{"k": 3}')}), '1',
	'which works');
is($later->safe_psql('postgres', 'SELECT mdbatch_flush()'), '1', '... at once');
$later->stop;

# Promoted while sessions try to add all the time: the first add that is not
# refused is flushed as any other.
my $primary = new_server('primary', 'streaming' => 1);
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', q{CREATE PROCEDURE try(n int) LANGUAGE plpgsql AS $$
DECLARE done int := 0; refused int := 0;
BEGIN
	WHILE done < 20 LOOP
		BEGIN
			PERFORM mdbatch_add(lpad(n::text, 32, '0')::uuid, ARRAY['k' || done], '{v}');
			done := done + 1;
		EXCEPTION WHEN read_only_sql_transaction THEN refused := refused + 1;
		END;
		COMMIT;
	END LOOP;
	RAISE NOTICE 'refused before: %', refused > 0;
END $$});
$primary->wait_for_catchup($standby);
my @tries = map { session($standby, 'postgres') } 1 .. 4;
start_query($tries[$_], "SET statement_timeout = '60s'; CALL try($_)") foreach 0 .. $#tries;
wait_for($standby, 'postgres', "(SELECT count(*) = 4 FROM pg_stat_activity
	WHERE query LIKE '%CALL try%' AND state = 'active' AND pid <> pg_backend_pid())",
	'four sessions try');
$standby->promote;
foreach my $try (@tries)
{
	my ($result, $error) = finish_query($try);

	like($error, qr/NOTICE:  refused before: t/, 'refused, and then not');
	unlike($error, qr/ERROR/, '... without any other error');
	$try->quit;
}
is($standby->safe_psql('postgres', 'SELECT mdbatch_flush() >= 0'), 't', 'a flush');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM mdbatch_metadata'), '80',
	'each add is written');
books_ok($standby, 'postgres');
$standby->stop;
$primary->stop;
done_testing();
