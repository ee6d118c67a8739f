# ALTER EXTENSION mdbatch UPDATE: from every version that was ever released, the
# catalogs are afterwards as a fresh install leaves them, and attachments and
# pending entries are still there.  The comparison itself is tested with versions
# that are made up here: it finds what an update script has forgotten.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Basename;
use File::Path qw(make_path);
use MdbatchTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The server looks for its files at a place relative to its executable.  So a
# copy of the executables, with links to the rest, is a server with an extension
# directory that this user can write to.
my $tree = PostgreSQL::Test::Utils::tempdir;
my %installed = map { $_ => config("--$_") } qw(bindir sharedir pkglibdir);
my $extension = "$tree$installed{sharedir}/extension";

make_path(map { dirname("$tree$_") } @installed{qw(bindir pkglibdir)});
make_path($extension);
system_or_bail('cp', '-RL', $installed{bindir}, "$tree$installed{bindir}");
# It may be there as a part of one of the others.
symlink_to($installed{pkglibdir});
symlink_to($_) foreach glob("$installed{sharedir}/*");
symlink_to($_)
  foreach grep { basename($_) !~ /^mdbatch/ } glob("$installed{sharedir}/extension/*");

sub config
{
	my ($option) = @_;

	chomp(my $value = `pg_config $option`);
	return $value;
}

# A link from the place in our tree to the installed file.
sub symlink_to
{
	my ($file) = @_;

	return if -e "$tree$file";
	symlink($file, "$tree$file") or die "could not make a link to $file: $!";
	return;
}

my $node = PostgreSQL::Test::Cluster->new('main',
	install_path => dirname("$tree$installed{bindir}"));
$node->init;
$node->append_conf('postgresql.conf', <<'EOF');
shared_preload_libraries = 'mdbatch'
mdbatch.flush_interval = '1h'
autovacuum = off
statement_timeout = '60s'
EOF
$node->start;

sub sql { return $node->safe_psql(@_); }

# Let the server see these files of the extension, and no others.
sub offer
{
	my (%files) = @_;

	unlink glob("$extension/mdbatch*");
	append_to_file("$extension/$_", $files{$_})
	  foreach grep { defined $files{$_} } sort keys %files;
	return;
}

# What is in the catalogs for the extension of a database, as text, and the same
# for every database with the same definitions.  For pg_upgrade, pg_dump shows
# all objects of an extension, with their rights, as they were right after its
# script and now, and their comments.
sub catalogs
{
	my ($db) = @_;
	my ($dump, $error);

	# Which tables are dumped with their rows: by name, in no order.
	my $text = sql($db, <<'SQL');
SELECT extversion, extrelocatable, extnamespace::regnamespace, extowner::regrole,
	(SELECT array_agg(c::regclass || coalesce(' ' || w, '') ORDER BY c::regclass::text)
	 FROM unnest(extconfig, extcondition) u (c, w))
FROM pg_extension WHERE extname = 'mdbatch'
SQL
	$text = "-- extension\n$text\n";

	run_log(
		[
			$node->installed_command('pg_dump'), '--binary-upgrade',
			'--schema-only', '-d', $node->connstr($db)
		],
		'>', \$dump, '2>', \$error) or die "pg_dump failed: $error";
	foreach my $entry (split /^--\n(?=-- Name: )/m, $dump)
	{
		# What is different in every database: object and transaction ids, what
		# old rows have in a new column, and a random key.
		$entry =~ s/^SELECT pg_catalog\.binary_upgrade_set_(next|missing)_.*\n//mg;
		$entry =~ s/^UPDATE pg_catalog\.pg_class\nSET relfrozenxid .*\n.*\n//mg;
		$entry =~ s/(_create_empty_extension\(.*), '\{.*\}', '\{.*\}'/$1/;
		$entry =~ s/^-- For binary upgrade, (must preserve|set) .*\n//mg;
		$entry =~ s/^-- set missing value\.\n//mg;
		$entry =~ s/^\\(un)?restrict .*\n//mg;
		$entry =~ s/\n{2,}/\n/g;
		# In the order in which they were made.
		$entry = join("\n", sort split(/\n/, $entry))
		  if $entry =~ /^-- Name: .*; Type: ACL;/;
		$entry =~ s/^WITH \((.*)\);$/join(', ', 'WITH', sort split(', ', $1))/gem;
		$text .= "$entry\n";
	}
	return $text;
}

# What an administrator has made with a version, and a user has added, is there
# after an update: so it is set up before, and looked at after it.
my $use = <<'SQL';
CREATE TABLE device (id int PRIMARY KEY, seen timestamptz, hits bigint);
SELECT "S p".mdbatch_attach('device', version => 'seen', merge => '{"hits": "sum"}',
	batch_size => 7);
SELECT "S p".mdbatch_put('device', '{"id": 1, "seen": "2020-01-01", "hits": 1}');
SELECT "S p".mdbatch_flush();
SELECT "S p".mdbatch_put('device', '{"id": 1, "seen": "2020-01-02", "hits": 2}');
SELECT "S p".mdbatch_add('00000000-0000-0000-0000-000000000001', '{k}', '{v}');
SQL
my $look = <<'SQL';
SELECT target, key, version, columns, merge, batch_size FROM "S p".mdbatch_target
	ORDER BY target::text COLLATE "C";
SELECT "S p".mdbatch_put('device', '{"id": 1, "seen": "2020-01-03", "hits": 4}');
SELECT "S p".mdbatch_flush();
SELECT hits FROM device;
SELECT key, value FROM "S p".mdbatch_metadata;
SQL
my $seen = join("\n",
	'"S p".mdbatch_metadata|{agent_id,key}|collected_at|{value,error}|{}|',
	'device|{id}|seen|{hits}|{"hits": "sum"}|7',
	'1', '2', '7', 'k|v');

# A database with a version of the extension, in a schema that has to be quoted.
my $databases = 0;

sub new_database
{
	my ($version) = @_;
	my $db = 'db' . ++$databases;

	sql('postgres', "CREATE DATABASE $db");
	sql($db, qq{CREATE SCHEMA "S p"; CREATE EXTENSION mdbatch SCHEMA "S p" VERSION '$version'});
	return $db;
}

# The catalogs after a fresh install of a version.
sub fresh
{
	my ($version) = @_;
	my $db = new_database($version);
	my $catalogs = catalogs($db);

	sql('postgres', "DROP DATABASE $db");
	return $catalogs;
}

# The catalogs after an update from one version to another.
sub updated
{
	my ($from, $to) = @_;
	my $db = new_database($from);

	sql($db, $use);
	sql($db, "ALTER EXTENSION mdbatch UPDATE TO '$to'");
	is(sql($db, $look), $seen, "from $from to $to: attachments and entries are kept");
	sql($db, 'DROP TABLE device');

	my $catalogs = catalogs($db);
	sql('postgres', "DROP DATABASE $db");
	return $catalogs;
}

# In what two texts differ: the output of diff.
sub difference
{
	my (@texts) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir;
	my $output = '';

	append_to_file("$dir/$_", $texts[$_]) foreach 0 .. 1;
	IPC::Run::run(
		[
			'diff', '-U3', '--label', 'fresh', '--label', 'updated',
			"$dir/0", "$dir/1"
		],
		'>', \$output);
	die 'diff failed' if ($? >> 8) > 1;
	return $output;
}

# Every way from one version to another: for each, the difference between an
# update and a fresh install.
sub walk
{
	my %differences;
	my %fresh;

	foreach my $pair (split /\n/, sql('postgres', <<'SQL'))
SELECT source, target FROM pg_extension_update_paths('mdbatch')
WHERE path IS NOT NULL AND source IN (SELECT version FROM pg_available_extension_versions
	WHERE name = 'mdbatch')
ORDER BY 1, 2
SQL
	{
		my ($from, $to) = split /\|/, $pair;

		$fresh{$to} //= fresh($to);
		$differences{"$from to $to"} = difference($fresh{$to}, updated($from, $to));
	}
	return %differences;
}

# What is released: the files of this tree.  All of them are installed.
my %released = map { basename($_) => slurp_file($_) } 'mdbatch.control', glob('mdbatch--*.sql');
my ($current) = $released{'mdbatch.control'} =~ /^default_version = '(.*)'$/m;

foreach my $file (sort keys %released)
{
	my $copy = "$installed{sharedir}/extension/$file";

	ok(-e $copy && slurp_file($copy) eq $released{$file}, "$file is installed as it is here");
}
offer(%released);

# Each version can be installed; two times the same is the same.
my @versions = split /\n/,
  sql('postgres', "SELECT version FROM pg_available_extension_versions WHERE name = 'mdbatch'");
my %named = map { $_ => 1 }
  map { /^mdbatch--(.*)\.sql$/ ? split(/--/, $1) : () } keys %released;

is("@{[sort @versions]}", "@{[sort keys %named]}", 'every version can be installed');
ok($named{$current}, 'the default version is one of them');
foreach my $version (sort @versions)
{
	my $catalogs = fresh($version);

	like($catalogs, qr/^ALTER EXTENSION mdbatch ADD FUNCTION "S p"\.mdbatch_flush\(/m,
		"$version: the objects of the extension are looked at");
	is(difference($catalogs, fresh($version)), '', '... and no others, as nothing differs');
}

# From each to the current one.
my %differences = walk();
foreach my $version (grep { $_ ne $current } @versions)
{
	ok(exists $differences{"$version to $current"}, "there is a way from $version to $current");
}
is($differences{$_}, '', "from $_: no difference to a fresh install")
  foreach sort keys %differences;

# Versions that are made up, on the grounds of the first: what each change is in
# the install script, what it is in the update script, and what the comparison
# says if the latter is missing.
my $first = $released{'mdbatch--1.0.sql'};
my @changes = (
	{
		what => 'a function',
		old => qr/^-- Any table\n/m,
		new => <<'SQL',
CREATE FUNCTION @extschema@.mdbatch_new() RETURNS integer
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS 'SELECT 1';
SQL
		found => qr/^-CREATE FUNCTION "S p"\.mdbatch_new/m
	},
	{
		what => 'what PUBLIC may not call any more',
		old => qr/^-- Both front ends\n/m,
		new => "REVOKE ALL ON FUNCTION \@extschema@.mdbatch_put(regclass, jsonb) FROM PUBLIC;\n",
		found => qr/^-REVOKE ALL ON FUNCTION "S p"\.mdbatch_put\(/m
	},
	{
		what => 'a grant',
		old => qr/^-- Both front ends\n/m,
		new => "GRANT SELECT ON \@extschema@.mdbatch_rejected TO pg_monitor;\n",
		found => qr/^-GRANT SELECT ON TABLE "S p"\.mdbatch_rejected TO pg_monitor/m
	},
	{
		what => 'a comment on a function',
		old => qr/'zero the counters of the batches of this database'/,
		instead => q{'zero the counters'},
		update => q{COMMENT ON FUNCTION @extschema@.mdbatch_stat_reset() IS 'zero the counters';},
		found => qr/^-COMMENT ON FUNCTION "S p"\.mdbatch_stat_reset\(\) IS 'zero the counters';/m
	},
	{
		what => 'a comment on a column',
		old => qr/\z/,
		new => "COMMENT ON COLUMN \@extschema@.mdbatch_stat.pending IS 'what waits';\n",
		found => qr/^-COMMENT ON COLUMN "S p"\.mdbatch_stat\.pending IS/m
	},
	{
		what => 'a column of a view',
		old => qr/h\.sum,\n\th\.count\nFROM/,
		instead => "h.sum,\n\th.count, h.relid\nFROM",
		update => <<'SQL',
CREATE OR REPLACE VIEW @extschema@.mdbatch_stat_histogram AS
SELECT d.datname, h.target, h.metric, h.reason, h.le, h.bucket_count, h.sum,
	h.count, h.relid
FROM @extschema@.mdbatch_stat_histogram_rows() h
LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) h.datid;
SQL
		found => qr/^-\s+h\.relid$/m
	},
	{
		what => 'a column of a table',
		old => qr/\tdigest bytea NOT NULL,\n/,
		instead => "\tdigest bytea NOT NULL,\n\ttimes integer NOT NULL DEFAULT 1,\n",
		update => 'ALTER TABLE @extschema@.mdbatch_rejected ADD times integer NOT NULL DEFAULT 1;',
		found => qr/^-\s+times integer DEFAULT 1 NOT NULL$/m
	},
	{
		what => 'how a function runs',
		old => qr/(?<='mdbatch_pending'\nLANGUAGE C VOLATILE STRICT PARALLEL )RESTRICTED/,
		instead => 'UNSAFE',
		update => 'ALTER FUNCTION @extschema@.mdbatch_pending() PARALLEL UNSAFE;',
		found => qr/^\+\s+LANGUAGE c STRICT PARALLEL RESTRICTED$/m
	},
	{
		what => 'a storage setting',
		old => qr/fillfactor = 50/,
		instead => 'fillfactor = 60',
		update => 'ALTER TABLE @extschema@.mdbatch_metadata SET (fillfactor = 60);',
		found => qr/^-WITH, .*fillfactor='60'/m
	},
	{
		what => 'what is dumped',
		old => qr/(?<=mdbatch_rejected', ')(?='\);)/,
		instead => 'WHERE true',
		update => q{SELECT pg_catalog.pg_extension_config_dump(
	'@extschema@.mdbatch_rejected', 'WHERE true');},
		found => qr/^-.*mdbatch_rejected.*WHERE true/m
	});
$_->{update} //= $_->{new} foreach @changes;

# The install script after the given changes.
sub install_script
{
	my $script = $first;

	foreach my $change (@_)
	{
		my $new = $change->{new};

		if (defined $new)
		{
			$script =~ s/($change->{old})/$new$1/ or die "cannot change $change->{what}";
		}
		else
		{
			$script =~ s/$change->{old}/$change->{instead}/
			  or die "cannot change $change->{what}";
		}
	}
	return $script;
}

sub update_script { return join("\n", map { $_->{update} } @_) . "\n"; }

# The files of the versions 1.0, 1.0.1 and so on, made up: the changes of each,
# then the files that are different from what they should be.
sub made_up
{
	my ($steps, %others) = @_;
	my @so_far;
	my ($last, $number) = ('1.0', 0);
	my %files = ('mdbatch--1.0.sql' => $first);

	foreach my $step (@$steps)
	{
		my $version = '1.0.' . ++$number;

		push @so_far, @$step;
		$files{"mdbatch--$version.sql"} = install_script(@so_far);
		$files{"mdbatch--$last--$version.sql"} = update_script(@$step);
		$last = $version;
	}
	$files{'mdbatch.control'} =
	  $released{'mdbatch.control'} =~ s/^(default_version) = .*$/$1 = '$last'/mr;
	return (%files, %others);
}

# All of them, and each in turn forgotten.
offer(made_up([ \@changes ]));
%differences = walk();
is_deeply(\%differences, { '1.0 to 1.0.1' => '' }, 'a complete update makes no difference');
foreach my $change (@changes)
{
	my @others = grep { $_ != $change } @changes;

	offer(made_up([ \@changes ], 'mdbatch--1.0--1.0.1.sql' => update_script(@others)));
	%differences = walk();
	like($differences{'1.0 to 1.0.1'}, $change->{found}, "forgotten, and found: $change->{what}");
}

# One that does too much.
offer(made_up([ \@changes ], 'mdbatch--1.0--1.0.1.sql' => update_script(@changes)
		. 'GRANT EXECUTE ON FUNCTION @extschema@.mdbatch_retry(regclass) TO PUBLIC;'));
%differences = walk();
like($differences{'1.0 to 1.0.1'}, qr/^-REVOKE ALL ON FUNCTION "S p"\.mdbatch_retry\(/m,
	'one right too many is found, too');

# Several releases: every way is gone, of one script and of several.
my @steps = ([ @changes[0 .. 3] ], [ @changes[4 .. 6] ], [ @changes[7 .. $#changes] ]);
offer(made_up(\@steps));
%differences = walk();
is_deeply(
	\%differences,
	{
		map { $_ => '' } '1.0 to 1.0.1', '1.0 to 1.0.2', '1.0 to 1.0.3',
		'1.0.1 to 1.0.2', '1.0.1 to 1.0.3', '1.0.2 to 1.0.3'
	},
	'complete updates of three releases make no difference');
offer(made_up(\@steps, 'mdbatch--1.0.1--1.0.2.sql' => update_script(@changes[5, 6])));
%differences = walk();
is_deeply(
	[ sort grep { $differences{$_} } keys %differences ],
	[ '1.0 to 1.0.2', '1.0 to 1.0.3', '1.0.1 to 1.0.2', '1.0.1 to 1.0.3' ],
	'what is missing in the second is missing wherever it is run');

# A release without an update script is no way.
offer(made_up([ \@changes ], 'mdbatch--1.0--1.0.1.sql' => undef));
is_deeply({ walk() }, {}, 'no way without an update script');
done_testing();
