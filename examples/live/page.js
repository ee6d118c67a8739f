// Purpose: the page's behaviour. Keeps a model of all agents, which the events
// of the server change, and shows it.
//
// Model: events change the model and mark agents as dirty; once per frame the
// dirty ones are drawn. Everything from the database becomes text, never
// markup. EventSource connects again by itself; where it gives up, or nothing
// comes any more, the page starts a new one. After each gap the server sends a
// snapshot, so nothing has to be made up for here.

import uPlot from './uplot.js';

const nameKeys = ['name', 'hostname']; // readings that name an agent
const shownReadings = 8; // in a tile; the dialog has all
const silentAfter = 30000; // ms without a report, or 4 flush intervals
const sortEvery = 2000; // ms between two reorderings, which move tiles
const speakEvery = 30000; // ms between two summaries for screen readers
const dataWithin = 20000; // ms without an event until the stream is dead
const reopenAfter = 2000; // ms
const chartSeconds = 60;
const figuresEvery = 950; // ms between two changes of the batch's numbers

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat('en');
const oneDigit = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat('en', {
  notation: 'compact',
  maximumFractionDigits: 1,
});
const collator = new Intl.Collator('en', { numeric: true });
const calm = matchMedia('(prefers-reduced-motion: reduce)');

// Set text only where it differs: most of it does not, most of the time.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

//
// The model
//

const agents = new Map(); // id -> agent
const dirty = new Set();
let clockAhead = 0; // of the server's clock, ms
let flushInterval = 0;
let paused = false;
let shown = []; // agents in the order of the page, the hidden ones included

const now = () => Date.now() + clockAhead;

function ageText(at) {
  if (at === null) return '';
  const seconds = Math.max(0, Math.round((now() - at) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

function stateOf(agent) {
  if (agent.errors > 0) return 'errors';
  if (
    agent.at !== null &&
    now() - agent.at > Math.max(silentAfter, 4 * flushInterval)
  ) {
    return 'silent';
  }
  return 'well';
}

// Take over what the server sent of one agent.
function update(id, readings) {
  let agent = agents.get(id);
  const isNew = agent === undefined;
  if (isNew) {
    agent = { id, readings: new Map(), changed: new Set() };
    agents.set(id, agent);
  }
  const before = agent.readings;
  agent.readings = new Map();
  agent.errors = 0;
  agent.at = null;
  readings.sort(([a], [b]) => collator.compare(a, b));
  for (const [key, value, error, at] of readings) {
    agent.readings.set(key, { value: value ?? '', error: error ?? '', at });
    if (error) agent.errors++;
    if (at !== null && (agent.at === null || at > agent.at)) agent.at = at;
    const old = before.get(key);
    if (
      !isNew &&
      (old?.value !== (value ?? '') || old?.error !== (error ?? ''))
    ) {
      agent.changed.add(key);
    }
  }
  const nameKey = nameKeys.find((key) => agent.readings.get(key)?.value);
  agent.name = nameKey ? agent.readings.get(nameKey).value : id.slice(0, 8);
  dirty.add(agent);
}

//
// Tiles
//

const tiles = $('tiles');
const inSight = new Set(); // tiles that can be seen, and so may flash
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) inSight.add(target);
    else inSight.delete(target);
  }
});

function makeTile(agent) {
  const button = make('button');
  button.type = 'button';
  button.tabIndex = -1;
  const mark = make('span', 'mark');
  const age = make('span', 'age');
  const list = make('dl');
  const item = make('li', 'tile', make('div', 'top', button, mark, age), list);
  item.dataset.id = agent.id;
  agent.tile = { item, button, mark, age, list, readings: new Map() };
  tiles.append(item);
  sight.observe(item);
}

function makeReading(key) {
  const label = make('dt', '', key);
  label.title = key;
  const value = make('dd');
  const box = make('div', '', label, value);
  return { box, value, meter: null, share: null };
}

// A share of a hundred gets a bar, beside its number.
function drawMeter(reading, text) {
  const match = /^(\d{1,3}(?:\.\d+)?) ?%$/.exec(text);
  if (match && reading.meter === null) {
    reading.meter = make('span', 'meter', make('span'));
    reading.meter.setAttribute('aria-hidden', 'true');
    reading.box.append(reading.meter);
  } else if (!match && reading.meter !== null) {
    reading.meter.remove();
    reading.meter = null;
  }
  if (match)
    reading.meter.firstChild.style.width = `${Math.min(100, match[1])}%`;
}

function drawTile(agent) {
  if (!agent.tile) makeTile(agent);
  const { item, button, list, readings } = agent.tile;
  setText(button, agent.name);

  const keys = [...agent.readings.keys()].filter(
    (key) => !nameKeys.includes(key),
  );
  const wanted = keys.slice(0, shownReadings);
  const left = keys.length - wanted.length;
  if (
    wanted.length !== readings.size ||
    wanted.some((key) => !readings.has(key))
  ) {
    readings.clear();
    for (const key of wanted) readings.set(key, makeReading(key));
    list.replaceChildren(...[...readings.values()].map(({ box }) => box));
    if (left > 0)
      list.append(
        make(
          'div',
          'more',
          make('dt', 'visually-hidden', 'more'),
          make('dd', '', `+${left}`),
        ),
      );
  }
  for (const [key, drawn] of readings) {
    const { value, error } = agent.readings.get(key);
    setText(drawn.value, error ? '✕ error' : value);
    drawn.value.title = error || value;
    drawn.value.toggleAttribute('data-error', error !== '');
    drawMeter(drawn, error ? '' : value);
    const changed = agent.changed.has(key);
    drawn.box.toggleAttribute('data-changed', changed);
    if (changed && !calm.matches && inSight.has(item)) flash(drawn.value);
  }
  agent.changed.clear();
  drawAge(agent);
}

function flash(element) {
  const color = getComputedStyle(element).getPropertyValue('--flash');
  element.animate(
    [{ backgroundColor: color }, { backgroundColor: 'transparent' }],
    {
      duration: 1200,
      easing: 'ease-in',
    },
  );
}

function drawAge(agent) {
  const { item, mark, age } = agent.tile;
  const state = stateOf(agent);
  setText(age, ageText(agent.at));
  if (item.dataset.state !== state) item.dataset.state = state;
  setText(
    mark,
    state === 'errors'
      ? `✕ ${agent.errors}`
      : state === 'silent'
        ? '◌ silent'
        : '',
  );
}

//
// Which tiles, and in what order
//

const find = $('find');
const show = $('show');
const sort = $('sort');

function isWanted(agent, words) {
  if (show.value !== 'all' && stateOf(agent) !== show.value) return false;
  const text = `${agent.name} ${agent.id}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

const byName = (a, b) =>
  collator.compare(a.name, b.name) || (a.id < b.id ? -1 : 1);
const trouble = { errors: 0, silent: 1, well: 2 };

function comparison() {
  const key = sort.selectedOptions[0]?.dataset.reading;
  if (key !== undefined) {
    const of = (agent) => {
      const value = parseFloat(agent.readings.get(key)?.value);
      return Number.isNaN(value) ? -Infinity : value;
    };
    return (a, b) => (of(b) === of(a) ? byName(a, b) : of(b) - of(a));
  }
  if (sort.value === 'news')
    return (a, b) => (b.at ?? 0) - (a.at ?? 0) || byName(a, b);
  if (sort.value === 'trouble') {
    return (a, b) => trouble[stateOf(a)] - trouble[stateOf(b)] || byName(a, b);
  }
  return byName;
}

function filterTiles() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let matches = 0;
  for (const agent of agents.values()) {
    if (!agent.tile) continue;
    const wanted = isWanted(agent, words);
    if (wanted) matches++;
    // Who is looked at does not vanish.
    const { item } = agent.tile;
    if (item.hidden === wanted && !item.matches(':focus-within'))
      item.hidden = !wanted;
  }
  const all = words.length === 0 && show.value === 'all';
  setText(
    $('matches'),
    all
      ? ''
      : `${number.format(matches)} of ${number.format(agents.size)} agents`,
  );
  if (!tabStopChosen || tabStop.closest('[hidden]') || !tabStop.isConnected) {
    setTabStop(tiles.querySelector('.tile:not([hidden]) button'), false);
  }
  return matches;
}

// Tiles do not move under the pointer or away from the keyboard.
function sortTiles(asked = false) {
  if (!asked && (tiles.matches(':hover') || tiles.matches(':focus-within')))
    return;
  const order = [...agents.values()]
    .filter(({ tile }) => tile)
    .sort(comparison());
  if (
    order.length === shown.length &&
    order.every((agent, n) => agent === shown[n])
  )
    return;
  shown = order;
  tiles.append(...order.map(({ tile }) => tile.item));
}

function offerReadings() {
  const keys = new Set();
  for (const agent of agents.values()) {
    for (const key of agent.readings.keys())
      if (!nameKeys.includes(key)) keys.add(key);
  }
  const group = $('sort-readings');
  const had = new Set(
    [...group.children].map((option) => option.dataset.reading),
  );
  for (const key of [...keys].sort(collator.compare)) {
    if (had.has(key)) continue;
    const option = make('option', '', key);
    option.value = `reading ${key}`;
    option.dataset.reading = key;
    group.append(option);
  }
}

//
// Keyboard: one stop of the tab key for all tiles, arrow keys within
//

let tabStop = null;
let tabStopChosen = false; // by moving there; else it is the first tile

function setTabStop(button, chosen) {
  if (tabStop) tabStop.tabIndex = -1;
  tabStop = button;
  tabStopChosen = chosen;
  if (tabStop) tabStop.tabIndex = 0;
}

tiles.addEventListener('focusin', ({ target }) => {
  if (target.matches('.tile button')) setTabStop(target, true);
});

tiles.addEventListener('keydown', (event) => {
  if (
    event.altKey ||
    event.ctrlKey ||
    event.metaKey ||
    !event.target.matches('.tile button')
  )
    return;
  const items = [...tiles.querySelectorAll('.tile:not([hidden])')];
  const at = items.indexOf(event.target.closest('.tile'));
  const top = items[0].offsetTop;
  const below = items.findIndex((item) => item.offsetTop > top);
  const columns = below === -1 ? items.length : below;
  const rows = Math.max(
    1,
    Math.floor(innerHeight / items[0].offsetHeight) - 2,
  );
  const steps = {
    ArrowRight: 1,
    ArrowLeft: -1,
    ArrowDown: columns,
    ArrowUp: -columns,
    PageDown: columns * rows,
    PageUp: -columns * rows,
    Home: -at,
    End: items.length - 1 - at,
  };
  if (!(event.key in steps)) return;
  event.preventDefault();
  let to = at + steps[event.key];
  if (event.key.startsWith('Page'))
    to = Math.min(Math.max(to, 0), items.length - 1);
  if (items[to]) {
    items[to].querySelector('button').focus({ preventScroll: true });
    items[to].scrollIntoView({ block: 'nearest' });
  }
});

find.addEventListener('input', () => sayMatches(filterTiles()));
show.addEventListener('change', () => sayMatches(filterTiles()));
sort.addEventListener('change', () => {
  sortTiles(true);
  filterTiles(); // the first tile is another one
});
$('controls').addEventListener('submit', (event) => event.preventDefault());

$('pause').addEventListener('click', ({ target }) => {
  paused = !paused;
  target.setAttribute('aria-pressed', String(paused));
  drawState();
  draw();
});

//
// One agent
//

const details = $('details');
let detailed = null;

function drawDetails() {
  if (!details.open || !detailed) return;
  setText($('details-name'), detailed.name);
  setText($('details-id'), detailed.id);
  const body = $('details-rows');
  const keys = [...detailed.readings.keys()];
  if (
    body.children.length !== keys.length ||
    keys.some((key, n) => body.children[n].dataset.key !== key)
  ) {
    body.replaceChildren(
      ...keys.map((key) => {
        const head = make('th', '', key);
        head.scope = 'row';
        const row = make(
          'tr',
          '',
          head,
          make('td', '', make('span'), make('span', 'error')),
          make('td'),
        );
        row.dataset.key = key;
        return row;
      }),
    );
  }
  keys.forEach((key, n) => {
    const { value, error, at } = detailed.readings.get(key);
    const [, valueCell, ageCell] = body.children[n].children;
    setText(valueCell.firstChild, value);
    setText(valueCell.lastChild, error ? `${value ? ' ' : ''}✕ ${error}` : '');
    setText(ageCell, ageText(at));
    ageCell.title = at === null ? '' : new Date(at).toLocaleString();
  });
}

tiles.addEventListener('click', ({ target }) => {
  const item = target.closest('.tile');
  if (!item) return;
  detailed = agents.get(item.dataset.id);
  details.showModal();
  drawDetails();
});
$('details-close').addEventListener('click', () => details.close());
details.addEventListener('click', ({ target }) => {
  if (target === details) details.close(); // the backdrop
});

//
// Drawing
//

let frame = 0;
let sortedAt = 0;

function drawSoon() {
  frame ||= requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  if (paused) return;
  for (const agent of dirty) drawTile(agent);
  dirty.clear();
  if (performance.now() - sortedAt > sortEvery || shown.length < agents.size) {
    sortedAt = performance.now();
    sortTiles();
  }
  filterTiles();
  drawOverview();
  drawDetails();
}

function drawOverview() {
  let readings = 0;
  let errors = 0;
  let silent = 0;
  for (const agent of agents.values()) {
    readings += agent.readings.size;
    const state = stateOf(agent);
    if (state === 'errors') errors++;
    if (state === 'silent') silent++;
  }
  setText($('count'), number.format(agents.size));
  setText($('readings'), number.format(readings));
  setText($('errors'), number.format(errors));
  setText($('silent'), number.format(silent));
  $('errors').toggleAttribute('data-trouble', errors > 0);
}

setInterval(() => {
  if (paused) return;
  for (const agent of agents.values()) if (agent.tile) drawAge(agent);
  drawSoon();
}, 1000);

//
// For screen readers: what changed in sum, and not often
//

let spoken = '';
let matchesTimer = 0;

setInterval(() => {
  if (paused || agents.size === 0) return;
  const text =
    `${$('count').textContent} agents, ${$('errors').textContent} with errors, ` +
    `${$('silent').textContent} silent, ${$('dropped').textContent} entries dropped`;
  if (text !== spoken) setText($('news'), text);
  spoken = text;
}, speakEvery);

function sayMatches(matches) {
  clearTimeout(matchesTimer);
  matchesTimer = setTimeout(
    () => setText($('news'), `${matches} agents match`),
    700,
  );
}

//
// Charts
//

const styleOf = getComputedStyle(document.documentElement);
const color = (name) => () => styleOf.getPropertyValue(name);
const charts = [];

function makeChart(id, label, lines) {
  const figure = $(id);
  const plot = figure.querySelector('.plot');
  plot.setAttribute('aria-label', `Chart: ${label}, last minute`);
  const axis = {
    stroke: color('--soft'),
    font: `${Math.round(0.8 * parseFloat(styleOf.fontSize))}px system-ui, sans-serif`,
  };
  const size = () => ({ width: plot.clientWidth, height: plot.clientHeight });
  const narrow = (chart) => chart.width < 180; // no room for an axis
  const data = [[], ...lines.map(() => [])];
  const chart = new uPlot(
    {
      ...size(),
      legend: { show: false },
      cursor: { show: false },
      padding: [6, 2, 4, 0],
      scales: {
        x: {
          time: true,
          range: () => [Date.now() / 1000 - chartSeconds, Date.now() / 1000],
        },
        y: { range: (_, low, high) => [0, Math.max(1, (high ?? 0) * 1.1)] },
      },
      axes: [
        { show: false },
        {
          ...axis,
          size: (chart) => (narrow(chart) ? 0 : 38),
          gap: 4,
          space: 22,
          incrs: [1, 2, 5]
            .flatMap((n) =>
              [...Array(9).keys()].map((power) => n * 10 ** power),
            )
            .sort((a, b) => a - b),
          ticks: { show: false },
          grid: { stroke: color('--rule'), width: 1 },
          values: (chart, values) =>
            values.map((value) =>
              narrow(chart) ? '' : compact.format(value),
            ),
        },
      ],
      series: [
        {},
        ...lines.map((name, n) => ({
          stroke: color(n === 0 ? '--accent' : '--second'),
          width: 1.75,
          dash: n === 0 ? undefined : [5, 4],
          points: { show: false },
        })),
      ],
    },
    data,
    plot,
  );
  new ResizeObserver(() => chart.setSize(size())).observe(plot);
  charts.push({ figure, chart, data, lines });
}

makeChart('chart-pending', 'entries that wait, and those in flight', [
  'pending',
  'inFlight',
]);
makeChart('chart-rates', 'entries added and rows written per second', [
  'addRate',
  'writeRate',
]);
makeChart('chart-drops', 'entries dropped per second', ['dropRate']);

// A missing value leaves a gap in the line.
function addPoint(batch) {
  const at = Date.now() / 1000;
  for (const { figure, chart, data, lines } of charts) {
    data[0].push(at);
    lines.forEach((name, n) => data[n + 1].push(batch?.[name] ?? null));
    while (data[0][0] < at - chartSeconds - 2)
      data.forEach((column) => column.shift());
    chart.setData(data);
    const peak = Math.max(0, ...data.slice(1).flat());
    setText(figure.querySelector('.peak'), `peak ${compact.format(peak)}`);
    figure.dataset.points = data[1].filter((value) => value !== null).length;
  }
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const { chart } of charts) chart.redraw(false, true);
});

let figuresAt = 0;

function drawBatch(batch) {
  if (performance.now() - figuresAt < figuresEvery) return;
  figuresAt = performance.now();
  const rate = (value) => (value === undefined ? '–' : oneDigit.format(value));
  flushInterval = batch.flushInterval;
  setText($('pending'), number.format(batch.pending));
  setText($('in-flight'), number.format(batch.inFlight));
  setText($('flush-rate'), rate(batch.flushRate));
  setText(
    $('flush-took'),
    batch.lastFlushTook === null
      ? '–'
      : `${
          batch.lastFlushTook < 10
            ? oneDigit.format(batch.lastFlushTook)
            : number.format(Math.round(batch.lastFlushTook))
        } ms`,
  );
  setText(
    $('coalesced'),
    batch.coalescedShare == null
      ? '–'
      : `${Math.round(100 * batch.coalescedShare)} %`,
  );
  setText($('dropped'), number.format(batch.dropped));
  $('dropped').toggleAttribute('data-trouble', batch.dropped > 0);
  setText(
    $('add-rate'),
    batch.addRate === undefined
      ? '–'
      : number.format(Math.round(batch.addRate)),
  );
  setText(
    $('write-rate'),
    batch.writeRate === undefined
      ? '–'
      : number.format(Math.round(batch.writeRate)),
  );
}

// What is scrolled to, or sticks, keeps clear of the bar at the top.
new ResizeObserver(([{ target }]) => {
  document.documentElement.style.setProperty(
    '--bar',
    `${target.offsetHeight}px`,
  );
}).observe(document.querySelector('body > header'));

//
// The stream of events
//

let source = null;
let heardAt = 0;
let web = 'connecting'; // or live, lost
let database = { database: 'connecting' };

function drawState() {
  const state = $('state');
  const set = (name, text) => {
    state.dataset.state = name;
    setText(state, text);
    document.title =
      name === 'lost' ? '▲ Agents, connection lost' : 'Agents, live';
  };
  if (web === 'lost')
    set('lost', 'Connection to the web server lost, retrying');
  else if (database.database === 'lost') {
    set('lost', `Database connection lost, retrying (${database.reason})`);
  } else if (web === 'connecting' || database.database !== 'ok')
    set('connecting', 'Connecting');
  else if (paused) set('paused', 'Paused');
  else set('live', 'Live');
}

function open() {
  source?.close();
  source = new EventSource('events');
  heardAt = Date.now();

  const on = (name, handle) =>
    source.addEventListener(name, ({ data }) => {
      heardAt = Date.now();
      handle(JSON.parse(data));
    });
  on('state', (state) => {
    database = state;
    web = 'live';
    if (state.database === 'ok') {
      setText($('source'), state.target);
      setText($('channel'), `Notifications come on channel ${state.channel}.`);
    } else {
      addPoint(null);
    }
    drawState();
  });
  on('snapshot', (event) => {
    clockAhead = event.now - Date.now();
    const there = new Set(event.agents.map(([id]) => id));
    for (const [id, agent] of agents) {
      if (there.has(id)) continue;
      agents.delete(id);
      dirty.delete(agent);
      agent.tile?.item.remove();
      if (agent.tile) inSight.delete(agent.tile.item);
    }
    shown = [];
    takeOver(event.agents);
  });
  on('changes', (event) => {
    clockAhead = event.now - Date.now();
    takeOver(event.agents);
    setText($('last-changed'), number.format(event.agents.length));
  });
  on('batch', (batch) => {
    addPoint(batch);
    if (!paused) drawBatch(batch);
  });
  source.onerror = lost;
}

function takeOver(list) {
  for (const [id, readings] of list) update(id, readings);
  offerReadings();
  drawSoon();
}

function lost() {
  if (web !== 'lost') addPoint(null);
  web = 'lost';
  drawState();
}

// EventSource tries again after a broken connection, but not after an answer
// that is no stream, and it does not notice one that is silent.
setInterval(() => {
  if (source.readyState === EventSource.CLOSED) {
    open();
  } else if (Date.now() - heardAt > dataWithin) {
    lost();
    open();
  }
}, reopenAfter);

open();
