# Memory and slots (R10, R9): bounded, accounted exactly, and one batch's backlog
# does not starve another.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', 'mdbatch.memory' => '1MB',
	'mdbatch.max_batches' => '2', 'mdbatch.queue_size' => '100000',
	'mdbatch.batch_size' => '100000');
my $agent = "'00000000-0000-0000-0000-000000000001'";

sub sql
{
	my ($database, $query) = @_;

	return $node->safe_psql($database, $query);
}

# As many entries of about 1 kB; how many were accepted.
sub add
{
	my ($database, $n, $prefix) = @_;

	return sql($database, "SELECT mdbatch_add($agent, array_agg('$prefix' || i),
		array_agg(repeat('x', 1000))) FROM generate_series(1, $n) i");
}

foreach my $database (qw(one two three))
{
	sql('postgres', "CREATE DATABASE $database");
	sql($database, 'CREATE EXTENSION mdbatch');
}

# One batch takes its share (a quarter) and what nobody is guaranteed (half).
my $accepted = add('one', 2000, 'a');
my $stat = "FROM mdbatch_stat WHERE datname = 'one'";
cmp_ok($accepted, '<', 2000, 'memory is bounded');
is(sql('one', "SELECT pending = $accepted, dropped = 2000 - $accepted $stat"),
	't|t', 'what did not fit was dropped and counted');
is(sql('one', "SELECT memory_used <= memory_limit AND memory_used > memory_limit * 0.95,
		memory_limit $stat"),
	't|' . 1048576 * 3 / 4, 'three quarters of it are used');

# Each entry of that size is as many chunks of 128 bytes; its definition, 2.
is(sql('one', "SELECT (memory_used - 256) / $accepted $stat"), 10 * 128,
	'accounted exactly');

# The other has its share.
my $share = add('two', 2000, 'b');
cmp_ok($share, '>', $accepted / 4, 'the other batch has its share');
is(sql('two', "SELECT sum(memory_used) <= 1048576 FROM mdbatch_stat"), 't',
	'both stay within the memory');

# A key that is pending is a new one when there is no memory; a new session
# drops, too, and an entry that can never fit is an error.
is(sql('one', "SELECT mdbatch_add($agent, '{a1}', ARRAY[repeat('y', 1000)])"),
	'0', 'without memory nothing is accepted');
my ($status, $out, $err) = $node->psql('one',
	"SET mdbatch.on_full = 'error'; SELECT mdbatch_add($agent, '{new}', ARRAY[repeat('y', 1000)])");
like($err, qr/out of memory for the batch of table "mdbatch_metadata"/,
	'or it is an error');
($status, $out, $err) = $node->psql('one',
	"SELECT mdbatch_add($agent, '{new}', ARRAY[repeat('y', 1000000)])");
like($err, qr/entry is too large/, 'an entry that never fits is an error');

# No slot is free for a third database, while both have entries.
($status, $out, $err) = $node->psql('three', "SELECT mdbatch_add($agent, '{k}', '{v}')");
like($err, qr/no batch is free for table "mdbatch_metadata"/, 'no slot is free');

# With room made, a call that waits goes on (R9).
my $waiter = session($node, 'one');
$waiter->query_safe("SET mdbatch.on_full = 'wait'");
start_query($waiter, "SELECT mdbatch_add($agent, '{waited}', ARRAY[repeat('y', 1000)])");
wait_for($node, 'postgres', waiting('SELECT mdbatch_add%', 'Extension'), 'a call waits for memory');
is(sql('one', 'SELECT mdbatch_flush()'), $accepted, 'the first batch is flushed');
is(scalar finish_query($waiter), '1', 'then the call goes on');
is(sql('one', 'SELECT mdbatch_flush()'), '1', 'its entry is flushed, too');
wait_for($node, 'one', "memory_used = 384 $stat", 'all memory but the definition is back');
is(sql('one', 'SELECT count(*) FROM mdbatch_metadata'), $accepted + 1, 'all rows are there');
is(sql('two', 'SELECT mdbatch_flush()'), $share, 'the second batch is flushed');

# The third takes the slot of the batch that has been empty longest.
is(sql('three', "SELECT mdbatch_add($agent, '{k}', '{v}')"), '1', 'a slot is free');
is(sql('three', "SELECT string_agg(datname, ' ' ORDER BY datname) FROM mdbatch_stat"),
	'three two', 'that of the batch that was empty longest');
is(sql('three', 'SELECT mdbatch_flush()'), '1', 'it works');
is(add('one', 1, 'a'), '1', 'the first one gets another');
books_ok($node, 'postgres');

end_session($waiter);
$node->stop;
done_testing();
