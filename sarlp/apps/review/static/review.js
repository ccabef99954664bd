// The page of the review. Names of classes and images are data: they become text, never markup.

import { ask } from './api.js';
import { setUpExport } from './export.js';
import { setUpGrid } from './grid.js';

const WORDS = { positive: 'there', negative: 'not there', undecided: 'undecided' };
const $ = (id) => document.getElementById(id);
const form = $('selection');
const visit = Date.now().toString(36); // pictures that the browser kept are those of this visit only
const same = new Map(); // image -> the item whose address it was fetched by, so that it is fetched once

let found = null; // { item, place, total, next } of the server
let undoable = 0;
let noMaps = null;
let showMap = localStorage.getItem('sarlp-map') !== 'off';
let busy = false; // a request is on its way
let chosenAnew = false; // other labels were chosen meanwhile
let seen = false; // the picture is on the screen, or it is said why not: nobody decides blindly
let pointer = false;
let classBefore = null; // the filter that the grid replaced, as it is of one class

// --- what is looked at -------------------------------------------------------------------------------------------

function selection() {
  return Object.fromEntries(new FormData(form));
}

function remember() {
  const index = inGrid() ? grid.first() : found?.item?.index;
  const view = inGrid() ? { view: 'grid' } : {};
  const at = Number.isInteger(index) ? { item: index } : {};
  history.replaceState(null, '', '#' + new URLSearchParams({ ...view, ...at, ...selection() }));
}

function choose() {
  if (busy) {
    chosenAnew = true;
  } else if (inGrid()) {
    needClass();
    grid.load(null, 0);
  } else {
    move(null, 0);
  }
}

function inGrid() {
  return document.body.dataset.view === 'grid';
}

function needClass() {
  const { class: field } = form.elements;
  if (!field.value) field.value = found?.item?.class ?? field.options[1]?.value ?? '';
}

function setView(view) {
  document.body.dataset.view = view;
  $('toggle-grid').setAttribute('aria-pressed', String(inGrid()));
}

async function toggleGrid() {
  if (busy) return;
  if (inGrid()) {
    const index = grid.current();
    if (classBefore !== null) form.elements.class.value = classBefore;
    setView('single');
    await move(index, 0);
    $('class').focus();
  } else {
    classBefore = form.elements.class.value;
    setView('grid');
    needClass();
    await grid.enter(found?.item?.index ?? null);
  }
}

async function move(at, step) {
  await during(() => move(at, step), async () => {
    const query = new URLSearchParams(selection());
    if (at !== null) query.set('at', at);
    query.set('step', step);
    show(await ask('/api/item?' + query));
    say('');
  });
}

/** Runs one request at a time; what fails is said, and nothing else changes. Where somebody else answered meanwhile,
 * `conflict` makes of it what is said, and what is done to keep `theirs` or to save `mine`. */
async function during(again, action, conflict) {
  if (busy) return;
  busy = true;
  document.body.setAttribute('aria-busy', 'true');
  try {
    await action();
    $('alert').hidden = true;
  } catch (error) {
    say('');
    const two = error.conflicts && conflict?.(error.conflicts);
    $('alert-text').textContent = two?.text ?? error.message;
    $('retry').onclick = () => again();
    $('theirs').onclick = two?.theirs;
    $('mine').onclick = two?.mine;
    $('retry').hidden = Boolean(two);
    $('theirs').hidden = $('mine').hidden = !two;
    $('alert').hidden = false;
    $('alert').scrollIntoView({ block: 'nearest' });
  } finally {
    busy = false;
    document.body.removeAttribute('aria-busy');
    if (chosenAnew) {
      chosenAnew = false;
      choose();
    }
  }
}

// --- decisions ---------------------------------------------------------------------------------------------------

async function decide(decision) {
  const item = found?.item;
  if (!item || !seen || busy) return;
  // tried again, it is the same decision on the same item, whatever was done in between
  const send = (known) => during(() => send(known), async () => {
    say('saving …');
    const own = { item: item.index, image: item.image, class: item.class, decision, seen: known };
    const answer = await ask('/api/decide', { answer: own, selection: selection() });
    count(answer);
    show(answer);
    say(`Saved: ${item.class} – ${WORDS[decision]} (${item.image})`, true);
  }, ([now]) => ({
    text: `Somebody else answered meanwhile: ${item.class} – ${WORDS[now.decision] ?? 'open again'} (${item.image}). `
      + `Your answer, ${WORDS[decision]}, is not saved.`,
    theirs: () => move(item.index, 1),
    mine: () => send(now.seen),
  }));
  await send(item.seen);
}

function answerTo(item, accept) {
  if (!item?.suggestion) return null;
  return accept === (item.suggestion === 'positive') ? 'positive' : 'negative';
}

async function follow(accept) {
  const decision = answerTo(found?.item, accept);
  if (decision) await decide(decision);
}

async function undo() {
  if (!undoable) return;
  const expected = undoable;
  const send = () => during(send, async () => {
    const answer = await ask('/api/undo', { undoable: expected, selection: selection() });
    count(answer);
    if (!answer.item) return say('Undone: a decision on a label that is not listed any more', true);
    const { class: name, decision, image } = answer.item;
    const more = answer.undone.length - 1;
    const others = more ? ` and ${more.toLocaleString('en')} more labels` : '';
    if (inGrid()) {
      form.elements.class.value = name;
      await grid.show(answer.undone[0], 0);
    } else {
      show(answer);
    }
    say(`Undone: ${name} – ${WORDS[decision] ?? 'not reviewed'} again (${image})${others}`, true);
  });
  await send();
}

// --- showing -----------------------------------------------------------------------------------------------------

function say(text, saved = false) {
  $('status').textContent = text;
  $('status').classList.toggle('saved', saved);
}

function show(answer) {
  found = { item: answer.item, place: answer.place, total: answer.total, next: answer.next };
  const item = found.item;
  $('question').hidden = $('known').hidden = !item;
  $('end').hidden = Boolean(item);
  remember();
  if (!item) return showEnd();

  $('place').textContent = place();
  $('class').textContent = item.class;
  $('probability').textContent = `${(100 * item.probability).toFixed(item.probability < 0.1 ? 1 : 0)} %`;
  $('bar').style.width = `${100 * item.probability}%`;
  $('says').textContent = says(item);
  for (const button of document.querySelectorAll('[data-decision]')) {
    button.setAttribute('aria-pressed', String(button.dataset.decision === item.decision));
  }
  for (const [id, accept] of [['accept', true], ['reject', false]]) {
    $(id).disabled = !item.suggestion;
    const [change, keep] = ['the label changes', 'the label stays'];
    const effect = item.kind === 'suspect' ? ` – ${accept ? change : keep}` : '';
    $(id).title = item.suggestion ? `${WORDS[answerTo(item, accept)]}${effect}` : 'the model suggests nothing';
  }
  showKnown(item);
  showPicture(item);
}

function place() {
  const { item, place, total } = found;
  const at = `${(place + 1).toLocaleString('en')} of ${total.toLocaleString('en')}`;
  const { state } = selection();
  const both = item.elsewhere ? '. Somebody else has it in front of them, too' : '';
  const inside = !state || (state === 'open' ? !item.decision : state === 'reviewed' ? item.decision : state === item.decision);
  return (inside ? at : `${total.toLocaleString('en')} others in this selection`) + both;
}

function says(item) {
  if (item.kind === 'undecided') return 'The model is undecided.';
  if (item.kind === 'suggested') return `The model suggests: ${WORDS[item.suggestion]}.`;
  return `Suspect: it is labelled as ${WORDS[item.label]}, the model suggests ${WORDS[item.suggestion]}.${evidence(item)}`;
}

// what the word of the model is worth (sarlp/apps/completion/record.py)
function evidence({ evidence: whose }) {
  if (!whose) return '';
  if (whose === 'in sample') return ' It was trained on this very label, and may know it by heart.';
  return ` It was trained without this image (${whose}).`;
}

function showEnd() {
  const left = found.total;
  $('end-title').textContent = left ? 'End of the list' : 'Nothing here';
  $('end-text').textContent = left
    ? `${left.toLocaleString('en')} labels are in this selection. Go back, or press Home for the first.`
    : 'No label is in this selection. Choose others, or export.';
  $('image').hidden = $('map').hidden = $('legend').hidden = true;
  $('image-name').textContent = $('map-note').textContent = '';
  note($('end-title').textContent);
  seen = true;
}

function showKnown(item) {
  for (const label of ['positive', 'negative']) {
    const entries = item.known.filter((known) => known.label === label).map((known) => {
      const entry = document.createElement('li');
      entry.textContent = known.class + (known.reviewed ? ' (reviewed)' : '');
      return entry;
    });
    $(`known-${label}`).replaceChildren(...entries);
  }
  $('known-note').textContent = item.known.length ? '' : knownMissing ?? 'No other label is known.';
}
let knownMissing = null;

function note(text) {
  $('picture-note').textContent = text;
  $('picture-note').hidden = !text;
}

function address(kind, index) {
  return `/${kind}/${index}?v=${visit}`;
}

async function reason(url) {
  try {
    await ask(url);
  } catch (error) {
    return error.message;
  }
  return 'the browser can not show it';
}

function showPicture(item) {
  $('image-name').textContent = item.image;
  if (!same.has(item.image)) {
    if (same.size > 500) same.clear();
    same.set(item.image, item.index);
  }
  const picture = $('image');
  const url = address('image', same.get(item.image));
  if (picture.getAttribute('src') === url && picture.naturalWidth) {
    picture.hidden = false;
    note('');
    seen = true;
  } else {
    seen = false;
    note('');
    picture.onload = () => { seen = true; preload(); };
    picture.onerror = async () => {
      picture.hidden = true;
      const why = await reason(url);
      if (found.item !== item) return;
      note(`The image can not be shown: ${why}`);
      seen = true;
    };
    picture.alt = `image ${item.image}`;
    picture.hidden = false;
    picture.src = url;
  }
  showMapOf(item);
}

function showMapOf(item) {
  const map = $('map');
  const on = showMap && !noMaps && Boolean(item);
  $('toggle-map').setAttribute('aria-pressed', String(showMap && !noMaps));
  $('toggle-map').disabled = Boolean(noMaps);
  $('map-note').textContent = noMaps ? noMaps : on ? 'map …' : '';
  map.hidden = $('legend').hidden = true;
  map.onload = map.onerror = null;
  if (!on) return;
  const url = address('map', item.index);
  map.onload = () => {
    map.hidden = $('legend').hidden = false;
    $('map-note').textContent = '';
    preload();
  };
  map.onerror = async () => {
    const why = await reason(url);
    if (found.item === item && showMap) $('map-note').textContent = `No map: ${why}`;
  };
  map.alt = `where the model sees ${item.class}`;
  map.src = url;
}

function preload() {
  if (found.next === null) return;
  new Image().src = address('image', found.next);
  if (showMap && !noMaps) new Image().src = address('map', found.next);
}

function toggleMap() {
  showMap = !showMap;
  localStorage.setItem('sarlp-map', showMap ? 'on' : 'off');
  showMapOf(found?.item);
}

// --- progress ----------------------------------------------------------------------------------------------------

const rows = new Map(); // class -> what shows its progress
let total = 0;

function count(answer) {
  undoable = answer.undoable;
  $('undo').disabled = !undoable;
  for (const [name, [done, waiting]] of Object.entries(answer.progress ?? {})) {
    const row = rows.get(name);
    row.text.textContent = toDecide(waiting);
    row.option.textContent = `${name} (${waiting.toLocaleString('en')})`;
    fill(row.bar, done, waiting);
  }
  if (answer.reviewed !== undefined) {
    $('progress-text').textContent = `${answer.reviewed.toLocaleString('en')} reviewed, ${toDecide(answer.waiting)}`;
    fill($('progress'), answer.reviewed, answer.waiting);
  }
}

function toDecide(waiting) {
  return `${waiting.toLocaleString('en')} to decide`;
}

function fill(bar, done, waiting) {
  bar.max = Math.max(done + waiting, 1);
  bar.value = done;
}

// the models decide more, or less, by themselves
document.addEventListener('learnt', () => ask('/api/review').then(countAll).catch(() => {}));

function countAll(overview) {
  count({ ...overview, progress: Object.fromEntries(overview.classes.map(({ name, counts }) => [name, counts])) });
}

function addClass(name) {
  const option = document.createElement('option');
  option.value = name;
  form.elements.class.append(option);
  const [entry, button, title, text, bar] = ['li', 'button', 'b', 'span', 'progress'].map((tag) => document.createElement(tag));
  button.type = 'button';
  title.textContent = name;
  bar.setAttribute('aria-label', `reviewed of ${name}`);
  button.append(title, text, bar);
  button.addEventListener('click', () => {
    form.elements.class.value = name;
    choose();
  });
  entry.append(button);
  $('classes').append(entry);
  rows.set(name, { option, text, bar });
}

// --- the beginning -----------------------------------------------------------------------------------------------

async function start() {
  await during(start, async () => {
    const overview = await ask('/api/review');
    total = overview.total;
    noMaps = overview.no_maps;
    knownMissing = overview.known_missing;
    if (!rows.size) overview.classes.forEach(({ name }) => addClass(name));
    countAll(overview);
    $('out-dir').textContent = overview.out_dir;

    const kept = new URLSearchParams(location.hash.slice(1));
    for (const element of form.elements) {
      if (element.name && kept.has(element.name)) element.value = kept.get(element.name);
    }
    const query = new URLSearchParams(selection());
    // the item that was looked at, if it is still there
    const at = Number(kept.get('item') ?? NaN);
    const there = Number.isInteger(at) && at < total;
    if (kept.get('view') === 'grid') {
      setView('grid');
      needClass();
      return grid.show(there ? at : null, 0);
    }
    if (there) query.set('at', at);
    show(await ask('/api/item?' + query));
    $('class').focus();
  });
}

const keys = {
  y: () => decide('positive'),
  n: () => decide('negative'),
  u: () => decide('undecided'),
  a: () => follow(true),
  r: () => follow(false),
  m: toggleMap,
  arrowleft: () => move(found?.item?.index ?? null, -1),
  arrowright: () => found?.item && move(found.item.index, 1),
  home: choose,
};

const everywhere = { z: undo, g: toggleGrid };

document.addEventListener('keydown', (event) => {
  pointer = false;
  const field = event.target.closest('input, select, dialog');
  if (event.key === 'Escape' && field && !field.closest('dialog')) {
    return inGrid() ? grid.rest() : $('class').focus();
  }
  const key = event.key.toLowerCase();
  const action = everywhere[key] ?? (inGrid() ? grid.keys : keys)[key];
  const modified = event.altKey || ((event.ctrlKey || event.metaKey) && key !== 'z');
  if (!action || field || modified) return;
  if (key === 'enter' && event.target.closest('button:not(.tile), summary')) return; // it presses that
  event.preventDefault();
  // a key that is held down may move, but not decide on what is not looked at
  if (event.repeat && !event.key.startsWith('Arrow')) return;
  action(event);
});
document.addEventListener('pointerdown', () => { pointer = true; });
for (const button of document.querySelectorAll('[data-decision]')) {
  button.addEventListener('click', () => decide(button.dataset.decision));
}
$('accept').addEventListener('click', keys.a);
$('reject').addEventListener('click', keys.r);
$('undo').addEventListener('click', undo);
$('toggle-grid').addEventListener('click', toggleGrid);
$('back').addEventListener('click', keys.arrowleft);
$('next').addEventListener('click', keys.arrowright);
$('toggle-map').addEventListener('click', toggleMap);
form.addEventListener('submit', (event) => event.preventDefault());
form.addEventListener('change', (event) => {
  if (pointer) event.target.blur(); // so that the keys decide again; with the keyboard, Escape does it
  choose();
});
form.addEventListener('reset', () => setTimeout(choose));
if (matchMedia('(max-width: 1080px)').matches) $('filters').open = false;
const grid = setUpGrid({ selection, during, count, say, says, address, reason, remember });
setUpExport();
start();
