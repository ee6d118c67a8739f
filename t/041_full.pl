# What is really full: a disk, and the queue of NOTIFY (which takes 8 GB before
# version 17: set MDBATCH_FULL_NOTIFY to fill it).  No entry is to blame for
# that: nothing is rejected, nothing is lost, and when there is room again all
# is written exactly once (R11, R12, R14, R19, R26), while other targets go on
# (R24).  Lost is only what cannot be saved at a stop: the log tells.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run qw(start);
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::Local;

my %running;    # the postmasters that Cluster does not know of
my ($major) = `pg_config --version` =~ /(\d+)/;

END
{
	# Keep the result of the test.
	local $?;
	kill 'QUIT', values %running;
}

# A mount namespace in which such commands have been run as its root: it lives
# as long as the process that waits there, or anything else in it.
sub namespace
{
	my ($commands) = @_;
	my ($in, $out) = ('', '');
	my $holder = start([ 'unshare', '-rm', 'sh', '-c',
			"$commands && echo ready \$\$ && exec cat" ],
		'<', \$in, '>', \$out, '2>&1', IPC::Run::timeout(60));

	$holder->pump while $holder->pumpable && $out !~ /ready \d+\n/;
	if ($out !~ /ready (\d+)\n/)
	{
		eval { $holder->finish };
		return (undef, $out);
	}
	return { pid => $1, run => $holder, in => \$in };
}

# A command inside, as the user that runs the test.
sub inside
{
	my ($namespace, @command) = @_;

	return ('nsenter', '-t', $namespace->{pid}, '-U', '-m',
		'--preserve-credentials', 'unshare', '-U', "--map-user=$>",
		'--map-group=' . (split ' ', $))[0], @command);
}

sub run_inside
{
	my ($namespace, $script) = @_;

	return system_log(inside($namespace, 'sh', '-c', $script));
}

sub leave
{
	my ($namespace) = @_;

	eval { $namespace->{run}->finish };
	return;
}

# Start and stop a server inside; its data directory may be there, too.
sub start_inside
{
	my ($node, $namespace) = @_;
	local %ENV = $node->_get_env(PGAPPNAME => undef);
	my $name = $node->name;

	system_log(
		inside($namespace, 'pg_ctl', '-w', '-s', '-D', $node->data_dir, '-l',
			$node->logfile, '-o', "--cluster-name=$name", 'start')) == 0
	  or BAIL_OUT("could not start \"$name\" inside");
	($running{$name}) = split "\n",
	  slurp_file("/proc/$namespace->{pid}/root" . $node->data_dir
		  . '/postmaster.pid');
	return;
}

sub stop_inside
{
	my ($node, $namespace) = @_;
	local %ENV = $node->_get_env();

	system_log(inside($namespace, 'pg_ctl', '-w', '-s', '-D', $node->data_dir,
			'-m', 'fast', 'stop')) == 0
	  or BAIL_OUT('could not stop "' . $node->name . '" inside');
	delete $running{ $node->name };
	return;
}

# Seconds of the lines of the log that match.
sub times_in_log
{
	my ($node, $pattern, $offset) = @_;
	my @times;

	foreach (split "\n", slurp_file($node->logfile, $offset))
	{
		next unless /$pattern/;
		push @times, timegm($6, $5, $4, $3, $2 - 1, $1) + "0.$7"
		  if /^(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)\.(\d+)/;
	}
	return @times;
}

# The error that a statement meets.
sub error_of
{
	my ($node, $query) = @_;
	my ($ret, $stdout, $stderr) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\n$query;");

	return $stderr;
}

my $full_disk = qr/ERROR:  53100: could not flush the batch of table public\.\w+
DETAIL:  The flush failed with: could not extend file ".*": /;

# A tablespace of 8 MB.
sub full_tablespace
{
	my ($namespace, $directory) = @_;
	my $node = new_server('disk', 'max_prepared_transactions' => '5',
		'mdbatch.lock_timeout' => '100ms', 'mdbatch.queue_size' => '1000',
		'mdbatch.batch_size' => '100');
	my ($offset, @times);
	my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
	my $books = sub {
		return $sql->("SELECT $_[1] FROM mdbatch_stat
			WHERE relid = '$_[0]'::regclass");
	};

	# Rows of one kB of n entries from a number on, each adding 1.
	my $put = sub {
		my ($target, $first, $n) = @_;

		return $sql->("SELECT mdbatch_put('$target', jsonb_agg(
			jsonb_build_object('id', i, 'n', 1, 'v', repeat('v', 1000))))
			FROM generate_series($first, $first + $n - 1) i");
	};

	# Take all room there is: what a failed statement has taken stays taken.
	# The last pages go to single rows, then to small ones.
	my $fill = sub {
		$sql->(<<'SQL');
CREATE TABLE filler (v text) TABLESPACE small;
ALTER TABLE filler ALTER v SET STORAGE PLAIN;
DO $$
BEGIN
	FOR i IN 1 .. 5000 LOOP
		BEGIN
			INSERT INTO filler VALUES (repeat('x', 7900));
		EXCEPTION WHEN disk_full THEN
			RETURN;
		END;
	END LOOP;
	RAISE EXCEPTION 'the disk is not full';
END $$;
SQL
	};
	my $make_room = sub {
		$sql->('DROP TABLE filler');
		$sql->('CHECKPOINT');
	};
	my $nothing_rejected = sub {
		local $Test::Builder::Level = $Test::Builder::Level + 1;
		is($sql->('SELECT count(*), (SELECT sum(rejected) FROM mdbatch_stat)
			FROM mdbatch_rejected'), '0|0', $_[0]);
	};

	$node->stop;
	start_inside($node, $namespace);
	$sql->("CREATE TABLESPACE small LOCATION '$directory'");
	$sql->(<<'SQL');
CREATE TABLE counter (id int, n bigint, v text) TABLESPACE small;
ALTER TABLE counter ALTER v SET STORAGE PLAIN,
	ADD PRIMARY KEY (id) USING INDEX TABLESPACE small;
CREATE TABLE metadata (agent_id uuid, key varchar(128), value varchar(2048),
	error varchar(2048), collected_at timestamptz, PRIMARY KEY (agent_id, key))
	TABLESPACE small;
CREATE TABLE elsewhere (id int PRIMARY KEY, n bigint, v text);
SELECT mdbatch_attach(t, merge => '{"n": "sum"}')
FROM unnest('{counter,elsewhere}'::regclass[]) t;
SELECT mdbatch_set_target('metadata');
SQL
	$put->('counter', 1, 50);
	$sql->('SELECT mdbatch_flush()');
	is($sql->('SELECT count(*) FROM counter'), '50', 'there is room yet');
	$fill->();

	# By capacity, unasked: tried again after 1 s, then 2 s, then 4 s.
	$offset = -s $node->logfile;
	my $failed = qr/could not flush the batch of table public\.counter: SQLSTATE 53100/;
	is($put->('counter', 1, 150), '150', 'adds go on');
	wait_for($node, 'postgres', q{(SELECT flush_failures >= 3 FROM mdbatch_stat
		WHERE relid = 'counter'::regclass)}, 'flushes fail, again and again');
	@times = times_in_log($node, $failed, $offset);
	cmp_ok(scalar @times, '>=', 3, 'the log tells each time');
	cmp_ok($times[1] - $times[0], '>=', 0.9, 'a second later');
	cmp_ok($times[2] - $times[1], '>=', 1.9, 'then two');
	$nothing_rejected->('nothing is rejected');
	is($books->('counter', 'pending, in_flight, flushed, skipped, batches_capacity'),
		'150|0|50|0|0', 'all entries stay pending');
	like($books->('counter', 'last_error'),
		qr/could not extend file ".*": (?:No space left on device|wrote only)/,
		'the books tell why');
	is($books->('counter', 'last_failure > last_flush'), 't', 'and when');
	is($sql->('SELECT sum(n), count(*) FROM counter'), '50|50',
		'nothing is written of what failed');

	# Other targets of this database go on: by capacity, and asked.
	$put->('elsewhere', 1, 100);
	wait_for($node, 'postgres', '(SELECT count(*) = 100 FROM elsewhere)',
		'a target on another disk is flushed by capacity');
	$put->('elsewhere', 1, 3);
	is($sql->("SELECT mdbatch_flush('elsewhere')"), '3', 'and when asked to');

	# The metadata, asked: the caller gets the error.
	is($sql->("SELECT mdbatch_add('@{[agent(1)]}', array_agg('key ' || i),
		array_agg(repeat(md5(i::text), 60))) FROM generate_series(1, 90) i"),
		'90', 'metadata is added');
	like(error_of($node, "SELECT mdbatch_flush('metadata')"), $full_disk,
		'mdbatch_flush raises the failure');
	like(error_of($node, "CALL mdbatch_add_sync('@{[agent(1)]}', '{key 1}', '{x}')"),
		$full_disk, 'so does mdbatch_add_sync');
	like(error_of($node, "CALL mdbatch_put_sync('counter', '{\"id\": 1, \"n\": 1}')"),
		$full_disk, 'and mdbatch_put_sync');
	$nothing_rejected->('nothing of that is rejected');
	is($books->('metadata', 'pending, flushed, flush_failures >= 2'),
		'90|0|t', 'the metadata stays pending');

	# Adds go on until queue_size: pending keys ever, new ones no longer (R9).
	is($put->('counter', 101, 950), '900', 'as many keys as may wait');
	is($books->('counter', 'pending, dropped'), '1000|50', 'the rest is dropped');
	is($put->('counter', 101, 950), '900', 'pending ones are added to');
	like(error_of($node, q{SET mdbatch.on_full = 'error';
		SELECT mdbatch_put('counter', '{"id": 5000}')}),
		qr/ERROR:  53400: batch of table "counter" is full/, 'or it is an error');
	$nothing_rejected->('nothing is rejected by a full batch');

	# Room: all is written, unasked, once the backoff ends.
	my $expected = 50 + 150 + 1 + 900 + 900;
	$make_room->();
	# (The backoff of either may have ended before.)
	$sql->('SELECT mdbatch_flush()');
	is($sql->('SELECT sum(n), count(*), max(n) FROM counter'), "$expected|1000|3",
		'everything is written exactly once');
	is($sql->("SELECT count(*), count(*) FILTER (WHERE value = 'x') FROM metadata"),
		'90|1', 'the metadata, too, with the newest values');
	$nothing_rejected->('nothing was rejected');
	books_ok($node, 'postgres');

	# A worker that is terminated meanwhile is no matter (R11).  And unasked, a
	# failed batch is written when its backoff ends.
	$fill->();
	$put->('counter', 2001, 150);
	wait_for($node, 'postgres', q{(SELECT last_failure > last_flush FROM
		mdbatch_stat WHERE relid = 'counter'::regclass)}, 'it is full once more');
	my $worker = worker_pid($node, 'postgres');
	$sql->("SELECT pg_terminate_backend($worker, 60000)");
	is($books->('counter', 'pending'), '150', 'a terminated worker loses nothing');
	$make_room->();
	wait_for($node, 'postgres', '(SELECT count(*) >= 1100 FROM counter)',
		'with room the batch is flushed unasked');
	$sql->('SELECT mdbatch_flush()');
	$expected += 150;
	is($sql->('SELECT sum(n), count(*) FROM counter'), "$expected|1150",
		'exactly once');

	# A restart while it is full: saved, loaded, due, and full again (R14).
	$fill->();
	$put->('counter', 3001, 60);
	$sql->("SELECT mdbatch_add('@{[agent(2)]}', array_agg('key ' || i),
		array_agg(repeat(md5(i::text), 60))) FROM generate_series(1, 40) i");
	$put->('elsewhere', 201, 7);
	wait_for($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = 'mdbatch worker')}, 'there is a worker');
	foreach my $round (1 .. 2)
	{
		$offset = -s $node->logfile;
		stop_inside($node, $namespace);
		ok($node->log_contains(qr/LOG:  saved 100 pending entries/, $offset),
			"restart $round: the last flush fails, the entries are saved");
		start_inside($node, $namespace);
		ok($node->log_contains(qr/LOG:  loaded 100 pending entries/, $offset),
			'they are loaded');
		wait_for($node, 'postgres', q{(SELECT count(*) = 2 FROM mdbatch_stat
			WHERE flush_failures > 0 AND pending > 0)},
			'they are due at once, and the disk is full as before');
		is($sql->('SELECT target, pending, added, flushed, rejected
			FROM mdbatch_stat WHERE pending > 0 ORDER BY target'),
			"public.counter|60|60|0|0\npublic.metadata|40|40|0|0",
			'they stay pending');
		is($sql->('SELECT sum(n), count(*) FROM elsewhere'), '110|107',
			'the other target was flushed by the first stop');
	}
	$nothing_rejected->('nothing is rejected over restarts');
	$make_room->();
	$sql->('SELECT mdbatch_flush()');
	$expected += 60;
	is($sql->('SELECT sum(n), count(*), (SELECT count(*) FROM metadata)
		FROM counter'), "$expected|1210|130", 'and they are written once');
	$nothing_rejected->('nothing was rejected at last');
	books_ok($node, 'postgres');

	# No room to keep what a target refuses: it stays pending, and is rejected
	# when there is some; the others are written. (The table can be moved only
	# while the library is not loaded.)
	$sql->(q{ALTER TABLE elsewhere ADD CHECK (v <> 'bad')});
	foreach my $libraries ('', 'mdbatch')
	{
		$node->append_conf('postgresql.conf',
			"shared_preload_libraries = '$libraries'");
		stop_inside($node, $namespace);
		start_inside($node, $namespace);
		$sql->('ALTER TABLE mdbatch_rejected SET TABLESPACE small')
		  if $libraries eq '';
	}
	$fill->();
	is($sql->(q{SELECT mdbatch_put('elsewhere', jsonb_agg(jsonb_build_object(
		'id', i, 'n', 1, 'v', CASE i % 10 WHEN 0 THEN 'bad' ELSE 'good' END)))
		FROM generate_series(1001, 1020) i}), '20', 'two bad entries of 20');
	my $error = error_of($node, "SELECT mdbatch_flush('elsewhere')");
	like($error, qr/ERROR:  53100: could not flush some entries of table public\.elsewhere/,
		'without room for bad entries the flush says so');
	is($books->('elsewhere', 'pending, rejected, flush_failures'), '2|0|0', 'none is lost');
	is($sql->('SELECT count(*) FROM elsewhere WHERE id > 1000'), '18',
		'and the others are written');
	$make_room->();
	is($sql->("SELECT mdbatch_flush('elsewhere')"), '2', 'with room');
	is($sql->(q{SELECT count(*), string_agg(key->>'id', ' ' ORDER BY key->>'id'),
		min(sqlstate), max(sqlstate) FROM mdbatch_rejected}),
		'2|1010 1020|23514|23514', 'they are rejected');
	books_ok($node, 'postgres');
	stop_inside($node, $namespace);
	return;
}

# The data directory itself is full when the file of pending entries is written.
sub full_data_directory
{
	my $node = new_server('data', 'max_prepared_transactions' => '5',
		'mdbatch.lock_timeout' => '100ms', 'mdbatch.queue_size' => '100000',
		'mdbatch.batch_size' => '100000', 'max_wal_senders' => '0',
		# A checkpoint writes a file of its own for these.
		'max_replication_slots' => '0', 'wal_level' => 'minimal',
		$major >= 18 ? ('max_active_replication_origins' => '0') : (),
		# A flush of that many entries writes a temporary file.
		'work_mem' => '64kB');
	my $data = $node->data_dir;
	my $copy = $node->basedir . '/copy';
	my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
	my $offset;

	$sql->(<<'SQL');
CREATE TABLE counter (id int PRIMARY KEY, n bigint, v text);
CREATE TABLE frozen (id int PRIMARY KEY, n bigint, v text);
SELECT mdbatch_attach(t, merge => '{"n": "sum"}')
FROM unnest('{counter,frozen}'::regclass[]) t;
SQL
	$node->stop;
	my ($namespace, $error) = namespace("cp -a '$data' '$copy'"
		  . " && mount -t tmpfs -o size=160m,mode=0700 tmpfs '$data'"
		  . " && cp -a '$copy/.' '$data' && rm -rf '$copy'");
	BAIL_OUT("no data directory inside: $error") unless $namespace;

	# 3 MB of entries, and so many kB of room (a sum tells whether one is there
	# twice).
	my $put = sub {
		my ($target) = @_;

		is($sql->("SELECT mdbatch_put('$target', jsonb_agg(jsonb_build_object(
			'id', i, 'n', 1, 'v', repeat(chr(97 + i % 26), 1000))))
			FROM generate_series(1, 3000) i"), '3000', "3 MB wait for $target");
	};
	my $files = sub {
		return join ' ',
		  map { s{.*/}{}r } glob "/proc/$namespace->{pid}/root$data/mdbatch.pending*";
	};
	my $fill = sub {
		my ($left) = @_;

		# What else the server may write until the end is written now.
		$sql->('CHECKPOINT');
		run_inside($namespace, "cd '$data' && dd if=/dev/zero of=left bs=1k count=$left"
			  . ' status=none && ! dd if=/dev/zero of=filler bs=4k status=none'
			  . ' && rm -f left') == 0
		  or BAIL_OUT('could not fill the data directory');
	};
	my $make_room = sub { run_inside($namespace, "rm '$data/filler'"); };

	start_inside($node, $namespace);
	foreach my $case (
		# target, kB of room, whether that is enough
		[ 'frozen', 8000, 1 ], [ 'counter', 0, 0 ], [ 'frozen', 0, 0 ],
		[ 'frozen', 1000, 0 ], [ 'frozen', 3000, 0 ])
	{
		my ($target, $room, $enough) = @$case;
		my $what = "$target, $room kB of room";

		$sql->('BEGIN; LOCK TABLE frozen IN EXCLUSIVE MODE;
			PREPARE TRANSACTION \'freeze\'') if $target eq 'frozen';
		$put->($target);
		wait_for($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity
			WHERE backend_type = 'mdbatch worker')}, 'there is a worker');
		# Connected before: with EXEC_BACKEND a connection needs a file.
		my $session = session($node, 'postgres');
		$session->query_safe('\set VERBOSITY verbose');
		$fill->($room);
		if ($target eq 'counter')
		{
			start_query($session, "SELECT mdbatch_flush('$target')");
			my ($result, $failure) = finish_query($session);

			like($failure,
				qr/ERROR:  53100: could not flush.*\n.*: No space left on device/,
				'no temporary file can be written');
			is($session->query_safe("SELECT pending, rejected FROM mdbatch_stat
				WHERE target = 'public.$target'"), '3000|0', 'nothing is rejected');
		}
		end_session($session);
		$offset = -s $node->logfile;
		stop_inside($node, $namespace);
		if ($enough)
		{
			ok($node->log_contains(qr/LOG:  saved 3000 pending entries/, $offset),
				"$what: saved");
			is($files->(), 'mdbatch.pending', 'in the file');
		}
		else
		{
			ok($node->log_contains(
				qr/WARNING:  could not save pending entries to file "mdbatch\.pending": No space left on device\n.*DETAIL:  They are lost\./,
				$offset), "$what: the log tells that they are lost, and why");
			ok(!$node->log_contains(qr/saved \d+ pending/, $offset),
				'and not otherwise');
			is($files->(), '', 'no part of a file remains');
		}
		ok(!$node->log_contains(qr/PANIC|FATAL:  (?!terminating)|signal/, $offset),
			'the stop is a clean one');
		$make_room->();
		$offset = -s $node->logfile;
		start_inside($node, $namespace);
		is($node->log_contains(qr/LOG:  loaded 3000 pending entries/, $offset) ? 1 : 0,
			$enough, $enough ? 'they are loaded' : 'nothing is loaded');
		ok(!$node->log_contains(qr/is not loaded/, $offset),
			'no file is set aside');
		$sql->(q{COMMIT PREPARED 'freeze'}) if $target eq 'frozen';
		$sql->('SELECT mdbatch_flush()');
		is($sql->("SELECT count(*), coalesce(sum(n), 0) FROM $target"),
			$enough ? '3000|3000' : '0|0', 'all is written once, or nothing');
		is($files->(), '', 'no file is left');
		books_ok($node, 'postgres');
		$sql->('TRUNCATE frozen, counter');
	}

	# It works as before.
	$put->('counter');
	$sql->('SELECT mdbatch_flush()');
	is($sql->('SELECT count(*), sum(n) FROM counter'), '3000|3000',
		'the server is in order');
	is($sql->('SELECT count(*) FROM mdbatch_rejected'), '0', 'nothing rejected');
	stop_inside($node, $namespace);
	leave($namespace);
	return;
}

SKIP:
{
	my $directory = PostgreSQL::Test::Utils::tempdir;
	my ($namespace, $error);

	eval {
		($namespace, $error) = namespace(
			"mount -t tmpfs -o size=8m,mode=0777 tmpfs '$directory'");
	};
	skip 'no tmpfs in a user namespace here: ' . ($error // $@), 1
	  unless $namespace;
	skip 'cannot enter the user namespace', 1
	  unless run_inside($namespace, "mkdir -m 0700 '$directory/small'") == 0;
	full_tablespace($namespace, "$directory/small");
	leave($namespace);
	full_data_directory();
}

# The queue of NOTIFY, which a listener that stays in a transaction keeps from
# being emptied.  Its size can be set from version 17 on, and is 8 GB before.
sub full_notify_queue
{
	my %settings = @_;
	my $node = new_server('notify', 'statement_timeout' => '30min', %settings);
	my $listener = listen_to($node, 'postgres', 'heard');
	my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
	my $full = qr/ERROR:  54000: could not flush the batch of table public\.\w+
DETAIL:  The flush failed with: too many notifications in the NOTIFY queue/;
	my $error = '';
	my $sent = 0;

	# Each is a page.  Some must commit: only that tells the listener to read.
	my $at_once = int(($settings{max_notify_queue_pages} || 80_000) / 4);

	# What nobody hears takes no place from 19 on.
	$listener->query_safe('LISTEN noise') if $major >= 19;

	$sql->(<<'SQL');
CREATE TABLE loud (id int PRIMARY KEY, n bigint);
CREATE TABLE quiet (id int PRIMARY KEY, n bigint);
SELECT mdbatch_attach('loud', merge => '{"n": "sum"}', channel => 'heard',
	batch_size => 3);
SELECT mdbatch_attach('quiet', merge => '{"n": "sum"}', batch_size => 3);
SELECT mdbatch_set_target('mdbatch_metadata');
SQL
	$listener->query_safe('BEGIN');
	$listener->query_safe('SELECT 1');
	my $filler = session($node, 'postgres');
	until ($error =~ /too many notifications/ || $sent > 150 * $at_once)
	{
		my ($first, $last) = ($sent + 1, $sent + $at_once);

		start_query($filler, "SELECT count(pg_notify('noise', lpad(i::text, 7900, 'x')))
			FROM generate_series($first, $last) i");
		(undef, $error) = finish_query($filler);
		$sent = $last;
	}
	like($error, qr/too many notifications in the NOTIFY queue/,
		'the queue is full');
	like(error_of($node, "NOTIFY heard, 'x'"), qr/ERROR:  54000: too many/,
		'for everybody');

	my $offset = -s $node->logfile;
	$sql->(q{SELECT mdbatch_put('loud', '[{"id": 1, "n": 1}, {"id": 2, "n": 1}]')});
	like(error_of($node, "SELECT mdbatch_flush('loud')"), $full,
		'a flush that would notify fails');
	$sql->("SELECT mdbatch_add('@{[agent(1)]}', '{k}', '{v}')");
	like(error_of($node, "SELECT mdbatch_flush('mdbatch_metadata')"), $full,
		'that of the metadata, too');
	like(error_of($node, q{CALL mdbatch_put_sync('loud', '{"id": 1, "n": 1}')}),
		$full, 'mdbatch_put_sync raises it');
	ok($node->log_contains(
		qr/could not flush the batch of table public\.loud: SQLSTATE 54000/, $offset),
		'the log tells');
	is($sql->(q{SELECT pending, flushed, rejected, notifications,
		flush_failures >= 2, last_error FROM mdbatch_stat
		WHERE target = 'public.loud'}),
		'2|0|0|0|t|54000: too many notifications in the NOTIFY queue',
		'its entries stay pending');
	is($sql->('SELECT count(*) FROM loud'), '0', 'nothing is written unheard');
	is($sql->('SELECT count(*) FROM mdbatch_rejected'), '0', 'nothing is rejected');

	# By capacity, again and again, while one without a channel goes on.
	is($sql->(q{SELECT mdbatch_put('loud',
		'[{"id": 3, "n": 1}, {"id": 4, "n": 1}, {"id": 2, "n": 1}]')}), '3',
		'adds go on');
	my $failures = $sql->(q{SELECT flush_failures FROM mdbatch_stat
		WHERE target = 'public.loud'});
	$sql->(q{SELECT mdbatch_put('quiet',
		'[{"id": 1, "n": 1}, {"id": 2, "n": 1}, {"id": 3, "n": 1}]')});
	wait_for($node, 'postgres', '(SELECT count(*) = 3 FROM quiet)',
		'a target without a channel goes on by capacity');
	$sql->(q{SELECT mdbatch_put('quiet', '{"id": 4, "n": 1}')});
	is($sql->("SELECT mdbatch_flush('quiet')"), '1', 'and when asked');
	wait_for($node, 'postgres', "(SELECT flush_failures > $failures FROM mdbatch_stat
		WHERE target = 'public.loud')", 'the other fails by capacity, too');
	is($sql->('SELECT count(*) FROM mdbatch_rejected'), '0', 'nothing is rejected');

	# The listener goes on: the queue empties, and all is written and heard once.
	# (PostgreSQL finds that out when somebody asks how full it is: the worker does.)
	$listener->query_safe('COMMIT');
	wait_for($node, 'postgres', '(SELECT count(*) >= 3 FROM loud)',
		'with room the flush succeeds unasked');
	$sql->('SELECT mdbatch_flush()');
	is($sql->('SELECT id, n FROM loud ORDER BY id'), "1|2\n2|2\n3|1\n4|1",
		'everything is written once');
	is($sql->('SELECT count(*) FROM mdbatch_metadata'), '1', 'the metadata, too');
	is(join(' ', notifications($node, 'postgres', $listener, 'heard')),
		'["1","2","3"] ["4"]', 'and heard once');
	is($sql->('SELECT sum(rejected), sum(pending) FROM mdbatch_stat'), '0|0',
		'nothing is rejected, nothing left');
	books_ok($node, 'postgres');
	end_session($filler);
	end_session($listener);
	$node->stop;
	return;
}

SKIP:
{
	if ($major >= 17)
	{
		full_notify_queue('max_notify_queue_pages' => '64');
	}
	elsif ($ENV{MDBATCH_FULL_NOTIFY})
	{
		full_notify_queue();
	}
	else
	{
		skip 'it takes 8 GB to fill the queue of NOTIFY; MDBATCH_FULL_NOTIFY is not set', 1;
	}
}

done_testing();
