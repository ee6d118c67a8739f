# DROP DATABASE with pending entries and a connected worker (R16): as without
# mdbatch, and what was pending is counted as discarded.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub make
{
	sql('CREATE DATABASE db');
	$node->safe_psql('db', 'CREATE EXTENSION mdbatch');
	return sql("SELECT oid FROM pg_database WHERE datname = 'db'");
}

sub add
{
	my ($keys) = @_;
	my $n = () = $keys =~ /\w+/g;

	return "SELECT mdbatch_add('@{[agent(1)]}', '{$keys}', array_fill('v'::text, ARRAY[$n]))";
}

my $has_worker = "EXISTS (SELECT FROM pg_stat_activity
	WHERE backend_type = 'mdbatch worker' AND datname = 'db')";

# While entries wait.
my $oid = make();
$node->safe_psql('db', add('a,b'));
wait_for($node, 'postgres', $has_worker, 'a worker is connected');
sql('DROP DATABASE db');
is(sql('SELECT count(*) FROM pg_database WHERE datname = $$db$$'),
	'0', 'DROP DATABASE works');
is( sql("SELECT datname IS NULL, added, pending, discarded, worker_pid IS NULL
		 FROM mdbatch_stat WHERE datid = $oid"),
	't|2|0|2|t',
	'what was pending is discarded');
books_ok($node, 'postgres');

# A new database of that name starts afresh.
my $new = make();
isnt($new, $oid, 'a new database of that name');
is($node->safe_psql('db', add('a')), '1', 'an add');
is($node->safe_psql('db', 'SELECT mdbatch_flush()'), '1', 'and a flush');
is($node->safe_psql('db', 'SELECT count(*) FROM mdbatch_metadata'), '1', 'one row');

# A DROP that fails, as somebody is connected: the entries stay, the worker
# comes back.
my $guest = session($node, 'db');
$guest->query_safe(add('b'));
wait_for($node, 'postgres', $has_worker, 'a worker is connected');
my $pid = worker_pid($node, 'db');
my ($ret, $stdout, $stderr) = $node->psql('postgres', 'DROP DATABASE db');
like($stderr, qr/ERROR:  database "db" is being accessed by other users\nDETAIL:  There is 1 other session using the database/,
	'DROP DATABASE fails as without mdbatch: the worker does not count');
is(sql("SELECT pending FROM mdbatch_stat WHERE datid = $new"),
	'1', 'the entries stay');
wait_for($node, 'postgres', "$has_worker AND NOT EXISTS
	(SELECT FROM pg_stat_activity WHERE pid = $pid)", 'the worker comes back');
is($guest->query_safe('SELECT mdbatch_flush()'), '1', 'and flushes');

# While a flush is blocked; the lock's holder is a prepared transaction, as any
# session in the database would fail the DROP.
sub block
{
	$guest->quit;
	$oid = sql("SELECT oid FROM pg_database WHERE datname = 'db'");
	$node->safe_psql('db',
		"BEGIN; LOCK TABLE mdbatch_metadata IN EXCLUSIVE MODE; PREPARE TRANSACTION 'lock'");
	$node->safe_psql('db', add('c'));
	$guest = session($node, 'db');
	start_query($guest, 'SELECT mdbatch_flush()');
	stuck_worker($node, 'postgres');
	sql("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
		WHERE datname = 'db' AND backend_type = 'client backend'");
	end_session($guest);
	$node->safe_psql('db', add('d'));
	stuck_worker($node, 'postgres');
	return;
}
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$guest->quit;
$node->restart;
$guest = session($node, 'db');
block();
($ret, $stdout, $stderr) = $node->psql('postgres', 'DROP DATABASE db');
like($stderr, qr/There is 1 prepared transaction using the database/,
	'a prepared transaction, but no worker, is in the way');
stuck_worker($node, 'postgres', 'the worker comes back and waits again');
is(sql("SELECT pending FROM mdbatch_stat WHERE datid = $oid"),
	'2', 'with both entries');
$node->safe_psql('db', "ROLLBACK PREPARED 'lock'");
is($node->safe_psql('db', 'SELECT mdbatch_flush() >= 0'), 't', 'they are flushed');
is($node->safe_psql('db', "SELECT string_agg(key, ' ') FROM mdbatch_metadata
	WHERE key IN ('c', 'd')"), 'c d', 'both');

# A drop that succeeds, while a flush takes its time in a trigger.
$node->safe_psql('db', <<'SQL');
CREATE FUNCTION public.sleep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(600);
	RETURN NULL;
END $$;
CREATE TRIGGER sleep AFTER INSERT ON mdbatch_metadata
	FOR EACH ROW EXECUTE FUNCTION public.sleep();
SQL
$node->safe_psql('db', add('e,f'));
$guest = session($node, 'db');
start_query($guest, 'SELECT mdbatch_flush()');
wait_for($node, 'postgres', "EXISTS (SELECT FROM pg_stat_activity
	WHERE backend_type = 'mdbatch worker' AND wait_event = 'PgSleep')",
	'a flush takes its time');
sql("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
	WHERE datname = 'db' AND backend_type = 'client backend'");
end_session($guest);
sql('DROP DATABASE db');
is( sql("SELECT datname IS NULL, pending, in_flight, discarded
		 FROM mdbatch_stat WHERE datid = $oid"),
	't|0|0|2',
	'dropped in the middle of a flush: its entries are discarded');
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mdbatch worker'
	AND datid = $oid"), '0', 'the worker is gone');

# The worker is about to connect when DROP DATABASE has the lock.
$oid = make();
my $commenter = session($node, 'postgres');
my $dropper = session($node, 'postgres');
$guest = session($node, 'db');
$guest->query_safe('SELECT count(*) FROM mdbatch_pending()');
$commenter->query_safe("BEGIN; COMMENT ON DATABASE db IS 'locked'");
start_query($dropper, 'DROP DATABASE db');
wait_for($node, 'postgres', waiting('DROP DATABASE db%'),
	'DROP DATABASE waits for a lock of the database');
$guest->query_safe(add('a'));
$guest->quit;
wait_for($node, 'postgres', "EXISTS (SELECT FROM pg_locks
	WHERE locktype = 'object' AND NOT granted AND mode = 'RowExclusiveLock')",
	'a worker waits behind it');
$commenter->query_safe('COMMIT');
my ($result, $error) = finish_query($dropper);
is($error, '', 'the drop does not wait for the worker that waits for it');
is(sql("SELECT pending, discarded FROM mdbatch_stat WHERE datid = $oid"),
	'0|1', 'the entry is discarded');
books_ok($node, 'postgres');

# Nothing is started for databases that are gone.
my $offset = -s $node->logfile;
sql(add('z'));
sql('SELECT mdbatch_flush()');
ok(!$node->log_contains(qr/FATAL:  database \d+ does not exist/, $offset),
	'no worker is started for them');

$_->quit foreach $commenter, $dropper;
$node->stop;
done_testing();
