# doc/security.md: its SQL runs as it stands, and an owner needs all that it
# grants (R18).  And the way to remove the extension that doc/operations.md
# shows.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MdbatchTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A statement that must fail.
sub fails
{
	my ($statement, $error, $what) = @_;
	my (undef, undef, $stderr) = $node->psql('postgres', $statement);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like($stderr, $error, $what);
}

my $page = slurp_file("$FindBin::RealBin/../doc/security.md");
my @blocks = map { s/^  //mgr } $page =~ /^ *```sql\n(.*?)^ *```$/msg;

cmp_ok(scalar @blocks, '>=', 5, 'the page has blocks of SQL');
foreach my $i (1 .. @blocks)
{
	my ($ret, undef, $stderr) = $node->psql('postgres', $blocks[ $i - 1 ]);

	is($ret == 0 ? $stderr : "$ret: $stderr", '', "block $i runs");
}

# Without each of the grants the owner can do less.
my @need = (
	[ 'mdbatch_attach', "mdbatch_attach('team_a.device')" ],
	[ 'mdbatch_discard', "mdbatch_discard('team_a.device')" ],
	[ 'mdbatch_retry', "mdbatch_retry('team_a.device')" ],
	[ 'mdbatch_detach', "mdbatch_detach('team_a.device')" ]);

is( sql(q{SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc
		WHERE 'team_a'::regrole::oid IN (SELECT grantee FROM aclexplode(proacl))}),
	join(' ', sort map { $_->[0] } @need),
	'the functions that the page grants');
foreach my $need (@need)
{
	my ($function, $call) = @$need;

	sql("REVOKE EXECUTE ON FUNCTION $function FROM team_a");
	fails("SET ROLE team_a; SELECT $call",
		qr/permission denied for function $function/,
		"without EXECUTE on $function");
	sql("GRANT EXECUTE ON FUNCTION $function TO team_a;
		SET ROLE team_a; SELECT $call");
}
foreach my $schema ('public', 'team_a')
{
	sql("REVOKE USAGE ON SCHEMA $schema FROM team_a, PUBLIC");
	fails("SET search_path = public; SET ROLE team_a;
			SELECT public.mdbatch_attach('team_a.device')",
		qr/permission denied for schema $schema/, "without USAGE on $schema");
	sql("GRANT USAGE ON SCHEMA $schema TO team_a, PUBLIC");
}
sql("SET ROLE team_a; SELECT mdbatch_attach('team_a.device')");

# A setting of a session, for a role or a database; all others cannot be.
sql('ALTER ROLE reporter SET mdbatch.on_full = wait;
	ALTER DATABASE postgres SET mdbatch.on_full = error');
foreach my $name (split /\n/,
	sql(q{SELECT name FROM pg_settings WHERE name LIKE 'mdbatch.%'
		AND context <> 'user' ORDER BY 1}))
{
	fails("ALTER ROLE reporter SET $name = DEFAULT;
			ALTER ROLE reporter SET $name FROM CURRENT",
		qr/parameter "\Q$name\E" cannot be changed/, "$name belongs to the server");
}
is( sql(q{SELECT string_agg(name, ' ') FROM pg_settings
		WHERE name LIKE 'mdbatch.%' AND context = 'user'}),
	'mdbatch.on_full', 'one belongs to the session');

# Removal, while a view enqueues.
sql(q{CREATE VIEW device_in AS SELECT * FROM team_a.device;
	CREATE TRIGGER enqueue INSTEAD OF INSERT ON device_in FOR EACH ROW
		EXECUTE FUNCTION mdbatch_enqueue('team_a.device');
	SELECT mdbatch_flush()});
fails('DROP EXTENSION mdbatch',
	qr/cannot drop extension mdbatch because other objects depend on it\n.*trigger enqueue on view device_in depends on function mdbatch_enqueue\(\)/,
	'a trigger keeps the extension');
is( sql(q{SELECT tgrelid::regclass AS view, tgname AS trigger FROM pg_trigger
		WHERE tgfoid = 'mdbatch_enqueue'::regproc}),
	'device_in|enqueue', 'the query of the page finds it');
sql('DROP EXTENSION mdbatch CASCADE');
sql(q{INSERT INTO device_in (id, status, seen_at) VALUES (9, 'direct', now())});
is(sql('SELECT status FROM team_a.device WHERE id = 9'),
	'direct', 'the view stays, and PostgreSQL writes through it');

$node->stop;
done_testing();
