# mdbatch_flush is a barrier for what its caller can see: also when the
# transaction is visible, but its entries are not pending yet.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

# A module whose commit callback waits, and runs before that of mdbatch.
my $tempdir = PostgreSQL::Test::Utils::tempdir;
my %config;
foreach my $name (qw(cc cflags cflags_sl cppflags includedir-server ldflags))
{
	$config{$name} = qx(pg_config --$name);
	chomp $config{$name};
}
system_or_bail('sh', '-c',
	join(' ', @config{qw(cc cppflags cflags cflags_sl)},
		"-I'$config{'includedir-server'}'", '-shared', $config{ldflags},
		"-o '$tempdir/mdbatch_test.so'",
		"'$FindBin::RealBin/modules/mdbatch_test/mdbatch_test.c'"));

my $node = new_server('main', 'streaming' => 1, 'synchronous_commit' => 'local');
my $adder = session($node, 'postgres');
my $flusher = session($node, 'postgres');
my $agent = agent(1);
my ($result, $error);

$node->safe_psql('postgres', 'CREATE TABLE seen (n int)');

# With and without a flush going on.
$adder->query_safe("LOAD '$tempdir/mdbatch_test.so'");
$adder->query_safe("SET mdbatch_test.gate = '$tempdir/gate'");
append_to_file("$tempdir/gate", '');
start_query($adder, "BEGIN;
	SELECT mdbatch_add('$agent', '{a}', '{v}');
	INSERT INTO seen VALUES (1);
	COMMIT");
wait_for($node, 'postgres', 'EXISTS (SELECT FROM seen WHERE n = 1)',
	'the transaction is visible');
is($flusher->query_safe('SELECT count(*) FROM mdbatch_pending()'),
	'0', 'its entry is not pending');
start_query($flusher, 'SELECT mdbatch_flush()');
wait_for(
	$node,
	'postgres',
	q{EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT mdbatch_flush%'
		AND state = 'active' AND wait_event = 'virtualxid')},
	'a flush waits for the transaction, as for a lock');
unlink "$tempdir/gate";
is(scalar finish_query($flusher), '1', 'it covers the entry');
is($flusher->query_safe('SELECT key FROM mdbatch_metadata'), 'a',
	'which is in the table then');
finish_query($adder);

# A transaction that has written its commit, but waits for a standby, is not
# visible, and nobody waits for it.
$node->safe_psql('postgres',
	q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
$node->reload;
wait_for($node, 'postgres', q{current_setting('synchronous_standby_names') = 'nobody'},
	'a standby that is not there');
$adder->query_safe('SET synchronous_commit = on');
start_query($adder, "BEGIN;
	SELECT mdbatch_add('$agent', '{b}', '{v}');
	INSERT INTO seen VALUES (2);
	COMMIT");
wait_for($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity
	WHERE wait_event = 'SyncRep')}, 'a commit waits for it');
is($flusher->query_safe('SELECT count(*) FROM seen WHERE n = 2'),
	'0', 'the transaction is not visible');
$node->safe_psql('postgres', "SELECT mdbatch_add('$agent', '{c}', '{v}')");
is($flusher->query_safe('SELECT mdbatch_flush()'), '1',
	'a flush does not wait for it');
is($flusher->query_safe(q{SELECT string_agg(key, ' ') FROM mdbatch_metadata}),
	'a c', 'and writes what is pending');
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid)
	FROM pg_stat_activity WHERE wait_event = 'SyncRep'});
($result, $error) = finish_query($adder);
like($error, qr/WARNING:  canceling wait for synchronous replication/,
	'the commit stands');
is($flusher->query_safe('SELECT mdbatch_flush()'), '1',
	'then its entry is pending');

# A flush that waits for a standby is cancelled: it only warns, and the commit
# stands, once.
$node->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_commit = on});
$node->reload;
wait_for($node, 'postgres', q{current_setting('synchronous_commit') = 'on'},
	'flushes wait for it, too');
$node->safe_psql('postgres', qq{SET synchronous_commit = local;
	SELECT mdbatch_add('$agent', '{d}', '{v}')});
start_query($flusher, 'SELECT mdbatch_flush()');
my $waiting = q{EXISTS (SELECT FROM pg_stat_activity
	WHERE backend_type = 'mdbatch worker' AND wait_event = 'SyncRep')};
wait_for($node, 'postgres', $waiting, 'a flush waits for the standby');
my $pid = worker_pid($node, 'postgres');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
is(scalar finish_query($flusher), '1', 'cancelled, it is done');
is( $node->safe_psql(
		'postgres', 'SELECT pending, flushed, flush_failures FROM mdbatch_stat'),
	'0|4|0',
	'and no failure');

# So it is when the worker is terminated there.
$node->safe_psql('postgres', qq{SET synchronous_commit = local;
	SELECT mdbatch_add('$agent', '{e}', '{v}')});
start_query($flusher, 'SELECT mdbatch_flush()');
wait_for($node, 'postgres', $waiting, 'a flush waits for the standby');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
is(scalar finish_query($flusher), '1', 'terminated, it is done');
is( $node->safe_psql(
		'postgres', 'SELECT pending, flushed, flush_failures FROM mdbatch_stat'),
	'0|5|0',
	'written once (R26)');
books_ok($node, 'postgres');

# Nor does it keep the server from stopping.
$node->safe_psql('postgres', qq{SET synchronous_commit = local;
	SELECT mdbatch_add('$agent', '{f}', '{v}')});
start_query($flusher, 'SELECT mdbatch_flush()');
wait_for($node, 'postgres', $waiting, 'a flush waits for the standby');
is($node->stop('fast', fail_ok => 1), 1, 'a fast stop ends it');
end_session($_) foreach $adder, $flusher;
$node->adjust_conf('postgresql.auto.conf', 'synchronous_standby_names', undef);
$node->start;
is( $node->safe_psql(
		'postgres', q{SELECT string_agg(key, ' ') FROM mdbatch_metadata}),
	'a c b d e f',
	'and its commit stands');

# A value that is refused for good is not held against a newer one of the same
# key, which is added while the flush finds out what to blame (R12).
$node->safe_psql('postgres', <<"SQL");
CREATE SEQUENCE tries;
CREATE TABLE closed AS SELECT 1 AS i;
GRANT ALL ON SEQUENCE tries TO pg_database_owner;
GRANT ALL ON closed TO pg_database_owner;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	IF NEW.value = 'bad' THEN
		IF nextval('public.tries') > 1 THEN
			PERFORM FROM public.closed FOR UPDATE;
		END IF;
		RAISE EXCEPTION 'refused value %', NEW.value USING ERRCODE = '22023';
	END IF;
	RETURN NEW;
END \$\$;
CREATE TRIGGER refuse BEFORE INSERT ON mdbatch_metadata
	FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT mdbatch_add('$agent', '{g}', '{bad}');
SQL
my $locker = session($node, 'postgres');
$_ = session($node, 'postgres') foreach $adder, $flusher;
$locker->query_safe('BEGIN; SELECT FROM closed FOR UPDATE');
start_query($flusher, 'SELECT mdbatch_flush()');
stuck_worker($node, 'postgres', 'the flush tries each entry alone');
start_query($adder, "CALL mdbatch_add_sync('$agent', '{g}', '{good}')");
wait_for($node, 'postgres', waiting('CALL mdbatch_add_sync%'),
	'a newer value arrives meanwhile');
$locker->query_safe('COMMIT');
($result, $error) = finish_query($flusher);
is($result, '1', 'mdbatch_flush returns');
like($error, qr/WARNING:  table public\.mdbatch_metadata refused 1/,
	'with a warning');
($result, $error) = finish_query($adder);
is($error, '', 'the newer value is acknowledged');
is( $node->safe_psql(
		'postgres', q{SELECT value FROM mdbatch_metadata WHERE key = 'g'}),
	'good',
	'and written');
is( $node->safe_psql('postgres', q{SELECT entry ->> 'value' FROM mdbatch_rejected}),
	'bad',
	'the older one is kept');

# When so many others are refused that nobody can tell whose, a call fails though
# its entry is written: it is never acknowledged wrongly.
$node->safe_psql('postgres', q{
	CREATE TABLE even (id int PRIMARY KEY CHECK (id % 2 = 0));
	SELECT mdbatch_attach('even');
	SELECT mdbatch_put('even', '{"id": 0}')});
$locker->query_safe('BEGIN; LOCK TABLE even IN EXCLUSIVE MODE');
start_query($flusher, q{SELECT mdbatch_flush('even')});
stuck_worker($node, 'postgres');
$node->safe_psql('postgres', q{SELECT mdbatch_put('even',
	jsonb_agg(jsonb_build_object('id', 2 * i + 1)))
	FROM generate_series(1, 33) i});
start_query($adder, q{CALL mdbatch_put_sync('even', '{"id": 2}')});
wait_for($node, 'postgres', waiting('CALL mdbatch_put_sync%'),
	'a call waits for the next flush');
$locker->query_safe('COMMIT');
($result, $error) = finish_query($flusher);
is($result, '1', 'the first flush refuses nothing');
($result, $error) = finish_query($adder);
like($error,
	qr/table public\.even refused entries for good, perhaps of this call\nDETAIL:  It refused 33 entries meanwhile, too many to tell\.\nHINT:  See the table mdbatch_rejected\./,
	'with more than 32 refused a call fails');
is( $node->safe_psql('postgres', 'SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM even'),
	'0 2', 'though its entry is written');
books_ok($node, 'postgres');
end_session($_) foreach $adder, $flusher, $locker;

$node->stop;
done_testing();
