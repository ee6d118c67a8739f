# mdbatch_rejected cannot stop a flush (R12): when an entry that the target
# refuses cannot be kept there, it stays pending, and the others are written.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', 'mdbatch.lock_timeout' => '100ms');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The SQLSTATE of a flush, and what its error says.
sub flush_error
{
	my ($status, $out, $error) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT mdbatch_flush('t')");

	return $status == 0 ? '' : $error;
}

my $number = 0;

# Put a good and a bad entry; the good one is written, the bad one stays pending
# with that error.
sub stays_pending
{
	my ($what, $error) = @_;
	my $good = ++$number;
	my $bad = -$number;

	sql("SELECT mdbatch_put('t', '[{\"id\": $good, \"n\": 1}, {\"id\": $bad, \"n\": 1}]')");
	like(flush_error(), $error, "$what: the error");
	is(sql("SELECT count(*) FROM t WHERE id = $good"), '1', "$what: the good one is written");
	is(sql('SELECT id FROM mdbatch_pending_rows(NULL::t)'), $bad,
		"$what: the bad one is pending");
	is(sql("SELECT pending, flush_failures FROM mdbatch_stat WHERE target = 'public.t'"),
		'1|0', "$what: that is no failure of the flush");
	return;
}

# Nothing is in the way any more: the bad entry is kept.
sub is_kept
{
	my ($what) = @_;

	is(flush_error(), '', "$what: then there is no error");
	is(sql("SELECT count(*) FROM mdbatch_rejected WHERE key->>'id' = '-$number'"), '1',
		"$what: and it is kept");
	books_ok($node, 'postgres', "$what: the books balance (R19)");
	return;
}

sql(q{CREATE TABLE t (id int PRIMARY KEY, n int, CHECK (id > 0));
	SELECT mdbatch_attach('t', merge => '{"n": "sum"}')});

# Locked by an open transaction
my $other = session($node, 'postgres');
my $locked = qr/ERROR:  55P03: could not flush some entries/;
foreach my $mode ('ACCESS EXCLUSIVE', 'SHARE')
{
	$other->query_safe("BEGIN; LOCK TABLE mdbatch_rejected IN $mode MODE");
	stays_pending("$mode lock", $locked);
	$other->query_safe('COMMIT');
	is_kept("$mode lock");
}

# A row of it is; that is not waited for, and other rows are kept.
sql(q{SELECT mdbatch_put('t', '{"id": -100, "n": 1}')});
is(flush_error(), '', 'another bad one');
sql(q{ALTER SYSTEM SET mdbatch.lock_timeout = '1h'; SELECT pg_reload_conf()});
$other->query_safe(
	q{BEGIN; UPDATE mdbatch_rejected SET message = 'by hand' WHERE key->>'id' = '-100'});
sql(q{SELECT mdbatch_put('t', '[{"id": -101, "n": 1}, {"id": -100, "n": 10}, {"id": 100, "n": 1}]')});
like(flush_error(), $locked, 'a row is locked');
is(sql(q{SELECT string_agg(key->>'id' || ' ' || (entry->>'n'), ', ' ORDER BY key) FROM mdbatch_rejected WHERE key->>'id' ~ '10'}),
	'-101 1, -100 1', 'another row is kept');
is(sql('SELECT id FROM mdbatch_pending_rows(NULL::t)'), '-100', 'that one is pending');
$other->query_safe('COMMIT');
is(flush_error(), '', 'without the lock');
is(sql(q{SELECT entry->>'n', message ~ 'by hand' FROM mdbatch_rejected WHERE key->>'id' = '-100'}),
	'11|f', 'it is merged into the row');

# The flush has no time to wait as long as for other locks.
sql(q{ALTER SYSTEM SET mdbatch.flush_timeout = '2s'; SELECT pg_reload_conf()});
$other->query_safe('BEGIN; LOCK TABLE mdbatch_rejected');
stays_pending('a lock longer than flush_timeout', $locked);
$other->query_safe('COMMIT');
is_kept('a lock longer than flush_timeout');
sql(q{ALTER SYSTEM RESET mdbatch.flush_timeout; ALTER SYSTEM SET mdbatch.lock_timeout = '100ms';
	SELECT pg_reload_conf()});

# All entries of a batch are bad.
$other->query_safe('BEGIN; LOCK TABLE mdbatch_rejected');
sql(q{SELECT mdbatch_put('t', (SELECT jsonb_agg(jsonb_build_object('id', -i, 'n', 1)) FROM generate_series(1000, 1999) i))});
like(flush_error(), $locked, 'all are bad, and the table is locked');
is(sql('SELECT count(*) FROM mdbatch_pending_rows(NULL::t)'), '1000', 'all are pending');
$other->query_safe('COMMIT');
is(flush_error(), '', 'without the lock');
is(sql(q{SELECT count(*) FROM mdbatch_rejected WHERE (key->>'id')::int <= -1000}), '1000',
	'all are kept');

# A call that acknowledges hears why its entry is neither written nor rejected.
$other->query_safe('BEGIN; LOCK TABLE mdbatch_rejected');
my ($status, $out, $error) = $node->psql('postgres',
	q{CALL mdbatch_put_sync('t', '{"id": -2000, "n": 1}')});
like($error, qr/ERROR:  could not flush some entries.*they stay pending/s,
	'mdbatch_put_sync says that it stays pending');
$other->query_safe('COMMIT');
is(flush_error(), '', 'without the lock');

# What was made while the library was not loaded: nothing of it runs.
sub change
{
	my ($statement) = @_;

	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->restart;
	sql($statement);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'mdbatch'");
	$node->restart;
	return;
}

sql(q{CREATE SEQUENCE seen;
	CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN PERFORM nextval('public.seen'); RETURN NULL; END $$;
	CREATE FUNCTION see(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN PERFORM nextval('public.seen'); RETURN $1; END $$});
my $altered = qr/ERROR:  55000: could not flush some entries.*table "mdbatch_rejected" has been altered/s;
my @changes = (
	[ 'a trigger', 'CREATE TRIGGER see AFTER INSERT ON mdbatch_rejected FOR EACH ROW EXECUTE FUNCTION see()',
		'DROP TRIGGER see ON mdbatch_rejected' ],
	[ 'a rule', 'CREATE RULE see AS ON INSERT TO mdbatch_rejected DO ALSO SELECT see($$$$)',
		'DROP RULE see ON mdbatch_rejected' ],
	[ 'row security', 'ALTER TABLE mdbatch_rejected ENABLE ROW LEVEL SECURITY;
		CREATE POLICY see ON mdbatch_rejected USING (see($$$$) = $$$$)',
		'ALTER TABLE mdbatch_rejected DISABLE ROW LEVEL SECURITY; DROP POLICY see ON mdbatch_rejected' ],
	[ 'a CHECK', 'ALTER TABLE mdbatch_rejected ADD CONSTRAINT see CHECK (see($$$$) = $$$$) NOT VALID',
		'ALTER TABLE mdbatch_rejected DROP CONSTRAINT see' ],
	[ 'an index of an expression', 'CREATE INDEX see ON mdbatch_rejected (see(target))',
		'DROP INDEX see' ],
	[ 'a partial index', 'CREATE INDEX see ON mdbatch_rejected (target) WHERE target > $$a$$', 'DROP INDEX see' ],
	[ 'a column that must not be null', q{ALTER TABLE mdbatch_rejected ADD more text NOT NULL DEFAULT see('x')},
		'ALTER TABLE mdbatch_rejected DROP more' ],
	[ 'a generated column', 'ALTER TABLE mdbatch_rejected ADD more text GENERATED ALWAYS AS (see(target)) STORED',
		'ALTER TABLE mdbatch_rejected DROP more' ],
	[ 'another type', 'ALTER TABLE mdbatch_rejected ALTER message TYPE varchar',
		'ALTER TABLE mdbatch_rejected ALTER message TYPE text' ],
	[ 'a foreign key', 'CREATE TABLE refers (identity uuid, owner text, digest bytea,
		FOREIGN KEY (identity, owner, digest) REFERENCES mdbatch_rejected)', 'DROP TABLE refers' ],
	[ 'no index for the age', 'DROP INDEX mdbatch_rejected_age',
		'CREATE INDEX whatever ON mdbatch_rejected (identity, owner, rejected_at)' ]);
foreach my $case (@changes)
{
	my ($what, $make, $take_back) = @$case;

	change($make);
	sql('ALTER SEQUENCE seen RESTART');
	stays_pending($what, $altered);
	is(sql('SELECT is_called FROM seen'), 'f', "$what: nothing of it has run");
	# A start without the library forgets what is pending.
	change($take_back);
	sql("SELECT mdbatch_put('t', '{\"id\": -$number}')");
	is_kept($what);
}
# What does no harm: an index, a column that can be null.
change('CREATE INDEX by_target ON mdbatch_rejected USING hash (target);
	ALTER TABLE mdbatch_rejected ADD remark text DEFAULT $$none$$');
sql(q{SELECT mdbatch_put('t', '{"id": -3000, "n": 1}')});
is(flush_error(), '', 'with another index and a column');
sql(q{UPDATE mdbatch_rejected SET remark = 'look into this' WHERE key->>'id' = '-3000'});
sql(q{SELECT mdbatch_put('t', '{"id": -3000, "n": 1}')});
is(flush_error(), '', 'again, which updates the row');
is(sql(q{SET enable_seqscan = off; SELECT entry->>'n', remark FROM mdbatch_rejected
	WHERE target = 'public.t' AND key->>'id' = '-3000'}), '2|look into this',
	'both are kept');
# Renamed, it is not there; a table of that name is none.
change('ALTER TABLE mdbatch_rejected RENAME TO elsewhere;
	CREATE TABLE mdbatch_rejected (LIKE elsewhere INCLUDING ALL)');
$number++;
sql("SELECT mdbatch_put('t', '[{\"id\": $number}, {\"id\": -$number}]')");
like(flush_error(), qr/ERROR:  42P01: could not flush some entries/, 'without the table');
is(sql("SELECT count(*) FROM t WHERE id = $number"), '1', 'the good one is written');
is(sql('SELECT count(*) FROM mdbatch_rejected'), '0', 'nothing is in another table');
like(($node->psql('postgres', q{SELECT mdbatch_retry('t')}))[2],
	qr/ERROR:  relation "mdbatch_rejected" of extension "mdbatch" does not exist/, 'mdbatch_retry says so');
sql(q{CREATE TABLE dropped (id int PRIMARY KEY); SELECT mdbatch_attach('dropped'); DROP TABLE dropped});
$number++;
change('DROP TABLE mdbatch_rejected; ALTER TABLE elsewhere RENAME TO mdbatch_rejected');
sql("SELECT mdbatch_put('t', '{\"id\": -$number}')");
is_kept('when it is back');

# DROP TABLE works whatever hangs on mdbatch_rejected, and runs none of it.
change('CREATE TRIGGER see BEFORE DELETE ON mdbatch_rejected FOR EACH ROW EXECUTE FUNCTION see()');
sql('ALTER SEQUENCE seen RESTART; DROP TABLE t');
is(sql('SELECT count(*) FROM mdbatch_rejected'), '0', 'the rows of a dropped table are gone');
is(sql('SELECT is_called FROM seen'), 'f', 'and no trigger has run');

$other->quit;
$node->stop;
done_testing();
