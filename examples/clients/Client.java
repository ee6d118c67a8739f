// Report to mdbatch and listen for what changed, with the JDBC driver (pgjdbc).
//
//     java Client.java report AGENT DEVICE VALUE...   enqueue, for each VALUE
//     java Client.java sync AGENT DEVICE VALUE...     and wait for the disk
//     java Client.java listen                         print what changes
//
// Connects to JDBC_URL, for example
//     jdbc:postgresql://localhost/mydb?user=app&prepareThreshold=0
//         &tcpKeepAlive=true            (in one line)
// prepareThreshold=0: pgjdbc prepares what it has run five times. Behind a
// pooler in transaction mode the next call may meet a server that never heard
// of it. tcpKeepAlive=true: a peer that went away silently is noticed, also by
// who only listens. Reports may go through a pooler, the listener may not.
// doc/clients.md has the tables.

import java.nio.ByteBuffer;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.util.PSQLException;

public class Client {
    // Worth another try: too many connections, batch full, server going or
    // coming.
    static final Set<String> TRANSIENT =
        Set.of("53300", "53400", "57P01", "57P02", "57P03");
    static final long FIRST_DELAY = 500, LAST_DELAY = 30_000; // milliseconds
    static final int TRIES = 8;

    record Report(UUID agent, long device, String value, OffsetDateTime at) {}

    interface Work {
        void run(Connection conn, Report report) throws SQLException;
    }

    static PreparedStatement add(Connection conn, String sql, Report r)
            throws SQLException {
        PreparedStatement s = conn.prepareStatement(sql);
        s.setObject(1, r.agent);
        s.setArray(2, conn.createArrayOf("text",
            new String[] {"load", "note"}));
        s.setArray(3, conn.createArrayOf("text",
            new String[] {r.value, "is " + r.value}));
        s.setArray(4, conn.createArrayOf("timestamptz",
            new OffsetDateTime[] {r.at, r.at}));
        return s;
    }

    // The JDK writes no JSON, the server does. Of a JSON library of yours, pass
    // the text, as ?::jsonb.
    static final String ENTRY =
        "('device', jsonb_build_object('id', ?, 'status', ?, 'seen_at', ?))";

    static PreparedStatement put(Connection conn, String sql, Report r)
            throws SQLException {
        PreparedStatement s = conn.prepareStatement(sql);
        s.setLong(1, r.device);
        s.setString(2, r.value);
        s.setObject(3, r.at);
        return s;
    }

    static int value(PreparedStatement statement) throws SQLException {
        try (statement; ResultSet result = statement.executeQuery()) {
            result.next();
            return result.getInt(1);
        }
    }

    // Enqueue; works on any connection, pooled or not, in a transaction or not.
    // Fewer accepted than given: the batch was full, the rest is dropped.
    static void report(Connection conn, Report r) throws SQLException {
        int added = value(add(conn, "SELECT mdbatch_add(?, ?, ?, NULL, ?)", r));
        int accepted = value(put(conn, "SELECT mdbatch_put" + ENTRY, r));
        System.out.printf("added %d of 2, put %d of 1%n", added, accepted);
    }

    // Return when it is durably written. With autocommit, which is the default;
    // and CALL as it is: {call ...} would become a SELECT.
    static void reportSync(Connection conn, Report r) throws SQLException {
        try (var add = add(conn, "CALL mdbatch_add_sync(?, ?, ?, NULL, ?)", r);
             var put = put(conn, "CALL mdbatch_put_sync" + ENTRY, r)) {
            add.execute();
            put.execute();
        }
        System.out.println("written");
    }

    static boolean isTransient(SQLException e) {
        String state = e.getSQLState();
        // Class 08 is also what the driver says when the connection is lost.
        return state != null
            && (TRANSIENT.contains(state) || state.startsWith("08"));
    }

    static void pause(SQLException e, long delay) throws InterruptedException {
        // Not all of them shall come back at once.
        delay = ThreadLocalRandom.current().nextLong(delay / 2, delay);
        System.out.printf("%s; again in %.1f s%n",
            e.getMessage().lines().findFirst().orElse(""), delay / 1000.0);
        Thread.sleep(delay);
    }

    static Connection connect() throws SQLException {
        return DriverManager.getConnection(System.getenv("JDBC_URL"));
    }

    // Until it succeeds, or makes no sense any more. What is sent twice, as its
    // answer was lost, does no harm: it has the same time as before. (It would
    // with merge => sum.)
    static void retry(Work work, List<Report> reports) throws Exception {
        for (int attempt = 0;; attempt++) {
            try (Connection conn = connect()) {
                for (Report report : reports) {
                    work.run(conn, report);
                }
                return;
            } catch (SQLException e) {
                if (!isTransient(e) || attempt == TRIES - 1) {
                    throw e;
                }
                pause(e, Math.min(FIRST_DELAY << attempt, LAST_DELAY));
            }
        }
    }

    // 22 characters of base64 without padding for each agent.
    static UUID[] decodeAgents(String payload) {
        if (payload.isEmpty() || payload.length() % 22 != 0) {
            throw new IllegalArgumentException("not a list of agents");
        }
        UUID[] agents = new UUID[payload.length() / 22];
        for (int i = 0; i < agents.length; i++) {
            String chunk = payload.substring(22 * i, 22 * i + 22);
            ByteBuffer id = ByteBuffer.wrap(Base64.getDecoder().decode(chunk));
            agents[i] = new UUID(id.getLong(), id.getLong());
        }
        return agents;
    }

    static final String AGENTS =
        "SELECT 'agent', agent_id, key, value FROM mdbatch_metadata";
    static final String DEVICES = "SELECT 'device', id, status FROM device";

    static void show(PreparedStatement statement) throws SQLException {
        try (statement; ResultSet rows = statement.executeQuery()) {
            int columns = rows.getMetaData().getColumnCount();
            while (rows.next()) {
                var line = new ArrayList<String>();
                for (int i = 1; i <= columns; i++) {
                    line.add(rows.getString(i));
                }
                System.out.println(String.join(" ", line));
            }
        }
    }

    // Anybody may NOTIFY: what cannot be read is ignored.
    static void changed(Connection conn, PGNotification n)
            throws SQLException {
        try {
            if (n.getName().equals("device")) {
                // The values as text, whatever their type. The JDK reads no
                // JSON either.
                var query = conn.prepareStatement(DEVICES
                    + " WHERE id IN (SELECT v::bigint"
                    + " FROM jsonb_array_elements_text(?::jsonb) v)");
                query.setString(1, n.getParameter());
                show(query);
            } else {
                Array agents =
                    conn.createArrayOf("uuid", decodeAgents(n.getParameter()));
                var query = conn.prepareStatement(AGENTS
                    + " WHERE agent_id = ANY (?) ORDER BY agent_id, key");
                query.setArray(1, agents);
                show(query);
            }
        } catch (IllegalArgumentException e) {
            System.out.println("ignored: " + n.getParameter());
        } catch (PSQLException e) {
            if (e.getSQLState() == null || !e.getSQLState().startsWith("22")) {
                throw e;
            }
            System.out.println("ignored: " + n.getParameter());
        }
    }

    static void listen() throws Exception {
        long delay = FIRST_DELAY;
        for (;; delay = Math.min(2 * delay, LAST_DELAY)) {
            try (Connection conn = connect();
                 Statement statement = conn.createStatement()) {
                statement.execute("LISTEN workspace_agent_metadata_batch");
                statement.execute("LISTEN device");
                // What was sent while nobody listened is gone: read everything,
                // and only now, so that nothing falls in between.
                show(conn.prepareStatement(AGENTS + " ORDER BY agent_id, key"));
                show(conn.prepareStatement(DEVICES + " ORDER BY id"));
                System.out.println("listening");
                delay = FIRST_DELAY;
                PGConnection ears = conn.unwrap(PGConnection.class);
                while (true) {
                    // 0: until something comes.
                    for (PGNotification n : ears.getNotifications(0)) {
                        changed(conn, n);
                    }
                }
            } catch (SQLException e) {
                if (!isTransient(e)) {
                    throw e;
                }
                pause(e, delay);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        try {
            if (args[0].equals("listen")) {
                listen();
            }
            List<Report> reports = new ArrayList<>();
            for (int i = 3; i < args.length; i++) {
                reports.add(new Report(UUID.fromString(args[1]),
                    Long.parseLong(args[2]), args[i], OffsetDateTime.now()));
            }
            retry(args[0].equals("sync") ? Client::reportSync : Client::report,
                reports);
        } catch (PSQLException e) {
            // 55000: mdbatch is not preloaded, or the table is not attached.
            System.err.println(e.getSQLState() + ": " + e.getMessage());
            System.exit(1);
        }
    }
}
