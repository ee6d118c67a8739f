# Rows that others have locked: a flush steps over them and writes the others;
# they stay pending, each with a backoff of its own (R12, R24).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# The longest that a row may wait that nobody has locked, when it has an
# interval of 200 ms: a lock_timeout, and time for a slow machine.
my $max_lag = 3;

# What does not come by then does not come.
$PostgreSQL::Test::Utils::timeout_default = 60;

my $node = new_server('main', 'mdbatch.lock_timeout' => '1s',
	'mdbatch.flush_timeout' => '5s');
my $locker = session($node, 'postgres');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The error of a statement that must fail, with its SQLSTATE.
sub fails
{
	my ($result, $stdout, $stderr) = $node->psql('postgres',
		"\\set VERBOSITY verbose\n$_[0]");

	return $stderr;
}

sub books
{
	my ($target, $columns) = @_;

	return sql("SELECT $columns FROM mdbatch_stat
		WHERE relid = '$target'::regclass");
}

# SQL of entries with those ids, from first to last.
sub entries
{
	my ($first, $last, $v) = @_;

	return "(SELECT jsonb_agg(jsonb_build_object('id', i, 'v', '$v',
		'sent', clock_timestamp()) ORDER BY i)
		FROM generate_series($first, $last) i)";
}

# The same as a literal: CALL takes no subquery.
sub literal
{
	my ($first, $last, $v) = @_;

	return "'["
	  . join(', ', map { qq[{"id": $_, "v": "$v"}] } $first .. $last) . "]'";
}

sub put
{
	my ($target, $first, $last, $v) = @_;

	return sql("SELECT mdbatch_put('$target', "
		  . entries($first, $last, $v) . ')');
}

sub pending
{
	my ($target) = @_;

	return sql("SELECT string_agg(id || v, ' ' ORDER BY id)
		FROM mdbatch_pending_rows(NULL::$target)");
}

sub rows
{
	my ($target, $where) = @_;

	return sql("SELECT string_agg(id || v, ' ' ORDER BY id) FROM $target"
		  . ($where ? " WHERE $where" : ''));
}

# A table, attached; a trigger notes when each row was written.
sub target
{
	my ($name, $options) = @_;

	sql("CREATE TABLE $name (id int PRIMARY KEY, v text, sent timestamptz,
			written timestamptz);
		CREATE TRIGGER note_time BEFORE INSERT OR UPDATE ON $name
			FOR EACH ROW EXECUTE FUNCTION public.note_time();
		SELECT mdbatch_attach('$name', columns => '{v,sent}' $options)");
	return;
}

# How often a flush of the table has met something, and the times of that.
sub tries
{
	my ($target) = @_;

	return slurp_file($node->logfile) =~
	  /^\S+ (\d\d):(\d\d):([\d.]+) .*?(?:stepped over \d+ entries|could not flush the batch) of table public\.$target\b/mg;
}

sub wait_for_tries
{
	my ($target, $n) = @_;

	$node->wait_for_log(
		qr/(?:(?:stepped over \d+ entries|could not flush the batch) of table public\.$target:[\s\S]*?){$n}/
	);
	return;
}

# Put rows one by one, each after the one before was written, for so many
# seconds: the longest that one of them has waited.
sub longest_lag
{
	my ($target, $first, $seconds) = @_;
	my $stop = time + $seconds;
	my $id = $first;

	do
	{
		put($target, $id, $id, 'free');
		$node->poll_query_until('postgres',
			"SELECT EXISTS (SELECT FROM $target WHERE id = $id)")
		  or die "row $id of $target was not written";
		$id++;
	} while (time < $stop);
	return sql("SELECT extract(epoch FROM max(written - sent)) FROM $target
		WHERE id BETWEEN $first AND $id");
}

sql(<<'SQL');
CREATE FUNCTION public.note_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.written := clock_timestamp();
	RETURN NEW;
END $$;
SQL
target($_, '') foreach 'plain', 'other';
target('small', ', batch_size => 10');
target($_, ", flush_interval => '200ms'")
  foreach 'timed', 'inserted', 'picky', 'many', 'defined';

# Two rows of seven are locked: whoever asks is told so, the others are
# written at once, and to step over rows is no failure.
sql(q{INSERT INTO plain SELECT i, 'row' FROM generate_series(1, 5) i});
$locker->query_safe('BEGIN; SELECT FROM plain WHERE id IN (2, 4) FOR UPDATE');
put('plain', 1, 7, 'one');
like(fails(q{SELECT mdbatch_flush('plain')}),
	qr/^(?:.*\n)*.*ERROR:  55P03: could not flush some entries of table public\.plain/,
	'mdbatch_flush tells of the rows stepped over');
is(rows('plain', 'id NOT IN (2, 4)'), '1one 3one 5one 6one 7one',
	'the others are written');
is(pending('plain'), '2one 4one', 'those stay pending');
is(books('plain', 'pending, flushed, flush_failures, rejected'), '2|5|0|0',
	'that is no failure');
like(books('plain', 'last_error'), qr/^55P03: /, 'last_error tells');

# An acknowledged call hears of its own entries alone.
is(fails("CALL mdbatch_put_sync('plain', " . literal(8, 9, 'sync') . ')'),
	'', 'a call whose rows nobody has locked succeeds');
is(rows('plain', 'id > 7'), '8sync 9sync', 'with its rows written');
my $start = time;
like(fails("CALL mdbatch_put_sync('plain', " . literal(4, 4, 'sync') . ')'),
	qr/ERROR:  55P03: could not flush some entries/,
	'one whose row is locked is told so');
cmp_ok(time - $start, '<', 5, 'soon: what is deferred is tried at once');
like(fails("CALL mdbatch_put_sync('plain', " . literal(4, 10, 'both') . ')'),
	qr/ERROR:  55P03: could not flush some entries/,
	'so is one with one such row');
is(rows('plain', 'id BETWEEN 5 AND 10'),
	'5both 6both 7both 8both 9both 10both', 'the others of it are written');
is(pending('plain'), '2one 4both', 'a newer value has taken its place');

# Unlocked, they are written without being asked for.
$locker->query_safe('ROLLBACK');
wait_for($node, 'postgres', q{(SELECT string_agg(v, ' ' ORDER BY id) = 'one both'
	FROM plain WHERE id IN (2, 4))}, 'unlocked, they are written');
is(books('plain', 'pending, added, coalesced, flushed, flush_failures'),
	'0|17|2|15|0', 'once each');

# What is deferred does not count for the capacity: after a whole batch of it,
# batch_size others make the next capacity flush, no less.
sql(q{INSERT INTO small SELECT i, 'row' FROM generate_series(1, 10) i});
$locker->query_safe('BEGIN; SELECT FROM small FOR UPDATE');
put('small', 1, 10, 'locked');
wait_for_tries('small', 1);
put('small', 11, 19, 'free');
put('other', 1, 1, 'marker');
is(sql(q{SELECT mdbatch_flush('other')}), '1', 'a flush that comes later');
is(books('small', 'pending, flushed, batches_capacity, batches_scheduled'),
	'19|0|0|0', 'nine others are not flushed, the locked ones do not count');
put('small', 20, 20, 'free');
wait_for($node, 'postgres',
	q{(SELECT count(*) = 10 FROM small WHERE v = 'free')}, 'ten are');
is(books('small', 'pending, flushed, batches_capacity, batches_scheduled, flush_failures'),
	'10|10|1|0|0', 'in one capacity flush');
put('small', 21, 41, 'free');
wait_for($node, 'postgres',
	q{(SELECT count(*) = 30 FROM small WHERE v = 'free')},
	'of 21 more two batches are');
put('other', 2, 2, 'marker');
sql(q{SELECT mdbatch_flush('other')});
is(books('small', 'pending, flushed, batches_capacity'), '11|30|3',
	'and no more');
$locker->query_safe('ROLLBACK');
wait_for($node, 'postgres',
	q{(SELECT count(*) = 10 FROM small WHERE v = 'locked')},
	'unlocked, the others are written, too');

# One row is locked by an idle transaction for 20 s: all others keep their
# interval, and that row is tried 1 s later, 2 s, 4 s, 8 s.
sql(q{INSERT INTO timed VALUES (1, 'row')});
$locker->query_safe('BEGIN; SELECT FROM timed WHERE id = 1 FOR UPDATE');
put('timed', 1, 3, 'locked');
cmp_ok(longest_lag('timed', 10, 10), '<', $max_lag,
	'rows beside a locked one keep their interval');
put('timed', 1, 1, 'newer');
cmp_ok(longest_lag('timed', 1000, 10), '<', $max_lag,
	'also when a newer value of it has come');
is(pending('timed'), '1newer', 'the locked one waits');
is(books('timed', 'flush_failures'), '0', 'without any failure');
my @times = tries('timed');
my $before;
my $backoff = 1;
my $doubled = 'yes';
while (my ($hour, $minute, $second) = splice @times, 0, 3)
{
	my $at = 3600 * $hour + 60 * $minute + $second;

	# Whole seconds, so up to one more; and time for a slow machine.
	if (defined $before)
	{
		my $passed = $at - $before;

		$passed += 86400 if $passed < 0;
		$doubled = "no: $passed instead of $backoff"
		  if $passed < $backoff - 0.1 || $passed > $backoff + 2.5;
		$backoff *= 2;
	}
	$before = $at;
}
cmp_ok($backoff, '>=', 16, 'the locked one was tried several times');
is($doubled, 'yes', 'twice as long after each');
$locker->query_safe('COMMIT');
wait_for($node, 'postgres', q{EXISTS (SELECT FROM timed WHERE v = 'newer')},
	'unlocked, it is written within its backoff');
is(rows('timed', 'id = 1'), '1newer', 'with the newest value');

# Somebody is inserting the same key: nobody can see that row, and the entry
# meets the lock alone when it is tried again.  The others keep their interval.
$locker->query_safe(q{BEGIN; INSERT INTO inserted VALUES (1, 'theirs')});
put('inserted', 1, 2, 'ours');
wait_for($node, 'postgres', 'EXISTS (SELECT FROM inserted WHERE id = 2)',
	'beside a key that somebody inserts others are written');
wait_for_tries('inserted', 4);
cmp_ok(longest_lag('inserted', 10, 5), '<', $max_lag,
	'and keep their interval');
is(pending('inserted'), '1ours', 'that key waits');
is(books('inserted', 'flush_failures'), '0',
	'that it is tried again alone is no failure of the batch');
$locker->query_safe('COMMIT');
wait_for($node, 'postgres', q{EXISTS (SELECT FROM inserted WHERE v = 'ours')},
	'committed, it is written');

# Any other error that only some entries meet: the same.
sql(<<'SQL');
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.v = 'bad' THEN
		RAISE EXCEPTION 'refused' USING ERRCODE = '42501';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON picky
	FOR EACH ROW EXECUTE FUNCTION public.refuse();
SQL
sql("SELECT mdbatch_put('picky', " . entries(1, 1, 'bad') . ' || '
	  . entries(2, 3, 'good') . ')');
wait_for($node, 'postgres', '(SELECT count(*) = 2 FROM picky)',
	'an error that one entry meets does not stop the others');
wait_for_tries('picky', 4);
cmp_ok(longest_lag('picky', 10, 5), '<', $max_lag,
	'they keep their interval');
is(pending('picky'), '1bad', 'that one waits');
is(books('picky', 'flush_failures, rejected'), '0|0',
	'without any failure of the batch');
put('picky', 1, 1, 'good');
wait_for($node, 'postgres', 'EXISTS (SELECT FROM picky WHERE id = 1)',
	'a good value that comes meanwhile is written within its backoff');

# Somebody inserts every other key of a batch: to find that out takes no longer
# than a flush may take.
$locker->query_safe(q{BEGIN;
	INSERT INTO many SELECT i, 'theirs' FROM generate_series(1, 99, 2) i});
put('many', 1, 100, 'ours');
{
	local $PostgreSQL::Test::Utils::timeout_default = 30;
	wait_for($node, 'postgres', q{(SELECT count(*) = 50 FROM many)},
		'beside 50 keys that somebody inserts 50 others are written');
}
$locker->query_safe('ROLLBACK');
wait_for($node, 'postgres', q{(SELECT count(*) = 100 FROM many)},
	'rolled back, all are');

# A new definition does not let later adds overtake what is deferred (R1, and
# what mdbatch_attach promises): the last add has the last word.
sql(q{INSERT INTO defined VALUES (1, 'row')});
$locker->query_safe('BEGIN; SELECT FROM defined WHERE id = 1 FOR UPDATE');
put('defined', 1, 2, 'first');
# The third time it is deferred for 4 s.
wait_for_tries('defined', 3);
sql(q{SELECT mdbatch_attach('defined', columns => '{v}',
	flush_interval => '200ms')});
sql(q{SELECT mdbatch_put('defined', '{"id": 1, "v": "second"}')});
$locker->query_safe('COMMIT');
wait_for($node, 'postgres', q{(SELECT pending = 0 FROM mdbatch_stat
	WHERE relid = 'defined'::regclass)}, 'both definitions are written');
is(rows('defined'), '1second 2first', 'the later one later');

# A row that somebody has locked for less than lock_timeout is waited for, also
# beside one that was stepped over before.
{
	my $second = session($node, 'postgres');
	my $waiter = session($node, 'postgres');

	sql(q{INSERT INTO other SELECT i, 'row' FROM generate_series(11, 12) i});
	$locker->query_safe('BEGIN; SELECT FROM other WHERE id = 11 FOR UPDATE');
	put('other', 11, 11, 'locked');
	like(fails(q{SELECT mdbatch_flush('other')}), qr/ERROR:  55P03/,
		'a row is stepped over');
	$second->query_safe('BEGIN; SELECT FROM other WHERE id = 12 FOR UPDATE');
	start_query($waiter,
		"CALL mdbatch_put_sync('other', " . literal(12, 12, 'sync') . ')');
	wait_for($node, 'postgres', "($MdbatchTest::stuck OR NOT EXISTS (SELECT
		FROM pg_stat_activity WHERE query LIKE 'CALL mdbatch_put_sync%'
		AND state = 'active'))", 'a call has come to another locked row');
	$second->query_safe('COMMIT');
	my ($result, $error) = finish_query($waiter);
	is($error, '', 'it waits for that as long as lock_timeout');
	is(rows('other', 'id > 10'), '11row 12sync', 'and is written');
	$locker->query_safe('COMMIT');
	wait_for($node, 'postgres', q{EXISTS (SELECT FROM other
		WHERE v = 'locked')}, 'unlocked, the other is, too');
	$_->quit foreach $second, $waiter;
}

# What is deferred when the server stops is there after the start, due at once
# (R14); a terminated worker leaves it to the next, with its backoff (R11).
sql(q{CREATE TABLE sums (id int PRIMARY KEY, n int);
	INSERT INTO sums VALUES (1, 1), (2, 1);
	SELECT mdbatch_attach('sums', merge => '{"n": "sum"}')});
$locker->query_safe('BEGIN; SELECT FROM sums WHERE id = 1 FOR UPDATE');
sql(q{SELECT mdbatch_put('sums', '[{"id": 1, "n": 10}, {"id": 2, "n": 10}]')});
like(fails(q{SELECT mdbatch_flush('sums')}), qr/ERROR:  55P03/, 'one is locked');
sql(q{SELECT mdbatch_put('sums', '[{"id": 1, "n": 100}]')});
my $pid = worker_pid($node, 'postgres');
sql("SELECT pg_terminate_backend($pid, 30000)");
wait_for($node, 'postgres', "EXISTS (SELECT FROM pg_stat_activity
	WHERE backend_type = 'mdbatch worker' AND pid <> $pid)",
	'another worker takes over');
like(fails(q{SELECT mdbatch_flush('sums')}), qr/ERROR:  55P03/,
	'it steps over what is locked, too');
is(books('sums', 'pending, flushed, flush_failures'), '1|1|0',
	'nothing is lost');
$node->restart;
end_session($locker);
wait_for($node, 'postgres', q{(SELECT sum(pending) = 0 FROM mdbatch_stat
	WHERE relid = 'sums'::regclass)}, 'after a restart it is written');
is(sql('SELECT string_agg(n::text, $$ $$ ORDER BY id) FROM sums'), '111 11',
	'once');

sql(q{SELECT mdbatch_flush()});
is(sql('SELECT string_agg(target || pending, $$ $$) FROM mdbatch_stat
	WHERE pending > 0'), '', 'nothing is left');
is(sql('SELECT count(*) FROM mdbatch_rejected'), '0', 'nothing was rejected');
books_ok($node, 'postgres');
$node->stop;
done_testing();
