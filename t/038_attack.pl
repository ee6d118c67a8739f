# Attacks that need several sessions, or a look at the log (R18, R13): a value
# never gets into the log, nobody waits for ever.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IO::Socket::INET;
use IO::Socket::UNIX;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $limit = 10;    # seconds
my $node = new_server('main', 'max_prepared_transactions' => '5',
	'mdbatch.lock_timeout' => '1s', 'mdbatch.flush_timeout' => '3s',
	'deadlock_timeout' => '200ms', 'log_min_messages' => 'debug1');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub error_of
{
	my ($query) = @_;
	my ($ret, $stdout, $stderr) = $node->psql('postgres',
		"SET statement_timeout = '${limit}s';\n\\set VERBOSITY verbose\n$query;");

	return $stderr;
}

sql(q{
CREATE ROLE mal LOGIN;
CREATE ROLE adder LOGIN;
CREATE SCHEMA mal AUTHORIZATION mal;
GRANT EXECUTE ON FUNCTION mdbatch_attach, mdbatch_discard TO mal;
GRANT USAGE ON SCHEMA mal TO adder;
SET SESSION AUTHORIZATION mal;
CREATE TABLE mal.t (k int PRIMARY KEY, v text);
CREATE TABLE mal.other (k int PRIMARY KEY, v text);
CREATE TABLE mal.what (do_it text);
INSERT INTO mal.what VALUES ('SELECT 1');
CREATE FUNCTION mal.fire() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE (SELECT do_it FROM mal.what);
	RETURN NEW;
END $$;
CREATE TRIGGER fire BEFORE INSERT ON mal.t FOR EACH ROW EXECUTE FUNCTION mal.fire();
SELECT mdbatch_attach('mal.t');
GRANT INSERT, UPDATE, SELECT ON mal.t, mal.other TO adder;
RESET SESSION AUTHORIZATION;
CREATE TABLE good (k int PRIMARY KEY, v text);
SELECT mdbatch_attach('good');
});

my $n = 0;

# The trigger does something; is the flush over soon, one way or the other, and
# does another target's go on?
sub flush_doing
{
	my ($do_it, $what, $expected) = @_;
	my $start = time;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$n++;
	sql("UPDATE mal.what SET do_it = \$do\$$do_it\$do\$;
		SELECT mdbatch_put('mal.t', '{\"k\": $n, \"v\": \"classified $n\"}');
		SELECT mdbatch_put('good', '{\"k\": $n}')");
	my $error = error_of("SELECT mdbatch_flush('mal.t')");
	like($error, $expected, $what);
	is(sql("SELECT mdbatch_flush('good'); SELECT count(*) FROM good WHERE k = $n") =~ /1$/,
		1, '... another target is flushed');
	cmp_ok(time - $start, '<', $limit, '... within seconds');
	sql("UPDATE mal.what SET do_it = 'SELECT 1'; SELECT mdbatch_flush('mal.t')");
	return;
}

# Ways to stop the worker from a trigger.
flush_doing('SELECT pg_advisory_lock(1)', 'an advisory lock of its own', qr/^$/);
is(sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), '0',
	'... which is gone with the flush');
my $locker = session($node, 'postgres');
$locker->query_safe('SELECT pg_advisory_lock(1)');
flush_doing('SELECT pg_advisory_lock(1)', 'an advisory lock of somebody else',
	qr/ERROR:  (55P03|57014)/);
flush_doing('SELECT pg_advisory_xact_lock(1)', 'the same for a transaction',
	qr/ERROR:  (55P03|57014)/);
flush_doing('SELECT pg_advisory_xact_lock_shared(1)', 'shared',
	qr/ERROR:  (55P03|57014)/);
$locker->query_safe('SELECT pg_advisory_unlock_all()');
$locker->query_safe('BEGIN; LOCK TABLE mal.other IN ACCESS EXCLUSIVE MODE');
flush_doing('SELECT 1 FROM mal.other', 'a locked table', qr/ERROR:  (55P03|57014)/);
flush_doing('INSERT INTO mal.other VALUES (1)', '... written', qr/ERROR:  (55P03|57014)/);
$locker->query_safe('ROLLBACK');
flush_doing('SELECT pg_sleep(600)', 'a long sleep', qr/ERROR:  57014/);
flush_doing('SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SELECT pg_sleep(600)',
	'... without timeouts', qr/ERROR:  57014/);
flush_doing("DO 'BEGIN LOOP NULL; END LOOP; END'", 'an endless loop', qr/ERROR:  57014/);
flush_doing("DO 'BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END'",
	'... that catches the cancel', qr/ERROR:  57/);
flush_doing('SELECT public.mdbatch_flush()', 'a flush of everything', qr/ERROR:  55000/);
flush_doing('LISTEN x', 'LISTEN', qr/ERROR:  42501/);
flush_doing("NOTIFY x, 'classified payload'", 'NOTIFY', qr/^$/);
flush_doing("SELECT pg_notify('x', repeat('z', 8000))", 'a payload that is too long',
	qr/could not flush|refused/);
flush_doing("DO \$x\$ BEGIN RAISE 'classified' USING ERRCODE = '57014'; END \$x\$",
	'a false cancel', qr/ERROR:  57014/);
flush_doing("DO \$x\$ BEGIN RAISE 'classified' USING ERRCODE = '57P01'; END \$x\$",
	'a false shutdown', qr/ERROR:  57P01/);
flush_doing("DO \$x\$ BEGIN RAISE 'classified' USING ERRCODE = '40P01'; END \$x\$",
	'a false deadlock', qr/ERROR:  40P01/);
flush_doing("DO \$x\$ BEGIN RAISE 'classified' USING ERRCODE = '55P03'; END \$x\$",
	'a false lock timeout', qr/ERROR:  55P03/);
flush_doing("DO \$x\$ BEGIN RAISE WARNING 'classified %', 'warning'; RAISE LOG 'announced log'; END \$x\$",
	'a warning', qr/^$/);
is(sql("SELECT count(*) = max(k) FROM good"), 't', 'the good target has all');
is(sql('SELECT count(*) FROM mdbatch_pending_rows(NULL::mal.t)'), '0',
	'and the bad one, in the end');

# Where a call would wait for a flush while it has locks that the flush needs.
foreach my $case (
	[ 'BEGIN; INSERT INTO mal.other VALUES (100)', 'an INSERT' ],
	[ 'BEGIN; LOCK TABLE mal.t IN EXCLUSIVE MODE', 'LOCK TABLE' ],
	[ 'BEGIN; LOCK TABLE mal.other IN ROW SHARE MODE', 'LOCK TABLE of another' ],
	[ 'BEGIN; SELECT FROM mal.t FOR UPDATE', 'row locks' ],
	[ 'BEGIN; SELECT FROM mal.t FOR KEY SHARE', 'weak row locks' ],
	[ 'BEGIN; SELECT pg_advisory_xact_lock(1)', 'an advisory lock' ],
	[ 'SELECT pg_advisory_lock(1); BEGIN', 'an advisory lock of the session' ],
	[ 'SELECT pg_advisory_lock_shared(1); BEGIN', 'a shared one' ],
	[ 'BEGIN; SELECT pg_current_xact_id()', 'a transaction id' ],
	[ "BEGIN; SELECT mdbatch_put('mal.t', '{\"k\": 1000}')", 'an add' ],
	[ 'BEGIN; SAVEPOINT s; LOCK TABLE mal.other IN SHARE MODE', 'a lock under a savepoint' ],
	[ 'BEGIN; CREATE TEMP TABLE x (i int)', 'a temporary table' ],
	[ 'BEGIN; DECLARE c CURSOR FOR SELECT FROM mal.t FOR UPDATE; FETCH c', 'a cursor' ])
{
	my ($before, $what) = @$case;

	like(error_of("$before; SELECT mdbatch_flush()"),
		qr/ERROR:  (55000|25001): .*\n(DETAIL.*\n)?HINT/, "$what: a flush is refused, with a hint");
	like(error_of("$before; CALL mdbatch_put_sync('mal.t', '{\"k\": 1001}')"),
		qr/ERROR:  \w+: /, '... so is a procedure');
}
is(error_of('BEGIN; LOCK TABLE mal.other IN ACCESS SHARE MODE; SELECT mdbatch_flush(); ROLLBACK'),
	'', 'a lock for reading is none that a flush needs');

# A caller that waits, and then something that waits for the caller.
sql("SELECT mdbatch_put('mal.t', '{\"k\": 2000}')");
$locker->query_safe('BEGIN; LOCK TABLE mal.t IN EXCLUSIVE MODE');
my $waiter = session($node, 'postgres');
$waiter->query_safe("BEGIN; SELECT count(*) FROM mal.other; SET statement_timeout = '30s'");
start_query($waiter, "SELECT mdbatch_flush('mal.t')");
wait_for($node, 'postgres', waiting("SELECT mdbatch_flush%", 'Lock') . ' OR '
	  . waiting("SELECT mdbatch_flush%", 'Extension'), 'a flush waits');
# the waiter has mal.other for reading; its flush waits for mal.t
start_query($locker, 'LOCK TABLE mal.other IN ACCESS EXCLUSIVE MODE');
my $start = time;
my ($result, $error) = finish_query($waiter);
cmp_ok(time - $start, '<', $limit, 'the cycle is broken within seconds');
$waiter->query('ROLLBACK');
my ($result2, $error2) = finish_query($locker);
is(scalar(grep { /ERROR:/ } $error, $error2), 1,
	'... by an error of one of the two');
$locker->query_safe('ROLLBACK');
sql('SELECT mdbatch_flush()');

# A prepared transaction has the rows: each call gets its answer.
sql(q{BEGIN; UPDATE mal.t SET v = 'prepared' WHERE k = 2000; PREPARE TRANSACTION 'p'});
sql("SELECT mdbatch_put('mal.t', '[{\"k\": 2000, \"v\": \"new\"}, {\"k\": 2001}]')");
$start = time;
like(error_of("SELECT mdbatch_flush('mal.t')"), qr/ERROR:  55P03/,
	'rows of a prepared transaction');
cmp_ok(time - $start, '<', $limit, '... within seconds');
is(sql('SELECT count(*) FROM mal.t WHERE k = 2001'), '1', '... the others are written');
like(error_of("BEGIN; SELECT mdbatch_put('mal.t', '{\"k\": 2002}'); PREPARE TRANSACTION 'q'"),
	qr/ERROR:  \w+: cannot PREPARE/, 'PREPARE with adds is refused');
sql("COMMIT PREPARED 'p'");
sql('SELECT mdbatch_flush()');
is(sql('SELECT v FROM mal.t WHERE k = 2000'), 'new', '... and then those');

# Two sessions that each wait for room with a lock that the other wants: refused
# before they wait.
sql("SELECT mdbatch_attach('mal.t', batch_size => 1)");
$locker->query_safe('BEGIN; LOCK TABLE mal.t IN EXCLUSIVE MODE');
sql("SELECT mdbatch_put('mal.t', jsonb_agg(jsonb_build_object('k', i))) FROM generate_series(3001, 3005) i");
wait_for($node, 'postgres', "(SELECT in_flight = 1 FROM mdbatch_stat
	WHERE relid = 'mal.t'::regclass)", 'one is in flight, four wait');
is(sql("SELECT mdbatch_put('mal.t', '{\"k\": 3006}')"), '1', 'there is room for one more');
like(error_of("SET mdbatch.on_full = wait; BEGIN; INSERT INTO mal.other VALUES (5);
	SELECT mdbatch_put('mal.t', '{\"k\": 3100}')"), qr/ERROR:  \w+: .*\n(DETAIL.*\n)?HINT/,
	'waiting for room with an xid');
like(error_of("SET mdbatch.on_full = wait; BEGIN; SELECT mdbatch_put('good', '{\"k\": 3100}');
	SELECT mdbatch_put('mal.t', '{\"k\": 3100}')"), qr/ERROR:  53400/,
	'... with a reservation elsewhere');
like(error_of("SET mdbatch.on_full = wait; SET statement_timeout = '300ms';
	SELECT mdbatch_put('mal.t', '{\"k\": 3100}')"), qr/ERROR:  57014/,
	'... and alone, until it is cancelled');
$locker->query_safe('ROLLBACK');
is(error_of("SET mdbatch.on_full = wait; SELECT mdbatch_put('mal.t', '{\"k\": 3100}')"), '',
	'there is room in the end');
sql("SELECT mdbatch_flush(); SELECT mdbatch_attach('mal.t')");
$_->quit foreach $locker, $waiter;

# R18: whoever may add but not read does not learn from what procedures say.
sql(q{REVOKE SELECT ON mal.t FROM adder;
	ALTER TABLE mal.t ADD CONSTRAINT c CHECK (v <> 'classified bad')});
foreach my $v ('classified bad', 'classified sleep')
{
	sql(q{UPDATE mal.what SET do_it = 'DO $x$ BEGIN RAISE $r$classified$r$ USING ERRCODE = $e$58000$e$; END $x$'})
	  if $v =~ /sleep/;
	my $said = error_of("SET SESSION AUTHORIZATION adder;
		CALL mdbatch_put_sync('mal.t', '{\"k\": 4000, \"v\": \"$v\"}')");
	like($said, qr/ERROR:  (23514|58000)/, "a procedure fails: $v");
	unlike($said, qr/classified/, '... and does not tell of what');
}
sql(q{UPDATE mal.what SET do_it = 'SELECT 1'; SELECT mdbatch_flush()});

# The log has neither values nor what errors quote; what a trigger itself says
# at level WARNING or LOG is its own affair.
my $log = slurp_file($node->logfile);
my @lines = grep { !/^\t|STATEMENT:  |LOG:  (statement|execute|duration)|DEBUG:  |WARNING:  classified warning|LOG:  announced log/ }
  split /\n/, $log;
cmp_ok(scalar(grep { /could not flush|refused|stepped over/ } @lines), '>', 10,
	'the log tells of failures');
is(join("\n", grep { /classified/ } @lines), '', '... without a value');
unlike($log, qr/PANIC|TRAP|terminated by signal/, 'no process crashed');

# Bytes that are no text, over a raw connection: as values of parameters.
SKIP:
{
	my $raw = $node->can('raw_connect') ? $node->raw_connect :
	  IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port);
	skip 'no raw connection', 4 unless $raw;
	my $user = getpwuid($<);
	my $body = pack('N', 196608) . "user\0$user\0database\0postgres\0client_encoding\0UTF8\0\0";

	# Read messages up to ReadyForQuery; their types and bodies.
	my $read = sub {
		my $said = '';
		while (1)
		{
			my $head = '';
			while (length $head < 5)
			{
				sysread($raw, $head, 5 - length $head, length $head) or return "$said lost";
			}
			my ($type, $length) = unpack('aN', $head);
			my $text = '';
			while (length $text < $length - 4)
			{
				sysread($raw, $text, $length - 4 - length $text, length $text)
				  or return "$said lost";
			}
			$text =~ s/\0/ /g;
			$said .= "$type$text\n" if $type =~ /[ECD]/;
			return $said if $type eq 'Z';
		}
	};
	my $message = sub {
		my ($type, $text) = @_;
		return $type . pack('N', length($text) + 4) . $text;
	};
	my $execute = sub {
		my ($query, @values) = @_;
		print {$raw} $message->('P', "\0$query\0" . pack('n', 0))
		  . $message->('B', "\0\0" . pack('nn', 0, scalar @values)
			  . join('', map { pack('N', length $_) . $_ } @values) . pack('n', 0))
		  . $message->('E', "\0" . pack('N', 0)) . $message->('S', '');
		$raw->flush;
		return $read->();
	};
	print {$raw} pack('N', length($body) + 4) . $body;
	$raw->flush;
	$read->();
	like($execute->('SELECT mdbatch_put($1, $2)', 'good', "{\"k\": 5000, \"v\": \"\xff\"}"),
		qr/C22021/, 'no text in JSON');
	like($execute->('SELECT mdbatch_add($1, $2, $3)', agent(1), "{\xe2\x82}", '{v}'),
		qr/C22021/, 'no text in a key');
	like($execute->('SELECT mdbatch_add($1, $2, $3)', agent(1), '{k}', "{a\0b}"),
		qr/C22021/, 'a zero byte');
	like($execute->('SELECT mdbatch_put($1, $2)', 'good', '{"k": 5000, "v": "good"}'),
		qr/^D.*1\nCSELECT 1/, 'the connection goes on');
	close $raw;
}
sql('SELECT mdbatch_flush()');
is(sql('SELECT v FROM good WHERE k = 5000'), 'good', 'nothing else is added');
books_ok($node, 'postgres');
$node->stop;
done_testing();
