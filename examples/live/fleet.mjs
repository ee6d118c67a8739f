#!/usr/bin/env node
// Purpose: a fleet of agents that report to mdbatch, for the page to show. The
// readings are simulated: nothing is measured.
//
// usage: node fleet.mjs [--agents N]
//   --agents    how many (default 500)
//
// The database is named by the environment variables of libpq.
//
// One agent in ten reports about four times a second, the others every 1 to 6 s;
// over 80 s all become more and less talkative. Now and then a disk cannot be
// read for a while, or an agent falls silent. Ids follow from the names, so that
// the same agents come back with the next run.

import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import pg from 'pg';

const roles = ['api', 'build', 'cache', 'db', 'edge', 'mail', 'queue', 'web'];
const connections = 4;

const { values: options } = parseArgs({
  options: { agents: { type: 'string', default: '500' } },
});

const between = (low, high) => low + Math.random() * (high - low);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const percent = (value) => `${Math.round(value)}%`;

function uuidOf(name) {
  const hex = createHash('sha256')
    .update(`mdbatch live ${name}`)
    .digest('hex');
  return hex.replace(
    /^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/,
    '$1-$2-8$3-8$4-$5',
  );
}

function newAgent(number) {
  const name = `${roles[number % roles.length]}-${String(number + 1).padStart(3, '0')}`;
  return {
    id: uuidOf(name),
    name,
    every: number % 10 === 0 ? 250 : between(1000, 6000),
    cpu: between(2, 70),
    mem: between(15, 85),
    disk: between(10, 90),
    diskFails: 0, // reports for which its disk cannot be read
    greeted: false, // has it reported its name?
  };
}

// The next readings of an agent: [key, value, error] each.
function readings(agent) {
  agent.cpu = clamp(agent.cpu + between(-9, 9), 1, 100);
  agent.mem = clamp(agent.mem + between(-1.5, 1.5), 5, 98);
  agent.disk = clamp(agent.disk + between(-0.2, 0.25), 5, 99);
  if (agent.diskFails > 0) agent.diskFails--;
  else if (Math.random() < 0.0005) agent.diskFails = Math.ceil(between(2, 12));

  const list = [
    ['cpu', percent(agent.cpu), ''],
    ['mem', percent(agent.mem), ''],
    agent.diskFails > 0
      ? ['disk', '', 'df: no answer within 2 s']
      : ['disk', percent(agent.disk), ''],
    ['load', (agent.cpu / 25 + between(0, 0.3)).toFixed(2), ''],
  ];
  if (!agent.greeted) list.push(['name', agent.name, '']);
  return list;
}

const pool = new pg.Pool({
  max: connections,
  application_name: 'mdbatch fleet',
});
pool.on('error', () => {}); // the next report says so
let stopping = false;
let lost = null; // the error that the last report met

async function report(agent) {
  const list = readings(agent);
  const columns = [0, 1, 2].map((n) => list.map((reading) => reading[n]));
  try {
    await pool.query({
      name: 'report',
      text: 'SELECT mdbatch_add($1, $2, $3, $4)',
      values: [agent.id, ...columns],
    });
    agent.greeted = true;
    if (lost !== null) console.log('agents report again');
    lost = null;
  } catch (error) {
    // This report is lost; the next one has newer readings anyway.
    const reason = error.code ?? error.message;
    if (reason !== lost)
      console.log(`agents cannot report: ${error.message || reason}`);
    lost = reason;
  }
}

function schedule(agent, delay) {
  setTimeout(async () => {
    if (stopping) return;
    await report(agent);
    const silent = Math.random() < agent.every / 3e6; // about every 50 minutes
    const wave = 1 + 0.5 * Math.sin((Date.now() / 80000) * 2 * Math.PI);
    schedule(
      agent,
      silent ? between(40000, 90000) : agent.every * wave * between(0.8, 1.2),
    );
  }, delay);
}

const agents = Array.from({ length: Number(options.agents) }, (_, number) =>
  newAgent(number),
);
for (const agent of agents) schedule(agent, between(0, agent.every));
console.log(`${agents.length} agents report simulated readings`);

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    stopping = true;
    pool
      .end()
      .catch(() => {})
      .finally(() => process.exit());
  });
}
