# Notifications of any table (R25): every payload is heard and decoded.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $json = JSON::PP->new->utf8;
my $node = new_server('main');
my $db = 'utf';
my @heard;

$ENV{PGCLIENTENCODING} = 'UTF8';
$node->safe_psql('postgres',
	"CREATE DATABASE $db ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0");
$node->safe_psql($db, 'CREATE EXTENSION mdbatch');
my $listener = listen_to($node, $db, 'chan');

sub sql
{
	return $node->safe_psql($db, join(";\n", @_));
}

# A target "state" of its own, with such columns beside the key "id".
sub target
{
	my ($columns, $attach) = @_;

	return sql("DROP TABLE IF EXISTS state",
		"CREATE TABLE state (id int PRIMARY KEY, $columns)",
		"SELECT mdbatch_attach('state', channel => 'chan'"
		  . ($attach ? ", $attach" : '') . ')');
}

# Entries with these values of column n, their ids from 1 up; flush.
sub put
{
	my $entries = $json->encode(
		[ map { { id => $_ + 1, n => $_[$_] } } 0 .. $#_ ]);

	return sql("SELECT mdbatch_put('state', \$entries\$$entries\$entries\$)",
		"SELECT mdbatch_flush('state')");
}

sub heard
{
	return notifications($node, $db, $listener, 'chan');
}

# What the payloads say, one array for each.
sub decoded
{
	return [ map { $json->decode($_) } heard() ];
}

sub announced
{
	return $node->safe_psql($db,
		"SELECT notifications FROM mdbatch_stat WHERE relid = 'state'::regclass");
}

# Text that needs care, and JSON does not know of.  (No U+0000: no text has it.)
my @texts = (
	'plain', '', ' ', 'q"q', "it's", 'back\\slash', '\\u0041', "tab\tnew\nline\r",
	"\b\f", join('', map { chr } 1 .. 31), "\x7f", "\xfcml\xe4ut",
	"\x{65e5}\x{672c}", "\x{1f600}", "\x{2028}\x{2029}", '[1,"]', '/', '$1',
	'received from', 'null');
target('n text', "notify => 'n'");
put(@texts);
is_deeply(decoded(), [ \@texts ], 'text of all sorts, in one payload');
is(announced(), '1', 'which is counted');

# Every type as its text, in fixed settings whatever the database has.
sql("ALTER DATABASE $db SET datestyle = 'German'",
	"ALTER DATABASE $db SET timezone = 'Asia/Tokyo'",
	"ALTER DATABASE $db SET bytea_output = 'escape'",
	"ALTER DATABASE $db SET extra_float_digits = 0");
sql(q{CREATE TYPE mood AS ENUM ('sad', 'so "so"')},
	q{CREATE TYPE pair AS (a int, b text)},
	q{CREATE DOMAIN small AS int CHECK (VALUE < 100)});
foreach my $case (
	[ 'int', [ 3, -1, 3, 2, undef, -1 ], [ '3', '-1', '2' ] ],
	[ 'small', [ 5, 7 ], [ '5', '7' ] ],
	[ 'bigint', ['9223372036854775807'], ['9223372036854775807'] ],
	[ 'boolean', [ JSON::PP::true, JSON::PP::false ], [ 't', 'f' ] ],
	[ 'float8', ['0.1', '1e300', 'NaN'], [ '0.1', '1e+300', 'NaN' ] ],
	[ 'numeric', [ '1.50', '1.5' ], [ '1.50', '1.5' ] ],
	[ 'mood', [ 'so "so"', 'sad' ], [ 'so "so"', 'sad' ] ],
	[ 'timestamptz', [ '2020-07-01 12:00:00.5+00', 'infinity' ],
		[ '2020-07-01 12:00:00.5+00', 'infinity' ] ],
	[ 'date', ['2020-02-01'], ['2020-02-01'] ],
	[ 'bytea', ['\x00ff5c'], ['\x00ff5c'] ],
	[ 'pair', [ { a => 1, b => 'x "y\\' }, { a => undef, b => undef } ],
		[ '(1,"x ""y\\\\")', '(,)' ] ],
	[ 'int[]', [ [ 1, undef ] ], ['{1,NULL}'] ],
	[ 'jsonb', [ { a => [ 'b"' ] } ], ['{"a": ["b\""]}'] ],
	[ 'char(5)', ['ab'], ['ab   '] ])
{
	my ($type, $values, $expected) = @$case;

	target("n $type", "notify => 'n'");
	put(@$values);
	is_deeply(decoded(), [$expected], "$type as text");
}
sql(map { "ALTER DATABASE $db RESET $_" }
	qw(datestyle timezone bytea_output extra_float_digits));

# A uuid is no JSON: base64, as for agents; a domain of it is one, too.
sql('CREATE DOMAIN ident AS uuid');
foreach my $type ('uuid', 'ident')
{
	target("n $type", "notify => 'n'");
	put(agent(2), agent(1), undef, agent(2));
	@heard = heard();
	is_deeply([ map { length } @heard ], [44], "$type: 22 characters each");
	is_deeply([ map { decode_agents($_) } @heard ], [ agent(2), agent(1) ],
		"$type: distinct ones, in order");
}

# The first key column if none is named; rows are written in the order of the
# keys, whatever came first.
sql('DROP TABLE state',
	'CREATE TABLE state (b text, a int, v text, PRIMARY KEY (a, b))',
	"SELECT mdbatch_attach('state', '{b,a}', channel => 'chan')",
	q{SELECT mdbatch_put('state', '[{"a": 1, "b": "z"}, {"a": 1, "b": "m"}, {"a": 2, "b": "c"}, {"a": 3, "b": "c"}]')},
	"SELECT mdbatch_flush('state')");
is_deeply(decoded(), [ [ 'c', 'm', 'z' ] ], 'the first column of the key');

# A column that the entries do not carry: what the row has in the end.
target("n text DEFAULT 'default', v text",
	"columns => '{v}', notify => 'n'");
sql(q{INSERT INTO state VALUES (1, 'stored')},
	q{SELECT mdbatch_put('state', '[{"id": 1, "v": "x"}, {"id": 2, "v": "x"}]')},
	"SELECT mdbatch_flush('state')");
is_deeply(decoded(), [ [ 'stored', 'default' ] ], 'a column not carried');

# What a trigger makes of it is what is in the row.
sql(<<'SQL');
CREATE FUNCTION upper_n() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.n := upper(NEW.n); RETURN NEW; END $$
SQL
target('n text', "notify => 'n'");
sql('CREATE TRIGGER t BEFORE INSERT ON state FOR EACH ROW EXECUTE FUNCTION upper_n()');
put('a', 'A');
is_deeply(decoded(), [ ['A'] ], 'a value as the row has it');

# Only rows that were written: not older ones, missing ones, refused ones.
target("n text CHECK (n <> 'refused'), ver int", "version => 'ver', notify => 'n'");
sql(q{INSERT INTO state VALUES (1, 'row', 5), (2, 'row', 5)},
	q{SELECT mdbatch_put('state', '[{"id": 1, "n": "older", "ver": 4}, {"id": 2, "n": "newer", "ver": 6},
		{"id": 3, "n": "refused", "ver": 1}, {"id": 4, "n": "new", "ver": 1}, {"id": 5, "n": "newer", "ver": 1}]')},
	"SELECT mdbatch_flush('state')");
is_deeply([ sort map { @$_ } @{ decoded() } ], [ 'new', 'newer' ],
	'rows written, each value once, though some were refused');
sql("SELECT mdbatch_attach('state', version => 'ver', mode => 'update', channel => 'chan', notify => 'n')",
	q{SELECT mdbatch_put('state', '[{"id": 2, "n": "again", "ver": 7}, {"id": 9, "n": "missing", "ver": 1}]')},
	"SELECT mdbatch_flush('state')");
is_deeply(decoded(), [ ['again'] ], 'mode update: only rows that exist');
sql(q{SELECT mdbatch_put('state', '[{"id": 9, "n": "missing", "ver": 1}]')},
	"SELECT mdbatch_flush('state')");
is_deeply([ heard() ], [], 'nothing written, nothing heard');

# NULL has no text.
target('n text', "notify => 'n'");
put(undef, undef);
is_deeply([ heard() ], [], 'nothing but NULL, nothing heard');

# The longest value of a payload, its neighbours, and one byte more.
my $log = -s $node->logfile;
my $start = time;
put('a', 'x' x 7995, 'b', 'c');
@heard = heard();
is_deeply([ map { $json->decode($_) } @heard ],
	[ ['a'], [ 'x' x 7995 ], [ 'b', 'c' ] ], 'the longest value is alone');
is(length $heard[1], 7999, 'and fills the payload');
put('a', 'y' x 7996, 'b', 'c');
is_deeply(decoded(), [ [ 'a', 'b', 'c' ] ], 'a longer one is left out');
put('y' x 7996);
is_deeply([ heard() ], [], 'also where it is alone');
put("\xe9" x 3997);
is_deeply(decoded(), [ [ "\xe9" x 3997 ] ], 'bytes count, not characters');
put("\xe9" x 3998);
is_deeply([ heard() ], [], 'so this one is left out');
put('"' x 3997);
is_deeply(decoded(), [ [ '"' x 3997 ] ], 'an escaped character is two');
put('"' x 3998);
is_deeply([ heard() ], [], 'so this one is left out, too');
put('x' x 3996, 'y' x 3996);
is_deeply(decoded(), [ [ 'x' x 3996, 'y' x 3996 ] ], 'two that fit exactly');
put('x' x 3996, 'y' x 3997);
is_deeply(decoded(), [ [ 'x' x 3996 ], [ 'y' x 3997 ] ],
	'two that are a byte too long together');

# The log says so, once in 10 s, and does not quote the value (R18).
$log = substr(slurp_file($node->logfile), $log);
my @lines = $log =~
  /(left \d+ values? out of [^\n]*\n[^\n]*DETAIL:[^\n]*)/g;
cmp_ok(scalar @lines, '<=', 1 + int((time - $start) / 10),
	'the log is not filled');
like($lines[0] // '',
	qr/^left 1 value out of the notifications of table public\.state\n.*DETAIL:  A value is too long for a payload\.$/,
	'it says what was left out, but no value');

# Many values: as many as fit, in order, none lost, none twice.
my @many = map { sprintf '%s-%d', 'v' x ($_ % 40), $_ } 1 .. 3000;
target('n text', "notify => 'n', batch_size => 5000");
put(@many);
@heard = heard();
is_deeply([ map { @{ $json->decode($_) } } @heard ], \@many,
	'3,000 values, in order');
is(scalar(grep { length > 7999 } @heard), 0, 'no payload is too long');
is( scalar(
		grep {
			my $next = $json->decode($heard[ $_ + 1 ])->[0];
			length($heard[$_]) + length($next) + 3 <= 7999
		} 0 .. $#heard - 1),
	0,
	'no payload has room for the next value');
is(announced(), scalar @heard, 'all are counted');

# A flush that fails is silent; once it works, each is announced once.
target('n text', "notify => 'n'");
sql(<<'SQL');
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'broken' USING ERRCODE = '58030'; END $$;
CREATE TRIGGER fail AFTER INSERT ON state FOR EACH ROW
WHEN (NEW.n = 'two') EXECUTE FUNCTION fail();
SELECT mdbatch_put('state', '[{"id": 1, "n": "one"}, {"id": 2, "n": "two"}]');
SQL
my ($ret, $stdout, $stderr) =
  $node->psql($db, "SELECT mdbatch_flush('state')", on_error_stop => 1);
isnt($ret, 0, 'the flush fails');
like($stderr, qr/could not flush some entries of table public\.state/, 'and says so');
my $before = decoded();
sql('DROP TRIGGER fail ON state', "SELECT mdbatch_flush('state')");
my $after = decoded();
is_deeply([ sort map { @$_ } @$before, @$after ], [ 'one', 'two' ],
	'each value is announced once in the end');
is(scalar(grep { $_ eq 'two' } map { @$_ } @$before), 0,
	'not by the flush that failed');

# Another channel, whose name needs quotes.
my $odd = listen_to($node, $db, '"Odd ""channel"""');
sql(q{SELECT mdbatch_attach('state', channel => 'Odd "channel"', notify => 'n')},
	q{SELECT mdbatch_put('state', '{"id": 1, "n": "elsewhere"}')},
	"SELECT mdbatch_flush('state')");
is_deeply([ map { $json->decode($_) }
		  notifications($node, $db, $odd, 'Odd "channel"') ],
	[ ['elsewhere'] ], 'a channel with an odd name');
is_deeply([ heard() ], [], 'not on the former one');

books_ok($node, $db);
$_->quit foreach $listener, $odd;
$node->stop;
done_testing();
