#!/usr/bin/env node
// Purpose: serve a page that shows a fleet of agents live, and the batch that
// their readings go through.
//
// usage: node server.mjs [--host HOST] [--port PORT] [--allow-host NAME]...
//   --host         where to listen (default 127.0.0.1)
//   --port         default 8080; 0 takes a free one, and the log says which
//   --allow-host   another name that browsers may call this server by
//
// The database is named by the environment variables of libpq (PGHOST, PGPORT,
// PGDATABASE, PGUSER, ...). Its user needs SELECT on the metadata target.
//
// Model: / and a few files are the page. /events is a stream of server-sent
// events: `state`, `snapshot` (all agents), `changes` (those that changed) and
// `batch` (one to five times a second). A snapshot comes first and after each
// gap, so a browser that connects again need not say what it has missed.
// /status has the counters of this process as JSON.
//
// Limits: there is no login. Whoever reaches the port sees the readings.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { LiveDatabase } from './database.mjs';

const maxViewers = 100;
const maxBuffered = 4 << 20; // bytes that wait for a slow viewer; then it goes
const maxBlocked = 30000; // ms for which a viewer may take nothing
const heartbeatEvery = 15000; // ms, so that proxies keep an idle stream open
const browserRetry = 1000; // ms until a browser connects again

const { values: options } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8080' },
    'allow-host': { type: 'string', multiple: true, default: [] },
  },
});

//
// The files of the page
//

const here = path.dirname(fileURLToPath(import.meta.url));
const uplot = path.dirname(
  createRequire(import.meta.url).resolve('uplot/package.json'),
);
const files = new Map();
for (const [name, file, type] of [
  ['/', path.join(here, 'page.html'), 'text/html; charset=utf-8'],
  ['/page.css', path.join(here, 'page.css'), 'text/css; charset=utf-8'],
  ['/page.js', path.join(here, 'page.js'), 'text/javascript; charset=utf-8'],
  ['/icon.svg', path.join(here, 'icon.svg'), 'image/svg+xml'],
  [
    '/uplot.js',
    path.join(uplot, 'dist/uPlot.esm.js'),
    'text/javascript; charset=utf-8',
  ],
  [
    '/uplot.css',
    path.join(uplot, 'dist/uPlot.min.css'),
    'text/css; charset=utf-8',
  ],
]) {
  files.set(name, { type, body: await readFile(file) });
}

const headers = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
};

//
// Those who watch
//

const database = new LiveDatabase();
const viewers = new Set();
let slowViewersDropped = 0;

class Viewer {
  #response;
  #blockedSince = null;

  constructor(response) {
    this.#response = response;
    response.on('drain', () => (this.#blockedSince = null));
    response.on('error', () => {}); // 'close' follows
    response.on('close', () => {
      database.remove(this);
      viewers.delete(this);
    });
    this.#write(`retry: ${browserRetry}\n\n`);
    viewers.add(this);
    database.add(this);
  }

  // JSON text has no line breaks.
  send(event, data) {
    this.#write(`event: ${event}\ndata: ${data}\n\n`);
  }

  heartbeat() {
    this.#write(':\n\n');
  }

  close() {
    this.#response.destroy();
  }

  // A viewer who does not keep up is dropped rather than waited for. Its
  // browser connects again, and gets a snapshot.
  #write(text) {
    if (this.#response.destroyed) return;
    const blocked =
      this.#blockedSince !== null &&
      Date.now() - this.#blockedSince > maxBlocked;
    if (blocked || this.#response.writableLength > maxBuffered) {
      slowViewersDropped++;
      this.close();
    } else if (!this.#response.write(text)) {
      this.#blockedSince ??= Date.now();
    }
  }
}

setInterval(
  () => viewers.forEach((viewer) => viewer.heartbeat()),
  heartbeatEvery,
).unref();

//
// HTTP
//

// Only by names that are ours: else a page of another site, whose name its
// owner points at this address, could read what we serve.
const names = new Set([
  'localhost',
  '127.0.0.1',
  '[::1]',
  options.host,
  ...options['allow-host'],
]);

function isOurs(request) {
  const name = (request.headers.host ?? '').replace(/:\d+$/, '');
  return names.has(name.toLowerCase());
}

function answer(response, status, type, body) {
  response.writeHead(status, { ...headers, 'Content-Type': type });
  response.end(body);
}

const server = createServer((request, response) => {
  const refuse = (status, text) =>
    answer(response, status, 'text/plain; charset=utf-8', `${text}\n`);
  const name = request.url.split('?', 1)[0];

  if (!isOurs(request)) {
    refuse(421, 'This server does not go by that name; see --allow-host.');
  } else if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    refuse(405, 'Only GET and HEAD.');
  } else if (files.has(name)) {
    const { type, body } = files.get(name);
    answer(response, 200, type, body);
  } else if (name === '/status') {
    answer(
      response,
      200,
      'application/json',
      JSON.stringify({
        ...database.state,
        ...database.counts,
        viewers: viewers.size,
        slowViewersDropped,
      }),
    );
  } else if (name !== '/events') {
    refuse(404, 'Not found.');
  } else if (viewers.size >= maxViewers) {
    refuse(503, 'Too many viewers.');
  } else {
    // X-Accel-Buffering: nginx is not to collect events.
    response.writeHead(200, {
      ...headers,
      'Content-Type': 'text/event-stream',
      'X-Accel-Buffering': 'no',
    });
    if (request.method === 'HEAD') response.end();
    else new Viewer(response);
  }
});

//
// From start to end
//

const stop = new AbortController();
database.on('state', (state, error) => {
  if (state.database === 'ok') {
    console.log(
      `listening on channel ${state.channel} for news of ${state.target}`,
    );
  } else {
    console.log(
      `database connection lost, retrying: ${error.message || state.reason}`,
    );
  }
});
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    stop.abort();
    server.close();
    server.closeIdleConnections();
    viewers.forEach((viewer) => viewer.close());
  });
}

server.on('error', (error) => {
  console.error(`cannot serve: ${error.message}`);
  process.exit(1);
});
server.listen(Number(options.port), options.host, () => {
  const { address, family, port } = server.address();
  console.log(
    `serving http://${family === 'IPv6' ? `[${address}]` : address}:${port}/`,
  );
});
await database.run(stop.signal);
