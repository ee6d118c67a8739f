// Report to mdbatch and listen for what changed, with Node and pg.
//
//     client.mjs report AGENT DEVICE VALUE...   enqueue, for each VALUE
//     client.mjs sync AGENT DEVICE VALUE...     and wait for the disk
//     client.mjs listen                         print what changes
//
// Connects as libpq does: PGHOST, PGPORT, PGUSER, PGDATABASE, ...  Reports may
// go through a pooler, the listener may not.  doc/clients.md has the tables.

import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

// Worth another try: too many connections, batch full, server going or coming.
const TRANSIENT = ['53300', '53400', '57P01', '57P02', '57P03'];
const FIRST_DELAY = 0.5, LAST_DELAY = 30, TRIES = 8;  // seconds

// Arguments of mdbatch_add and mdbatch_put. An array of strings or Dates
// becomes an array of the server. JSON has to be a string: an array would
// become an array of the server, too, instead of a JSON one. A bigint stays a
// string, as pg gives it: a Number would lose digits.
function args({ agent, device, value, at }) {
    return {
        add: [agent, ['load', 'note'], [value, `is ${value}`], [at, at]],
        put: [JSON.stringify({ id: device, status: value, seen_at: at })],
    };
}

// Enqueue; works on any connection, pooled or not, in a transaction or not.
// A query without a name is prepared and run in one round trip, so a pooler in
// transaction mode is no obstacle; one with { name: ... } would be lost there.
async function report(db, entry) {
    const { add, put } = args(entry);
    const added = await db.query(
        'SELECT mdbatch_add($1, $2, $3, NULL, $4) AS n', add);
    const accepted = await db.query(
        "SELECT mdbatch_put('device', $1) AS n", put);
    // Fewer than given: the batch was full, the rest is dropped.
    console.log(`added ${added.rows[0].n} of 2, ` +
        `put ${accepted.rows[0].n} of 1`);
}

// Return when it is durably written. Not after BEGIN (2D000).
async function reportSync(db, entry) {
    const { add, put } = args(entry);
    await db.query('CALL mdbatch_add_sync($1, $2, $3, NULL, $4)', add);
    await db.query("CALL mdbatch_put_sync('device', $1)", put);
    console.log('written');
}

// What is no error of the server is one of the connection to it.
function transient(error) {
    return !(error instanceof pg.DatabaseError) ||
        TRANSIENT.includes(error.code) || error.code.startsWith('08');
}

async function pause(error, delay) {
    delay *= 0.5 + Math.random() / 2;  // so that not all come back at once
    const reason = error.message || error.code;
    console.log(`${reason}; again in ${delay.toFixed(1)} s`);
    await sleep(1000 * delay);
}

// Until it succeeds, or makes no sense any more. What is sent twice, as its
// answer was lost, does no harm: it has the same time as before. (It would
// with merge => sum.)
async function retry(work) {
    for (let attempt = 0; ; attempt++) {
        try {
            return await work();
        } catch (error) {
            if (!transient(error) || attempt === TRIES - 1) throw error;
            const delay = FIRST_DELAY * 2 ** attempt;
            await pause(error, Math.min(delay, LAST_DELAY));
        }
    }
}

// 22 characters of base64 without padding for each agent.
function decodeAgents(payload) {
    if (!/^([A-Za-z0-9+/]{22})+$/.test(payload)) {
        throw new SyntaxError('not a list of agents');
    }
    return payload.match(/.{22}/g).map((id) =>
        Buffer.from(id, 'base64').toString('hex')
            .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'));
}

async function showAgents(db, agents = null) {
    const { rows } = await db.query(
        `SELECT agent_id, key, value FROM mdbatch_metadata
         WHERE $1::uuid[] IS NULL OR agent_id = ANY ($1)
         ORDER BY agent_id, key`, [agents]);
    for (const r of rows) console.log('agent', r.agent_id, r.key, r.value);
}

async function showDevices(db, devices = null) {
    const { rows } = await db.query(
        `SELECT id, status FROM device
         WHERE $1::bigint[] IS NULL OR id = ANY ($1) ORDER BY id`, [devices]);
    for (const r of rows) console.log('device', r.id, r.status);
}

async function changed(db, { channel, payload }) {
    let ids;
    try {
        // JSON has the values as text, whatever their type.
        ids = channel === 'device'
            ? JSON.parse(payload) : decodeAgents(payload);
    } catch {
        console.log('ignored:', payload);  // anybody may NOTIFY
        return;
    }
    await (channel === 'device' ? showDevices : showAgents)(db, ids);
}

// Listen until the connection is lost, and throw why.
async function listenOnce(onListening) {
    // A client, not one of a pool: it has to stay the same. Keepalives notice
    // a peer that went away silently.
    const db = new pg.Client(
        { keepAlive: true, keepAliveInitialDelayMillis: 60000 });
    try {
        await new Promise((_, lost) => {
            // Without a listener for 'error' Node would end the process.
            db.on('error', lost);
            let last = db.connect()
                .then(() => db.query('LISTEN workspace_agent_metadata_batch'))
                .then(() => db.query('LISTEN device'))
                // What was sent while nobody listened is gone: read everything,
                // and only now, so that nothing falls in between.
                .then(() => showAgents(db))
                .then(() => showDevices(db))
                .then(onListening);
            last.catch(lost);
            // One after the other.
            db.on('notification', (message) => {
                last = last.then(() => changed(db, message));
                last.catch(lost);
            });
        });
    } finally {
        await db.end().catch(() => {});
    }
}

async function listen() {
    for (let delay = FIRST_DELAY; ; delay = Math.min(2 * delay, LAST_DELAY)) {
        try {
            await listenOnce(() => {
                console.log('listening');
                delay = FIRST_DELAY;
            });
        } catch (error) {
            if (!transient(error)) throw error;
            await pause(error, delay);
        }
    }
}

const [command, agent, device, ...values] = process.argv.slice(2);
try {
    if (command === 'listen') {
        await listen();
    }
    const pool = new pg.Pool();
    pool.on('error', () => {});  // of an idle connection: the pool replaces it
    const work = { report, sync: reportSync }[command];
    for (const value of values) {
        const entry = { agent, device, value, at: new Date() };
        await retry(() => work(pool, entry));
    }
    await pool.end();
} catch (error) {
    // 55000: mdbatch is not preloaded, or the table is not attached.
    console.error(`${error.code}: ${error.message}  ${error.hint ?? ''}`);
    process.exit(1);
}
