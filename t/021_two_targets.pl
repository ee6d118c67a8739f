# Batches are independent (R24): a locked or a broken target, one that is full,
# and intervals and sizes of their own.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_server('main', 'mdbatch.lock_timeout' => '1s',
	'mdbatch.flush_timeout' => '15s');
my $locker = session($node, 'postgres');
my $waiter = session($node, 'postgres');
my $second = session($node, 'postgres');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub books
{
	my ($target, $columns) = @_;

	return sql("SELECT $columns FROM mdbatch_stat
		WHERE relid = '$target'::regclass");
}

# Entries from first to last, in one call: how many were accepted.
sub put
{
	my ($target, $first, $last) = @_;

	$last = $first unless defined $last;
	return sql("SELECT mdbatch_put('$target',
		jsonb_agg(jsonb_build_object('id', i, 'v', 'new')))
		FROM generate_series($first, $last) i");
}

sub ids
{
	my ($target) = @_;

	return sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM $target");
}

sql(<<'SQL');
CREATE TABLE locked (id int PRIMARY KEY, v text);
CREATE TABLE free (LIKE locked INCLUDING ALL);
CREATE TABLE timed (LIKE locked INCLUDING ALL);
CREATE TABLE small (LIKE locked INCLUDING ALL);
CREATE TABLE broken (LIKE locked INCLUDING ALL);
CREATE FUNCTION public.no_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'no disk' USING ERRCODE = '58030';
END $$;
CREATE TRIGGER no_disk BEFORE INSERT ON broken
	FOR EACH ROW EXECUTE FUNCTION public.no_disk();
SELECT mdbatch_attach('locked');
SELECT mdbatch_attach('free');
SELECT mdbatch_attach('timed', flush_interval => '100ms');
SELECT mdbatch_attach('small', batch_size => 3);
SELECT mdbatch_attach('broken');
SQL

# A target's own interval and batch_size are not those of others.
put('free', 1);
put('small', 1, 2);
put('timed', 1);
wait_for($node, 'postgres', q{EXISTS (SELECT FROM timed)},
	'a target with an interval of its own is flushed');
put('timed', 2);
wait_for($node, 'postgres', q{(SELECT count(*) = 2 FROM timed)}, 'and again');
is(books('timed', 'batches_scheduled, flushed, pending'), '2|2|0',
	'by the timer');
is(books('free', 'pending, flushed') . ' ' . books('small', 'pending, flushed'),
	'1|0 2|0', 'others wait for theirs');
put('small', 3);
wait_for($node, 'postgres', q{(SELECT count(*) = 3 FROM small)},
	'one with a batch_size of its own is flushed when it has that many');
is(books('small', 'batches_capacity, pending, capacity') . ' '
	  . books('free', 'pending, capacity'),
	'1|0|15 1|2500', 'the other is not, and has its own capacity');

# A target is locked.  The flush of another that comes after the worker's wait
# has begun returns while the lock is held, after one lock_timeout at the most
# (the test allows some more for a slow machine); so do the timed ones.
$locker->query_safe('BEGIN; LOCK TABLE locked IN EXCLUSIVE MODE');
put('locked', 1);
start_query($waiter, q{SELECT mdbatch_flush('locked')});
stuck_worker($node, 'postgres', 'the flush of a locked target waits');
my $start = time;
is(sql(q{SELECT mdbatch_flush('free')}), '1', 'the flush of another returns');
cmp_ok(time - $start, '<', 5, 'soon');
is(ids('free'), '1', 'with its entry written');
is(books('locked', 'pending, flushed'), '1|0', 'while the locked one waits');
my ($result, $error) = finish_query($waiter);
is($result, '', 'the flush of the locked one does not return a number');
like($error, qr/ERROR:  could not flush the batch of table public\.locked/,
	'it fails');
like(books('locked', 'last_error'), qr/^55P03: /, 'with lock_not_available');
for my $i (3 .. 6)
{
	put('timed', $i);
	wait_for($node, 'postgres', "EXISTS (SELECT FROM timed WHERE id = $i)",
		"the timer of another goes on ($i)");
}
# At least one retry more, in the same time.
wait_for($node, 'postgres', q{(SELECT flush_failures >= 2 FROM mdbatch_stat
	WHERE relid = 'locked'::regclass)}, 'the locked one is tried again');
put('free', 2);
is(sql(q{SELECT mdbatch_flush('free')}), '1', 'others still go ahead');
is(books('free', 'flush_failures') . books('timed', 'flush_failures'), '00',
	'its failures are not theirs');

# All at once: the failure of one is raised, the others are written.
put('free', 3);
put('small', 4);
($result, my $stdout, $error) =
  $node->psql('postgres', 'SELECT mdbatch_flush()');
like($error, qr/could not flush the batch of table public\.locked/,
	'a flush of all raises the failure of one');
wait_for($node, 'postgres', q{EXISTS (SELECT FROM free WHERE id = 3)
	AND EXISTS (SELECT FROM small WHERE id = 4)}, 'the others are written');
is(books('locked', 'pending, rejected'), '1|0', 'it waits still');

# Its backoff ends when it can be written, and it loses nothing.
$locker->query_safe('COMMIT');
is(sql(q{SELECT mdbatch_flush('locked')}), '1', 'unlocked, it is flushed');
is(ids('locked'), '1', 'and has its entry');

# A target is full, as it is locked and its entries wait: others are not.
$locker->query_safe('BEGIN; LOCK TABLE small IN EXCLUSIVE MODE');
is(put('small', 101, 140), '15', 'a full batch drops');
is(put('free', 101, 140), '40', 'another does not');
is(books('small', 'dropped') . ' ' . books('free', 'dropped'), '25 0',
	'the books say so');
is(sql(q{SELECT mdbatch_flush('free')}), '40', 'it is flushed');
$locker->query_safe('COMMIT');
sql(q{SELECT mdbatch_flush('small')});
is(sql('SELECT count(*) FROM small WHERE id > 100'), '15',
	'the full one, too, with what it had taken');

# A target fails, for all and with an error that is not about its data: nothing
# is rejected, and others go on between its retries.
put('broken', 1, 2);
put('free', 4);
($result, $stdout, $error) =
  $node->psql('postgres', q{SELECT mdbatch_flush('broken')});
like($error, qr/could not flush the batch of table public\.broken/,
	'the flush of a broken target fails');
is(sql(q{SELECT mdbatch_flush('free')}), '1', 'that of another returns');
for my $i (7 .. 9)
{
	put('timed', $i);
	wait_for($node, 'postgres', "EXISTS (SELECT FROM timed WHERE id = $i)",
		"the timer of another goes on ($i)");
}
wait_for($node, 'postgres', q{(SELECT flush_failures >= 2 FROM mdbatch_stat
	WHERE relid = 'broken'::regclass)}, 'the broken one is tried again');
is(books('broken', 'pending, flushed, rejected'), '2|0|0',
	'it keeps its entries');
like(books('broken', 'last_error'), qr/^58030: /, 'and tells of its error');
is(sql('SELECT count(*) FROM mdbatch_rejected'), '0', 'nothing was rejected');

# The retries of a failing target are further and further apart: another that
# is flushed all the time is not in their way, nor the other way round.
put('timed', 10);
wait_for($node, 'postgres', 'EXISTS (SELECT FROM timed WHERE id = 10)',
	'others are flushed');
sql('DROP TRIGGER no_disk ON broken');
wait_for($node, 'postgres', q{(SELECT count(*) = 2 FROM broken)},
	'mended, it is written without being asked for');
is(books('broken', 'pending, flushed, rejected'), '0|2|0', 'all of it');

# Two targets are locked: two waits, one after the other, and a third target
# still goes ahead.
$locker->query_safe('BEGIN; LOCK TABLE locked, broken IN EXCLUSIVE MODE');
put('locked', 2);
put('broken', 3);
start_query($waiter, q{SELECT mdbatch_flush('locked')});
start_query($second, q{SELECT mdbatch_flush('broken')});
stuck_worker($node, 'postgres', 'two wait');
$start = time;
put('free', 5);
is(sql(q{SELECT mdbatch_flush('free')}), '1', 'the third is flushed');
cmp_ok(time - $start, '<', 6, 'soon');
is(books('locked', 'pending') . books('broken', 'pending'), '11',
	'both wait still');
$locker->query_safe('COMMIT');
# Each is flushed, or its failure was raised; then it is tried again.
finish_query($_) foreach $waiter, $second;
sql('SELECT mdbatch_flush()');
is(ids('locked') . ' ' . ids('broken'), '1,2 1,2,3',
	'unlocked, they have their entries');

is(ids('timed'), '1,2,3,4,5,6,7,8,9,10', 'no entry of the timed one is missing');
is(sql('SELECT sum(pending) FROM mdbatch_stat'), '0', 'nothing is left');
books_ok($node, 'postgres');

$_->quit foreach $locker, $waiter, $second;
$node->stop;
done_testing();
