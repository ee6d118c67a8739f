// Purpose: the page in a real browser, with 500 agents, through restarts of the
// database and of the web server.
//
// scripts/test-live runs it: it starts the database server, and names in the
// environment
//   PGHOST, PGUSER, PGDATABASE    where it is; its extension is created here
//   LIVE_PG_CTL, LIVE_DATA        how to stop and start it
//   LIVE_CHROMIUM                 the browser
//   LIVE_PICTURES                 if set: the directory to leave pictures in
//
// The tests build upon each other, in this order.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test as nodeTest } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { chromium } from 'playwright-core';

const fleetSize = 500;
const patience = 60000; // ms, for whatever has no deadline of its own
const margin = 3000; // ms beyond flush_interval until a value is on the page
const here = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const axe = readFileSync(
  createRequire(import.meta.url).resolve('axe-core/axe.min.js'),
  'utf8',
);

const processes = new Set();
let web;
let url;
let fleet;
let browser;
let page;
let agents; // [{id, name}], in the order of the page

//
// Helpers
//

// Nothing hangs for ever, not even in what has no deadline of its own.
const test = (name, ...rest) => {
  const options = rest.length > 1 ? rest[0] : {};
  nodeTest(name, { timeout: 6 * patience, ...options }, rest.at(-1));
};

async function waitFor(what, condition, deadline = patience) {
  const end = Date.now() + deadline;
  for (;;) {
    const result = await condition();
    if (result) return result;
    assert.ok(Date.now() < end, `waited in vain for ${what}`);
    await sleep(20);
  }
}

// Start a program of the example, and wait for a line of its output.
async function start(args, line) {
  const child = spawn(process.execPath, args, {
    cwd: here,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  processes.add(child);
  child.once('exit', () => processes.delete(child));
  child.output = [];
  createInterface({ input: child.stdout }).on('line', (text) =>
    child.output.push(text),
  );
  const found = await waitFor(`${args[0]} to start`, () => {
    assert.equal(
      child.exitCode,
      null,
      `${args[0]} ended: ${child.output.join('\n')}`,
    );
    return child.output.map((text) => line.exec(text)).find(Boolean);
  });
  return [child, found];
}

async function stop(child, signal = 'SIGTERM') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  await ended;
}

async function startWeb(port = 0) {
  const [child, found] = await start(
    ['server.mjs', '--port', String(port)],
    /^serving (http:\/\/127\.0\.0\.1:(\d+)\/)$/,
  );
  web = child;
  [, url] = found;
  return Number(found[2]);
}

async function startFleet() {
  [fleet] = await start(
    ['fleet.mjs', '--agents', String(fleetSize)],
    /report simulated readings/,
  );
}

// A statement in a connection of its own, as servers come and go here.
async function sql(text, values, host = process.env.PGHOST) {
  const client = new pg.Client({
    host,
    application_name: 'test',
    query_timeout: patience,
  });
  await client.connect();
  try {
    return (await client.query({ text, values, rowMode: 'array' })).rows;
  } finally {
    await client.end();
  }
}

const add = (id, key, value, error = '') =>
  sql('SELECT mdbatch_add($1, ARRAY[$2], ARRAY[$3], ARRAY[$4])', [
    id,
    key,
    value,
    error,
  ]);

const flush = () => sql('SELECT mdbatch_flush()');

function pgCtl(...args) {
  execFileSync(
    process.env.LIVE_PG_CTL,
    [
      '-D',
      process.env.LIVE_DATA,
      '-l',
      `${process.env.LIVE_DATA}/../server.log`,
      '-w',
      '-s',
      ...args,
    ],
    { stdio: 'ignore' },
  );
}

async function status() {
  const signal = AbortSignal.timeout(patience);
  return (await fetch(new URL('status', url), { signal })).json();
}

const tile = (id) => page.locator(`.tile[data-id="${id}"]`);

// What the page shows of a reading; null if it does not.
const shownValue = (id, key, on = page) =>
  on.evaluate(
    ([agent, name]) => {
      const item = document.querySelector(`.tile[data-id="${agent}"]`);
      const label = [...(item?.querySelectorAll('dt') ?? [])].find(
        (dt) => dt.textContent === name,
      );
      return label?.parentElement.querySelector('dd').textContent ?? null;
    },
    [id, key],
  );

const shows = (id, key, value, deadline) =>
  waitFor(
    `the page to show ${key} ${value}`,
    async () => (await shownValue(id, key)) === value,
    deadline,
  );

// Until everything that was added before has been fetched and is on the page:
// then a value that was added after it is, too.
let marks = 0;
async function settle() {
  const value = `mark ${++marks}`;
  await add(agents[0].id, 'load', value);
  await flush();
  await shows(agents[0].id, 'load', value);
}

const stateIs = (name, text = '') =>
  waitFor(`the state ${name} ${text}`, async () => {
    const state = page.locator('#state');
    return (
      (await state.getAttribute('data-state')) === name &&
      (await state.textContent()).includes(text)
    );
  });

// Contrast that axe-core cannot tell is a failure, too, but for what is out of
// sight: the browser does not draw it.
async function expectAccessible(what, part = 'html') {
  await page.evaluate(() => scrollTo(0, 0));
  await waitFor('the end of the flashes', () =>
    page.evaluate(() => document.getAnimations().length === 0),
  );
  await page.evaluate(axe);
  const found = await page.evaluate(async (context) => {
    const { violations, incomplete } = await axe.run(context, {
      runOnly: [
        'wcag2a',
        'wcag2aa',
        'wcag21a',
        'wcag21aa',
        'wcag22aa',
        'best-practice',
      ],
      resultTypes: ['violations', 'incomplete'],
    });
    const modal = document.querySelector('dialog[open]');
    const inSight = ({ target }) => {
      const element = document.querySelector(target[0]);
      return (
        (modal === null || modal.contains(element)) &&
        element.getBoundingClientRect().bottom <= innerHeight
      );
    };
    return [
      ...violations.flatMap(({ nodes }) => nodes),
      ...incomplete
        .filter(({ id }) => id === 'color-contrast')
        .flatMap(({ nodes }) => nodes.filter(inSight)),
    ].map(({ html, failureSummary }) => `${html}: ${failureSummary}`);
  }, part);
  assert.deepEqual(found, [], `axe-core: ${what}`);
}

const noOverflow = (width) =>
  waitFor(
    `no overflow at ${width} px`,
    () =>
      page.evaluate(
        () =>
          document.documentElement.scrollWidth <= innerWidth &&
          [...document.querySelectorAll('body *')].every((element) => {
            const { right, width: wide } = element.getBoundingClientRect();
            return (
              wide === 0 ||
              right <= innerWidth + 1 ||
              element.closest('.scroll')
            );
          }),
      ),
    5000,
  );

// How light the page's ground is, from 0 to 1.
const lightness = () =>
  page.evaluate(() => {
    const [r, g, b] = getComputedStyle(
      document.documentElement,
    ).backgroundColor.match(/\d+/g);
    return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
  });

const focused = () =>
  page.evaluate(() => {
    const { id, className } = document.activeElement;
    return (
      id || document.activeElement.closest('.tile')?.dataset.id || className
    );
  });

//
// The tests
//

before(async () => {
  await sql('CREATE EXTENSION mdbatch');
  await startWeb();
  await startFleet();
  browser = await chromium.launch({
    executablePath: process.env.LIVE_CHROMIUM,
  });
  page = await browser.newPage({
    viewport: { width: 1280, height: 800 },
    colorScheme: 'light',
  });
  page.setDefaultTimeout(patience);
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('console', (message) => {
    // Of a lost connection the browser complains by itself.
    if (
      message.type() === 'error' &&
      !/ERR_|Failed to load resource/.test(message.text())
    ) {
      page.complaints.push(message.text());
    }
  });
  await page.goto(url);
});

after(async () => {
  await browser?.close();
  for (const child of processes) child.kill('SIGCONT');
  await Promise.all([...processes].map((child) => stop(child, 'SIGKILL')));
});

test('500 agents are shown, with their readings', async () => {
  await waitFor(
    'all agents',
    async () => (await page.locator('.tile').count()) === fleetSize,
  );
  await waitFor(
    'their number',
    async () => (await page.textContent('#count')) === String(fleetSize),
  );
  const [[stored]] = await sql(
    'SELECT count(DISTINCT agent_id)::int FROM mdbatch_metadata',
  );
  assert.equal(stored, fleetSize);
  agents = await page.$$eval('.tile', (items) =>
    items.map((item) => ({
      id: item.dataset.id,
      name: item.querySelector('button').textContent,
      readings: item.querySelectorAll('dl > div').length,
    })),
  );
  const names = await sql(
    "SELECT agent_id::text, value FROM mdbatch_metadata WHERE key = 'name'",
  );
  assert.deepEqual(
    new Map(agents.map(({ id, name }) => [id, name])),
    new Map(names),
  );
  assert.ok(agents.every(({ readings }) => readings === 4));
  assert.deepEqual(
    agents.map(({ name }) => name),
    names.map(([, name]) => name).sort(),
  );
  await stateIs('live');
});

test('pictures', { skip: !process.env.LIVE_PICTURES }, async () => {
  const dir = process.env.LIVE_PICTURES;
  await waitFor(
    'charts that are full',
    async () =>
      (await page.getAttribute('#chart-pending', 'data-points')) >= 118,
    5 * patience,
  );
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme });
    for (const [width, height] of [
      [360, 740],
      [1280, 800],
    ]) {
      await page.setViewportSize({ width, height });
      // The charts follow their size, and a flush may have come by.
      const changed = await status();
      await waitFor(
        'a flush',
        async () => (await status()).fetches > changed.fetches + 1,
      );
      await page.screenshot({
        path: path.join(dir, `live-${scheme}-${width}.png`),
      });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
});

test('the charts get points, and draw them', async () => {
  for (const id of ['chart-pending', 'chart-rates', 'chart-drops']) {
    await waitFor(
      `points of ${id}`,
      async () => (await page.getAttribute(`#${id}`, 'data-points')) >= 4,
    );
    const drawn = await page.$eval(`#${id} canvas`, (canvas) => {
      const accent = getComputedStyle(
        document.documentElement,
      ).getPropertyValue('--accent');
      const wanted = accent
        .match(/[0-9a-f]{2}/gi)
        .map((hex) => parseInt(hex, 16));
      const { data } = canvas
        .getContext('2d')
        .getImageData(0, 0, canvas.width, canvas.height);
      let count = 0;
      for (let n = 0; n < data.length; n += 4) {
        if (
          data[n + 3] > 200 &&
          wanted.every((c, k) => Math.abs(c - data[n + k]) < 40)
        )
          count++;
      }
      return count;
    });
    assert.ok(drawn > 0, `a line in ${id}`);
  }
  const figure = async (id) =>
    Number((await page.textContent(`#${id}`)).replace(/[^\d.]/g, ''));
  await waitFor(
    'rates',
    async () =>
      (await figure('add-rate')) > 0 && (await figure('write-rate')) > 0,
  );
  assert.ok(
    (await figure('write-rate')) < (await figure('add-rate')),
    'some readings are coalesced',
  );
  assert.ok((await figure('coalesced')) > 0);
});

test('what changes flashes, or is marked where motion is not wanted', async () => {
  const flashes = () => page.evaluate(() => document.getAnimations().length);
  await waitFor('a flash', flashes);
  assert.equal((await page.locator('[data-changed]').count()) > 0, true);
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await waitFor('the end of the flashes', async () => (await flashes()) === 0);
  const { fetches } = await status();
  await waitFor(
    'two flushes',
    async () => (await status()).fetches >= fetches + 2,
  );
  await waitFor(
    'marks',
    async () => (await page.locator('[data-changed]').count()) > 0,
  );
  assert.equal(await flashes(), 0);
  const line = await page.$eval(
    '[data-changed] dd',
    (dd) => getComputedStyle(dd).textDecorationLine,
  );
  assert.equal(line, 'underline');
  await page.emulateMedia({ reducedMotion: 'no-preference' });
});

test('pause holds the page still, and goes on where it is', async () => {
  await page.click('#pause');
  await stateIs('paused');
  const before = await page.textContent('#tiles');
  const { fetches } = await status();
  await waitFor(
    'two flushes',
    async () => (await status()).fetches >= fetches + 2,
  );
  assert.equal(await page.textContent('#tiles'), before);
  await page.click('#pause');
  await stateIs('live');
  await waitFor(
    'news',
    async () => (await page.textContent('#tiles')) !== before,
  );
});

test('a change is on the page within flush_interval', async (t) => {
  await stop(fleet);
  // Whatever the fleet left: no errors from here on but ours.
  await sql(
    `SELECT mdbatch_add_many($1, array_fill('disk'::text, ARRAY[500]),
                             array_fill('50%'::text, ARRAY[500]))`,
    [agents.map(({ id }) => id)],
  );
  await settle();
  const [[interval]] = await sql(
    "SELECT setting::int FROM pg_settings WHERE name = 'mdbatch.flush_interval'",
  );
  for (const value of ['first', 'second', 'third']) {
    const began = Date.now();
    await add(agents[7].id, 'load', value);
    await shows(agents[7].id, 'load', value, interval + margin);
    t.diagnostic(
      `${Date.now() - began} ms, with flush_interval ${interval} ms`,
    );
  }
});

test('only agents that changed are fetched, once for a flush', async () => {
  await settle();
  let was = await status();
  const few = [agents[3], agents[200], agents[499]];
  await sql(
    `SELECT mdbatch_add_many($1, array_fill('load'::text, ARRAY[3]),
                             array_fill('few'::text, ARRAY[3]))`,
    [few.map(({ id }) => id)],
  );
  for (const { id } of few) await shows(id, 'load', 'few');
  let is = await status();
  assert.equal(is.agentsFetched - was.agentsFetched, 3);
  assert.equal(is.fetches - was.fetches, 1);
  assert.equal(await page.textContent('#last-changed'), '3');

  was = is;
  const many = agents.slice(0, 400).map(({ id }) => id);
  await sql(
    `SELECT mdbatch_add_many($1, array_fill('load'::text, ARRAY[400]),
                             array_fill('many'::text, ARRAY[400]))`,
    [many],
  );
  for (const id of many) await shows(id, 'load', 'many');
  is = await status();
  assert.equal(
    is.payloads - was.payloads,
    2,
    '400 agents do not fit into one payload',
  );
  assert.equal(is.fetches - was.fetches, 1);
  assert.equal(is.agentsFetched - was.agentsFetched, 400);
  assert.equal(is.snapshots, was.snapshots);
  assert.equal(await page.textContent('#last-changed'), '400');
});

test('a payload that names no agents is counted and ignored', async () => {
  const was = await status();
  await sql(
    "SELECT pg_notify('workspace_agent_metadata_batch', 'no such payload')",
  );
  await settle();
  const is = await status();
  assert.equal(is.badPayloads - was.badPayloads, 1);
  assert.equal(is.connects, was.connects);
});

test('values are text, errors are told, and "with errors" finds them', async () => {
  const { id, name } = agents[42];
  const evil = '<img src=x onerror="document.title=1">';
  await add(id, 'load', evil);
  await add(id, 'disk', '', 'df: <b>no answer</b>');
  await shows(id, 'load', evil);
  await shows(id, 'disk', '✕ error');
  await waitFor(
    'the mark',
    async () => (await tile(id).locator('.mark').textContent()) === '✕ 1',
  );
  await page.selectOption('#show', 'errors');
  await waitFor(
    'one tile',
    async () => (await page.locator('.tile:visible').count()) === 1,
  );
  assert.equal(await page.textContent('#errors'), '1');

  await tile(id).click();
  assert.equal(await page.textContent('#details-name'), name);
  assert.equal(await page.textContent('#details-id'), id);
  const rows = await page.$$eval('#details-rows tr', (all) =>
    all.map((row) => row.textContent),
  );
  assert.ok(rows.some((row) => row.includes('✕ df: <b>no answer</b>')));
  assert.equal(
    await page.locator('#details img, #tiles img, #details b').count(),
    0,
  );
  await add(id, 'load', '1.5');
  await waitFor('news in the dialog', async () =>
    (await page.textContent('#details-rows')).includes('1.5'),
  );
  await page.click('#details-close');
  await page.selectOption('#show', 'all');
});

test('find by name and by id', async () => {
  const { id, name } = agents[123];
  for (const text of [name.toUpperCase(), id.slice(0, 13)]) {
    await page.fill('#find', text);
    await waitFor(
      'one tile',
      async () => (await page.locator('.tile:visible').count()) === 1,
    );
    assert.ok(await tile(id).isVisible());
    assert.equal(await page.textContent('#matches'), '1 of 500 agents');
    await waitFor(
      'the announcement',
      async () => (await page.textContent('#news')) === '1 agents match',
    );
  }
  await page.fill('#find', '');
  await waitFor(
    'all tiles',
    async () =>
      (await page.locator('.tile:not([hidden])').count()) === fleetSize,
  );
});

test('sort by a reading', async () => {
  await page.mouse.move(1, 1);
  await add(agents[321].id, 'load', '99.5');
  await shows(agents[321].id, 'load', '99.5');
  await page.selectOption('#sort', { label: 'load' });
  const first = () => page.$eval('.tile', (item) => item.dataset.id);
  await waitFor(
    'the highest first',
    async () => (await first()) === agents[321].id,
  );
  await page.selectOption('#sort', 'name');
  await waitFor(
    'names in order',
    async () => (await first()) === agents[0].id,
  );
});

test('by keyboard: tab to the search and to the tiles, arrows, Enter, Escape', async () => {
  await page.reload();
  await waitFor(
    'all agents',
    async () => (await page.locator('.tile').count()) === fleetSize,
  );
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'skip');
  for (const stop of ['find', 'show', 'sort', 'pause', agents[0].id]) {
    await page.keyboard.press('Tab');
    assert.equal(await focused(), stop);
  }
  const outline = await tile(agents[0].id).evaluate(
    (item) => getComputedStyle(item).outlineStyle,
  );
  assert.equal(outline, 'solid');
  const columns = await page.$$eval(
    '.tile',
    (items) =>
      items.filter((item) => item.offsetTop === items[0].offsetTop).length,
  );
  assert.ok(columns > 1);
  for (const [key, number] of [
    ['ArrowRight', 1],
    ['ArrowDown', 1 + columns],
    ['ArrowLeft', columns],
    ['ArrowUp', 0],
    ['ArrowUp', 0],
    ['End', 499],
    ['Home', 0],
    ['ArrowRight', 1],
  ]) {
    await page.keyboard.press(key);
    assert.equal(await focused(), agents[number].id, key);
  }
  await page.keyboard.press('Enter');
  assert.ok(await page.locator('#details').isVisible());
  assert.equal(await page.textContent('#details-name'), agents[1].name);
  assert.equal(await focused(), 'details-close');
  await page.keyboard.press('Escape');
  assert.ok(!(await page.locator('#details').isVisible()));
  assert.equal(await focused(), agents[1].id);
  await page.keyboard.press('Shift+Tab');
  assert.equal(await focused(), 'pause');
  await page.keyboard.press('Tab');
  assert.equal(
    await focused(),
    agents[1].id,
    'one stop for all tiles, where one was',
  );
});

test('light and dark', async () => {
  assert.ok((await lightness()) > 0.85);
  await page.emulateMedia({ colorScheme: 'dark' });
  assert.ok((await lightness()) < 0.15);
  await page.emulateMedia({ colorScheme: 'light' });
});

test('axe-core finds nothing, in light and dark', async () => {
  // Something of every kind is on the page: an error, and one that is silent.
  await add(agents[2].id, 'disk', '', 'df: no answer');
  await sql(
    `SELECT mdbatch_add($1, '{cpu,disk,load,mem,name}', '{1%,1%,1,1%,quiet}', NULL,
                        array_fill(now() - interval '1 hour', ARRAY[5]))`,
    ['00000000-0000-4000-8000-000000000001'],
  );
  await waitFor(
    'the silent agent',
    async () => (await page.locator('.tile[data-state="silent"]').count()) > 0,
  );
  await shows(agents[2].id, 'disk', '✕ error');
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme });
    await expectAccessible(`the page, ${scheme}`);
    await page.fill('#find', 'api-'); // fewer tiles do for the rest
    await tile(agents[2].id).click();
    await expectAccessible(`the dialog, ${scheme}`, '#details');
    await page.click('#details-close');
  }
  await page.emulateMedia({ colorScheme: 'light' });
});

test('nothing overflows at 360 px, nor with text of twice the size', async () => {
  await page.fill('#find', 'api-');
  const fontSize = (size) =>
    page.evaluate((text) => {
      document.documentElement.style.fontSize = text;
    }, size);
  for (const width of [360, 768, 1280]) {
    await page.setViewportSize({ width, height: 740 });
    for (const size of ['', '175%']) {
      await fontSize(size);
      await noOverflow(width);
      await tile(agents[2].id).locator('button').click();
      await noOverflow(width);
      await page.click('#details-close');
    }
  }
  await fontSize('');
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.fill('#find', '');
});

test('the page survives a restart of the database server', async () => {
  await page.evaluate(() => {
    window.states = [];
    new MutationObserver(() => {
      const { state } = document.getElementById('state').dataset;
      if (window.states.at(-1) !== state) window.states.push(state);
    }).observe(document.getElementById('state'), { attributes: true });
  });
  pgCtl('-m', 'fast', 'restart');
  await waitFor('lost, and live again', () =>
    page.evaluate(
      () => window.states.includes('lost') && window.states.at(-1) === 'live',
    ),
  );
  await settle();
});

test('after an outage it shows what changed meanwhile', async () => {
  pgCtl('-m', 'fast', 'stop');
  await stateIs('lost', 'Database connection lost, retrying');
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme });
    await expectAccessible(`lost, ${scheme}`, 'body > header');
  }
  await page.emulateMedia({ colorScheme: 'light' });

  // Where the web server does not look for it.
  const aside = mkdtempSync(path.join(process.env.LIVE_DATA, '..', 'aside.'));
  pgCtl('-o', `-c unix_socket_directories=${aside}`, 'start');
  await sql(
    "SELECT mdbatch_add($1, '{load}', '{meanwhile}')",
    [agents[9].id],
    aside,
  );
  await sql('SELECT mdbatch_flush()', [], aside);
  assert.notEqual(await shownValue(agents[9].id, 'load'), 'meanwhile');
  assert.equal(await page.getAttribute('#state', 'data-state'), 'lost');
  pgCtl('-m', 'fast', 'restart', '-o', '');
  await stateIs('live');
  await shows(agents[9].id, 'load', 'meanwhile');
  await settle();
  assert.ok(
    await page.evaluate(() => Array.isArray(window.states)),
    'it was not loaded again',
  );
});

test('it survives the end of the listening connection alone', async () => {
  const { connects } = await status();
  await sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'mdbatch live, listening'`);
  await waitFor(
    'another connection',
    async () => (await status()).connects > connects,
  );
  await settle();
  await stateIs('live');
});

test('another target is noticed', async () => {
  await sql('CREATE TABLE other (LIKE mdbatch_metadata INCLUDING ALL)');
  await sql(
    "SELECT mdbatch_set_target('other', channel => 'Another channel')",
  );
  await sql(
    'INSERT INTO other SELECT * FROM mdbatch_metadata WHERE agent_id = $1',
    [agents[0].id],
  );
  await waitFor(
    'its name',
    async () => (await page.textContent('#source')) === 'public.other',
  );
  await waitFor(
    'its agents',
    async () => (await page.locator('.tile').count()) === 1,
  );
  await settle();
  await sql("SELECT mdbatch_set_target('mdbatch_metadata')");
  await waitFor(
    'all agents',
    async () => (await page.locator('.tile').count()) === fleetSize + 1,
  );
  await settle();
});

test('the page survives a restart of the web server', async () => {
  const { port } = new URL(url);
  await stop(web);
  assert.equal(web.exitCode, 0);
  await stateIs('lost', 'Connection to the web server lost, retrying');
  await add(agents[11].id, 'load', 'unseen');
  await flush();
  await startWeb(port);
  await stateIs('live');
  await shows(agents[11].id, 'load', 'unseen');
  await settle();
  assert.ok(
    await page.evaluate(() => Array.isArray(window.states)),
    'it was not loaded again',
  );
});

test('a web server that is silent is taken for lost', async () => {
  web.kill('SIGSTOP');
  try {
    await stateIs('lost', 'Connection to the web server lost, retrying');
  } finally {
    web.kill('SIGCONT');
  }
  await stateIs('live');
  await settle();
});

test('the page had nothing to complain about', () => {
  assert.deepEqual(page.complaints, []);
});

test('what the web server answers to whom', async () => {
  const request = async (name, options = {}) => {
    const sent = http.request(new URL(name, url), options).end();
    const [response] = await once(sent, 'response');
    response.resume();
    return response;
  };
  const ok = await request('/');
  assert.equal(ok.statusCode, 200);
  assert.match(
    ok.headers['content-security-policy'],
    /^default-src 'none'; script-src 'self';/,
  );
  assert.doesNotMatch(ok.headers['content-security-policy'], /unsafe|http|\*/);
  assert.equal(ok.headers['x-content-type-options'], 'nosniff');
  for (const name of [
    '/server.mjs',
    '/package.json',
    '/../server.mjs',
    '/%2e%2e/server.mjs',
  ]) {
    assert.equal((await request('/', { path: name })).statusCode, 404, name);
  }
  assert.equal((await request('/', { method: 'POST' })).statusCode, 405);
  for (const name of ['/', '/events', '/status']) {
    assert.equal(
      (await request(name, { headers: { Host: 'elsewhere.example' } }))
        .statusCode,
      421,
    );
  }
});

test('a viewer who does not read is dropped, the others are served', async () => {
  await page.close();
  await waitFor('no viewers', async () => (await status()).viewers === 0);
  const { port } = new URL(url);
  const slow = net.connect(port, '127.0.0.1');
  slow.on('error', () => {}); // it will be reset
  slow.write('GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n');
  slow.pause();
  let received = 0;
  const [reader] = await once(http.get(new URL('events', url)), 'response');
  reader.on('data', (chunk) => (received += chunk.length));
  await waitFor('two viewers', async () => (await status()).viewers === 2);

  const id = '00000000-0000-4000-8000-000000000002';
  let sent = 0;
  await waitFor('the slow one to be dropped', async () => {
    sent++;
    await sql(
      "SELECT mdbatch_add($1, '{large}', ARRAY[repeat(chr(64 + $2), 1000000)])",
      [id, sent % 26],
    );
    await flush();
    return (await status()).slowViewersDropped === 1;
  });
  const { viewers, fetches } = await status();
  assert.equal(viewers, 1);
  assert.ok(fetches > 0);
  await add(id, 'large', 'small');
  await flush();
  await waitFor('the other one to have it all', () => received > 4e6);
  assert.equal((await status()).viewers, 1);
  reader.destroy();
  slow.destroy();
});
