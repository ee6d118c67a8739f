# A flush that runs out of time keeps what it has written (R12), and a statement
# that its own timeout ends is the affair of the entries that are slow.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', 'mdbatch.flush_timeout' => '200ms',
	'mdbatch.batch_size' => '8000', 'mdbatch.max_rejected' => '100000');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Ask for a flush; the SQLSTATE, message and detail of its error.
sub flush_error
{
	my ($target) = @_;
	my ($ret, $stdout, $stderr) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT mdbatch_flush('$target');");

	return $stderr;
}

sub books
{
	my ($target, $columns) = @_;

	return sql("SELECT $columns FROM mdbatch_stat
		WHERE relid = '$target'::regclass");
}

sub set_flush_timeout
{
	my ($timeout) = @_;

	sql("ALTER SYSTEM SET mdbatch.flush_timeout = '$timeout'");
	sql('SELECT pg_reload_conf()');
	wait_for($node, 'postgres',
		"current_setting('mdbatch.flush_timeout') = '$timeout'",
		"flush_timeout is $timeout");
	return;
}

# Every second entry of 8,000 violates a CHECK: the time is up before all those
# to blame are found, wherever it is up.
sql(q{
CREATE TABLE half (k int PRIMARY KEY, v int CHECK (v = 0));
SELECT mdbatch_attach('half', batch_size => 8000);
SELECT mdbatch_put('half', jsonb_agg(jsonb_build_object('k', k, 'v', k % 2)))
FROM generate_series(1, 8000) k;
});
my @errors;
my @done;
foreach my $round (1 .. 15)
{
	push @errors, flush_error('half');
	my $done = books('half', 'flushed + rejected');
	push @done, $done;
}
is(scalar(grep { /user request/ } @errors), 0,
	'no flush ends as if a user had cancelled it');
is(books('half', 'flush_failures'), 0, 'none is lost');
note "written or rejected after each: @done";
cmp_ok($done[-1], '>', 0, '... what is written stays');
books_ok($node, 'postgres', 'the books balance in between');
set_flush_timeout('1min');
is(flush_error('half') =~ /ERROR/ ? 'failed' : '', '', 'with more time');
is(sql('SELECT count(*), sum(v) FROM half'), '4000|0',
	'all good entries are written');
is(sql(q{SELECT count(*), count(DISTINCT key), min(sqlstate), max(sqlstate)
	FROM mdbatch_rejected}), '4000|4000|23514|23514',
	'all bad ones are rejected, once each');
is(books('half', 'pending, flushed, rejected, flush_failures'),
	'0|4000|4000|0', '... as the books say');
books_ok($node, 'postgres');

$node->stop;
done_testing();
