# A file of pending entries that is damaged, does not belong, does not fit or
# cannot be removed (R14): nothing is half loaded, nothing is written twice
# (R26).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use File::Copy;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{MDBATCH_SAVED_SEED} || 1 + int rand 1_000_000_000;
diag "MDBATCH_SAVED_SEED=$seed";
srand $seed;

my $node = new_server('main', 'streaming' => 1,
	'max_prepared_transactions' => '20', 'mdbatch.lock_timeout' => '100ms',
	'mdbatch.flush_timeout' => '2s', 'mdbatch.memory' => '4MB',
	'mdbatch.max_batches' => '2', 'mdbatch.queue_size' => '100000',
	'restart_after_crash' => 'on');
my $file = $node->data_dir . '/mdbatch.pending';
my $offset = 0;
my $next_id = 1;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub files
{
	return join ' ', map { s{.*/}{}r } sort glob "$file*";
}

# An entry of a key of its own, and one that all share; the key.
sub put
{
	my $id = $next_id++;

	sql(qq(SELECT mdbatch_put('counter', '[{"id": $id, "n": 1}, {"id": 0, "n": 1}]')));
	return $id;
}

sub pending
{
	return sql("SELECT coalesce(sum(pending), 0) FROM mdbatch_stat
		WHERE datname = current_database()");
}

sub counted { return sql('SELECT id, n FROM counter ORDER BY id'); }

sub freeze
{
	my ($table) = @_;

	return sql("BEGIN; LOCK TABLE $table IN EXCLUSIVE MODE;
		PREPARE TRANSACTION 'freeze_$table'");
}

sub thaw { return sql("COMMIT PREPARED 'freeze_$_[0]'"); }

# Is the file set aside under such a name, reported, and nothing loaded?
sub set_aside
{
	my ($what, $detail, $case) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like(files(), qr/^mdbatch\.pending\.$what\.\d+$/, "$case: set aside");
	ok( $node->log_contains(
			qr/WARNING:  file "mdbatch.pending" of pending entries is not loaded\n.*DETAIL:  \Q$detail\E\n.*HINT:  It has been renamed to "mdbatch.pending.$what/,
			$offset),
		"$case: reported");
	ok(!$node->log_contains(qr/LOG:  loaded/, $offset), "$case: not loaded");
	is(pending(), '0', "$case: nothing is pending");
	unlink glob "$file.*";
	return;
}

my $damaged = 'It is damaged.';
my $other_state = 'It does not belong to this state of the data directory.';
my $other_version = 'It was written by another version.';

# CRC-32C, as PostgreSQL has it.
my @table = map {
	my $crc = $_;

	$crc = $crc & 1 ? ($crc >> 1) ^ 0x82F63B78 : $crc >> 1 for 1 .. 8;
	$crc;
} 0 .. 255;

sub crc
{
	my ($bytes) = @_;
	my $crc = 0xFFFFFFFF;

	$crc = $table[ ($crc ^ $_) & 255 ] ^ ($crc >> 8) foreach unpack 'C*', $bytes;
	return $crc ^ 0xFFFFFFFF;
}

# The same file with other bytes in its header, and a checksum that is right.
sub forge
{
	my ($bytes, $at, $value) = @_;

	substr($bytes, $at, length $value) = $value;
	substr($bytes, 44, 4) = "\0" x 4;
	substr($bytes, 44, 4) =
	  pack('L', crc(substr($bytes, 48) . substr($bytes, 0, 48)));
	return $bytes;
}

sub flip
{
	my ($bytes, $at) = @_;

	substr($bytes, $at, 1) ^= chr(1 << int rand 8);
	return $bytes;
}

sub slurp { return PostgreSQL::Test::Utils::slurp_file($_[0]); }

sub spew
{
	my ($path, $bytes) = @_;

	open my $out, '>:raw', $path or die "$path: $!";
	print $out $bytes;
	close $out or die "$path: $!";
	return;
}

# Stop with one entry saved, change the file, start.
sub stop_and_change
{
	my ($change) = @_;
	my $bytes;

	put();
	$node->stop('fast');
	$bytes = slurp($file);
	spew($file, $change->($bytes));
	$offset = -s $node->logfile;
	$node->start;
	return;
}

sql(<<'SQL');
CREATE TABLE counter (id int PRIMARY KEY, n bigint);
SELECT mdbatch_attach('counter', merge => '{"n": "sum"}');
SQL
freeze('counter');

# A forged checksum is right, or what follows proves nothing.
stop_and_change(sub { forge($_[0], 0, 'mdbatch') });
ok($node->log_contains(qr/LOG:  loaded 2 pending entr(?:y|ies)/, $offset),
	'the same file with a checksum of our own is loaded');
is(pending(), '2', 'it is pending');
sql("SELECT mdbatch_discard('counter')");

# Damaged.
foreach my $length (0, 1, 47, 48, 49, 'half', -1)
{
	stop_and_change(
		sub {
			substr($_[0], 0, $length eq 'half' ? length($_[0]) / 2 : $length);
		});
	set_aside('damaged', $damaged, "truncated to $length");
}
stop_and_change(sub { "$_[0]\0" });
set_aside('damaged', $damaged, 'longer');
stop_and_change(sub { "\0" x length $_[0] });
set_aside('damaged', $damaged, 'zeroes');
foreach my $at (0, 8, 12, 16, 24, 32, 40, 44, 48, 60, 200, 'half', -1)
{
	stop_and_change(
		sub { flip($_[0], $at eq 'half' ? length($_[0]) / 2 : $at) });
	set_aside('damaged', $damaged, "a bit flipped at $at");
}
# A right checksum of wrong bytes: the file is checked as a whole before any of
# it is loaded, the description of the entries included.
my $relid = sql("SELECT 'counter'::regclass::oid");
foreach my $wrong (
	[ 'fewer definitions', 'batch', 8, 'L', 0 ],
	[ 'more definitions', 'batch', 8, 'L', 2 ],
	[ 'an endless target', 'batch', 25, 'a*', 'x' x 135 ],
	[ 'a longer definition', 'saved', 0, 'L', 200 ],
	[ 'a definition of 4 GB', 'saved', 0, 'L', 0xFFFFFFFF ],
	[ 'an empty definition', 'saved', 0, 'L', 0 ],
	[ 'fewer entries', 'saved', 4, 'L', 1 ],
	[ 'more entries', 'saved', 4, 'L', 3 ],
	[ 'another table', 'definition', 0, 'L', 1 ],
	[ 'another mode', 'definition', 4, 'C', 9 ],
	[ 'no key', 'definition', 8, 'S', 0 ],
	[ 'more columns', 'definition', 10, 'S', 1600 ],
	[ 'a row type', 'definition', 14, 'S', 1 ],
	[ 'bytes of row types', 'definition', 20, 'L', 32 ],
	[ 'many bytes of row types', 'definition', 20, 'L', 0xFFFFFFF8 ],
	[ 'a wide key', 'definition', 114, 's', 8 ],
	[ 'a key of variable length', 'definition', 114, 's', -1 ],
	[ 'a key of rows', 'definition', 119, 'C', 1 ])
{
	my ($case, $where, $at, @value) = @$wrong;

	stop_and_change(
		sub {
			# A header, a batch with its relid, a definition with the same.
			my $definition = index($_[0], pack('L', $relid), 48 + 8);
			my %start = (batch => 48, saved => $definition - 8,
				definition => $definition);

			return forge($_[0], $start{$where} + $at, pack(shift @value, @value));
		});
	set_aside('damaged', $damaged, $case);
}
# Of another version, server, state.
stop_and_change(sub { forge($_[0], 8, pack 'L', 999) });
set_aside('foreign', $other_version, 'another format');
stop_and_change(sub { forge($_[0], 12, pack 'L', 140000) });
set_aside('foreign', $other_version, 'another PostgreSQL');
stop_and_change(
	sub { forge($_[0], 16, pack 'Q', 1 + unpack 'Q', substr $_[0], 16, 8) });
set_aside('foreign', $other_state, 'another system identifier');
stop_and_change(
	sub { forge($_[0], 24, pack 'Q', 8 + unpack 'Q', substr $_[0], 24, 8) });
set_aside('foreign', $other_state, 'another checkpoint');

# An older copy, put back after a later stop: with a later file, and with none.
put();
$node->stop;
my $old = slurp($file);
$node->start;
is(pending(), '2', 'loaded');
my $id = put();
$node->stop;
spew($file, $old);
$offset = -s $node->logfile;
$node->start;
set_aside('foreign', $other_state, 'an older copy');
$node->stop;
is(files(), '', 'nothing is saved');
spew($file, $old);
$offset = -s $node->logfile;
$node->start;
set_aside('foreign', $other_state, 'an older copy, nothing pending');

# A server that was stopped immediately, and one that crashed.
foreach my $how (qw(immediate kill))
{
	put();
	$node->stop('fast');
	$old = slurp($file);
	$node->start;
	until_true(sub { files() eq '' }, 'the file is gone');
	$node->stop('immediate') if $how eq 'immediate';
	if ($how eq 'kill')
	{
		my $launcher = process_pid($node, 'mdbatch launcher');

		$node->kill9;
		until_true(sub { !kill 0, $launcher }, 'the launcher follows');
	}
	spew($file, $old);
	$offset = -s $node->logfile;
	$node->start;
	set_aside('foreign', $other_state, "after $how");
}

# A start without the library, in between.
put();
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
is(files(), 'mdbatch.pending', 'without the library the file stays');
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'mdbatch'");
$offset = -s $node->logfile;
$node->start;
set_aside('foreign', $other_state, 'a start without the library');
thaw('counter');
is(counted(), '', 'nothing was written of all that');

# Settings lowered: the start fails with a hint, and nothing is lost.
sub fails_to_start
{
	my ($pattern, $hint, $case) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$offset = -s $node->logfile;
	is($node->start(fail_ok => 1), 0, "$case: the server does not start");
	like(slurp_file($node->logfile, $offset), qr/FATAL:  $pattern/,
		"$case: the log says why");
	like(slurp_file($node->logfile, $offset), qr/HINT:  $hint/, "$case: a hint")
	  if defined $hint;
	is(files(), 'mdbatch.pending', "$case: the file stays");
	return;
}

my $not_fit = qr/pending entries of file "mdbatch.pending" do not fit/;
my $fit_hint = qr/Set "mdbatch.memory" and "mdbatch.max_batches" to what they were when the server was stopped\./;
sql(<<'SQL');
CREATE TABLE other (id int PRIMARY KEY, v text);
SELECT mdbatch_attach('other');
SQL
freeze('counter');
freeze('other');
$id = put();
is(sql("SELECT mdbatch_put('other', jsonb_agg(jsonb_build_object('id', i,
		'v', repeat('x', 1000)))) FROM generate_series(1, 2000) i"),
	'2000', 'about 2.5 MB are pending');
my $rows = sql('SELECT md5(string_agg(r::text, $$ $$))
	FROM mdbatch_pending_rows(NULL::other) r');
$node->stop;
is(sprintf('%o', (stat $file)[2] & 0777), '600',
	'nobody else may read the file');
$node->append_conf('postgresql.conf', 'mdbatch.memory = 2MB');
fails_to_start($not_fit, $fit_hint, 'less memory') foreach 1 .. 2;
$node->append_conf('postgresql.conf',
	"mdbatch.memory = 4MB\nmdbatch.max_batches = 1");
fails_to_start($not_fit, $fit_hint, 'fewer batches');
$node->append_conf('postgresql.conf', 'mdbatch.max_batches = 2');
$node->start;
is(pending(), '2002', 'restored, the settings have everything there');
is( sql('SELECT md5(string_agg(r::text, $$ $$))
		FROM mdbatch_pending_rows(NULL::other) r'),
	$rows, 'as it was');

# More of both is no obstacle, the hint says.
$node->stop;
$node->append_conf('postgresql.conf',
	"mdbatch.memory = 8MB\nmdbatch.max_batches = 100");
is($node->start(fail_ok => 1), 1, 'more of both is no obstacle');
is(pending(), '2002', 'all of it is there');
$node->stop;
$node->append_conf('postgresql.conf', "mdbatch.memory = 4MB\nmdbatch.max_batches = 2");
$node->start;
# A batch may have three quarters of the memory; with more batches, less.
sql("SELECT mdbatch_put('other', jsonb_agg(jsonb_build_object('id', i,
	'v', repeat('x', 1000)))) FROM generate_series(2001, 10000) i");
my $full = pending();
$node->stop;
$node->append_conf('postgresql.conf', 'mdbatch.max_batches = 100');
fails_to_start($not_fit, $fit_hint, 'with more batches, which have less each,');
$node->append_conf('postgresql.conf', 'mdbatch.max_batches = 2');
$node->start;
is(pending(), $full, 'a batch that has all it may have is there, too');

# The file cannot be read.
$node->stop;
chmod 0, $file;
fails_to_start(qr/could not open file "mdbatch.pending": Permission denied/,
	undef, 'unreadable');
chmod 0600, $file;
$node->start;
is(pending(), $full, 'readable, it is loaded');
thaw($_) foreach qw(other counter);
sql('SELECT mdbatch_flush()');
is(counted(), "0|1\n$id|1", 'and written once');
is(sql('SELECT count(*) FROM other'), $full - 2, 'all of it');
books_ok($node, 'postgres');

# Files that cannot be removed or renamed: the library's calls fail while there
# is a file that says so.
my $library = $node->basedir . '/refuse.so';
spew("$library.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
unlink(const char *path)
{
	int			(*next) (const char *) = dlsym(RTLD_NEXT, "unlink");

	if (strcmp(path, "mdbatch.pending") == 0 && access("no_unlink", F_OK) == 0)
	{
		errno = EACCES;
		return -1;
	}
	return next(path);
}

int
rename(const char *from, const char *to)
{
	int			(*next) (const char *, const char *) = dlsym(RTLD_NEXT, "rename");

	if (strncmp(from, "mdbatch.pending", 15) == 0 && access("no_rename", F_OK) == 0)
	{
		errno = EACCES;
		return -1;
	}
	return next(from, to);
}
C
chomp(my $cc = `pg_config --cc`);
system_or_bail((split ' ', $cc)[0], '-fPIC', '-shared', '-o', $library,
	"$library.c", '-ldl');
my ($no_unlink, $no_rename) =
  map { $node->data_dir . "/$_" } qw(no_unlink no_rename);
{
	local $ENV{LD_PRELOAD} = $library;

	freeze('counter');
	my $one = put();
	$node->stop;
	spew($no_unlink, '');
	$offset = -s $node->logfile;
	$node->start;
	$node->wait_for_log(
		qr/could not remove file "mdbatch.pending": Permission denied/, $offset);
	$node->wait_for_log(qr/DETAIL:  Nothing is flushed before that/, $offset);
	thaw('counter');
	my $two = put();
	($one, $two) = ("$one|1", "$two|1");

	# Twice, so that whoever would flush has had the time.
	my $again = -s $node->logfile;
	$node->wait_for_log(qr/could not remove file/, $again);
	is(counted(), "0|1\n$id|1", 'nothing is flushed before the file is removed');

	# A crash: the file no longer belongs, and the batches are reset.
	my $victim = session($node, 'postgres');
	my $pid = $victim->query_safe('SELECT pg_backend_pid()');
	my $crash = -s $node->logfile;
	kill 'KILL', $pid;
	$node->wait_for_log(qr/database system is ready to accept connections/, $crash);
	end_session($victim);
	$offset = $crash;
	set_aside('foreign', $other_state, 'a crash before it was removed');
	is(counted(), "0|1\n$id|1", 'nothing was flushed');

	# A stop: it is saved again, with what came since.
	freeze('counter');
	put();
	$node->stop;
	$node->start;
	put();
	my $n = pending();
	is($n, 3, 'three are pending');
	$node->stop;
	is(files(), 'mdbatch.pending', 'saved over the file that was not removed');
	unlink $no_unlink;
	$offset = -s $node->logfile;
	$node->start;
	ok($node->log_contains(qr/LOG:  loaded $n pending entr(?:y|ies)/, $offset),
		'and loaded');
	until_true(sub { files() eq '' }, 'the file is gone');
	thaw('counter');
	sql('SELECT mdbatch_flush()');
	is(sql('SELECT n FROM counter WHERE id = 0'), '3', 'each counts once');

	# It cannot be set aside: no start, or it might be taken for a good one.
	freeze('counter');
	put();
	$node->stop;
	$old = slurp($file);
	spew($file, flip($old, 50));
	spew($no_rename, '');
	fails_to_start(qr/could not set aside file "mdbatch.pending"/, undef,
		'cannot be set aside');
	unlink $no_rename;
	spew($file, $old);
	$node->start;
	is(pending(), '2', 'mended, it is loaded');

	# It cannot be written: the log tells.
	spew($no_rename, '');
	$offset = -s $node->logfile;
	$node->stop;
	ok( $node->log_contains(
			qr/WARNING:  could not save pending entries to file "mdbatch.pending".*\n.*DETAIL:  They are lost/,
			$offset),
		'what cannot be saved is reported');
	is(files(), '', 'with nothing left behind');
	unlink $no_rename;
	$node->start;
	is(pending(), '0', 'it is lost');
	thaw('counter');
}

# What remains of an earlier attempt to save is in nobody's way.
freeze('counter');
$id = put();
spew("$file.tmp", 'x' x 1_000_000);
$node->stop;
is(files(), 'mdbatch.pending', 'the file is written over it');
$node->start;
is(pending(), '2', 'and loaded');
thaw('counter');
sql('SELECT mdbatch_flush()');
sql('DELETE FROM counter');

# A postmaster that is killed right after the start, at random times: what had
# been saved is written once, or lost.
sub single
{
	my ($statement) = @_;
	my ($in, $out) = ("$statement\n", '');

	IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ],
		'<', \$in, '>', \$out, '2>&1');
	return $out;
}

sub kill_postmaster
{
	my $path = $node->data_dir . '/postmaster.pid';

	open my $in, '<', $path or return;
	chomp(my $pid = <$in> // '');
	close $in;
	return if $pid !~ /^\d+$/;
	my @children =
	  map { m{(\d+)} } grep {
		my $status = eval { PostgreSQL::Test::Utils::slurp_file($_) } // '';

		$status =~ /^PPid:\s+$pid$/m;
	  } glob '/proc/[0-9]*/status';

	kill 'KILL', $pid;
	until_true(
		sub {
			!grep { kill 0, $_ } $pid, @children;
		},
		'the server is gone');

	# PostgreSQL does not start beside a lock file that is empty still.
	unlink grep { -z } glob $node->host . '/.s.PGSQL.*.lock';
	return;
}

my %seen;
foreach my $round (1 .. 6)
{
	freeze('counter');
	my $key = put();
	$node->stop;
	single("COMMIT PREPARED 'freeze_counter'");
	is(files(), 'mdbatch.pending', "round $round: saved, and free");
	$node->_update_pid(0);
	system_or_bail('pg_ctl', '-D', $node->data_dir, '-l', $node->logfile, '-W',
		'-s', 'start');
	until_true(sub { -s $node->data_dir . '/postmaster.pid' }, 'it starts');
	usleep(rand 150_000);
	kill_postmaster();
	$node->{_pid} = undef;
	$node->start;
	sql('SELECT mdbatch_flush()');
	my $n = sql("SELECT coalesce(max(n), 0) FROM counter WHERE id = $key");

	cmp_ok($n, '<=', 1, "round $round: killed at the start, nothing counts twice");
	$seen{ $n ? 'written' : 'lost' }++;
	unlink glob "$file.*";
}
is( sql('SELECT count(*) FROM counter WHERE id > 0'),
	sql('SELECT coalesce(max(n), 0) FROM counter WHERE id = 0'),
	'the sum is that of what was written');
note join ', ', map { "$_: $seen{$_}" } sort keys %seen;

# Killed while it saves: all or nothing is there afterwards.
$node->stop;
$node->append_conf('postgresql.conf', "mdbatch.memory = 64MB\nlog_min_messages = log");
$node->start;
sql('DELETE FROM other');
foreach my $round (1 .. 4)
{
	freeze('other');
	my $n = sql("SELECT mdbatch_put('other', jsonb_agg(jsonb_build_object('id', i,
		'v', repeat('x', 1000)))) FROM generate_series(1, 20000) i");
	system_or_bail('pg_ctl', '-D', $node->data_dir, '-m', 'fast', '-W', '-s',
		'stop');
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	usleep(100) until -e "$file.tmp" || -e $file || time > $deadline;
	usleep(rand 30_000);
	kill_postmaster();
	note "round $round: " . files();
	my $complete = -e $file;
	$node->{_pid} = undef;
	$offset = -s $node->logfile;
	$node->start;
	is(pending(), $complete ? $n : 0, "round $round: killed while saving");
	ok(!$node->log_contains(qr/is not loaded/, $offset),
		'never a file that is half written');
	sql("SELECT mdbatch_discard('other')");
	thaw('other');
}

# Copies of the data directory.
$node->append_conf('postgresql.conf', 'mdbatch.memory = 4MB');
$node->restart;
sql('DELETE FROM counter');
unlink "$file.tmp";
$node->backup('hot');
freeze('counter');
sql(q{SELECT mdbatch_put('counter', '{"id": 1, "n": 1}')});
$node->stop;
single("COMMIT PREPARED 'freeze_counter'");
is(files(), 'mdbatch.pending', 'an entry is saved of a target that is free');
$node->backup_fs_cold('cold');

sub copy_of
{
	my ($name, $backup, %params) = @_;
	my $copy = PostgreSQL::Test::Cluster->new($name);

	$copy->init_from_backup($node, $backup, %params);
	return $copy;
}

sub aside_in
{
	my ($copy) = @_;

	return join ' ', map { s{.*/}{}r } glob $copy->data_dir . '/mdbatch.pending*';
}

# The same state, started twice, with a crash in between.
my $copy = copy_of('copy', 'cold');
$copy->start;
ok($copy->poll_query_until('postgres', 'SELECT EXISTS (SELECT FROM counter)'),
	'a copy of the whole directory has what was saved');
my $launcher = process_pid($copy, 'mdbatch launcher');
$copy->kill9;
until_true(sub { !kill 0, $launcher }, 'it crashes');
$copy->start;
is($copy->safe_psql('postgres',
		'SELECT mdbatch_flush(); SELECT n FROM counter'), "0\n1", 'and counts it once');
$copy->stop;

# As a standby, and with recovery to do.
$copy = copy_of('standby', 'cold');
$copy->append_conf('postgresql.conf', "primary_conninfo = 'host=/nowhere'");
$copy->set_standby_mode;
$copy->start;
like(aside_in($copy), qr/^mdbatch\.pending\.foreign\.\d+$/,
	'a demoted primary sets the file aside');
is($copy->safe_psql('postgres', 'SELECT count(*) FROM mdbatch_stat WHERE pending > 0'),
	'0', 'with nothing pending');
$copy->promote;
is($copy->safe_psql('postgres', 'SELECT mdbatch_flush(); SELECT n FROM counter'),
	'0', 'nor when it is promoted');
$copy->stop;
$copy = copy_of('pitr', 'cold');
$copy->append_conf('postgresql.conf', "restore_command = 'false'");
$copy->set_recovery_mode;
$copy->start;
ok($copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'),
	'recovery ends');
like(aside_in($copy), qr/^mdbatch\.pending\.foreign\.\d+$/,
	'recovery sets the file aside');
is($copy->safe_psql('postgres', 'SELECT mdbatch_flush(); SELECT n FROM counter'),
	'0', 'with nothing pending');
$copy->stop;
$copy = copy_of('hot', 'hot');
ok(-e $copy->data_dir . '/backup_label', 'a base backup');
copy($file, $copy->data_dir . '/mdbatch.pending') or die $!;
$copy->start;
like(aside_in($copy), qr/^mdbatch\.pending\.foreign\.\d+$/,
	'a base backup sets the file aside');
is($copy->safe_psql('postgres', 'SELECT mdbatch_flush(); SELECT n FROM counter'),
	'0', 'with nothing pending');
$copy->stop;

# The original still has it.
$node->start;
wait_for($node, 'postgres', 'EXISTS (SELECT FROM counter)', 'the original');
is(counted(), '1|1', 'counts it once');
books_ok($node, 'postgres');
$node->stop;
done_testing();
