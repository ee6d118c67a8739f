# A target that is altered in every way while sessions add to it all the time
# (R16, R20, R23): they meet only the errors that the contract names, nothing
# crashes, and what is added to its last form is written.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{MDBATCH_DDL_ROUNDS} || 4;
my $node = new_server('main', 'mdbatch.lock_timeout' => '1s',
	'mdbatch.flush_timeout' => '15s', 'mdbatch.batch_size' => '100',
	'mdbatch.queue_size' => '10000',
	'log_error_verbosity' => 'verbose');
my $ddl = session($node, 'postgres');
$ddl->query_safe('SET client_min_messages = warning');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The sessions add as long as there is no stop, not quite as fast as they can;
# each add is a transaction of its own.  What was accepted in the second phase
# is noted in the same transaction, and what went wrong, too.  They name the
# table by its OID, as it is renamed.
sql(<<'SQL');
CREATE SCHEMA other;
CREATE TABLE t (id int PRIMARY KEY, v bigint NOT NULL, n int, w text, extra text);
CREATE VIEW "the table" AS SELECT 't'::regclass AS oid;
SELECT mdbatch_attach('t', version => 'v', columns => '{n,w}',
	flush_interval => '20ms');
CREATE TABLE control (phase int, stop bool);
INSERT INTO control VALUES (1, false);
CREATE SEQUENCE versions;
-- How often sessions went on, and how often they failed.
CREATE SEQUENCE done;
CREATE TABLE accepted (id int, v bigint);
CREATE TABLE errors (state text, message text);

CREATE PROCEDURE add_rows(target oid, seed float) LANGUAGE plpgsql AS $$
DECLARE state text; msg text; c control; v bigint; key int; n int;
BEGIN
	PERFORM setseed(seed);
	COMMIT;
	LOOP
		SELECT * INTO c FROM control;
		EXIT WHEN c.stop;
		key := 1 + random() * 200;
		v := nextval('versions');
		BEGIN
			n := mdbatch_put(target::regclass, jsonb_build_array(
				jsonb_build_object('id', key, 'v', v, 'n', v, 'w', 'w' || v)));
			IF c.phase = 2 AND n = 1 THEN
				INSERT INTO accepted VALUES (key, v);
			END IF;
			PERFORM nextval('done');
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, msg = MESSAGE_TEXT;
			INSERT INTO errors VALUES (state, msg);
		END;
		COMMIT;
		PERFORM pg_sleep(0.002);
	END LOOP;
END $$;
SQL
my $oid = sql('SELECT oid::oid FROM "the table"');
my @sessions = map { session($node, 'postgres') } 1 .. 4;
$_->query_safe("SET statement_timeout = 0; SET synchronous_commit = off")
  foreach @sessions;
start_query($sessions[$_], "CALL add_rows($oid, 0.$_)") foreach 0 .. 2;
# One without savepoints, in a transaction of several adds; after an error the
# whole transaction is gone.
start_query($sessions[3], q{DO $$
DECLARE stopped bool;
BEGIN
	LOOP
		SELECT stop INTO stopped FROM control;
		EXIT WHEN stopped;
		BEGIN
			FOR i IN 1 .. 5 LOOP
				PERFORM mdbatch_put(} . $oid . q{::regclass, jsonb_build_object(
					'id', 1000 + i, 'v', nextval('versions'), 'n', i, 'w', 'five'));
			END LOOP;
		EXCEPTION WHEN OTHERS THEN
			INSERT INTO errors VALUES (SQLSTATE, SQLERRM);
		END;
		COMMIT;
		PERFORM pg_sleep(0.002);
	END LOOP;
END $$});

sub books
{
	my ($columns) = @_;

	return sql("SELECT $columns FROM mdbatch_stat WHERE relid = $oid");
}

# Adds go on: some have succeeded since.
sub meet
{
	my ($what) = @_;
	my $done = sql('SELECT last_value FROM done');

	return wait_for($node, 'postgres',
		"(SELECT last_value > $done + 5 FROM done)", $what);
}

# An error has to come, of this form of the table; then the errors are put
# aside.
sub fails_with
{
	my ($states, $what) = @_;

	sql('TRUNCATE errors');
	wait_for($node, 'postgres', 'EXISTS (SELECT FROM errors)', "$what: adds fail");
	like(sql('SELECT DISTINCT state FROM errors ORDER BY 1'),
		qr/^$states(\n$states)*$/, "$what: with the right error")
	  or diag sql('SELECT state, message, count(*) FROM errors GROUP BY 1, 2');
	return;
}

# After statements that adds survive, and so do entries that are pending.
sub goes_on
{
	my ($what, @statements) = @_;

	sql('SELECT mdbatch_flush()');
	sql('TRUNCATE errors');
	my $rejected = books('rejected');
	foreach my $statement (@statements)
	{
		$ddl->query($statement);
		is($ddl->{stderr}, '', $statement);
		$ddl->{stderr} = '';
		meet("$what: adds go on");
	}
	is(sql('SELECT state, message, count(*) FROM errors GROUP BY 1, 2'), '',
		"$what: and met no error");
	sql('SELECT mdbatch_flush()');
	is(books('rejected'), $rejected, "$what: nothing is rejected");
	return;
}

sub change
{
	my ($statement) = @_;

	$ddl->query($statement);
	is($ddl->{stderr}, '', $statement);
	$ddl->{stderr} = '';
	return;
}

meet('adds run');
wait_for($node, 'postgres',
	"(SELECT batches_scheduled > 0 FROM mdbatch_stat WHERE relid = $oid)",
	'and flushes');
my $pid = worker_pid($node, 'postgres');
my $offset = -s $node->logfile;
my $attach = q{SELECT mdbatch_attach('t', version => 'v', columns => '{n,w}',
	flush_interval => '20ms')};

foreach my $round (1 .. $rounds)
{
	# What needs no new attachment: adds meet nothing.
	goes_on('unharmed',
		'ALTER TABLE t ADD COLUMN more text DEFAULT $$x$$',
		'ALTER TABLE t DROP COLUMN more',
		'ALTER TABLE t RENAME TO t2',
		'ALTER TABLE t2 RENAME TO t',
		'ALTER TABLE t RENAME COLUMN extra TO extra2',
		'ALTER TABLE t RENAME COLUMN extra2 TO extra',
		'ALTER TABLE t SET SCHEMA other',
		'ALTER TABLE other.t SET SCHEMA public',
		'VACUUM FULL t',
		'CLUSTER t USING t_pkey',
		'ALTER TABLE t ALTER COLUMN n TYPE bigint',
		'ALTER TABLE t ALTER COLUMN id TYPE bigint',
		'REINDEX TABLE t',
		'ANALYZE t');

	# Renamed columns: entries are named by the names as they are now, so these
	# adds fail with the name, until it is back.
	change('ALTER TABLE t RENAME COLUMN w TO w2');
	fails_with('42703', 'a carried column renamed');
	change('ALTER TABLE t RENAME COLUMN w2 TO w');
	goes_on('renamed back', 'SELECT');

	# In one transaction they are never seen.
	goes_on('in one transaction',
		'BEGIN; ALTER TABLE t RENAME COLUMN v TO v2; ALTER TABLE t RENAME COLUMN v2 TO v; COMMIT',
		'BEGIN; ALTER TABLE t DROP COLUMN w; ROLLBACK',
		"BEGIN; TRUNCATE t; SELECT mdbatch_discard('t'); COMMIT",
		"BEGIN; SELECT mdbatch_detach('t'); $attach; COMMIT",
		'BEGIN; CREATE UNIQUE INDEX t_new ON t (id); ALTER TABLE t DROP CONSTRAINT t_pkey,'
		  . ' ADD CONSTRAINT t_pkey PRIMARY KEY USING INDEX t_new; COMMIT');

	# A dropped carried column is not one of the entries any more.
	change('ALTER TABLE t DROP COLUMN w');
	fails_with('42703', 'a carried column dropped');
	change('ALTER TABLE t ADD COLUMN w text');
	fails_with('42703', 'a column of its name');
	change($attach);
	goes_on('attached again', 'SELECT');

	# Attached with other columns, and back.
	change(q{SELECT mdbatch_attach('t', version => 'v', columns => '{n}',
		flush_interval => '20ms')});
	fails_with('42703', 'attached with less');
	change(q{SELECT mdbatch_attach('t', version => 'v', columns => '{n,w,extra}',
		merge => '{"n": "max"}', flush_interval => '20ms')});
	goes_on('attached with more', 'SELECT');
	change($attach);

	# Detached, and attached.
	change(q{SELECT mdbatch_detach('t')});
	fails_with('55000', 'detached');
	change($attach);
	goes_on('attached', 'SELECT');

	# No index for the key; then there is one of another name.
	change('ALTER TABLE t DROP CONSTRAINT t_pkey');
	fails_with('(?:42P10|55000)', 'without an index');
	change('CREATE UNIQUE INDEX t_pkey ON t (id)');
	goes_on('with an index', 'SELECT');
	change('DROP INDEX t_pkey; ALTER TABLE t ADD PRIMARY KEY (id)');
	goes_on('with a primary key', 'SELECT');

	# A key of a type that cannot be one, and back.
	change('ALTER TABLE t ALTER COLUMN id TYPE numeric');
	fails_with('(?:0A000|55000)', 'a numeric key');
	change('ALTER TABLE t ALTER COLUMN id TYPE int');
	goes_on('an integer again', 'SELECT');

	# The version is dropped.
	change('ALTER TABLE t DROP COLUMN v');
	fails_with('55000', 'without the version');
	change('ALTER TABLE t ADD COLUMN v bigint NOT NULL DEFAULT 0');
	change($attach);
	goes_on('with a version again', 'SELECT');

	# The key is dropped.
	change('ALTER TABLE t DROP COLUMN id');
	fails_with('55000', 'without the key');
	change("BEGIN; TRUNCATE t; SELECT mdbatch_discard('t');
		ALTER TABLE t ADD COLUMN id int PRIMARY KEY; $attach; COMMIT");
	goes_on('with a key again', 'SELECT');
	change('ALTER TABLE t ALTER COLUMN n TYPE int');
}

# The end state: all that is accepted from now on is in the table.
change("BEGIN; TRUNCATE t; SELECT mdbatch_discard('t'); COMMIT");
sql('UPDATE control SET phase = 2');
wait_for($node, 'postgres',
	'(SELECT count(DISTINCT id) > 150 FROM accepted)',
	'sessions add to the end state');
sql('UPDATE control SET stop = true');
foreach my $session (@sessions)
{
	my ($result, $error) = finish_query($session);

	is($error, '', 'a session went through');
	$session->quit;
}
sql('SELECT mdbatch_flush()');
is(books('pending, in_flight, reserved, dropped'), '0|0|0|0', 'nothing is left');
is( sql(q{SELECT a.id, a.v, t.v FROM (SELECT id, max(v) AS v FROM accepted
		GROUP BY id) a LEFT JOIN t USING (id)
	WHERE t.v IS DISTINCT FROM a.v OR t.n IS DISTINCT FROM a.v
		OR t.w IS DISTINCT FROM 'w' || a.v}),
	'', 'every entry of the end state is in the table');
books_ok($node, 'postgres');

# The worker has lived through all that, and its flushes met only what the
# contract names: locks, and what rejects an entry.
is(worker_pid($node, 'postgres'), $pid, 'the worker is the same');
my $log = slurp_file($node->logfile, $offset);
unlike($log, qr/PANIC|terminated by signal|batches were reset|XX000/,
	'no crash and no internal error');
my %failures;
$failures{$1}++
  while $log =~ /could not flush the batch of table \S+: SQLSTATE (\w{5})/g;
note "failed flushes: ", join(', ', map { "$_ ($failures{$_})" } sort keys %failures);
is_deeply([ grep { !/^(?:55P03|40P01|42P10|42P01|0A000|55000)$/ } sort keys %failures ],
	[], 'flushes failed for locks or an unfit table only');
note 'rejected: ', sql('SELECT sqlstate, count(*) FROM mdbatch_rejected GROUP BY 1');
note 'books: ', books('added, coalesced, stale, flushed, skipped, rejected, discarded');

$ddl->quit;
$node->stop;
done_testing();
