# Random operations on random targets, compared with a model kept here (R1, R2,
# R7, R21, R22, R26).  MDBATCH_SOAK_SEED repeats a run, MDBATCH_SOAK_OPS makes it
# longer.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{MDBATCH_SOAK_SEED} || 1 + int rand 1_000_000_000;
my $ops = $ENV{MDBATCH_SOAK_OPS} || 1500;

diag "MDBATCH_SOAK_SEED=$seed";
srand $seed;

my $node = new_server('main', 'mdbatch.lock_timeout' => '10s');
my $session = session($node, 'postgres');

# Statements of the session are collected, and sent together: a command of psql
# takes longer than what it runs.
my @script;

sub later { push @script, "$_[0];"; return; }

sub run
{
	my $result;

	push @script, "$_[0]" if @_;
	return '' unless @script;
	$result = $session->query(join "\n", @script);
	die "failed: $session->{stderr}\nin:\n" . join("\n", @script)
	  if $session->{stderr} ne '';
	@script = ();
	$result =~ s/\A\s+|\s+\z//g;
	return $result;
}

sub pick { return $_[ int rand @_ ]; }
sub chance { return rand() < $_[0]; }
sub quote { my ($text) = @_; $text =~ s/'/''/g; return "'$text'"; }
sub literal { return defined $_[0] ? quote($_[0]) : 'NULL'; }

# Types.  A value is kept as PostgreSQL prints it; undef is null.  Each makes one,
# and its form in JSON.
my $uuid = sub { sprintf '%08x-0000-4000-8000-000000000000', $_[0] };
my @words = ('', 'a', 'it\'s', '\\', '"quoted"', 'null', '{}', 'tab' . "\t" . 'bed',
	'x' x 3000, ' space ', '%s', 'NaN');
my %types = (
	int => { make => sub { int(rand 2001) - 1000 }, json => sub { $_[0] } },
	bigint => { make => sub { (int(rand 2001) - 1000) * 10_000_000_000 },
		json => sub { $_[0] } },
	# Halves are exact.
	'double precision' => { make => sub { (int(rand 2001) - 1000) / 2 },
		json => sub { $_[0] } },
	date => { make => sub { sprintf '2026-%02d-%02d', 1 + rand 12, 1 + rand 28 } },
	text => { make => sub { pick(@words) } },
	numeric => { make => sub { sprintf '%d.%02d', int(rand 1000) - 500, rand 100 },
		json => sub { $_[0] } },
	jsonb => { make => sub {
			pick('{"a": 1}', '[]', 'null', '"text"', '[1, {"b": null}]') },
		json => sub { $_[0] } },
	'int[]' => { make => sub {
			'{' . join(',', map { int rand 10 } 1 .. rand 4) . '}' } });

sub json_string
{
	my ($text) = @_;

	$text =~ s/(["\\])/\\$1/g;
	$text =~ s/\t/\\t/g;
	return "\"$text\"";
}

sub json_value
{
	my ($type, $value) = @_;

	return 'null' unless defined $value;
	return $types{$type} && $types{$type}{json} ? $types{$type}{json}->($value)
	  : json_string($value);
}

# Keys: few, so that they meet.
my %keys = (
	int => [ ['int'], sub { 1 + int rand 15 } ],
	text => [ ['text'], sub { pick(@words[ 1 .. $#words ]) } ],
	uuid => [ ['uuid'], sub { $uuid->(1 + int rand 15) } ],
	two => [ [ 'text', 'int' ], sub { (pick('a', 'A', ' b', ''), int rand 4) } ]);

# Versions: a small range, so that there are equal ones and older ones.
my %versions = (
	bigint => sub { int(rand 40) - 20 },
	timestamptz => sub { sprintf '2026-01-01 00:%02d:%02d+00', rand 2, rand 20 });

# A few random targets: columns by name with their types and roles.
my @targets;
my $ntargets = 3 + int rand 3;
foreach my $i (1 .. $ntargets)
{
	my ($key_types, $make_key) = @{ $keys{ pick(sort keys %keys) } };
	my %target = (
		name => "target$i",
		keys => [ map { "k$_" } 1 .. @$key_types ],
		make_key => $make_key,
		mode => chance(0.25) ? 'update' : 'upsert',
		version => chance(0.6) ? pick(sort keys %versions) : undef,
		carried => [], type => {}, merge => {},
		# By key: what is stored, and what is pending, in this transaction too.
		stored => {}, pending => {});

	@{ $target{type} }{ @{ $target{keys} } } = @$key_types;
	$target{type}{version} = $target{version} if $target{version};
	foreach my $c (1 .. 2 + int rand 4)
	{
		my $name = "c$c";
		my $type = pick(sort keys %types);

		push @{ $target{carried} }, $name;
		$target{type}{$name} = $type;
		$target{merge}{$name} = pick('sum', 'min', 'max')
		  if $type =~ /^(?:int|bigint|double precision)$/ && chance(0.7);
		$target{merge}{$name} = pick('min', 'max')
		  if $type eq 'date' && chance(0.7);
	}

	my @columns = (@{ $target{keys} }, $target{version} ? 'version' : (),
		@{ $target{carried} });
	# The columns of the table in another order than those of an entry.
	my @shuffled = map { $_->[1] } sort { $a->[0] <=> $b->[0] }
	  map { [ rand, $_ ] } @columns;
	my $merge = join ', ',
	  map { qq["$_": "$target{merge}{$_}"] } sort keys %{ $target{merge} };

	$target{columns} = \@columns;
	$target{row} = \@shuffled;
	later("CREATE TABLE $target{name} (" . join(', ',
			(map { "$_ $target{type}{$_}" } @shuffled),
			'PRIMARY KEY (' . join(', ', @{ $target{keys} }) . ')') . ')');
	later("SELECT mdbatch_attach('$target{name}', version => "
		  . ($target{version} ? "'version'" : 'NULL')
		  . ", mode => '$target{mode}', merge => '{$merge}', batch_size => 100000)");
	later("CREATE VIEW view$i AS SELECT * FROM $target{name}");
	later("CREATE TRIGGER enqueue INSTEAD OF INSERT ON view$i FOR EACH ROW
		EXECUTE FUNCTION mdbatch_enqueue('$target{name}')");
	note "$target{name}: $target{mode}, "
	  . join(', ', map { "$_ $target{type}{$_} " . ($target{merge}{$_} // '') } @columns);
	push @targets, \%target;
}
later("SET timezone = 'UTC'");
run('SET client_min_messages = warning;');

# The model.  An entry is a hash of column to value; versions of one target
# compare as its type does.
sub compare_values
{
	my ($type, $one, $two) = @_;

	return $type =~ /^(?:int|bigint|double precision)$/ ? $one <=> $two : $one cmp $two;
}

sub newer
{
	my ($target, $one, $two) = @_;

	return 0 unless $target->{version};
	return compare_values($target->{version}, $one->{version}, $two->{version}) > 0;
}

# What becomes of an entry, or a row, and an entry that arrives later (R1, R21).
sub merged
{
	my ($target, $old, $new) = @_;
	my %result = newer($target, $old, $new) ? %$old : %$new;

	foreach my $column (keys %{ $target->{merge} })
	{
		my $merge = $target->{merge}{$column};
		my ($one, $two) = ($old->{$column}, $new->{$column});

		if (!defined $one || !defined $two)
		{
			$result{$column} = $one // $two;
		}
		elsif ($merge eq 'sum')
		{
			$result{$column} = $one + $two;
		}
		else
		{
			my $sign = compare_values($target->{type}{$column}, $one, $two);

			$result{$column} =
			  ($merge eq 'min' ? $sign < 0 : $sign > 0) ? $one : $two;
		}
	}
	return \%result;
}

sub key_of
{
	my ($target, $entry) = @_;

	return join "\x01", map { $entry->{$_} } @{ $target->{keys} };
}

# Entries of an open transaction, one list for each level.
my @levels = ([]);
my $in_transaction = 0;

sub commit
{
	foreach my $added (map { @$_ } @levels)
	{
		my ($target, $entry) = @$added;
		my $pending = $target->{pending};
		my $key = key_of($target, $entry);

		$pending->{$key} =
		  $pending->{$key} ? merged($target, $pending->{$key}, $entry) : $entry;
	}
	@levels = ([]);
	return;
}

# An add: a savepoint takes it along when it rolls back.
sub add
{
	push @{ $levels[-1] }, [@_];
	commit() unless $in_transaction;
	return;
}

# A flush: an entry that is older than the row only merges (R2, R21).
sub flush
{
	foreach my $target (@_)
	{
		my ($pending, $stored) = @{$target}{qw(pending stored)};

		foreach my $key (keys %$pending)
		{
			if ($stored->{$key})
			{
				my %before = %{ $stored->{$key} };

				# A stored NULL is older than any.
				if ($target->{version} && !defined $before{version})
				{
					%before = (%before, version => $pending->{$key}{version});
				}
				$stored->{$key} = merged($target, \%before, $pending->{$key});
			}
			elsif ($target->{mode} eq 'upsert')
			{
				$stored->{$key} = $pending->{$key};
			}
		}
		$target->{pending} = {};
	}
	return;
}

sub make_entry
{
	my ($target) = @_;
	my %entry;

	@entry{ @{ $target->{keys} } } = $target->{make_key}->();
	$entry{version} = $versions{ $target->{version} }->() if $target->{version};
	foreach my $column (@{ $target->{carried} })
	{
		$entry{$column} =
		  chance(0.15) ? undef : $types{ $target->{type}{$column} }{make}->();
	}
	return \%entry;
}

# As JSON: in any order, nulls left out at times.  (A JSON null is NULL for
# jsonb as well.)
sub as_json
{
	my ($target, $entry) = @_;
	my @fields;

	foreach my $column (keys %$entry)
	{
		$entry->{$column} = undef
		  if $target->{type}{$column} eq 'jsonb' && ($entry->{$column} // '') eq 'null';
		next if !defined $entry->{$column} && chance(0.5);
		push @fields, "\"$column\": "
		  . json_value($target->{type}{$column}, $entry->{$column});
	}
	return '{' . join(', ', @fields) . '}';
}

sub as_row
{
	my ($target, $entry) = @_;

	return join ', ', map { literal($entry->{$_}) . "::$target->{type}{$_}" }
	  @{ $target->{row} };
}

# Rows, as the table has them or what is pending, and as the model has them.
my $ok = 1;

sub rows_of
{
	my ($target, $rows) = @_;

	return join "\n", sort map
	{
		my $row = $_;

		'|' . join('|', map { $row->{$_} // '~' } @{ $target->{row} }) . '|'
	} values %$rows;
}

sub compare_rows
{
	my ($target, $from, $rows, $what) = @_;
	my $columns = join " || '|' || ",
	  map { "coalesce($_\::text, '~')" } @{ $target->{row} };
	my $expected = rows_of($target, $rows);

	run();
	my $got = join "\n", sort split /\n/,
	  run("SELECT '|' || $columns || '|' FROM $from;");
	s/x{3000}/X/g foreach $got, $expected;
	return if $got eq $expected;
	$ok = 0;
	is($got, $expected, "$what: $target->{name} (seed $seed)");
	return;
}

sub compare
{
	my ($target, $what) = @_;

	return compare_rows($target, $target->{name}, $target->{stored}, $what);
}

sub compare_pending
{
	my ($target) = @_;

	return compare_rows($target, "mdbatch_pending_rows(NULL::$target->{name})",
		$target->{pending}, 'pending');
}

my %did;
my $checks = 0;

sub begin
{
	return if $in_transaction;
	later('BEGIN');
	$in_transaction = 1;
	return;
}

sub end
{
	my ($how) = @_;

	return unless $in_transaction;
	later($how);
	@levels = ([]) if $how eq 'ROLLBACK';
	commit();
	$in_transaction = 0;
	return;
}

# What calls return is how many they accepted: a wrong number is an error.
sub expect
{
	my ($call, $n) = @_;

	return later("SELECT 1 / ($call = $n)::int");
}

my %operations = (
	put => [ 30, sub {
		my ($target) = @_;
		my $entry = make_entry($target);

		expect("mdbatch_put('$target->{name}', "
			  . quote(as_json($target, $entry)) . ')', 1);
		add($target, $entry);
	} ],
	put_array => [ 20, sub {
		my ($target) = @_;
		my @entries = map { make_entry($target) } 1 .. 1 + rand 6;

		# Some of the same key in one call.
		push @entries, { %{ make_entry($target) },
			map { $_ => $entries[0]{$_} } @{ $target->{keys} } } if chance(0.7);
		expect("mdbatch_put('$target->{name}', "
			  . quote('[' . join(', ', map { as_json($target, $_) } @entries) . ']')
			  . ')', scalar @entries);
		add($target, $_) foreach @entries;
	} ],
	put_row => [ 20, sub {
		my ($target) = @_;
		my $entry = make_entry($target);

		expect("mdbatch_put_row(ROW("
			  . as_row($target, $entry) . ")::$target->{name})", 1);
		add($target, $entry);
	} ],
	view => [ 20, sub {
		my ($target) = @_;
		my @entries = map { make_entry($target) } 1 .. 1 + rand 3;
		my $view = $target->{name} =~ s/target/view/r;

		later("INSERT INTO $view (" . join(', ', @{ $target->{row} }) . ') VALUES '
			  . join(', ', map { '(' . as_row($target, $_) . ')' } @entries));
		add($target, $_) foreach @entries;
	} ],
	begin => [ 12, sub { begin() } ],
	savepoint => [ 10, sub {
		begin();
		later('SAVEPOINT s' . scalar @levels);
		push @levels, [];
	} ],
	release => [ 6, sub {
		return if @levels < 2;
		my $top = pop @levels;

		later('RELEASE s' . scalar @levels);
		push @{ $levels[-1] }, @$top;
	} ],
	rollback_to => [ 6, sub {
		return if @levels < 2;
		my $to = 1 + int rand(@levels - 1);

		later("ROLLBACK TO s$to");
		splice @levels, $to;
		# The savepoint itself stays.
		push @levels, [];
	} ],
	commit => [ 12, sub { end('COMMIT') } ],
	rollback => [ 6, sub { end('ROLLBACK') } ],
	flush => [ 6, sub {
		my ($target) = @_;
		my $all = chance(0.4);

		end('COMMIT');
		later('SELECT mdbatch_flush(' . ($all ? '' : "'$target->{name}'") . ')');
		flush($all ? @targets : $target);
		$checks++;
		foreach ($all ? @targets : $target)
		{
			compare($_, 'after a flush');
		}
	} ],
	put_sync => [ 3, sub {
		my ($target) = @_;
		my $entry = make_entry($target);

		end('COMMIT');
		later("CALL mdbatch_put_sync('$target->{name}', "
			  . quote(as_json($target, $entry)) . ')');
		add($target, $entry);
		commit();
		# A flush has room for all that waits, and takes it in order.
		flush($target);
		$checks++;
		compare($target, 'after put_sync');
	} ],
	pending => [ 4, sub {
		my ($target) = @_;

		end('COMMIT');
		compare_pending($target);
	} ],
	discard => [ 2, sub {
		my ($target) = @_;

		end('COMMIT');
		later("SELECT mdbatch_discard('$target->{name}')");
		$target->{pending} = {};
	} ],
	# Rows are changed directly: what comes later meets them as they are.
	direct => [ 5, sub {
		my ($target) = @_;
		my @keys = sort keys %{ $target->{stored} };
		my $key = pick(@keys);

		return unless @keys;
		end('COMMIT');
		my $row = $target->{stored}{$key};
		my $where = join ' AND ',
		  map { "$_ = " . literal($row->{$_}) . "::$target->{type}{$_}" }
		  @{ $target->{keys} };

		if (chance(0.5))
		{
			later("DELETE FROM $target->{name} WHERE $where");
			delete $target->{stored}{$key};
			return;
		}
		my %new = (%{ make_entry($target) },
			map { $_ => $row->{$_} } @{ $target->{keys} });
		$new{version} = undef if $target->{version} && chance(0.2);
		later("UPDATE $target->{name} SET "
			  . join(', ', map { "$_ = " . literal($new{$_}) . "::$target->{type}{$_}" }
				  grep { !/^k/ } @{ $target->{columns} })
			  . " WHERE $where");
		$target->{stored}{$key} = \%new;
	} ],
	# A row that mode update can find.
	insert => [ 4, sub {
		my ($target) = @_;
		my $entry = make_entry($target);
		my $key = key_of($target, $entry);

		return if $target->{stored}{$key};
		end('COMMIT');
		later("INSERT INTO $target->{name} (" . join(', ', @{ $target->{row} })
			  . ') VALUES (' . as_row($target, $entry) . ')');
		$target->{stored}{$key} = $entry;
	} ],
	# The worker flushes all when it is terminated, or the next one does.
	terminate => [ 1, sub {
		end('COMMIT');
		later(q{SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
			WHERE backend_type = 'mdbatch worker'});
		later('SELECT mdbatch_flush()');
		flush(@targets);
		$checks++;
		foreach (@targets)
		{
			compare($_, 'after a termination');
		}
	} ]);
my @wheel = map { ($_) x $operations{$_}[0] } sort keys %operations;
foreach (1 .. $ops)
{
	my $name = pick(@wheel);

	$did{$name}++;
	$operations{$name}[1]->(pick(@targets));
	last unless $ok;
	run() if @script > 50;
}
end('COMMIT');
later('SELECT mdbatch_flush()');
flush(@targets);
compare($_, 'at the end') foreach @targets;
ok($ok, "$ops operations on $ntargets targets, as the model has it");
cmp_ok($checks, '>', 0, 'which was asked in between');
note 'did: ' . join(', ', map { "$_ $did{$_}" } sort keys %did);
note 'rows: ' . join(', ', map { scalar keys %{ $_->{stored} } } @targets);

is( run(q{SELECT sum(pending), sum(in_flight), sum(reserved), sum(dropped),
		sum(rejected), sum(flush_failures) FROM mdbatch_stat}),
	'0|0|0|0|0|0', 'nothing is left, dropped or rejected');
books_ok($node, 'postgres');

$session->quit;
$node->stop;
done_testing();
