# What races with DROP EXTENSION (R16); a trigger that would stop its own worker
# (R12, R18); what a dropped table leaves behind in memory and in mdbatch_stat
# (R16, R18).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Definitions pile up in one batch, and nothing is flushed by capacity.
my $node = new_server('main', 'mdbatch.batch_size' => '100000');

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $first = session($node, 'postgres');
my $second = session($node, 'postgres');

$_->query_safe('\set VERBOSITY verbose') foreach $first, $second;

# One session has done something that is not committed; a statement of another
# one waits for it, and goes on when it commits. Its error.
sub race
{
	my ($open, $statement, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$first->query_safe("BEGIN; $open");
	my ($words) = $statement =~ /^(\w+ \w+)/;

	start_query($second, $statement);
	wait_for($node, 'postgres', waiting("$words%"), "$what: it waits");
	$first->query_safe('COMMIT');
	my (undef, $error) = finish_query($second);
	return $error;
}

my $labels = 'SELECT count(*) FROM pg_seclabels WHERE provider = $$mdbatch$$';
my $put = q{SELECT mdbatch_put('t', '{"k": 1, "v": "x"}')};

# A table that is attached; its label, quoted.
sub attached
{
	sql(q{
		CREATE EXTENSION IF NOT EXISTS mdbatch;
		DROP TABLE IF EXISTS t, label;
		CREATE TABLE t (k int PRIMARY KEY, v text);
		SELECT mdbatch_attach('t');
		CREATE TABLE label AS SELECT label FROM pg_seclabels
			WHERE provider = 'mdbatch' AND objtype = 'table';
	});
	return sql('SELECT quote_literal(label) FROM label');
}

# DROP EXTENSION waits for what another transaction did to an attached table,
# and finds what is left then.
foreach my $case (
	[ 'DROP TABLE t', 'a table is dropped' ],
	[ q{SELECT mdbatch_attach('t', channel => 'c')}, 'it is attached again' ],
	[ q{SELECT mdbatch_detach('t')}, 'it is detached' ],
	[ 'SECURITY LABEL FOR mdbatch ON TABLE t IS NULL', 'its label is taken off' ],
	[ 'SECURITY LABEL FOR mdbatch ON TABLE t IS %s', 'it is labelled' ],
	[ 'ALTER TABLE t DROP v', 'a labelled table is altered' ])
{
	my ($open, $what) = @$case;
	my $label = attached();

	cmp_ok(sql($labels), '>', 0, "$what: a label is there");
	sql($put);
	is(race(sprintf($open, $label), 'DROP EXTENSION mdbatch', $what),
		'', '... DROP EXTENSION succeeds');
	is(sql($labels), '0', '... and leaves no label');
}

# So it does for a table that had none when it began.
foreach my $way ('SELECT mdbatch_attach($$t$$)', 'SECURITY LABEL FOR mdbatch ON TABLE t IS %s')
{
	my $label = attached();
	my ($name) = $way =~ /^(\w+ \w+)/;

	sql('DROP TABLE t; CREATE TABLE t (k int PRIMARY KEY, v text)');
	is(sql($labels), '0', "$name: no label");
	is(race(sprintf($way, $label), 'DROP EXTENSION mdbatch', $name),
		'', '... DROP EXTENSION succeeds');
	is(sql($labels), '0', '... and takes the new label off');

	# The other way round: there is nothing to attach it with.
	$label = attached();
	sql('DROP TABLE t; CREATE TABLE t (k int PRIMARY KEY, v text)');
	like(race('DROP EXTENSION mdbatch', sprintf($way, $label), "$name after the drop"),
		qr/ERROR:  55000: extension "mdbatch" is not installed/,
		'... and is refused');
	is(sql($labels), '0', '... and no label is left');
}

# A trigger that makes the worker stop workers of its own database.
sql(q{
CREATE EXTENSION mdbatch;
DROP TABLE t;
CREATE ROLE dbo;
CREATE DATABASE own OWNER dbo;
});
$node->safe_psql('own', q{
CREATE EXTENSION mdbatch;
CREATE SCHEMA s AUTHORIZATION dbo;
CREATE TABLE s.bad (k int PRIMARY KEY);
CREATE FUNCTION s.fire() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	ALTER DATABASE own ALLOW_CONNECTIONS false;
	RETURN NEW;
END $$;
CREATE TRIGGER fire BEFORE INSERT ON s.bad FOR EACH ROW EXECUTE FUNCTION s.fire();
ALTER FUNCTION s.fire() OWNER TO dbo;
ALTER TABLE s.bad OWNER TO dbo;
CREATE TABLE good (k int PRIMARY KEY);
SELECT mdbatch_attach('s.bad'), mdbatch_attach('good');
SELECT mdbatch_put('good', '{"k": 0}');
SELECT mdbatch_flush('good');
});
my $pid = worker_pid($node, 'own');
my $failures = q{SELECT flush_failures FROM mdbatch_stat WHERE relid = 's.bad'::regclass};

$node->safe_psql('own', q{SELECT mdbatch_put('s.bad', '{"k": 1}')});
foreach my $time (1, 2)
{
	my (undef, undef, $error) = $node->psql('own',
		"\\set VERBOSITY verbose\nSELECT mdbatch_flush('s.bad')");

	like($error, qr/ERROR:  55000: /, "flush $time fails");
	cmp_ok($node->safe_psql('own', $failures), '>=', $time, '... and is counted');
	is($node->safe_psql('own', qq{SELECT mdbatch_put('good', '{"k": $time}');
			SELECT mdbatch_flush('good'); SELECT count(*) FROM good}) =~ /(\d+)$/ && $1,
		$time + 1, '... the other target is written');
	is(worker_pid($node, 'own'), $pid, '... by the same worker');
}
like($node->safe_psql('own', q{SELECT last_error FROM mdbatch_stat WHERE relid = 's.bad'::regclass}),
	qr/cannot take a database from its worker/, 'last_error says why');
is($node->safe_psql('own', q{SELECT count(*) FROM mdbatch_rejected}),
	'0', 'nothing is rejected');
sql("ALTER DATABASE own ALLOW_CONNECTIONS $_") foreach 'false', 'true';
pass('outside of a flush it works');

# Definitions of a table that was dropped go with what was pending.
sql(q{CREATE TABLE many (k int PRIMARY KEY, v text); SELECT mdbatch_attach('many')});
my $relid = sql(q{SELECT 'many'::regclass::oid});
my $memory = "(SELECT memory_used FROM mdbatch_stat WHERE relid = $relid)";

sql(q{SELECT mdbatch_put('many', '{"k": 0}')});
my $small = sql("SELECT $memory");
$first->query_safe(q{BEGIN; SELECT mdbatch_put('many', '{"k": 1}')});
sql(join "\n", map {
		qq{SELECT mdbatch_attach('many', channel => 'c$_');
		SELECT mdbatch_put('many', '{"k": 2}');}
	} 1 .. 2000);
my $large = sql("SELECT $memory");
cmp_ok($large, '>', 2000 * 128, "2,000 definitions take memory ($small, then $large bytes)");
$first->query_safe('COMMIT');
sql('DROP TABLE many');
wait_for($node, 'postgres', "$memory <= $small", '... which comes back when the table is dropped');
is(sql("SELECT pending FROM mdbatch_stat WHERE relid = $relid"), '0', '... with all entries');

# The name of a dropped table is not for everybody.
sql('CREATE ROLE looker LOGIN');
$node->safe_psql('own', q{CREATE TABLE secret_there (k int PRIMARY KEY);
	SELECT mdbatch_attach('secret_there'); SELECT mdbatch_put('secret_there', '{"k": 1}')});
sql(q{CREATE TABLE secret_here (k int PRIMARY KEY); SELECT mdbatch_attach('secret_here');
	SELECT mdbatch_put('secret_here', '{"k": 1}')});

my $names = q{SELECT string_agg(target, ' ' ORDER BY target) FROM mdbatch_stat
	WHERE target LIKE '%secret%'};

sub names_for
{
	return sql(qq{SET ROLE $_[0]; $names});
}

is(names_for('looker'), 'public.secret_here', 'while both tables are there');
is(names_for('pg_read_all_stats'), 'public.secret_here public.secret_there',
	'... all names for pg_read_all_stats');
sql('DROP TABLE secret_here');
sql('DROP DATABASE own');
is(names_for('looker'), '', 'dropped, alone or with its database: no name');
is(names_for('pg_read_all_stats'), 'public.secret_here public.secret_there',
	'... but for pg_read_all_stats');
books_ok($node, 'postgres');

# Background sessions have nothing open.
$_->quit foreach $first, $second;
done_testing();
