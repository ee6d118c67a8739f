// Purpose: what the page needs from the database: the agents, who of them has
// news, and how the batch is doing.
//
// Model: one dedicated connection listens. A small pool reads, and only while
// somebody watches: all agents for a viewer who is new (a snapshot), or just
// those that notifications have named since the last fetch. Snapshots and
// fetches never overlap, so a viewer gets a snapshot first and then everything
// that was notified since that snapshot began, in order.
//
// When a connection breaks, everything is closed and opened again, with
// backoff. Notifications were missed meanwhile, so every viewer then gets a
// new snapshot.

import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const firstRetry = 250; // ms until the first attempt to connect again,
const lastRetry = 5000; // and at most between two
const stableAfter = 5000; // ms after which the next loss is a new one
const gather = 25; // ms in which the payloads of one flush come together
const pollEvery = [200, 1000]; // ms between two looks at the batch, bounds
const pingEvery = 10000; // ms between two signs of life of the listener
const rateOver = [10000, 60000]; // ms that rates are the mean of, bounds

const idLength = 22; // 16 bytes in base64 without padding
const payloadForm = /^(?:[A-Za-z0-9+/]{22})+$/;

const settings = {
  application_name: 'mdbatch live',
  connectionTimeoutMillis: 5000,
  statement_timeout: 10000,
  query_timeout: 15000,
  keepAlive: true,
};

// The agents that a notification names, as the text of their uuids; null if it
// is no such payload. mdbatch_decode_agent_ids() does the same in SQL.
export function decodeAgentIds(payload) {
  if (!payloadForm.test(payload)) return null;
  const ids = [];
  for (let at = 0; at < payload.length; at += idLength) {
    const hex = Buffer.from(
      payload.slice(at, at + idLength),
      'base64',
    ).toString('hex');
    ids.push(
      hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
    );
  }
  return ids;
}

// Emits `state` when the database is lost or found again. A viewer is an object
// with a method send(event, data), where data is JSON text.
export class LiveDatabase extends EventEmitter {
  state = { database: 'lost', reason: 'not connected yet' };
  counts = {
    connects: 0,
    payloads: 0,
    badPayloads: 0,
    agentsNotified: 0,
    fetches: 0,
    agentsFetched: 0,
    snapshots: 0,
  };

  #viewers = new Map(); // viewer -> has it got its snapshot?
  #changed = new Set(); // agents that were notified and not fetched yet
  #due = false; // have the payloads of a flush come together?
  #wake = () => {};

  // Keep it connected until the signal aborts.
  async run(signal) {
    let retry = firstRetry;
    while (!signal.aborted) {
      const began = Date.now();
      try {
        await this.#session(signal);
      } catch (error) {
        if (signal.aborted) break;
        this.#setState(
          { database: 'lost', reason: error.code ?? error.message },
          error,
        );
        if (error instanceof OtherTarget) retry = firstRetry;
      }
      if (Date.now() - began > stableAfter) retry = firstRetry;
      await sleep(retry * (0.75 + Math.random() / 2), undefined, {
        signal,
      }).catch(() => {});
      retry = Math.min(2 * retry, lastRetry);
    }
  }

  // A new viewer gets the state at once, and a snapshot as soon as possible.
  add(viewer) {
    this.#viewers.set(viewer, false);
    viewer.send('state', JSON.stringify(this.state));
    this.#wake();
  }

  remove(viewer) {
    this.#viewers.delete(viewer);
  }

  #setState(state, error) {
    const news =
      state.database !== this.state.database ||
      state.reason !== this.state.reason;
    this.state = state;
    this.#send('state', JSON.stringify(state), this.#viewers.keys());
    if (news) this.emit('state', state, error);
  }

  #send(event, data, viewers) {
    for (const viewer of viewers) viewer.send(event, data);
  }

  #viewersWith(snapshot) {
    return [...this.#viewers]
      .filter(([, has]) => has === snapshot)
      .map(([viewer]) => viewer);
  }

  // From connecting to the loss of the connection, which it throws.
  async #session(outer) {
    const over = new AbortController();
    const { signal } = over;
    const stop = () => over.abort();
    outer.addEventListener('abort', stop);

    const listener = new pg.Client({
      ...settings,
      application_name: 'mdbatch live, listening',
    });
    const pool = new pg.Pool({ ...settings, max: 2 });
    pool.on('error', () => {}); // the query that meets it fails, and says so
    const gone = new Promise((_, reject) => {
      listener.on('error', reject);
      listener.on('end', () => reject(new Error('connection closed')));
    });
    gone.catch(() => {});

    try {
      await listener.connect();
      const schema = await schemaOfExtension(listener);
      const target = await describeTarget(listener, schema);
      listener.on('notification', ({ payload }) => this.#heard(payload));
      await listener.query(`LISTEN ${pg.escapeIdentifier(target.channel)}`);
      await readAgents(pool, target, []); // may we?

      this.#changed.clear();
      for (const viewer of this.#viewers.keys())
        this.#viewers.set(viewer, false);
      this.counts.connects++;
      this.#setState({
        database: 'ok',
        target: target.name,
        channel: target.channel,
      });

      await Promise.race([
        gone,
        this.#serve(pool, target, signal),
        this.#watch(pool, schema, target, signal),
        this.#ping(listener, signal),
      ]);
    } finally {
      outer.removeEventListener('abort', stop);
      over.abort();
      this.#wake();
      pool.end().catch(() => {});
      listener.end().catch(() => {});
    }
  }

  #heard(payload) {
    this.counts.payloads++;
    const ids = decodeAgentIds(payload);
    if (ids === null) {
      this.counts.badPayloads++; // anybody may NOTIFY on the channel
      return;
    }
    this.counts.agentsNotified += ids.length;
    if (this.#viewers.size === 0) return;
    if (this.#changed.size === 0 && !this.#due) {
      setTimeout(() => {
        this.#due = true;
        this.#wake();
      }, gather);
    }
    for (const id of ids) this.#changed.add(id);
  }

  // Read for those who watch.
  async #serve(pool, target, signal) {
    const woken = () => new Promise((resolve) => (this.#wake = resolve));
    while (!signal.aborted) {
      const next = woken();
      const fresh = this.#viewersWith(false);
      if (fresh.length > 0) {
        const { text } = await readAgents(pool, target);
        if (signal.aborted) return;
        this.counts.snapshots++;
        for (const viewer of fresh) {
          if (this.#viewers.has(viewer)) this.#viewers.set(viewer, true);
        }
        this.#send('snapshot', text, fresh);
      } else if (this.#due) {
        const ids = [...this.#changed];
        this.#changed.clear();
        this.#due = false;
        const viewers = this.#viewersWith(true);
        if (ids.length === 0 || viewers.length === 0) continue;
        const { text, count } = await readAgents(pool, target, ids);
        if (signal.aborted) return;
        this.counts.fetches++;
        this.counts.agentsFetched += count;
        this.#send('changes', text, viewers);
      } else {
        await next;
      }
    }
  }

  // Look at the batch for those who watch, and notice another target. What waits
  // rises and falls with each flush: looking about as often as it is flushed
  // would show waves that are not there, so it is four times as often.
  async #watch(pool, schema, target, signal) {
    let samples = [];
    let pause = pollEvery[0];
    while (!signal.aborted) {
      if (this.#viewers.size === 0) {
        samples = [];
      } else {
        const { shape, ...now } = await readBatch(pool, schema);
        if (signal.aborted) return;
        if (shape !== target.shape)
          throw new OtherTarget('the target was changed');
        const last = samples.at(-1);
        // Counters start again after a reset, or in a new slot.
        if (last && counters.some((name) => now[name] < last[name]))
          samples = [];
        now.flushedBefore = last !== undefined && now.flushes > last.flushes;
        const over = Math.min(
          Math.max(3 * now.flushInterval, rateOver[0]),
          rateOver[1],
        );
        samples = samples.filter(({ at }) => at >= now.at - over);
        samples.push(now);
        this.#send(
          'batch',
          JSON.stringify({ ...now, ...rates(samples) }),
          this.#viewers.keys(),
        );
        pause = Math.min(
          Math.max(now.flushInterval / 4, pollEvery[0]),
          pollEvery[1],
        );
      }
      await sleep(pause, undefined, { signal }).catch(() => {});
    }
  }

  // A connection that has silently gone would never say that it has news.
  async #ping(listener, signal) {
    while (!signal.aborted) {
      await sleep(pingEvery, undefined, { signal }).catch(() => {});
      if (!signal.aborted) await listener.query('SELECT 1');
    }
  }
}

class OtherTarget extends Error {}

const counters = ['added', 'coalesced', 'flushed', 'flushes', 'dropped'];

// Per second over all samples. What flushes do is counted from flush to flush,
// else it would depend on whether one more of them just fits in. Drops are those
// of the last second, as they come in bursts.
function rates(samples) {
  if (samples.length < 2) return {};
  const newest = samples.at(-1);
  const between = (name, first, last) =>
    ((last[name] - first[name]) * 1000) / (last.at - first.at);
  const flushed = samples.filter(({ flushedBefore }) => flushedBefore);
  const [first, last] =
    flushed.length < 2 ? [samples[0], newest] : [flushed[0], flushed.at(-1)];
  const added = newest.added - samples[0].added;
  const recent =
    samples.findLast(({ at }) => at <= newest.at - 900) ?? samples[0];
  return {
    addRate: between('added', samples[0], newest),
    writeRate: between('flushed', first, last),
    flushRate: between('flushes', first, last),
    coalescedShare:
      added > 0 ? (newest.coalesced - samples[0].coalesced) / added : null,
    dropRate: between('dropped', recent, newest),
  };
}

async function schemaOfExtension(client) {
  const { rows } = await client.query(
    `SELECT quote_ident(n.nspname) AS name
     FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
     WHERE e.extname = 'mdbatch'`,
  );
  if (rows.length === 0)
    throw new Error('no extension mdbatch in this database');
  return rows[0].name;
}

// What tells one attachment from another.
const shapeOf =
  'ROW(t.target::oid, n.nspname, c.relname, ' +
  't.key, t.version, t.columns, t.channel)::text';
const named = `JOIN pg_class c ON c.oid = t.target
     JOIN pg_namespace n ON n.oid = c.relnamespace`;

// The metadata target: its name, columns and channel.
async function describeTarget(client, schema) {
  const { rows } = await client.query(
    `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
            t.key::text[] || t.columns::text[] || t.version::text AS columns,
            t.channel, ${shapeOf} AS shape
     FROM ${schema}.mdbatch_target t ${named}
     WHERE t.metadata`,
  );
  if (rows.length === 0)
    throw new Error('no metadata target in this database');
  const { name, columns, channel, shape } = rows[0];
  if (channel === null) throw new Error('the metadata target has no channel');
  // mdbatch_set_target() fixes their order.
  const [agent, key, value, error, at] = columns.map((column) =>
    pg.escapeIdentifier(column),
  );
  return {
    name,
    channel,
    shape,
    agent,
    select: `SELECT ${agent}::text, ${key}, ${value}, ${error},
                    (extract(epoch FROM ${at}) * 1000)::float8
             FROM ${name}`,
  };
}

// As JSON text, with the time of this machine: {"now", "agents": [[id, [[key,
// value, error, collected at], ...]], ...]}. Arrays, as a key can have any name.
async function readAgents(pool, target, ids) {
  const { rows } = await pool.query({
    text: ids
      ? `${target.select} WHERE ${target.agent} = ANY ($1::uuid[])`
      : target.select,
    values: ids ? [ids] : [],
    rowMode: 'array',
  });
  const agents = new Map();
  for (const [id, ...reading] of rows) {
    if (!agents.has(id)) agents.set(id, []);
    agents.get(id).push(reading);
  }
  return {
    text: JSON.stringify({ now: Date.now(), agents: [...agents] }),
    count: agents.size,
  };
}

// Numbers as float8: exact up to 2^53, and numbers in JavaScript.
async function readBatch(pool, schema) {
  const { rows } = await pool.query(
    `SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS at,
            ${shapeOf} AS shape,
            coalesce((extract(epoch FROM t.flush_interval) * 1000)::float8,
                     (SELECT setting::float8 FROM pg_settings
                      WHERE name = 'mdbatch.flush_interval')) AS "flushInterval",
            coalesce(s.pending, 0)::float8 AS pending,
            coalesce(s.in_flight, 0)::float8 AS "inFlight",
            s.capacity::float8 AS capacity,
            coalesce(s.added, 0)::float8 AS added,
            coalesce(s.coalesced, 0)::float8 AS coalesced,
            coalesce(s.flushed, 0)::float8 AS flushed,
            coalesce(s.dropped, 0)::float8 AS dropped,
            coalesce(s.batches_scheduled + s.batches_capacity
                     + s.batches_requested + s.batches_shutdown, 0)::float8 AS flushes,
            coalesce(s.flush_failures, 0)::float8 AS failures,
            (extract(epoch FROM s.last_flush_duration) * 1000)::float8 AS "lastFlushTook"
     FROM ${schema}.mdbatch_target t ${named}
     LEFT JOIN ${schema}.mdbatch_stat s
       ON s.relid = t.target
      AND s.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
     WHERE t.metadata`,
  );
  if (rows.length === 0)
    throw new Error('no metadata target in this database');
  return rows[0];
}
