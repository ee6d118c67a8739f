# A publication FOR ALL TABLES publishes mdbatch_rejected as well: that stops
# neither the flushes of the publisher nor the subscription, and each server
# keeps what it has refused itself (R12).
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

sub subscriber { return $subscriber->safe_psql('postgres', $_[0]); }

# What the subscriber has, once it has all that was committed here.
sub replicated
{
	my ($query) = @_;

	$publisher->wait_for_catchup('everything');
	return subscriber($query);
}

my $kept = q{SELECT string_agg(target || ' ' || (entry->>'id') || ' ' || (entry->>'n'), ', ' ORDER BY target, entry) FROM mdbatch_rejected};

foreach my $node ($publisher, $subscriber)
{
	$node->safe_psql('postgres', q{CREATE TABLE t (id int PRIMARY KEY, n int CONSTRAINT shut CHECK (n > 0));
		CREATE TABLE gone (id int PRIMARY KEY, n int CHECK (n > 0))});
}
sql(q{SELECT mdbatch_attach('t', merge => '{"n": "sum"}'), mdbatch_attach('gone')});
subscriber(q{CREATE TABLE own (id int PRIMARY KEY, n int CHECK (n > 0)); SELECT mdbatch_attach('own')});
subscriber(q{SELECT mdbatch_put('own', '{"id": 100, "n": -1}')});
subscriber('SELECT mdbatch_flush()');
is(subscriber($kept), 'public.own 100 -1', 'the subscriber has refused something');

# Rows that are there before the subscription are copied then.
sql(q{SELECT mdbatch_put('t', '[{"id": 1, "n": -1}, {"id": 2, "n": 1}]')});
sql('SELECT mdbatch_flush()');
is(sql($kept), 'public.t 1 -1', 'so has the publisher');
sql('CREATE PUBLICATION everything FOR ALL TABLES');
my $connection = $publisher->connstr . ' dbname=postgres';
subscriber("CREATE SUBSCRIPTION everything CONNECTION '$connection' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($publisher, 'everything');
is(subscriber('SELECT * FROM t'), '2|1', 'the rows of a target are copied');
is(subscriber($kept), 'public.own 100 -1', 'rejected ones are not');

# Inserted, merged, evicted, renamed, retried, dropped
sql(q{SELECT mdbatch_put('t', '[{"id": 1, "n": -1}, {"id": 3, "n": -1}, {"id": 4, "n": 1}]');
	SELECT mdbatch_put('gone', '{"id": 1, "n": -1}')});
is(sql('SELECT mdbatch_flush()'), '4', 'a flush that rejects');
is(sql($kept), 'public.gone 1 -1, public.t 1 -2, public.t 3 -1', 'is not stopped');
is(replicated('SELECT * FROM t ORDER BY id'), "2|1\n4|1", 'the others arrive');
is(subscriber($kept), 'public.own 100 -1', 'and they alone');
sql('ALTER SYSTEM SET mdbatch.max_rejected = 2; SELECT pg_reload_conf()');
sql(q{SELECT mdbatch_put('t', '[{"id": 5, "n": -1}, {"id": 6, "n": -1}]')});
sql('SELECT mdbatch_flush()');
is(sql($kept), 'public.gone 1 -1, public.t 5 -1, public.t 6 -1', 'the oldest go');
sql('ALTER TABLE t DROP CONSTRAINT shut; DROP TABLE gone');
subscriber('ALTER TABLE t DROP CONSTRAINT shut');
is(sql(q{SELECT mdbatch_retry('t')}), '2', 'retried');
sql('SELECT mdbatch_flush()');
is(sql($kept), '', 'none is left');
is(replicated('SELECT * FROM t ORDER BY id'), "2|1\n4|1\n5|-1\n6|-1", 'they arrive now');
is(subscriber($kept), 'public.own 100 -1', 'the subscriber still has its own');

# By hand, too; what the subscriber does itself is not held up.
sql(q{ALTER TABLE t ADD CONSTRAINT shut CHECK (n > 0) NOT VALID});
sql(q{SELECT mdbatch_put('t', '[{"id": 7, "n": -1}, {"id": 8, "n": -1}]')});
sql('SELECT mdbatch_flush()');
sql(q{UPDATE mdbatch_rejected SET message = 'by hand' WHERE key->>'id' = '7';
	DELETE FROM mdbatch_rejected WHERE key->>'id' = '8';
	INSERT INTO t VALUES (9, 9)});
is(replicated('SELECT * FROM t WHERE id = 9'), '9|9', 'changes by hand do not stop it');
is(subscriber($kept), 'public.own 100 -1', 'nor arrive');
subscriber(q{UPDATE mdbatch_rejected SET entry = entry || '{"n": 1}'; SELECT mdbatch_retry('own')});
subscriber('SELECT mdbatch_flush()');
is(subscriber('SELECT * FROM own'), '100|1', 'the subscriber retries its own');

# A worker that applies changes as another extension would, and a client that
# only says that it is a replica: the latter writes.
is(subscriber(q{SET session_replication_role = replica;
	INSERT INTO mdbatch_rejected SELECT 't', '{}', '{}', '', '', now(), false, NULL, gen_random_uuid(), 'x', '';
	SELECT count(*) FROM mdbatch_rejected}), '1', 'a client that is a replica writes');
is(subscriber(q{SET session_replication_role = replica; DELETE FROM mdbatch_rejected;
	SELECT count(*) FROM mdbatch_rejected}), '0', 'and deletes');
like(($subscriber->psql('postgres', 'SELECT mdbatch_not_replicated()'))[2],
	qr/must be called by a BEFORE trigger for each row/, 'its function is for a trigger');
foreach my $trigger ('AFTER INSERT ON t FOR EACH ROW', 'BEFORE INSERT ON t FOR EACH STATEMENT')
{
	like(($subscriber->psql('postgres', "BEGIN; CREATE TRIGGER wrong $trigger EXECUTE FUNCTION mdbatch_not_replicated();
		INSERT INTO t VALUES (1000, 1)"))[2], qr/must be called by a BEFORE trigger for each row/, "not $trigger");
}

# A subscriber that has the extension, but not the library preloaded.
$subscriber->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$subscriber->restart;
sql(q{SELECT mdbatch_put('t', '[{"id": 10, "n": -1}, {"id": 11, "n": 1}]')});
sql('SELECT mdbatch_flush()');
is(replicated('SELECT * FROM t WHERE id > 9'), '11|1', 'without the library preloaded rows arrive');
is(subscriber($kept), '', 'and rejected ones do not');

books_ok($publisher, 'postgres');
$subscriber->stop;
$publisher->stop;
done_testing();
