# What the TAP tests of mdbatch share: a server with a frozen timer, sessions
# that run a statement in the background, listeners, and the books.
package MdbatchTest;

use strict;
use warnings;

use Exporter 'import';
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  new_server session end_session start_query finish_query wait_for until_true books_ok agent agents
  listen_to notifications decode_agents worker_pid stuck_worker waiting
  process_pid build_module
);

# The worker waits for a lock.
our $stuck = q{EXISTS (SELECT FROM pg_stat_activity
	WHERE backend_type = 'mdbatch worker' AND wait_event_type = 'Lock')};

# A running server that has the library and, in database postgres, the
# extension.  It flushes by capacity and on request only, and a flush waits for
# locks as long as a test wants; settings override that.
sub new_server
{
	my ($name, %settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	%settings = (
		'shared_preload_libraries' => 'mdbatch',
		'mdbatch.flush_interval' => '1h',
		'mdbatch.flush_timeout' => '1h',
		'mdbatch.lock_timeout' => '1h',
		'autovacuum' => 'off',
		# A deadline for whatever a test waits for.
		'statement_timeout' => '60s',
		%settings);
	$node->init(allows_streaming => delete $settings{streaming});
	$node->append_conf('postgresql.conf', "$_ = '$settings{$_}'")
	  foreach sort keys %settings;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION mdbatch');
	return $node;
}

# Does the condition come true, in time?
sub wait_for
{
	my ($node, $db, $condition, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until($db, "SELECT $condition"), $what);
}

# A condition of this side, not of the server's.
sub until_true
{
	my ($condition, $what) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	usleep(10_000) until $condition->() || time > $deadline;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($condition->(), $what);
}

# A background session, which errors do not end.
sub session
{
	my ($node, $db) = @_;
	my $session = $node->background_psql($db, on_error_stop => 0);

	$session->set_query_timer_restart;
	return $session;
}

# End a background session whose connection may be lost: then psql has gone, or
# is about to, and a pipe to it breaks.
sub end_session
{
	my ($session) = @_;

	eval {
		$session->{stdin} .= "\\q\n";
		$session->{run}->finish;
	};
	eval { $session->{run}->kill_kill } if $@;
	return;
}

# Start a statement in a background session, and do not wait for its end.
sub start_query
{
	my ($session, $query) = @_;

	$session->{stderr} = '';
	$session->query_until(qr/started/, "\\echo started\n$query;\n");
	return;
}

# The result of a statement that was started; its error, too, in list context.
sub finish_query
{
	my ($session) = @_;
	my $result = $session->query('');
	my $error = $session->{stderr};

	$session->{stderr} = '';
	$result =~ s/^\s+|\s+$//g;
	return wantarray ? ($result, $error) : $result;
}

# SQL: does a statement with that text wait, for such a kind of event?
sub waiting
{
	my ($text, $type) = @_;

	$type = 'Lock' unless defined $type;
	return "EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '$text'"
	  . " AND state = 'active' AND wait_event_type = '$type'"
	  . " AND pid <> pg_backend_pid())";
}

sub stuck_worker
{
	my ($node, $db, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_for($node, $db, $stuck, $what || 'the flush waits for a lock');
}

# The worker of a database; 0 if there is none.
sub worker_pid
{
	my ($node, $db) = @_;

	return $node->safe_psql('postgres',
		"SELECT coalesce(max(pid), 0) FROM pg_stat_activity
		 WHERE backend_type = 'mdbatch worker' AND datname = '$db'");
}

# The child of the server with such a title; dies if there is none.  (The launcher
# has no database, so pg_stat_activity does not show it.)
sub process_pid
{
	my ($node, $title) = @_;

	foreach my $status (glob '/proc/[0-9]*/status')
	{
		my ($pid) = $status =~ m{/proc/(\d+)/};
		my ($parent, $args) = (0, '');

		# It may be gone meanwhile.
		if (open my $file, '<', $status)
		{
			while (<$file>) { $parent = $1 if /^PPid:\s+(\d+)/; }
			close $file;
		}
		if (open my $file, '<', "/proc/$pid/cmdline")
		{
			$args = <$file> // '';
			close $file;
		}
		return $pid if $parent == $node->{_pid} && $args =~ /$title/;
	}
	die "there is no process \"$title\"";
}

# R19, for every batch of the server.
sub books_ok
{
	my ($node, $db, $what) = @_;
	my $bad = $node->safe_psql($db, <<'SQL');
SELECT datname, target, added, coalesced, stale, flushed, skipped, rejected,
	discarded, pending
FROM mdbatch_stat
WHERE added <> coalesced + stale + flushed + skipped + rejected + discarded
	+ pending
SQL

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($bad, '', $what || 'the books balance (R19)');
}

# The uuid of an agent, by number; an array of those of first to last, in SQL.
sub agent
{
	my ($number) = @_;

	return sprintf('00000000-0000-0000-0000-%012x', $number);
}

sub agents
{
	my ($first, $last) = @_;

	return "(SELECT array_agg(lpad(to_hex(i), 32, '0')::uuid ORDER BY i)"
	  . " FROM generate_series($first, $last) i)";
}

# A session that listens to a channel.
sub listen_to
{
	my ($node, $db, $channel) = @_;
	my $session = session($node, $db);

	$session->query_safe("LISTEN $channel");
	return $session;
}

# The payloads that a listener has heard since the last time, up to a marker that
# is sent now: nothing that was sent before is missing, as notifications come in
# the order of commits.
my $markers = 0;

sub notifications
{
	my ($node, $db, $listener, $channel) = @_;
	my $marker = 'marker ' . ++$markers;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my @heard;

	$node->safe_psql($db, "SELECT pg_notify('$channel', '$marker')");
	while (1)
	{
		my $output = $listener->query_safe('SELECT');

		while ($output =~
			/^Asynchronous notification "\Q$channel\E"(?: with payload "(.*?)")? received/mg
		  )
		{
			return @heard if $1 eq $marker;
			push @heard, $1 unless $1 =~ /^marker /;
		}
		die "timed out waiting for the marker" if time > $deadline;
		usleep(10_000);
	}
}

# The agents of a payload: 22 characters each, base64 without padding.
sub decode_agents
{
	my ($payload) = @_;

	return map {
		my $hex = unpack('H*', decode_base64("$_=="));
		$hex =~ s/^(.{8})(.{4})(.{4})(.{4})/$1-$2-$3-$4-/r
	} $payload =~ /(.{22})/g;
}

# A C module of t/modules, compiled: the path of its library.
sub build_module
{
	my ($node, $name) = @_;
	my $library = $node->basedir . "/$name.so";

	chomp(my $include = `pg_config --includedir-server`);
	chomp(my $cc = `pg_config --cc`);
	system_or_bail((split ' ', $cc)[0], '-fPIC', '-shared', '-Isrc',
		"-I$include", '-o', $library, "t/modules/$name/$name.c");
	return $library;
}

1;
