# Values and keys near the limit of 1 GB of any value (R17, R10, R9): accepted
# and written as they are, or refused at once with an error that tells why;
# never an internal error, a wait without an end, or a crash.
#
# Needs 3 GB of memory.  What needs more, up to 14 GB, runs if MDBATCH_BIG is
# set, in some 4 minutes.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A server.  big() is volatile, so that the planner makes no constants of its
# values, which are copied several times; and it is quick.
sub start_server
{
	my %settings = @_;

	$node = new_server(delete $settings{name}, 'statement_timeout' => '180s',
		'max_prepared_transactions' => '5', %settings);
	sql(<<'SQL');
CREATE FUNCTION big(mb float, c text DEFAULT 'x') RETURNS text
	LANGUAGE plpgsql VOLATILE AS
	$$ BEGIN RETURN repeat(repeat(c, 1000), (mb * 1000)::int); END $$;
CREATE FUNCTION shown(v text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN octet_length(v) < 1000 THEN v
		ELSE left(v, 1) || ' ' || octet_length(v) || ' ' ||
			(v = repeat(repeat(left(v, 1), 1000), octet_length(v) / 1000)) END;
END $$;
CREATE TABLE doc (id int PRIMARY KEY, v text);
CREATE TABLE word (w text PRIMARY KEY, v text);
CREATE TABLE pair (id int PRIMARY KEY, a text, b text);
CREATE VIEW doc_in AS SELECT * FROM doc;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON doc_in FOR EACH ROW
	EXECUTE FUNCTION mdbatch_enqueue('doc');
SELECT mdbatch_attach(t) FROM unnest('{doc,word,pair}'::regclass[]) t;
SQL
	return;
}

# Flush what was frozen.  A flush that gave up the lock before it was freed takes
# its time to end, with so large values, and then fails whoever asks meanwhile.
sub flush_freed
{
	return until_true(
		sub { $node->psql('postgres', 'SELECT mdbatch_flush()') == 0 },
		'what was frozen is flushed');
}

# The error of a statement; one that waits for ever meets statement_timeout.
sub error_of
{
	my ($query) = @_;
	my ($ret, $stdout, $stderr) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\n$query;");

	return $stderr;
}

# A call is refused, whatever on_full says, and leaves nothing behind.
sub refused
{
	my ($on_full, $query, $pattern, $what) = @_;
	my $error = error_of("SET mdbatch.on_full = '$on_full'; $query");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($error, $pattern, $what);
	is( sql('SELECT sum(pending), sum(reserved), sum(in_flight)
			FROM mdbatch_stat'), '0|0|0', 'and nothing is enqueued');
	return;
}

sub pending
{
	return sql("SELECT pending FROM mdbatch_stat WHERE target = '$_[0]'");
}

# Every batch is empty, and its memory free again, but for its definitions.
sub at_rest
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	books_ok($node, 'postgres', "$what: the books balance");
	is( sql('SELECT count(*) FROM mdbatch_stat
			WHERE pending + in_flight + reserved > 0 OR memory_used > 4096'),
		'0', "$what: all memory is free again");
	ok( !$node->log_contains(
			qr/XX000|invalid memory alloc|TRAP|terminated by signal|PANIC/),
		"$what: no internal error, no crash");
	return;
}

my $too_large = qr/ERROR:  54000: entry is too large/;
my $agent = "'00000000-0000-0000-0000-000000000001'";

# Memory that is smaller than the value: an error at once (README: 54000),
# whatever on_full says and from whichever front end.
start_server('name' => 'small', 'mdbatch.memory' => '16MB');
sql("SELECT mdbatch_add($agent, '{k}', '{v}')");
sql('SELECT mdbatch_flush()');
refused('drop', "SELECT mdbatch_add($agent, '{k}', ARRAY[big(1000)])", $too_large,
	'mdbatch_add, a value of 1 GB');
refused('wait', "SELECT mdbatch_add_many(ARRAY[$agent, $agent]::uuid[],
	ARRAY['a', 'b'], ARRAY['v', big(500)])", $too_large,
	'mdbatch_add_many, the second value too large');
refused('error', "SELECT mdbatch_add($agent, ARRAY['k'], ARRAY['v'], ARRAY[big(300)])",
	$too_large, 'mdbatch_add, an error of 300 MB');
refused('wait', "CALL mdbatch_add_sync($agent, '{k}', ARRAY[big(200)])",
	$too_large, 'mdbatch_add_sync');
refused('wait', 'SELECT mdbatch_put_row(ROW(1, big(500))::doc)', $too_large,
	'mdbatch_put_row, 500 MB');
refused('drop', 'INSERT INTO doc_in SELECT 1, big(300)', $too_large,
	'the view, 300 MB');
refused('wait', "SELECT mdbatch_put('doc', jsonb_build_object('id', 1, 'v', big(100)))",
	$too_large, 'mdbatch_put, 100 MB');
refused('wait', "CALL mdbatch_put_sync('doc', jsonb_build_object('id', 1, 'v', big(100)))",
	$too_large, 'mdbatch_put_sync');

# What PostgreSQL itself cannot hold never gets here.
refused('wait', "SELECT mdbatch_put('doc', jsonb_build_object('id', 1, 'v', big(300)))",
	qr/ERROR:  54000: string too long to represent as jsonb string/,
	'jsonb holds 256 MB');

# A key is refused by its size in an index.
my $key = qr/ERROR:  54000: (?:key is too large|index row requires \d+ bytes)/;
refused('wait', "SELECT mdbatch_add($agent, ARRAY[big(300, 'k')], '{v}')", $key,
	'mdbatch_add, a key of 300 MB');
refused('drop', "SELECT mdbatch_put_row(ROW(big(100, 'k'), 'v')::word)", $key,
	'mdbatch_put_row, a key of 100 MB');
refused('error', "SELECT mdbatch_put('word', jsonb_build_object('w', big(100, 'k')))",
	$key, 'mdbatch_put, a key of 100 MB');

# Too large for the column.
sql(<<'SQL');
CREATE TABLE narrow (agent_id uuid, key varchar(128), value varchar(2048),
	error varchar(2048), collected_at timestamptz, PRIMARY KEY (agent_id, key));
SELECT mdbatch_set_target('narrow');
SQL
foreach my $arguments ("ARRAY[big(100, 'k')], '{v}'", "'{k}', ARRAY[big(100)]",
	"'{k}', '{v}', ARRAY[big(100)]")
{
	refused('wait', "SELECT mdbatch_add($agent, $arguments)",
		qr/ERROR:  22001: value too long for type character varying/,
		'varchar(n) refuses 100 MB');
}
sql("SELECT mdbatch_set_target('mdbatch_metadata')");

# Values that fit, but not together: the second is dropped, or is an error, or
# waits until the first is flushed (R9).
is(sql('SELECT mdbatch_put_row(ROW(1, big(5))::doc)'), '1', '5 MB fit');
is(sql('SELECT mdbatch_put_row(ROW(2, big(5))::doc)'), '0', 'not twice: dropped');
like(error_of(q{SET mdbatch.on_full = 'error';
	SELECT mdbatch_put_row(ROW(2, big(5))::doc)}),
	qr/ERROR:  53400: out of memory for the batch of table "doc"/, 'or an error');
my $waiter = session($node, 'postgres');
$waiter->query_safe("SET mdbatch.on_full = 'wait'");
start_query($waiter, q{SELECT mdbatch_put_row(ROW(2, big(5, 'y'))::doc)});
wait_for($node, 'postgres', waiting('SELECT mdbatch_put_row%', 'Extension'),
	'or it waits for room');
is(sql('SELECT mdbatch_flush()'), '1', 'until the first is flushed');
is(scalar finish_query($waiter), '1', 'then it goes on');
end_session($waiter);
like(error_of(q{BEGIN; SET mdbatch.on_full = 'wait';
	SELECT mdbatch_put('doc', '{"id": 4}');
	SELECT mdbatch_put_row(ROW(3, big(7))::doc)}),
	qr/ERROR:  53400: /, 'but not for its own transaction');
sql('SELECT mdbatch_flush()');
is(sql('SELECT id, shown(v) FROM doc ORDER BY id'),
	"1|x 5000000 true\n2|y 5000000 true", 'both are written');
at_rest('little memory');
$node->stop;

# Memory of which a batch may take five eighths, 440 MB.
start_server('name' => 'large', 'mdbatch.memory' => '700MB',
	'mdbatch.max_batches' => '4');
sql('SELECT mdbatch_flush()');

# Each front end with a value of some 100 MB, flushed together.
is(sql('SELECT mdbatch_put_row(ROW(1, big(70, \'a\'))::doc)'), '1', 'put_row');
is(sql(q{SELECT mdbatch_put('doc', jsonb_build_object('id', 2, 'v', big(70, 'b')))}),
	'1', 'put');
sql(q{INSERT INTO doc_in SELECT 3, big(50, 'c')});
sql(q{INSERT INTO doc_in SELECT 3, big(110, 'd')});    # a newer value
is(pending('public.doc'), '3', 'three entries wait');
is(sql('SELECT id, shown(v) FROM mdbatch_pending_rows(NULL::doc) ORDER BY id'),
	"1|a 70000000 true\n2|b 70000000 true\n3|d 110000000 true",
	'mdbatch_pending_rows shows them whole');
like(error_of(q{SET mdbatch.on_full = 'wait';
	SELECT mdbatch_put_row(ROW(4, big(500))::doc)}), $too_large,
	'more than a batch may ever take is refused at once');
is(sql("SELECT mdbatch_flush('doc')"), '3', 'they are flushed together');
is(sql('SELECT id, shown(v) FROM doc ORDER BY id'),
	"1|a 70000000 true\n2|b 70000000 true\n3|d 110000000 true",
	'and stored whole');
is(sql("SELECT batches_requested, flush_failures FROM mdbatch_stat
	WHERE target = 'public.doc'"), '1|0', 'by one flush');

# Agent metadata: several values in one call.
is(sql("SELECT mdbatch_add($agent, '{a,b,c}', ARRAY[big(60, 'a'), 'small', big(60, 'c')],
	ARRAY['', big(50, 'e'), ''])"), '3', 'mdbatch_add');
is(sql("SELECT mdbatch_add_many(ARRAY[$agent]::uuid[], '{a}', ARRAY[big(70, 'n')])"),
	'1', 'mdbatch_add_many');
is(sql('SELECT key, shown(value), shown(error) FROM mdbatch_pending() ORDER BY key'),
	"a|n 70000000 true|\nb|small|e 50000000 true\nc|c 60000000 true|",
	'mdbatch_pending shows them');
sql('SELECT mdbatch_flush()');
is(sql('SELECT key, shown(value), shown(error) FROM mdbatch_metadata ORDER BY key'),
	"a|n 70000000 true|\nb|small|e 50000000 true\nc|c 60000000 true|",
	'and the table has them');
sql('DELETE FROM mdbatch_metadata');

# Compressed, external, and both: as stored in tables, as columns and as rows.
sql(<<'SQL');
CREATE TABLE stored (id int PRIMARY KEY, a text, b text, c text);
ALTER TABLE stored ALTER b SET STORAGE EXTERNAL, ALTER c SET STORAGE MAIN;
INSERT INTO stored SELECT 1, big(20, 'a'), big(20, 'b'), repeat('c', 200000);
CREATE TABLE like_doc (id int PRIMARY KEY, v text);
INSERT INTO like_doc SELECT 10 + i, CASE i WHEN 1 THEN a WHEN 2 THEN b ELSE c END
FROM stored, generate_series(1, 3) i;
SQL
is(sql(q{SELECT bool_and(pg_column_size(a) < 1000000 AND pg_column_size(b) = 20000000
	AND pg_column_size(c) < 8000) FROM stored}), 't', 'they are stored so');
is(sql("SELECT mdbatch_add_many(array_fill(${agent}::uuid, ARRAY[3]), '{a,b,c}', ARRAY[a, b, c])
	FROM stored"), '3', 'mdbatch_add_many takes them');
is(sql("SELECT mdbatch_add($agent, '{d}', ARRAY[c], ARRAY[a]) FROM stored"), '1',
	'mdbatch_add, too');
is(sql('SELECT sum(mdbatch_put_row(ROW(20 + i, CASE i WHEN 1 THEN a WHEN 2 THEN b ELSE c END)::doc))
	FROM stored, generate_series(1, 3) i'), '3', 'so does mdbatch_put_row');
is(sql('SELECT sum(mdbatch_put_row(ROW(l.*)::doc)) FROM like_doc l'), '3',
	'and rows made of rows');
sql('INSERT INTO doc_in SELECT id + 20, v FROM like_doc');
is(sql('SELECT mdbatch_put_row(p) FROM (SELECT ROW(1, a, b)::pair FROM stored) s(p)'),
	'1', 'two of them in a row');
is(sql("SELECT sum(mdbatch_put('doc', jsonb_build_object('id', 40 + i, 'v',
	CASE i WHEN 1 THEN a WHEN 2 THEN b ELSE c END))) FROM stored, generate_series(1, 3) i"),
	'3', 'and mdbatch_put');

# A key that is stored compressed is the same key.
sql(<<'SQL');
CREATE TABLE keys (w text);
INSERT INTO keys VALUES (repeat('k', 100000));
SELECT mdbatch_put_row(ROW(w, 'compressed')::word) FROM keys;
SELECT mdbatch_put_row(ROW(repeat('k', 100000), 'plain')::word);
SQL
is(sql('SELECT length(w), v FROM mdbatch_pending_rows(NULL::word)'), '100000|plain',
	'a compressed key is the same as a plain one');
sql('SELECT mdbatch_flush()');
is(sql("SELECT key, shown(value), shown(error) FROM mdbatch_metadata ORDER BY key"),
	"a|a 20000000 true|\nb|b 20000000 true|\nc|c 200000 true|\n"
	  . "d|c 200000 true|a 20000000 true", 'metadata from stored values');
is(sql('SELECT id, shown(v) FROM doc WHERE id > 10 ORDER BY id'),
	join("\n", map { my $i = $_; ("${i}1|a 20000000 true", "${i}2|b 20000000 true",
			"${i}3|c 200000 true") } 1 .. 4), 'rows from stored values');
is(sql('SELECT shown(a), shown(b) FROM pair'), 'a 20000000 true|b 20000000 true',
	'both in a row');
is(sql('SELECT length(w), v FROM word'), '100000|plain', 'the key');

# What a target refuses is kept whole, and can be retried.
sql(<<'SQL');
CREATE TABLE picky (id int PRIMARY KEY, v text CHECK (v NOT LIKE 'x%'));
SELECT mdbatch_detach('word');
SELECT mdbatch_attach('picky');
SELECT mdbatch_put_row(ROW(1, big(50))::picky);
SELECT mdbatch_put_row(ROW(3, 'good')::picky);
SQL
is(sql("SELECT mdbatch_flush('picky')"), '2', 'a value of 50 MB is refused');
is(sql('SELECT * FROM picky'), '3|good', 'the good one is written');
is(sql(q{SELECT key, sqlstate, shown(entry->>'v') FROM mdbatch_rejected}),
	'{"id": 1}|23514|x 50000000 true', 'the refused one is kept');
ok(!$node->log_contains(qr/xxxxx/), 'the log has no value');
sql('ALTER TABLE picky DROP CONSTRAINT picky_v_check');
is(sql("SELECT mdbatch_retry('picky')"), '1', 'it is retried');
sql("SELECT mdbatch_flush('picky')");
is(sql('SELECT id, shown(v) FROM picky WHERE id <> 3'), '1|x 50000000 true',
	'and written');
sql('TRUNCATE picky');

# A value of that size that would be announced is left out (R25).
sql(<<'SQL');
SELECT mdbatch_attach('picky', channel => 'heard', notify => 'v');
SELECT mdbatch_put_row(ROW(1, big(50))::picky);
SELECT mdbatch_put_row(ROW(2, 'short')::picky);
SQL
my $listener = listen_to($node, 'postgres', 'heard');
is(sql("SELECT mdbatch_flush('picky')"), '2', 'a value too long to be announced');
is(join(' ', notifications($node, 'postgres', $listener, 'heard')), '["short"]',
	'is left out');
is(sql('SELECT count(*) FROM picky'), '2', 'but written');
end_session($listener);

# 300 MB in the file of pending entries (R14).
sql(<<'SQL');
SELECT mdbatch_put_row(ROW(100, big(300, 's'))::doc);
BEGIN; LOCK TABLE doc IN EXCLUSIVE MODE; PREPARE TRANSACTION 'freeze';
SQL
$node->append_conf('postgresql.conf', "mdbatch.lock_timeout = '100ms'");
$node->reload;
$node->stop;
cmp_ok(-s $node->data_dir . '/mdbatch.pending', '>', 300_000_000, '300 MB are saved');
$node->start;
is(sql('SELECT id, shown(v) FROM mdbatch_pending_rows(NULL::doc)'),
	'100|s 300000000 true', 'and loaded as they were');

# (A flush takes several times as much memory: of so large a value, only in the
# big part.)
is(sql("SELECT mdbatch_put_row(ROW(100, big(60, 't'))::doc)"), '1',
	'a newer value replaces them');
sql("COMMIT PREPARED 'freeze'");
flush_freed();
is(sql('SELECT shown(v) FROM doc WHERE id = 100'), 't 60000000 true', 'and is written');

# Agent ids of 100 MB, and payloads.
is(sql(q{SELECT count(*), sum(length(p)) FROM mdbatch_encode_agent_ids(
	array_fill('00000000-0000-0000-0000-000000000001'::uuid, ARRAY[6000000])) p}),
	'1|22', '6,000,000 times one agent');
is(sql(q{SELECT count(*), count(DISTINCT a)
	FROM mdbatch_decode_agent_ids(repeat('AAAAAAAAAAAAAAAAAAAAAQ', 1000000)) a}),
	'1000000|1', 'a payload of 22 MB');
at_rest('700 MB of memory');
$node->stop;

SKIP:
{
	skip 'MDBATCH_BIG is not set', 1 unless $ENV{MDBATCH_BIG};

	start_server('name' => 'big', 'mdbatch.memory' => '5GB',
		'mdbatch.max_batches' => '4', 'mdbatch.flush_timeout' => '10min',
		'statement_timeout' => '10min', 'max_wal_size' => '8GB');
	sql('SELECT mdbatch_flush()');

	# 1 GB through each front end that can take it, flushed together.
	is(sql("SELECT mdbatch_put_row(ROW(1, big(1000, 'a'))::doc)"), '1', '1 GB: put_row');
	sql("INSERT INTO doc_in SELECT 2, big(1000, 'b')");
	is(sql("SELECT mdbatch_put('doc', jsonb_build_object('id', 3, 'v', big(260, 'c')))"),
		'1', '260 MB: put');
	is(sql('SELECT id, shown(v) FROM mdbatch_pending_rows(NULL::doc) ORDER BY id'),
		"1|a 1000000000 true\n2|b 1000000000 true\n3|c 260000000 true",
		'they are shown');
	is(sql("SELECT mdbatch_flush('doc')"), '3', 'and flushed');
	is(sql('SELECT id, shown(v) FROM doc ORDER BY id'),
		"1|a 1000000000 true\n2|b 1000000000 true\n3|c 260000000 true",
		'as they are');
	is(sql("SELECT mdbatch_add($agent, '{k}', ARRAY[big(1000, 'm')])"), '1',
		'1 GB: mdbatch_add');
	is(sql("SELECT mdbatch_add_many(array_fill(${agent}::uuid, ARRAY[3]), '{a,b,c}',
		ARRAY[big(330, 'a'), big(330, 'b'), big(330, 'c')])"), '3',
		'mdbatch_add_many, an array of 1 GB');
	is(sql('SELECT key, shown(value) FROM mdbatch_pending() ORDER BY key'),
		"a|a 330000000 true\nb|b 330000000 true\nc|c 330000000 true\n"
		  . 'k|m 1000000000 true', 'mdbatch_pending shows them');
	is(sql('SELECT mdbatch_flush()'), '4', 'and they are flushed');
	is(sql('SELECT key, shown(value) FROM mdbatch_metadata ORDER BY key'),
		"a|a 330000000 true\nb|b 330000000 true\nc|c 330000000 true\n"
		  . 'k|m 1000000000 true', 'together');
	refused('wait', "SELECT mdbatch_add($agent, ARRAY[big(1000, 'k')], '{v}')", $key,
		'a key of 1 GB');

	# A restart with 1 GB.
	sql(<<'SQL');
SELECT mdbatch_put_row(ROW(100, big(1000, 's'))::doc);
BEGIN; LOCK TABLE doc IN EXCLUSIVE MODE; PREPARE TRANSACTION 'freeze';
SQL
	$node->append_conf('postgresql.conf', "mdbatch.lock_timeout = '100ms'");
	$node->restart;
	is(sql('SELECT id, shown(v) FROM mdbatch_pending_rows(NULL::doc)'),
		'100|s 1000000000 true', '1 GB is saved and loaded');
	sql("COMMIT PREPARED 'freeze'");
	flush_freed();
	is(sql('SELECT shown(v) FROM doc WHERE id = 100'), 's 1000000000 true', 'written');

	# No row can hold more than 1 GB: such an entry would fail every flush.  (A
	# ROW of that size is refused by PostgreSQL itself.)
	sql(<<'SQL');
CREATE TABLE stored (a text, b text);
INSERT INTO stored SELECT big(600, 'a'), NULL;
UPDATE stored SET b = big(600, 'b');
CREATE VIEW pair_in AS SELECT * FROM pair;
CREATE TRIGGER enqueue INSTEAD OF INSERT ON pair_in FOR EACH ROW
	EXECUTE FUNCTION mdbatch_enqueue('pair');
SQL
	foreach my $case (
		[ 'a value and an error of 600 MB each', 'mdbatch_metadata',
			"SELECT mdbatch_add($agent, '{k}', ARRAY[big(600)], ARRAY[big(600, 'y')])" ],
		[ 'a value that is 1 GB but for some bytes', 'mdbatch_metadata',
			"SELECT mdbatch_add($agent, '{k}', ARRAY[repeat('x', 1073741780)])" ],
		[ 'a row of two stored values of 600 MB each', 'pair',
			'INSERT INTO pair_in SELECT 1, a, b FROM stored' ])
	{
		my ($what, $target, $query) = @$case;

		refused('drop', $query, $too_large, $what);
		# What was accepted all the same is not to disturb the rest.
		sql("SELECT mdbatch_discard('$target')");
	}

	# Of a value that a target refuses and that is too large to be dumped the
	# first bytes are kept; the others are written, and the flush does not fail.
	sql(<<'SQL');
CREATE TABLE picky (id int PRIMARY KEY, v text CHECK (v NOT LIKE 'x%'));
SELECT mdbatch_detach('word');
SELECT mdbatch_attach('picky');
SELECT mdbatch_put_row(ROW(1, 'x')::picky);
SELECT mdbatch_put_row(ROW(2, big(300))::picky);
SELECT mdbatch_put_row(ROW(3, 'good')::picky);
SQL
	is(sql("SELECT mdbatch_flush('picky')"), '3', 'a value of 300 MB is refused');
	is(sql('SELECT * FROM picky'), '3|good', 'the good one is written');
	is(sql(q{SELECT key->>'id', sqlstate, entry->>'v', entry ? 'v',
		length(bytes->>'v') FROM mdbatch_rejected ORDER BY 1}),
		"1|23514|x|t|\n2|23514||f|134217728", 'the refused ones are kept');
	is(sql("SELECT mdbatch_retry('picky')"), '1', 'what could be shown is retried');
	is(sql("SELECT mdbatch_discard('picky')"), '1', 'and discarded');
	sql("SELECT mdbatch_detach('picky'); DELETE FROM mdbatch_rejected");

	# Announced values that grow when they are escaped (R25).
	sql(<<'SQL');
CREATE TABLE noisy (id int PRIMARY KEY, v text);
SELECT mdbatch_attach('noisy', channel => 'heard', notify => 'v');
SELECT mdbatch_put_row(ROW(1, big(200, chr(1)))::noisy);
SELECT mdbatch_put_row(ROW(2, 'short')::noisy);
SQL
	my $ear = listen_to($node, 'postgres', 'heard');
	my $error = error_of("SELECT mdbatch_flush('noisy')");
	is($error, '', 'a value of 200 MB of control characters does not fail the flush');
	is(sql('SELECT count(*) FROM noisy'), '2', 'all is written');
	is(join(' ', notifications($node, 'postgres', $ear, 'heard')), '["short"]',
		'what can be announced is');
	end_session($ear);

	# A trigger that raises 1 GB: the flush fails, others go on, the worker lives.
	sql(<<'SQL');
CREATE TABLE angry (id int PRIMARY KEY, v text);
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION USING MESSAGE = repeat('m', 600000000),
		DETAIL = repeat('d', 600000000), ERRCODE = '58030';
END $$;
CREATE TRIGGER shout BEFORE INSERT ON angry FOR EACH ROW EXECUTE FUNCTION shout();
SELECT mdbatch_discard('noisy');
SELECT mdbatch_detach('noisy');
SELECT mdbatch_attach('angry');
SELECT mdbatch_put('angry', '[{"id": 1}, {"id": 2}]');
SQL
	my $worker = worker_pid($node, 'postgres');
	$error = error_of("SET statement_timeout = '60s'; SELECT mdbatch_flush('angry')");
	like(substr($error, 0, 300), qr/58030: could not flush the batch of table public\.angry/,
		'an error of 1.2 GB is the failure of the flush');
	is(sql("SELECT pending, flush_failures > 0, last_error LIKE '58030: mmmm%'
		FROM mdbatch_stat WHERE target = 'public.angry'"), '2|t|t',
		'it is kept in the books, cut, and the entries are');
	sql(q{SELECT mdbatch_put('doc', '{"id": 1000}')});
	is(sql("SELECT mdbatch_flush('doc')"), '1', 'another target goes on');
	is(worker_pid($node, 'postgres'), $worker, 'by the same worker');
	sql("SELECT mdbatch_discard('angry'); DROP TABLE angry, noisy");

	# A call of very many entries can be cancelled in the middle.
	sql("CREATE TABLE many AS SELECT array_fill('k'::text, ARRAY[40000000]) k");
	my $many = "SELECT mdbatch_add($agent, k, k) FROM many";
	my $started = time;
	is(sql($many), '40000000', '40,000,000 entries in a call');
	my $whole = time - $started;
	sql("SELECT mdbatch_discard('mdbatch_metadata')");
	$started = time;
	like(error_of(sprintf "SET statement_timeout = %d; %s", $whole / 2 * 1000, $many),
		qr/ERROR:  57014: canceling statement due to statement timeout/,
		'obey statement_timeout');
	cmp_ok(time - $started, '<', $whole * 0.8, "in the middle of $whole s");
	is(sql("SELECT pending, reserved FROM mdbatch_stat WHERE target LIKE '%metadata'"),
		'0|0', 'and leave nothing behind');

	# As many agents as an array can hold.
	is(sql(q{SELECT count(*) FROM mdbatch_encode_agent_ids(
		array_fill('00000000-0000-0000-0000-000000000001'::uuid, ARRAY[60000000]))}),
		'1', '60,000,000 agent ids');
	is(sql(q{SELECT count(*) FROM mdbatch_decode_agent_ids(
		repeat('AAAAAAAAAAAAAAAAAAAAAQ', 45000000))}), '45000000',
		'a payload of 1 GB');
	is(sql(q{SELECT count(*) FROM mdbatch_add_many(
		array_fill('00000000-0000-0000-0000-000000000001'::uuid, ARRAY[60000000]),
		array_fill('k'::text, ARRAY[60000000]), array_fill('v'::text, ARRAY[60000000]))}),
		'1', '60,000,000 entries in a call');
	sql('SELECT mdbatch_flush()');
	at_rest('5 GB of memory');
	$node->stop;
}

done_testing();
