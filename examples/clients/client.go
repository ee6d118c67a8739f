// Report to mdbatch and listen for what changed, with pgx (version 4).
//
//	client report AGENT DEVICE VALUE...   enqueue, a report for each VALUE
//	client sync AGENT DEVICE VALUE...     the same, and wait for the disk
//	client listen                         print what changes
//
// Connects as libpq does: PGHOST, PGPORT, PGUSER, PGDATABASE, ...  Reports may
// go through a pooler, the listener may not.  doc/clients.md has the tables.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

const (
	firstDelay = 500 * time.Millisecond
	lastDelay  = 30 * time.Second
	tries      = 8
)

// pgx prepares what it runs, and keeps it.  Behind a pooler in transaction mode
// the next call may meet a server that never heard of it.  The rest is in the
// environment.
const settings = "prefer_simple_protocol=true"

var ctx = context.Background()

type entry struct {
	agent string // the simple protocol takes no [16]byte
	id    int64
	value string
	at    time.Time
}

// db is a connection, a pool of them, or a transaction.
type db interface {
	Exec(context.Context, string, ...interface{}) (pgconn.CommandTag, error)
	Query(context.Context, string, ...interface{}) (pgx.Rows, error)
	QueryRow(context.Context, string, ...interface{}) pgx.Row
}

// args are the arguments of mdbatch_add and mdbatch_put.  Slices of string and
// time.Time become text[] and timestamptz[].  JSON goes as a string: the simple
// protocol would send []byte as bytea.
func (e entry) args() (add []interface{}, put string) {
	object, _ := json.Marshal(map[string]interface{}{
		"id": e.id, "status": e.value, "seen_at": e.at})
	return []interface{}{e.agent, []string{"load", "note"},
		[]string{e.value, "is " + e.value},
		[]time.Time{e.at, e.at}}, string(object)
}

// report enqueues.  Fewer accepted than given: the batch was full, the rest is
// dropped.
func report(conn db, e entry) error {
	var added, accepted int
	add, put := e.args()
	err := conn.QueryRow(ctx, "SELECT mdbatch_add($1, $2, $3, NULL, $4)",
		add...).Scan(&added)
	if err != nil {
		return err
	}
	err = conn.QueryRow(ctx, "SELECT mdbatch_put('device', $1)",
		put).Scan(&accepted)
	if err == nil {
		fmt.Printf("added %d of 2, put %d of 1\n", added, accepted)
	}
	return err
}

// reportSync returns when it is durably written.  Not in a transaction (2D000).
func reportSync(conn db, e entry) error {
	add, put := e.args()
	_, err := conn.Exec(ctx, "CALL mdbatch_add_sync($1, $2, $3, NULL, $4)", add...)
	if err == nil {
		_, err = conn.Exec(ctx, "CALL mdbatch_put_sync('device', $1)", put)
	}
	if err == nil {
		fmt.Println("written")
	}
	return err
}

// transient: worth another try.  What is no error of the server is one of the
// connection to it.
func transient(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return true
	}
	switch answer.Code {
	// Too many connections, batch full, server going or coming.
	case "53300", "53400", "57P01", "57P02", "57P03":
		return true
	}
	return strings.HasPrefix(answer.Code, "08")
}

func pause(err error, delay time.Duration) time.Duration {
	// Not all of them shall come back at once.
	jittered := delay/2 + time.Duration(rand.Int63n(int64(delay/2)))
	fmt.Printf("%v; again in %.1f s\n", err, jittered.Seconds())
	time.Sleep(jittered)
	if delay *= 2; delay > lastDelay {
		delay = lastDelay
	}
	return delay
}

// retry until it succeeds, or makes no sense any more.  What is sent twice, as
// its answer was lost, does no harm: it has the same time as before.  (It would
// with merge => sum.)
func retry(work func() error) error {
	delay := firstDelay
	for attempt := 1; ; attempt++ {
		err := work()
		if err == nil || !transient(err) || attempt == tries {
			return err
		}
		delay = pause(err, delay)
	}
}

// decodeAgents: 22 characters of base64 without padding for each agent.
func decodeAgents(payload string) (agents []string, err error) {
	if payload == "" || len(payload)%22 != 0 {
		return nil, errors.New("not a list of agents")
	}
	for ; payload != ""; payload = payload[22:] {
		id, err := base64.RawStdEncoding.DecodeString(payload[:22])
		if err != nil {
			return nil, err
		}
		agents = append(agents, fmt.Sprintf("%x-%x-%x-%x-%x",
			id[:4], id[4:6], id[6:8], id[8:10], id[10:]))
	}
	return agents, nil
}

const agentQuery = `SELECT 'agent ' || concat_ws(' ', agent_id, key, value)
	FROM mdbatch_metadata WHERE $1::uuid[] IS NULL OR agent_id = ANY ($1)
	ORDER BY agent_id, key`

const deviceQuery = `SELECT 'device ' || concat_ws(' ', id, status)
	FROM device
	WHERE $1::text[] IS NULL OR id = ANY ($1::text[]::bigint[]) ORDER BY id`

// show prints the rows of these ids, or all of them for nil.
func show(conn db, query string, ids []string) error {
	rows, err := conn.Query(ctx, query, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return err
		}
		fmt.Println(line)
	}
	return rows.Err()
}

func changed(conn db, n *pgconn.Notification) (err error) {
	var ids []string
	query := agentQuery
	if n.Channel == "device" {
		// The values as text, whatever their type.
		query = deviceQuery
		err = json.Unmarshal([]byte(n.Payload), &ids)
	} else {
		ids, err = decodeAgents(n.Payload)
	}
	if err != nil {
		fmt.Println("ignored:", n.Payload) // anybody may NOTIFY
		return nil
	}
	return show(conn, query, ids)
}

// listenOnce listens until the connection is lost, and returns why.  pgx keeps
// what arrives while another statement runs, so one connection is enough, and
// it sets TCP keepalives.
func listenOnce(onListening func()) error {
	conn, err := pgx.Connect(ctx, settings)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, channel := range []string{"workspace_agent_metadata_batch", "device"} {
		if _, err = conn.Exec(ctx, "LISTEN "+channel); err != nil {
			return err
		}
	}
	// What was sent while nobody listened is gone: read everything, and only
	// now, so that nothing falls in between.
	if err = show(conn, agentQuery, nil); err != nil {
		return err
	}
	if err = show(conn, deviceQuery, nil); err != nil {
		return err
	}
	onListening()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if err = changed(conn, n); err != nil {
			return err
		}
	}
}

func listen() error {
	delay := firstDelay
	for {
		err := listenOnce(func() {
			fmt.Println("listening")
			delay = firstDelay
		})
		if !transient(err) {
			return err
		}
		delay = pause(err, delay)
	}
}

func run(command string, args []string) error {
	if command == "listen" {
		return listen()
	}
	config, err := pgxpool.ParseConfig(settings)
	if err != nil {
		return err
	}
	config.LazyConnect = true // the server may be away just now
	pool, err := pgxpool.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	work := map[string]func(db, entry) error{
		"report": report, "sync": reportSync}[command]
	e := entry{agent: args[0]}
	fmt.Sscan(args[1], &e.id)
	for _, e.value = range args[2:] {
		e.at = time.Now()
		if err := retry(func() error { return work(pool, e) }); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	rand.Seed(time.Now().UnixNano())
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		// 55000: mdbatch is not preloaded, or the table is not attached.
		var answer *pgconn.PgError
		if errors.As(err, &answer) {
			err = fmt.Errorf("%s: %s  %s", answer.Code, answer.Message, answer.Hint)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
