// The page of the inspector. Everything that a sender wrote is shown through `textContent`.

const VERDICTS = ['accepted', 'duplicate', 'rejected', 'failed', 'canceled'];
// The maximum number of rows. More rows make the page slow.
const MAX_ROWS = 500;
const MAX_TOKENS = 20000;
const NO_SECRET = 'Give the inspector the endpoint’s secret with Inspector::with_secret.';

const $ = id => document.getElementById(id);
const rows = $('rows');
const detail = $('detail');
const narrow = matchMedia('(max-width: 860px)');

// Identifies the process that numbered the records. A restarted application uses the same numbers
// again, so each action names the process, too.
let instance = '';
let capacity = 200;
// The numbers of all requests since the start, and of the requests that the inspector holds.
let received = 0;
let kept = 0;
let connected = 'connecting';
let hasSecret = false;
let paused = false;
let waiting = [];
let missed = 0;
let selected = 0;
let shown = null;
let search = '';
let found = new Set();
let verdict = '';
let type = '';
// The current or last run that sends all listed deliveries again.
let run = null;
// Maps a record's number to { record, row }, oldest first.
const entries = new Map();

// ---- small helpers

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'class') element.className = value;
    else if (name === 'text') element.textContent = value;
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (typeof value === 'boolean') element.toggleAttribute(name, value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hour12: false });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });

function milliseconds(value) {
  if (value < 1) return `${Math.max(value, 0.01).toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 10000) return `${Math.round(value)} ms`;
  return `${(value / 1000).toFixed(1)} s`;
}

const count = number => number.toLocaleString('en');
const bytes = number => number === 1 ? '1 byte' : `${count(number)} bytes`;
const recordPath = number => `records/${instance}.${number}`;
const linkTo = number => `${location.pathname}#${number}`;

function say(text) {
  $('status').textContent = text;
}

function banner(text) {
  $('banner').textContent = text;
  $('banner').hidden = !text;
}

function debounced(delay, action) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, delay);
  };
}

async function ask(path, body) {
  const request = body === undefined ? {} : {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(`api/${path}`, request);
  } catch {
    throw new Error('The inspector does not respond. Is the application still running?');
  }
  const text = await response.text();
  let content = null;
  try {
    content = text ? JSON.parse(text) : null;
  } catch {
    // The guard's responses are not JSON.
  }
  if (!response.ok) throw new Error(content?.error ?? text);
  return content;
}

async function copy(button, text) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Not allowed';
  }
  setTimeout(() => { button.textContent = label; }, 1200);
}

// ---- the list

function badge(record) {
  return make('span', { class: 'badge', 'data-verdict': record.verdict, text: record.verdict });
}

const titleOf = record => record.type ?? (record.verified ? 'not an event' : `request to ${record.path}`);

function makeRow(record) {
  const why = record.verdict === 'accepted' ? null : record.reason;
  const link = make('a', { href: linkTo(record.number) },
    make('span', { class: 'first' }, badge(record), make('span', { class: 'type', text: titleOf(record) })),
    make('time', { class: 'time', datetime: new Date(record.time).toISOString(), title: calendar.format(record.time), text: clock.format(record.time) }),
    make('span', { class: 'second' },
      make('span', { class: 'id mono', text: record.id ?? `#${record.number}` }),
      record.sender ? make('span', { text: record.sender }) : null,
      record.replay_of ? make('span', { text: `again #${record.replay_of}` }) : null),
    make('span', { class: 'figures', text: `${record.status ?? '–'} · ${milliseconds(record.duration)}` }),
    why ? make('span', { class: 'why', text: why }) : null);
  return make('li', {
    class: 'row',
    'data-testid': 'delivery',
    'data-id': record.id ?? String(record.number),
    'data-number': record.number,
    'data-verdict': record.verdict,
  }, link);
}

function isShown(record) {
  if (verdict && record.verdict !== verdict) return false;
  if (type && record.type !== type) return false;
  if (!search) return true;
  const text = search.toLowerCase();
  return found.has(record.number)
    || [record.id, record.type].some(it => it?.toLowerCase().includes(text));
}

function add(records) {
  const most = Math.min(capacity, MAX_ROWS);
  const fragment = document.createDocumentFragment();
  const fresh = entries.size > 0 && records.length < 20;
  // Does not create rows that would be removed immediately.
  const counts = { true: 0, false: 0 };
  const wanted = [];
  for (const record of [...records].reverse()) {
    if (entries.has(record.number)) continue;
    if (counts[record.delivery]++ < most) wanted.push(record);
  }
  for (const record of wanted) {
    const row = makeRow(record);
    row.hidden = !isShown(record);
    if (fresh) row.classList.add('new');
    fragment.append(row);
    record.row = row;
  }
  for (const record of wanted.reverse()) entries.set(record.number, record);
  rows.prepend(fragment);
  trim(most);
  summarize();
  mark();
}

function trim(most) {
  const surplus = { true: -most, false: -most };
  for (const record of entries.values()) surplus[record.delivery]++;
  for (const [number, record] of entries) {
    if (surplus[record.delivery] > 0) {
      surplus[record.delivery]--;
      record.row.remove();
      entries.delete(number);
    }
  }
}

function filter() {
  for (const record of entries.values()) record.row.hidden = !isShown(record);
  summarize();
}

const chips = new Map();

function makeChips() {
  for (const name of ['', ...VERDICTS]) {
    const number = make('b', { text: '0' });
    const chip = make('button', {
      type: 'button',
      'aria-pressed': String(name === ''),
      onclick: () => {
        verdict = name;
        for (const [other, { chip }] of chips) chip.setAttribute('aria-pressed', String(other === name));
        filter();
      },
    }, `${name || 'all'} `, number);
    chips.set(name, { chip, number });
    $('verdicts').append(chip);
  }
}

// Updates everything that depends on the records.
function summarize() {
  const counts = new Map([['', entries.size]]);
  const types = new Set(type ? [type] : []);
  let visible = 0;
  for (const record of entries.values()) {
    counts.set(record.verdict, (counts.get(record.verdict) ?? 0) + 1);
    if (record.type) types.add(record.type);
    if (!record.row.hidden) visible++;
  }
  for (const [name, { chip, number }] of chips) {
    number.textContent = counts.get(name) ?? 0;
    chip.hidden = name !== '' && name !== verdict && !counts.get(name);
  }
  const known = [...$('type').options].slice(1).map(option => option.value);
  const sorted = [...types].sort();
  if (known.join('\n') !== sorted.join('\n')) {
    $('type').replaceChildren(new Option('All types', ''), ...sorted.map(it => new Option(it, it)));
    $('type').value = type;
  }
  const empty = entries.size === 0 && !selected && connected !== 'connecting';
  const dead = connected === 'lost' || connected === 'gone';
  $('empty').hidden = !empty || dead;
  $('dead').hidden = !empty || !dead;
  const listed = entries.size < kept ? `, ${count(entries.size)} listed` : '';
  $('counter').hidden = entries.size === 0;
  $('counter').textContent = `${count(received)} received, ${received === kept ? 'all' : count(kept)} kept${listed}`;
  document.querySelector('main').classList.toggle('is-empty', empty);
  $('nothing').hidden = entries.size === 0 || visible > 0;
  $('skipped').hidden = missed === 0;
  $('skipped').textContent = `${count(missed)} more requests arrived faster than this page can list them.`;
  describeRun();
  document.title = entries.size ? `(${entries.size}) SoundHash inspector` : 'SoundHash inspector';
}

function mark() {
  for (const link of rows.querySelectorAll('[aria-current]')) link.removeAttribute('aria-current');
  entries.get(selected)?.row.firstChild.setAttribute('aria-current', 'true');
}

// ---- changes of the schema

function showChanges(number) {
  $('schema').hidden = number === 0;
  $('schema').replaceChildren('Schema', make('span', { class: 'wide', text: ' changes' }), ` (${number})`);
}

const TONES = { 'new field': 'duplicate', 'new type': 'canceled', 'does not fit': 'failed' };

$('schema').addEventListener('click', async () => {
  try {
    const changes = await ask('schema');
    $('changes-list').replaceChildren(...changes.reverse().map(change => make('li', {},
      make('span', { class: 'badge', 'data-verdict': TONES[change.kind], text: change.kind }),
      make('b', { text: change.type }),
      make('span', { class: 'mono', text: change.detail }),
      make('small', { text: `${change.count === 1 ? 'one delivery' : `${count(change.count)} deliveries`}, the first on ${calendar.format(change.first_seen)} at ${clock.format(change.first_seen)}` }))));
    $('changes').showModal();
  } catch (error) {
    banner(error.message);
  }
});

$('changes-close').addEventListener('click', () => $('changes').close());

// ---- live updates

// A browser opens at most six connections to a host. One tab therefore reads the stream and passes
// it on to the other tabs, which read the stream themselves only until they have the first batch.
const sharing = `inspector of ${document.baseURI}`;
const channel = new BroadcastChannel(sharing);
// The server sends something at least every 5 seconds, but a proxy may pass a stream on only when it
// ends, which is after 20 seconds.
const SILENCE = 25000;
// A browser reconnects by itself, but not after an error status.
const RETRY = 5000;
let source = null;
let isReader = false;
let lastId = '';

function connect() {
  channel.addEventListener('message', event => take(event.data));
  stream();
  // Only pages from localhost or over HTTPS can use locks. Other pages do not share the stream.
  if (!navigator.locks) isReader = true;
  navigator.locks?.request(sharing, () => new Promise(() => {
    isReader = true;
    stream();
  }));
}

function stream() {
  if (source) return;
  const updates = new EventSource(`api/events?last=${encodeURIComponent(lastId)}`);
  source = updates;
  let lost;
  let silence;
  const pass = message => {
    if (isReader) channel.postMessage(message);
    take(message);
  };
  const end = () => {
    updates.close();
    clearTimeout(lost);
    clearTimeout(silence);
    source = null;
  };
  // A tunnel or a network can fail without closing the connection.
  const watch = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      end();
      pass({ state: 'lost' });
      stream();
    }, SILENCE);
  };
  watch();
  updates.addEventListener('heartbeat', watch);
  updates.addEventListener('open', () => {
    watch();
    clearTimeout(lost);
    lost = undefined;
    pass({ state: 'live' });
  });
  updates.addEventListener('error', async () => {
    if (updates.readyState !== EventSource.CLOSED) {
      // Streams end after a while and are restarted immediately, so a short pause is not an error.
      lost ??= setTimeout(() => pass({ state: 'lost' }), 1500);
      return;
    }
    end();
    setTimeout(stream, RETRY);
    const state = await isForgotten() ? 'gone' : 'lost';
    if (!source) pass({ state });
  });
  updates.addEventListener('records', event => {
    watch();
    pass({ id: event.lastEventId, batch: JSON.parse(event.data) });
    if (!isReader) end();
  });
}

// Returns whether the server responds, but rejects this page. An `EventSource` does not tell.
async function isForgotten() {
  try {
    const { status, redirected } = await fetch('api/state');
    return redirected || (status >= 400 && status < 500);
  } catch {
    return false;
  }
}

function take({ state, id, batch }) {
  if (state) {
    // Each stream that is opened says that it is live, which must not hide a message.
    if (state === connected) return;
    connected = state;
    connection();
    banner(state === 'gone' ? 'The inspector does not know this page any more. If the application was started again, open the new address that it printed.' : '');
    summarize();
    return;
  }
  const [sender, number] = id.split('.');
  const [lastSender, lastNumber] = lastId.split('.');
  // The stream of another tab can lag behind.
  if (sender === lastSender && Number(number) <= Number(lastNumber)) return;
  lastId = id;
  if (instance !== sender) {
    if (instance) restarted();
    instance = sender;
  }
  received = batch.received;
  kept = batch.kept;
  showChanges(batch.changes);
  if (batch.reset) {
    waiting = [];
    missed = 0;
    found = new Set();
    for (const record of entries.values()) record.row.remove();
    entries.clear();
  }
  if (paused && !batch.reset) {
    waiting.push(...batch.records);
    missed += batch.skipped;
    const surplus = waiting.length - 4 * MAX_ROWS;
    if (surplus > 0) waiting.splice(0, surplus);
    pauseLabel();
    return;
  }
  missed += batch.skipped;
  add(batch.records);
  if (search && batch.records.length) lookUp();
  const [first] = batch.records;
  if (first && !batch.reset) say(batch.records.length === 1 ? `${first.verdict}: ${titleOf(first)}` : `${count(batch.records.length)} new requests`);
  if (shown?.id && batch.records.some(it => it.id === shown.id)) refreshRelated();
}

// Closes everything that belongs to the earlier process.
function restarted() {
  if (run) {
    run.going = false;
    run.stop();
    showRun(false);
  }
  history.replaceState(null, '', location.pathname);
  open(0);
  banner('The application was restarted, so its earlier deliveries are gone.');
}

function connection() {
  const text = { connecting: 'Connecting', live: paused ? 'Paused' : 'Live', lost: 'Reconnecting', gone: 'Disconnected' };
  $('connection').dataset.state = connected === 'live' && paused ? 'paused' : connected;
  $('connection-text').textContent = text[connected];
}

function pauseLabel() {
  $('pause').textContent = paused ? (waiting.length ? `Resume (${waiting.length})` : 'Resume') : 'Pause';
  $('pause').setAttribute('aria-pressed', String(paused));
}

$('pause').addEventListener('click', () => {
  paused = !paused;
  if (!paused) {
    add(waiting);
    waiting = [];
  }
  pauseLabel();
  connection();
});

$('clear').addEventListener('click', async () => {
  try {
    await ask('clear', {});
    location.hash = '';
  } catch (error) {
    banner(error.message);
  }
});

const lookUp = debounced(150, async () => {
  const text = search;
  if (!text) return;
  try {
    const numbers = await ask(`search?text=${encodeURIComponent(text)}`);
    if (text !== search) return;
    found = new Set(numbers);
    filter();
  } catch (error) {
    banner(error.message);
  }
});

$('search').addEventListener('input', event => {
  search = event.target.value.trim();
  found = new Set();
  filter();
  lookUp();
});

$('type').addEventListener('change', event => {
  type = event.target.value;
  filter();
});

// ---- all listed deliveries again

// Returns the listed deliveries, oldest first: each event once, without those that the inspector sent.
// An event whose later attempt, or whose copy from the inspector, was accepted needs no further one.
function listed() {
  const events = new Set();
  const isDone = record => record.verdict === 'accepted' || record.verdict === 'duplicate';
  const done = new Set();
  for (const record of entries.values()) {
    if (!isDone(record)) continue;
    for (let it = record; it; it = entries.get(it.replay_of)) done.add(it.key);
  }
  return [...entries.values()].filter(record => {
    if (record.row.hidden || !record.verified || record.replay_of || events.has(record.key)) return false;
    if (!isDone(record) && record.key && done.has(record.key)) return false;
    if (record.key) events.add(record.key);
    return true;
  });
}

function describeRun() {
  if ($('run').hidden) return;
  const isGoing = Boolean(run?.going);
  $('run-options').hidden = Boolean(run);
  $('run-start').hidden = Boolean(run);
  $('run-close').textContent = isGoing ? 'Stop' : run ? 'Close' : 'Cancel';
  if (!run) {
    const number = listed().length;
    $('run-start').disabled = !number;
    $('run-start').textContent = number ? `Send ${count(number)} again` : 'Send';
    $('run-text').textContent = number === 1 ? 'Your application handles the listed event again.'
      : number ? `Your application handles ${count(number)} listed events again, the oldest first.`
        : 'No listed delivery can be sent again.';
    return;
  }
  const verdicts = run.numbers.map(it => entries.get(it)?.verdict);
  const counts = VERDICTS.map(name => [verdicts.filter(it => it === name).length, name]).filter(([number]) => number);
  const results = counts.map(([number, name]) => `${count(number)} ${name}`).join(', ');
  $('run-text').textContent = [
    `${count(run.done)} of ${count(run.total)} sent again${results && `: ${results}`}.`,
    run.error && `${count(run.failed)} could not be sent: ${run.error}`,
  ].filter(Boolean).join(' ');
}

function showRun(isShown) {
  run = null;
  $('run').hidden = !isShown;
  $('again').setAttribute('aria-expanded', String(isShown));
  if (isShown) $('run-as').value = hasSecret ? 'send-as-new' : 'replay';
  describeRun();
}

$('again').addEventListener('click', () => {
  if (!run?.going) showRun($('run').hidden);
});

$('run-close').addEventListener('click', () => {
  if (run?.going) {
    run.going = false;
    run.stop();
    return;
  }
  showRun(false);
  $('again').focus();
});

$('run').addEventListener('submit', async event => {
  event.preventDefault();
  const records = listed();
  const paths = records.map(({ number }) => `${recordPath(number)}/${$('run-as').value}`);
  const pause = 1000 / $('run-rate').value;
  let stop;
  const stopped = new Promise(resolve => { stop = resolve; });
  const mine = { stop, total: records.length, done: 0, failed: 0, numbers: [], error: '', going: true };
  run = mine;
  describeRun();
  $('run-close').focus();
  for (const path of paths) {
    const next = new Promise(resolve => setTimeout(resolve, pause));
    try {
      mine.numbers.push((await ask(path, {})).number);
      mine.done++;
    } catch (error) {
      mine.failed++;
      mine.error = error.message;
    }
    describeRun();
    if (mine.done + mine.failed < mine.total) await Promise.race([next, stopped]);
    if (!mine.going) break;
  }
  mine.going = false;
  describeRun();
});

// ---- one delivery

async function open(number) {
  selected = number;
  mark();
  summarize();
  if (!number) {
    shown = null;
    detail.hidden = true;
    $('hint').hidden = false;
    document.body.classList.remove('has-detail');
    return;
  }
  const path = recordPath(number);
  let content;
  let record = null;
  try {
    record = await ask(path);
    if (!record) throw new Error(`Request #${number} is gone: newer requests replaced it, the list was cleared, or the application was restarted.`);
    content = describe(record, path);
  } catch (error) {
    content = [backButton(), make('p', { class: 'nothing', text: error.message })];
  }
  // The user has opened another record in the meantime.
  if (selected !== number) return;
  shown = record;
  detail.replaceChildren(...content);
  detail.scrollTop = 0;
  detail.hidden = false;
  $('hint').hidden = true;
  document.body.classList.add('has-detail');
  if (narrow.matches) detail.focus();
}

function backButton() {
  return make('button', { type: 'button', class: 'back', text: '‹ Deliveries', onclick: close });
}

function close() {
  const row = entries.get(selected)?.row;
  location.hash = '';
  row?.firstChild.focus();
}

// A button that is disabled can still be focused and clicked. It then shows the reason.
function action(name, label, why, act) {
  return make('button', {
    type: 'button',
    'data-testid': name,
    'aria-disabled': why && 'true',
    title: why,
    text: label,
    onclick: async event => {
      const button = event.currentTarget;
      button.disabled = !why;
      detail.querySelector('.failure')?.remove();
      try {
        if (why) throw new Error(why);
        await act();
      } catch (error) {
        button.parentElement.after(make('p', { class: 'failure', role: 'alert', text: error.message }));
      }
      button.disabled = false;
    },
  });
}

async function send(path, body) {
  const { number } = await ask(path, body);
  location.hash = `#${number}`;
}

function describe(record, path) {
  const number = record.number;
  const actions = make('div', { class: 'actions' },
    action('replay', 'Replay', record.no_replay, () => send(`${path}/replay`, {})),
    action('send-as-new', 'Send as new', record.no_send_as_new, () => send(`${path}/send-as-new`, {})),
    action('save', 'Save', record.no_save, () => {
      make('a', { href: `api/${path}/capture`, download: '' }).click();
    }),
    make('button', { type: 'button', text: 'Copy link', onclick: event => copy(event.currentTarget, new URL(linkTo(number), location.origin).href) }));
  const content = [
    backButton(),
    make('div', { class: 'heading' }, badge(record), make('h2', { text: titleOf(record) })),
    make('p', { class: 'subtitle mono', text: record.id ?? `#${number}` }),
  ];
  if (record.reason) content.push(callout(record, path));
  content.push(actions, facts(record));
  if (record.related.length) content.push(related(record.related));
  content.push(...body(record), headers('Request headers', record.request), ...response(record));
  return content.filter(Boolean);
}

function callout(record, path) {
  const reason = make('span', { class: 'reason', 'data-testid': 'reason', text: record.reason });
  const box = make('div', { class: 'callout', 'data-verdict': record.verdict }, reason);
  if (record.explainable && record.no_explain) {
    box.append(make('p', { class: 'explanation', text: record.no_explain }));
  } else if (record.explainable) {
    box.append(action('explain', 'Why?', null, async () => {
      const { explanation } = await ask(`${path}/explain`, {});
      box.querySelector('.explanation')?.remove();
      box.append(make('p', { class: 'explanation', 'data-testid': 'explanation', role: 'status' }, ...withCode(explanation)));
    }));
  }
  return box;
}

// Text with code in backticks.
function withCode(text) {
  return text.split('`').map((part, index) => index % 2 ? make('code', { text: part }) : part);
}

function facts(record) {
  const secret = record.matched_secret === null ? null
    : record.matched_secret === 0 ? 'the current one' : `previous one, number ${record.matched_secret}`;
  const list = [
    ['Received', `${calendar.format(record.time)}, ${clock.format(record.time)}`],
    ['Response', record.status === null ? 'none' : `${record.status}, after ${milliseconds(record.duration)}`],
    ['Sender', record.sender],
    ['Signature', record.verified ? 'verified' : 'not verified: everything here is a claim'],
    ['Secret that matched', secret],
    ['Endpoint', record.endpoint],
    ['Request', `${record.method} ${record.path}`],
    ['From', record.peer],
    ['Sent again from', record.replay_of && make('a', { href: linkTo(record.replay_of), text: `#${record.replay_of}` })],
  ];
  return make('dl', { class: 'facts' }, ...list.filter(([, value]) => value).map(([name, value]) =>
    make('div', {}, make('dt', { text: name }), make('dd', {}, value))));
}

function part(title, note, ...children) {
  return make('section', { class: 'part' },
    make('h3', {}, title, note ? make('small', { text: note }) : null), ...children);
}

function related(records) {
  const links = records.map(record => make('li', {}, make('a', { href: linkTo(record.number) },
    badge(record),
    make('span', { class: 'when', text: `#${record.number}, ${clock.format(record.time)}` }),
    record.replay_of ? make('span', { text: 'sent by the inspector' }) : null)));
  const section = part('Other requests with this event', '', make('ul', { class: 'related' }, ...links));
  section.id = 'related';
  return section;
}

const refreshRelated = debounced(300, async () => {
  if (!shown) return;
  const number = shown.number;
  try {
    const record = await ask(recordPath(number));
    if (shown?.number !== number || !record?.related.length) return;
    $('related')?.remove();
    detail.querySelector('.facts').after(related(record.related));
  } catch {
    // The record is gone, but the page still shows it.
  }
});

function code(label, text, properties = {}) {
  const pre = make('pre', { tabindex: '0', role: 'region', 'aria-label': label, ...properties });
  paint(pre, text);
  const button = make('button', { type: 'button', text: 'Copy', 'aria-label': `Copy: ${label}`, onclick: () => copy(button, text) });
  return make('div', { class: 'code' }, pre, button);
}

function cut(part) {
  if (part.body_whole) return null;
  const text = part.body_bytes && !part.body_kept
    ? `The body (${bytes(part.body_bytes)}) was not kept. Either the limit is 0, or too many requests were in progress.`
    : part.body_bytes > part.body_kept
    ? `The first ${bytes(part.body_kept)} of ${bytes(part.body_bytes)} were kept.`
    : 'The body was not read to its end.';
  return make('p', { class: 'note', text });
}

// A deep event is collapsed, so that the user can find the body below it.
function typed(text) {
  const lines = text.split('\n');
  const deepest = Math.max(...lines.map(line => line.search(/\S|$/)));
  const title = make('summary', {}, 'Event', make('small', { text: `as the handler gets it, ${lines.length} lines` }));
  return make('section', { class: 'part' }, make('h3', { class: 'sr', text: 'Event' }),
    make('details', { open: deepest <= 20 && lines.length <= 60 }, title, code('Typed event', text, { 'data-testid': 'typed-event' })));
}

function body(record) {
  const { request } = record;
  const raw = request.body;
  if (!raw && !request.body_whole) {
    const unread = make('p', { class: 'note', text: 'The application responded before it read the body.' });
    return [part('Body', '', request.body_bytes ? cut(request) : unread)];
  }
  const pretty = indented(raw);
  const parts = [];
  if (pretty !== null && pretty !== raw.trim()) parts.push(part('Body', 'formatted', code('Formatted body', pretty)));
  if (record.typed) parts.push(typed(record.typed));
  parts.push(part('Body as received', bytes(request.body_bytes), cut(request), code('Body as received', raw, { 'data-testid': 'raw-body' })));
  return parts;
}

function headers(title, part_) {
  if (!part_.headers.length && !part_.headers_cut) return null;
  const lines = part_.headers.map(header => make('tr', {},
    make('th', { scope: 'row', class: 'mono', text: header.name }),
    make('td', { class: header.hidden ? 'mono masked' : 'mono', text: header.value })));
  return part(title, '',
    part_.headers_cut ? make('p', { class: 'note', text: 'The head is longer than the inspector keeps.' }) : null,
    make('table', {}, make('tbody', {}, ...lines)));
}

function response(record) {
  const { response } = record;
  if (!response) return [];
  const text = response.body
    ? code('Body of your response', response.body)
    : cut(response) ?? make('p', { class: 'note', text: 'The response has no body.' });
  const isIncomplete = record.replay_of && response.body.startsWith('Missing request extension');
  return [
    isIncomplete ? make('p', { class: 'note', text: 'The inspector sends requests without the extensions of layers outside of its own. Make the inspector’s layer the outermost one.' }) : null,
    part('Your response', `${record.status}, ${bytes(response.body_bytes)}`, response.body ? cut(response) : null, text),
    headers('Response headers', response),
  ];
}

// ---- JSON, including Python's superset

const TOKEN = /"(?:[^"\\]|\\[^])*"?|[{}[\],:]|[^\s"{}[\],:]+|\s+/g;
const isJson = text => /^\s*[{[]/.test(text);

function tokens(text) {
  const all = text.match(TOKEN) ?? [];
  return all.length > MAX_TOKENS ? null : all;
}

// Decodes escaped characters, except those that would be invisible.
const readable = token => token.replace(/\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[\da-fA-F]{4}|[^])/g, escape => {
  if (escape.length < 6) return escape;
  const letter = String.fromCharCode(...escape.match(/[\da-fA-F]{4}/g).map(digits => Number.parseInt(digits, 16)));
  return /^[\p{L}\p{M}\p{N}\p{P}\p{S}]+$/u.test(letter) && !/["\\]/.test(letter) ? letter : escape;
});

function indented(text) {
  const all = isJson(text) ? tokens(text) : null;
  if (!all) return null;
  const meaning = all.filter(token => token.trim());
  let depth = 0;
  let result = '';
  // The indentation is limited, because deep nesting could produce gigabytes of text.
  const line = () => `\n${'  '.repeat(Math.min(depth, 24))}`;
  meaning.forEach((token, index) => {
    const next = meaning[index + 1];
    if (token === '{' || token === '[') {
      depth++;
      result += token + (next === '}' || next === ']' ? '' : line());
    } else if (token === '}' || token === ']') {
      depth = Math.max(depth - 1, 0);
      const before = meaning[index - 1];
      result += (before === '{' || before === '[' ? '' : line()) + token;
    } else if (token === ',') {
      result += token + line();
    } else {
      result += token === ':' ? ': ' : readable(token);
    }
  });
  return result;
}

function paint(pre, text) {
  const all = isJson(text) ? tokens(text) : null;
  if (!all) {
    pre.textContent = text;
    return;
  }
  const fragment = document.createDocumentFragment();
  all.forEach((token, index) => {
    let kind = null;
    if (token[0] === '"') {
      const next = all[index + 1]?.trim() ? all[index + 1] : all[index + 2];
      kind = next === ':' ? 'key' : 'string';
    } else if (/^-?\d/.test(token)) {
      kind = 'number';
    } else if (/^[-\w]/.test(token)) {
      kind = 'literal';
    }
    fragment.append(kind ? make('span', { class: kind, text: token }) : token);
  });
  pre.append(fragment);
}

// ---- samples and the empty page

async function load() {
  const state = await ask('state');
  instance = state.instance;
  capacity = state.capacity;
  hasSecret = state.has_secret;
  $('curl').textContent = state.curl;
  $('copy-curl').addEventListener('click', async event => {
    // Some browsers allow a copy only directly in the click.
    copy(event.currentTarget, $('curl').textContent);
    // The event in the command has an id and a time, so the next copy needs new ones.
    const { curl } = await ask('state').catch(() => state);
    $('curl').textContent = curl;
  });
  $('empty-sample').hidden = !hasSecret;
  $('empty-secret').hidden = hasSecret;
  const group = (label, options) => {
    const element = make('optgroup', { label });
    element.append(...options.map(([text, value]) => new Option(text, value)));
    return element;
  };
  const kinds = sender => state.kinds.map(kind => [`${kind} (${sender})`, `${kind} ${sender}`]);
  $('sample-kind').replaceChildren(
    group('From the dispatcher', kinds('dispatcher')),
    group('From the portal', kinds('portal')),
    group('Special', [
      ['unknown type (dispatcher)', 'unknown dispatcher'],
      ['unknown type (portal)', 'unknown portal'],
      ['test button', 'test dispatcher'],
      ['NaN in the body (dispatcher)', 'nan dispatcher'],
      ['NaN in the body (portal)', 'nan portal'],
    ]));
  $('sample-kind').value = 'video.processed dispatcher';
  if (!hasSecret) {
    const button = document.querySelector('#sample button');
    button.setAttribute('aria-disabled', 'true');
    button.title = NO_SECRET;
  }
}

$('sample').addEventListener('submit', async event => {
  event.preventDefault();
  const button = event.submitter ?? document.querySelector('#sample button');
  const [sample, sender] = $('sample-kind').value.split(' ');
  button.disabled = hasSecret;
  banner('');
  try {
    if (!hasSecret) throw new Error(NO_SECRET);
    await send('samples', { sample, sender });
  } catch (error) {
    banner(error.message);
  }
  button.disabled = false;
});

// ---- keyboard

function move(by) {
  const visible = [...rows.children].filter(row => !row.hidden);
  if (!visible.length) return;
  const focused = document.activeElement?.closest?.('.row') ?? entries.get(selected)?.row;
  const index = visible.indexOf(focused);
  const row = visible[index < 0 ? 0 : Math.min(Math.max(index + by, 0), visible.length - 1)];
  row.firstChild.focus();
  if (!narrow.matches) location.replace(`#${row.dataset.number}`.replace(/^/, location.pathname));
}

document.addEventListener('keydown', event => {
  // Escape closes an open dialog. The browser handles this.
  if (event.ctrlKey || event.metaKey || event.altKey || $('changes').open) return;
  if (event.key === 'Escape') {
    if (document.activeElement === $('search')) {
      $('search').value = '';
      $('search').dispatchEvent(new Event('input'));
      $('search').blur();
    } else if (selected) {
      close();
    }
    return;
  }
  if (event.target.closest('input')) return;
  // A key that is held down must not send a delivery again and again.
  if (event.repeat && event.key === 'r') return;
  // In a select element, letters choose an option.
  if (event.target.closest('select') && event.key !== '/') return;
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    '/': () => $('search').focus(),
    r: () => detail.querySelector('[data-testid=replay]')?.click(),
    Enter: () => {
      if (event.target !== document.body) return false;
      if (selected) detail.focus();
      return true;
    },
  };
  if (keys[event.key] && keys[event.key]() !== false) event.preventDefault();
});

const numberInUrl = () => Number.parseInt(location.hash.slice(1), 10) || 0;

addEventListener('hashchange', () => open(numberInUrl()));

makeChips();
load().catch(error => banner(error.message)).then(() => {
  connect();
  if (numberInUrl()) open(numberInUrl());
});
