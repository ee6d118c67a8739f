# R23, R14: values of row types wait over a restart, and their types are altered
# before and after it.  What fits is written, the rest is refused, and every
# row can be read: a dump of the database succeeds and can be restored.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', 'max_prepared_transactions' => '2',
	'mdbatch.lock_timeout' => '100ms', 'mdbatch.flush_timeout' => '2s');
my $offset = 0;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Nothing is written while the table "closed" has a row; what cannot be written
# stays pending, as the error is none of data.
sub shut { return sql('INSERT INTO closed VALUES (1)'); }

# What became of the entries of a target, after a flush of what waits for it.
sub flushed
{
	my ($target) = @_;

	sql("TRUNCATE closed; SELECT mdbatch_flush('$target')");
	return sql("SELECT id, to_jsonb(c) FROM $target ORDER BY id") . '/'
	  . sql("SELECT key, sqlstate, bytes IS NOT NULL
		FROM mdbatch_rejected WHERE target = 'public.$target' ORDER BY key");
}

sub restart
{
	my ($entries) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$offset = -s $node->logfile;
	$node->stop('fast');
	$node->start;
	ok( $node->log_contains(
			qr/LOG:  loaded $entries pending entr(?:y|ies)/, $offset),
		"$entries entries were saved and loaded");
	return;
}

# The column leaves the type for as long as that is altered.
sub retype
{
	my ($target, $type) = @_;

	return "ALTER TABLE $target ALTER c TYPE text;
		ALTER TYPE $type ALTER ATTRIBUTE x TYPE text;
		ALTER TABLE $target ALTER c TYPE $type USING NULL";
}

sql(<<'SQL');
CREATE TABLE closed (n int);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM public.closed) THEN
    RAISE EXCEPTION 'closed' USING ERRCODE = '58030';
  END IF;
  RETURN NULL;
END $$;
SQL
foreach my $n (qw(plain grown before after mixed within))
{
	sql("CREATE TYPE ${n}_pair AS (x int, y text);
		CREATE TABLE $n (id int PRIMARY KEY, c ${n}_pair);
		CREATE TRIGGER refuse BEFORE INSERT ON $n EXECUTE FUNCTION refuse();
		SELECT mdbatch_attach('$n')");
}

sub put
{
	my ($target, $id, $x) = @_;

	return sql(qq(SELECT mdbatch_put('$target', '{"id": $id, "c": {"x": $x, "y": "why"}}')));
}

shut();
put($_, 1, 400000) foreach qw(plain grown before after mixed);
sql(retype('before', 'before_pair'));
sql('ALTER TYPE mixed_pair ADD ATTRIBUTE z int');
put('before', 2, '"two"');
# Else the last flush would refuse what no longer fits.
sql("BEGIN; LOCK TABLE before IN EXCLUSIVE MODE; PREPARE TRANSACTION 'before'");
put('mixed', 2, 2);
# All in the transaction that adds: the column's own row in the catalog tells
# nothing.
sql('BEGIN; ALTER TABLE within ALTER c TYPE text;
	ALTER TABLE within ALTER c TYPE within_pair USING NULL;'
	  . q(SELECT mdbatch_put('within', '{"id": 1, "c": {"x": 400000}}');)
	  . retype('within', 'within_pair')
	  . q(; SELECT mdbatch_put('within', '{"id": 2, "c": {"x": "two"}}'); COMMIT));
sql("BEGIN; LOCK TABLE within IN EXCLUSIVE MODE; PREPARE TRANSACTION 'within'");
restart(9);
sql("COMMIT PREPARED 'before'");
sql("COMMIT PREPARED 'within'");
sql(retype('after', 'after_pair'));
sql('ALTER TYPE grown_pair ADD ATTRIBUTE z int');
sql('ALTER TYPE mixed_pair DROP ATTRIBUTE x');
put('after', 2, '"two"');
put('mixed', 3, 3);
is( sql('SELECT id, to_jsonb(c) FROM mdbatch_pending_rows(NULL::after)'),
	qq(1|\n2|{"x": "two", "y": "why"}),
	'a value that no longer fits its type is not shown');
is(flushed('plain'), '1|{"x": 400000, "y": "why"}/', 'nothing was altered');
is( flushed('grown'),
	'1|{"x": 400000, "y": "why", "z": null}/',
	'an attribute was added after the restart');
is( flushed('before'),
	'2|{"x": "two", "y": "why"}/{"id": 1}|42804|t',
	'an attribute was retyped before the restart');
is( flushed('after'),
	'2|{"x": "two", "y": "why"}/{"id": 1}|42804|t',
	'an attribute was retyped after the restart');
is( flushed('within'),
	'2|{"x": "two", "y": null}/{"id": 1}|42804|t',
	'an attribute was retyped in the transaction that adds');
is( flushed('mixed'),
	'1|{"y": "why", "z": null}'
	  . qq(\n2|{"y": "why", "z": null}\n3|{"y": "why", "z": null}/),
	'attributes were added before, and dropped after it');

# A dump reads every row to its last byte.
my $dump = $node->basedir . '/dump.sql';

$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'the database is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-q', '-d', 'copy', '-f', $dump ],
	'and restored');
is( $node->safe_psql('copy', 'SELECT count(*), count(c) FROM mixed'),
	'3|3', 'with its rows');
ok(!$node->log_contains('terminated by signal'), 'nothing crashed');
books_ok($node, 'postgres');

$node->stop;
done_testing();
