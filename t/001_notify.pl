# Notifications end to end (R6): who hears what, and when.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $channel = 'workspace_agent_metadata_batch';
my $node = new_server('main');
my $listener = listen_to($node, 'postgres', $channel);
my $other = listen_to($node, 'postgres', $channel);
my @heard;

sub books
{
	my ($columns) = @_;

	return $node->safe_psql('postgres',
		"SELECT $columns FROM mdbatch_stat WHERE relid = "
		  . "(SELECT target FROM mdbatch_target WHERE metadata)");
}

# 500 agents: one capacity flush, payloads of 363 and 137 ids.
is( $node->safe_psql(
		'postgres', "SELECT mdbatch_add_many(" . agents(1, 500)
		  . ", array_fill('k'::text, ARRAY[500]), array_fill('v'::text, ARRAY[500]))"),
	'500',
	'500 entries are accepted');
wait_for($node, 'postgres', '(SELECT count(*) = 500 FROM mdbatch_metadata)',
	'they are flushed');
@heard = notifications($node, 'postgres', $listener, $channel);
is_deeply([ map { length } @heard ], [ 363 * 22, 137 * 22 ],
	'payloads of 363 and 137 ids');
is_deeply([ map { decode_agents($_) } @heard ], [ map { agent($_) } 1 .. 500 ],
	'each agent once, in order');
is_deeply([ notifications($node, 'postgres', $other, $channel) ],
	\@heard, 'another listener hears the same');
is(books('batches_capacity, batches_requested, batches_scheduled, notifications'),
	'1|0|0|2', 'one flush, by capacity, with two notifications');

# What the SQL functions make of it.
is( $node->safe_psql(
		'postgres', "SELECT count(*), count(DISTINCT a), min(a::text), max(a::text)
		 FROM unnest(ARRAY['" . join("','", @heard) . "']) p,
			mdbatch_decode_agent_ids(p) a"),
	'500|500|' . agent(1) . '|' . agent(500),
	'mdbatch_decode_agent_ids reads the payloads');
is( $node->safe_psql(
		'postgres', "SELECT string_agg(p, ' ')
		 FROM mdbatch_encode_agent_ids(" . agents(1, 500) . ") p"),
	"@heard", 'mdbatch_encode_agent_ids makes the same payloads');

# Several keys of an agent: it is announced once.
$node->safe_psql('postgres', <<"SQL");
SELECT mdbatch_add('@{[agent(1)]}', '{a,b}', '{1,2}');
SELECT mdbatch_add('@{[agent(2)]}', '{a,b,c}', '{1,2,3}');
SELECT mdbatch_add('@{[agent(1)]}', '{c}', '{3}');
SELECT mdbatch_flush();
SQL
@heard = notifications($node, 'postgres', $listener, $channel);
is_deeply([ map { [ decode_agents($_) ] } @heard ], [ [ agent(1), agent(2) ] ],
	'two agents with several keys: one payload, each agent once');

# Nobody is told of what was older than the row (R2), or of nothing.
$node->safe_psql('postgres', <<"SQL");
SELECT mdbatch_add('@{[agent(1)]}', '{a}', '{old}', NULL, '{2000-01-01}');
SELECT mdbatch_add('@{[agent(3)]}', '{a}', '{new}', NULL, '{2000-01-01}');
SELECT mdbatch_flush();
SELECT mdbatch_flush();
SQL
@heard = notifications($node, 'postgres', $listener, $channel);
is_deeply([ map { [ decode_agents($_) ] } @heard ], [ [ agent(3) ] ],
	'only agents of which a row was written');

# Nobody hears of a flush that failed, nor of a transaction rolled back.
$node->safe_psql('postgres', <<"SQL");
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
  \$\$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '58030'; END \$\$;
CREATE TRIGGER refuse AFTER INSERT ON mdbatch_metadata
  FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT mdbatch_add('@{[agent(1004)]}', '{a}', '{first}');
SELECT mdbatch_add('@{[agent(1005)]}', '{a}', '{first}');
BEGIN;
SELECT mdbatch_add('@{[agent(1006)]}', '{a}', '{never}');
ROLLBACK;
SQL
my ($ret, $stdout, $stderr) =
  $node->psql('postgres', 'SELECT mdbatch_flush()', on_error_stop => 1);
isnt($ret, 0, 'the flush fails');
like($stderr, qr/could not flush the batch/, 'and says so');
@heard = notifications($node, 'postgres', $listener, $channel);
is_deeply(\@heard, [], 'nobody hears of the flush that failed');
is(books('pending'), '2', 'its entries stay pending');
is( $node->safe_psql(
		'postgres', "SELECT count(*) FROM mdbatch_metadata WHERE agent_id = '"
		  . agent(1004) . "'"),
	'0',
	'and nothing of it was written');

# When it succeeds in the end, everybody hears of it once.
$node->safe_psql('postgres', <<"SQL");
SELECT mdbatch_add('@{[agent(1005)]}', '{a}', '{better}');
DROP TRIGGER refuse ON mdbatch_metadata;
SELECT mdbatch_flush();
SQL
@heard = notifications($node, 'postgres', $listener, $channel);
is_deeply([ map { [ decode_agents($_) ] } @heard ], [ [ agent(1004), agent(1005) ] ],
	'after the retry both agents are announced, once');

# Of a flush that the target refuses in part, only what is written is heard,
# once, however often it was tried (R12).
$node->safe_psql('postgres', <<"SQL");
ALTER TABLE mdbatch_metadata ADD CONSTRAINT no_bad CHECK (value <> 'bad');
SELECT mdbatch_add_many(@{[agents(1007, 1014)]}, array_fill('a'::text, '{8}'),
	'{good,good,bad,good,good,bad,bad,good}');
SELECT mdbatch_flush();
ALTER TABLE mdbatch_metadata DROP CONSTRAINT no_bad;
SQL
@heard = notifications($node, 'postgres', $listener, $channel);
is_deeply(
	[ map { [ decode_agents($_) ] } @heard ],
	[ [ map { agent($_) } 1007, 1008, 1010, 1011, 1014 ] ],
	'the agents whose rows were written, not those refused');

# The channel of another target; mode update; no channel at all.
my $mine = listen_to($node, 'postgres', 'mine');
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE mine (id uuid, k varchar(10), v text, e text, t timestamptz,
	PRIMARY KEY (k, id));
INSERT INTO mine VALUES ('@{[agent(2)]}', 'a', '', '', NULL);
SELECT mdbatch_set_target('mine', 'id', 'k', 'v', 'e', 't', 'update', 'mine');
SELECT mdbatch_add('@{[agent(1)]}', '{a}', '{missing}');
SELECT mdbatch_add('@{[agent(2)]}', '{a}', '{there}');
SELECT mdbatch_flush();
SQL
@heard = notifications($node, 'postgres', $mine, 'mine');
is_deeply([ map { [ decode_agents($_) ] } @heard ], [ [ agent(2) ] ],
	'mode update: only the row that exists is announced, on its channel');
is(books('flushed, skipped, notifications'), '1|1|1', 'and counted');
is_deeply([ notifications($node, 'postgres', $listener, $channel) ],
	[], 'not on the former channel');

$node->safe_psql('postgres', <<"SQL");
SELECT mdbatch_set_target('mine', 'id', 'k', 'v', 'e', 't', 'upsert', NULL);
SELECT mdbatch_add('@{[agent(1)]}', '{a}', '{silent}');
SELECT mdbatch_flush();
SQL
is_deeply([ notifications($node, 'postgres', $mine, 'mine') ],
	[], 'without a channel there is no notification');
is($node->safe_psql('postgres', 'SELECT count(*) FROM mine'),
	'2', 'but the row is written');
books_ok($node, 'postgres');

$_->quit foreach $listener, $other, $mine;
$node->stop;
done_testing();
