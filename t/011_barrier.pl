# The barrier: what a caller of mdbatch_flush can see of a transaction is
# covered, also while that transaction has committed but not yet published its
# entries; one that is not visible is not waited for.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('barrier');
my $module = build_module($node, 'late_commit');
my $gate = $node->basedir . '/gate';

$node->safe_psql('postgres', qq{
	CREATE FUNCTION late_commit(text) RETURNS void AS '$module' LANGUAGE C STRICT;
	CREATE TABLE seen (i int)});

my $adder = session($node, 'postgres');
my $flusher = session($node, 'postgres');

# With an xid: it has written a row, too, which shows that it is visible.
append_to_file($gate, '');
start_query($adder, qq{
	BEGIN; SELECT late_commit('$gate'); INSERT INTO seen VALUES (1);
	SELECT mdbatch_add('00000000-0000-0000-0000-000000000001', '{k}', '{v}');
	COMMIT});
wait_for($node, 'postgres', 'EXISTS (SELECT FROM seen)', 'the commit is visible');
is($node->safe_psql('postgres', 'SELECT coalesce(sum(pending), 0) FROM mdbatch_stat'),
	'0', 'its entry is not pending yet');
start_query($flusher, 'SELECT mdbatch_flush()');
wait_for($node, 'postgres', waiting('SELECT mdbatch_flush%'),
	'mdbatch_flush waits for the transaction (R13: for its lock)');
unlink $gate or die "could not remove $gate: $!";
is(scalar finish_query($flusher), '1', 'it counts the entry as pending');
is($node->safe_psql('postgres', 'SELECT value FROM mdbatch_metadata'),
	'v', 'when it returns the entry is in the table');
finish_query($adder);

# An open transaction with entries is nobody's concern.
$adder->query_safe(q{BEGIN; INSERT INTO seen VALUES (2);
	SELECT mdbatch_add('00000000-0000-0000-0000-000000000001', '{open}', '{v}')});
is($flusher->query_safe('SELECT mdbatch_flush()'), '0',
	'an open transaction is not waited for');
$adder->query_safe('COMMIT');
is($flusher->query_safe('SELECT mdbatch_flush()'), '1', 'once committed, it is covered');
books_ok($node, 'postgres');

$adder->quit;
$flusher->quit;
$node->stop;
done_testing();
