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

# A slow entry does not hold up the others: they are written within a few
# flushes, and it waits with a backoff of its own.
sql(q{
CREATE TABLE slow (k int PRIMARY KEY, v text);
CREATE FUNCTION public.be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.v = 'slow' THEN
		PERFORM pg_sleep(600);
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER be_slow BEFORE INSERT OR UPDATE ON slow
	FOR EACH ROW EXECUTE FUNCTION public.be_slow();
SELECT mdbatch_attach('slow', batch_size => 500);
});
set_flush_timeout('2s');
foreach my $case ([ 3, 1 ], [ 3, 3 ], [ 500, 333 ])
{
	my ($n, $slow) = @$case;
	my $failures = books('slow', 'flush_failures') || 0;
	my $others = "(SELECT count(*) = $n - 1 FROM slow)";
	my $error;
	my $rounds = 0;

	sql("TRUNCATE slow; SELECT mdbatch_put('slow', jsonb_agg(jsonb_build_object(
			'k', k, 'v', CASE k WHEN $slow THEN 'slow' ELSE 'quick' END) ORDER BY k))
		FROM generate_series(1, $n) k");
	do
	{
		$error = flush_error('slow');
		$rounds++;
	} while ($rounds < 5 && sql("SELECT $others") eq 'f');
	is(sql("SELECT $others"), 't',
		"entry $slow of $n is slow: the others are written");
	note "after $rounds flushes";
	like($error, qr/ERROR:  57014: could not flush some entries of table public\.slow\n.*HINT:  The entries stay pending/s,
		'... the caller hears that it stays pending');
	is(sql('SELECT string_agg(k::text, $$ $$) FROM mdbatch_pending_rows(NULL::slow)'),
		$slow, '... and so it does');
	is(books('slow', "pending, rejected, flush_failures - $failures"),
		'1|0|0', '... which is no failure of the flush');
	books_ok($node, 'postgres');

	# It alone, and with others.
	like(flush_error('slow'), qr/ERROR:  57014: could not flush some entries/,
		'... alone it waits again');
	sql("SELECT mdbatch_put('slow', '{\"k\": 1000, \"v\": \"quick\"}')");
	like(flush_error('slow'), qr/ERROR:  57014: could not flush some entries/,
		'... so it does with another');
	is(sql('SELECT v FROM slow WHERE k = 1000'), 'quick',
		'... which is written at once');
	is(books('slow', "pending, rejected, flush_failures - $failures"),
		'1|0|0', '... still no failure');
	sql("SELECT mdbatch_put('slow', '{\"k\": $slow, \"v\": \"mended\"}')");
	is(flush_error('slow'), '', 'mended, it is written');
	is(sql("SELECT v FROM slow WHERE k = $slow"), 'mended', '... as it is now');
}
# All are slow: that is the target's affair.
sql(q{SELECT mdbatch_put('slow', '[{"k": 1, "v": "slow"}, {"k": 2, "v": "slow"}]')});
like(flush_error('slow'), qr/ERROR:  57014: could not flush the batch/,
	'all are slow: the flush fails');
sql(q{SELECT mdbatch_discard('slow')});
books_ok($node, 'postgres');

$node->stop;
done_testing();
