// Many images at a time, for one class. Answers are marks on this page until the page is saved, all of them or none.

import { ask } from './api.js';

const SIGNS = { positive: '✓ there', negative: '✕ not there', undecided: '? undecided' };
const TURNS = { '': 'positive', positive: 'negative', negative: '', undecided: '' };
const $ = (id) => document.getElementById(id);

/** `page`: what the rest of the page does: selection, during, count, say, says, address, reason, remember. */
export function setUpGrid(page) {
  const marks = new Map(); // item -> answer that is not saved yet; without those that are left open
  let tiles = []; // { item, button, sign, seen }
  let at = 0; // the tile that keys are for
  let anchor = 0; // the tile that was clicked last

  const answerOf = (tile) => marks.get(tile.item.index) ?? '';

  function mark(tile, answer) {
    if (!tile?.seen) return; // nobody decides blindly
    if (answer) marks.set(tile.item.index, answer);
    else marks.delete(tile.item.index);
    tile.sign.classList.remove('conflict');
    label(tile);
    tally();
  }

  function label(tile) {
    const answer = answerOf(tile);
    tile.button.dataset.answer = answer;
    tile.sign.textContent = SIGNS[answer] ?? '';
    const { image, probability } = tile.item;
    const words = answer ? SIGNS[answer].slice(2) : 'left open';
    tile.button.setAttribute('aria-label', `${image}, ${percent(probability)}. ${page.says(tile.item)} Answer: ${words}`);
  }

  function tally() {
    const answers = tiles.map(answerOf);
    const number = (answer) => answers.filter((one) => one === answer).length;
    $('tally').textContent = `${number('positive')} there, ${number('negative')} not there, `
      + `${number('undecided')} undecided, ${number('')} left open`;
    const some = answers.some(Boolean);
    $('save-text').textContent = some ? 'Save, next page' : 'Next page';
    $('save').disabled = !tiles.length;
  }

  function percent(probability) {
    return `${(100 * probability).toFixed(probability < 0.1 ? 1 : 0)} %`;
  }

  function focus(index) {
    if (!tiles.length) return;
    tiles[at].button.tabIndex = -1;
    at = Math.min(Math.max(index, 0), tiles.length - 1);
    tiles[at].button.tabIndex = 0;
    tiles[at].button.focus();
  }

  /** The place of keys that are for no other. */
  function rest() {
    if (tiles.length) focus(at);
    else $('grid-class').focus();
  }

  function click(index, range) {
    if (range) {
      const answer = answerOf(tiles[anchor]);
      tiles.slice(Math.min(anchor, index), Math.max(anchor, index) + 1).forEach((tile) => mark(tile, answer));
    } else {
      mark(tiles[index], TURNS[answerOf(tiles[index])]);
      anchor = index;
    }
    focus(index);
  }

  function makeTile(item, index) {
    const [button, image, text, sign] = ['button', 'img', 'span', 'span'].map((tag) => document.createElement(tag));
    const tile = { item, button, sign, seen: false };
    const known = item.kind === 'suspect' ? `, labelled: ${SIGNS[item.label].slice(2)}` : '';
    button.type = 'button';
    button.className = 'tile';
    button.tabIndex = -1;
    button.title = item.image;
    sign.className = 'sign';
    text.textContent = percent(item.probability) + known;
    image.alt = '';
    image.loading = 'lazy';
    image.decoding = 'async';
    image.onload = () => { tile.seen = true; };
    image.onerror = async () => {
      text.textContent = `not shown: ${await page.reason(image.src)}`;
      image.hidden = true;
      tile.seen = true;
    };
    image.src = page.address('thumb', item.index);
    button.append(image, text, sign);
    button.addEventListener('click', (event) => click(index, event.shiftKey));
    label(tile);
    return tile;
  }

  function show(answer) {
    const name = page.selection().class;
    tiles = answer.items.map(makeTile);
    const [ahead, more] = [answer.ahead, answer.total].map((number) => number.toLocaleString('en'));
    const later = answer.ahead < answer.total ? `, ${ahead} of them from here on` : '';
    $('grid-class').textContent = `Which of these show: ${name}?`;
    $('grid-place').textContent = tiles.length
      ? `${tiles.length} of ${more} open${later}`
      : `End of the list. ${more} labels are open here: left, or in front of somebody else. Home: from the first.`;
    $('tiles').replaceChildren(...tiles.map((tile) => tile.button));
    [at, anchor] = [0, 0];
    page.remember();
    tally();
    if (tiles.length) tiles[0].button.tabIndex = 0;
    if (!document.activeElement.closest('form')) rest(); // whoever chooses with the keyboard stays there
  }

  async function showFrom(from, step) {
    const query = new URLSearchParams({ ...page.selection(), number: $('number').value, step });
    if (from !== null) query.set('at', from);
    show(await ask('/api/grid?' + query));
  }

  async function load(from, step) {
    await page.during(() => load(from, step), async () => {
      await showFrom(from, step);
      page.say('');
    });
  }

  async function save() {
    if (!tiles.length) return;
    const sent = tiles.filter(answerOf);
    const last = tiles.at(-1).item.index;
    if (!sent.length) return load(last, 1);
    const answers = sent.map((tile) => ({
      item: tile.item.index, image: tile.item.image, class: tile.item.class, decision: answerOf(tile), seen: tile.item.seen,
    }));
    const send = () => page.during(send, async () => {
      page.say('saving …');
      page.count(await ask('/api/answers', { answers }));
      const what = $('tally').textContent;
      answers.forEach(({ item }) => marks.delete(item));
      await showFrom(last, 1);
      page.say(`Saved: ${answers.length} labels of ${answers[0].class} (${what})`, true);
    }, conflict);
    await send();
  }

  /** Somebody else answered some of them: nothing is saved until it is said whose answers hold. */
  function conflict(items) {
    const theirs = new Map(items.map((item) => [item.index, item]));
    const touched = tiles.filter((tile) => theirs.has(tile.item.index));
    for (const tile of touched) {
      const now = theirs.get(tile.item.index);
      tile.item.seen = now.seen;
      tile.sign.textContent = `${SIGNS[answerOf(tile)]}; somebody else: ${SIGNS[now.decision] ?? 'open again'}`;
      tile.sign.classList.add('conflict');
    }
    focus(tiles.indexOf(touched[0]));
    return {
      text: `Somebody else answered ${items.length} of these labels meanwhile; they are marked. Nothing of this page is saved.`,
      theirs: () => {
        touched.forEach((tile) => mark(tile, ''));
        return save();
      },
      mine: save,
    };
  }

  function columns() {
    const top = tiles[0].button.offsetTop;
    const next = tiles.findIndex((tile) => tile.button.offsetTop > top);
    return next < 0 ? tiles.length : next;
  }

  function go(step, event) {
    if (!tiles.length) return;
    const answer = answerOf(tiles[at]);
    const before = at;
    focus(at + step);
    if (event.shiftKey) { // as a click with Shift
      for (let index = before; index !== at; index += Math.sign(step)) mark(tiles[index + Math.sign(step)], answer);
    }
    anchor = at;
  }

  function answer(decision) {
    if (!tiles[at]?.seen) return;
    mark(tiles[at], decision);
    focus(at + 1);
    anchor = at;
  }

  function all() {
    const turn = TURNS[tiles.map(answerOf).every((one, _, [first]) => one === first) ? answerOf(tiles[0]) : ''];
    tiles.forEach((tile) => mark(tile, turn));
  }

  const keys = {
    y: () => answer('positive'),
    n: () => answer('negative'),
    u: () => answer('undecided'),
    delete: () => mark(tiles[at], ''),
    backspace: () => mark(tiles[at], ''),
    a: () => tiles.length && all(),
    r: () => tiles.filter((tile) => !answerOf(tile)).forEach((tile) => mark(tile, 'negative')),
    arrowleft: (event) => go(-1, event),
    arrowright: (event) => go(1, event),
    arrowup: (event) => go(-columns(), event),
    arrowdown: (event) => go(columns(), event),
    home: () => load(null, 0),
    enter: save,
  };

  $('all').addEventListener('click', keys.a);
  $('rest').addEventListener('click', keys.r);
  $('save').addEventListener('click', save);
  $('first').addEventListener('click', keys.home);
  $('number').value = localStorage.getItem('sarlp-number') ?? $('number').value;
  $('number').addEventListener('change', () => {
    localStorage.setItem('sarlp-number', $('number').value);
    load(tiles[0]?.item.index ?? null, 0);
  });

  return {
    keys,
    load,
    show: showFrom,
    /** From an item on; back to the page that it was looked at from. */
    enter: (index) => load(tiles.some((tile) => tile.item.index === index) ? tiles[0].item.index : index, 0),
    current: () => tiles[at]?.item.index ?? null,
    first: () => tiles[0]?.item.index ?? null,
    rest,
  };
}
