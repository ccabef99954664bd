// The line of what is filled against what was decided.

import { ask } from './api.js';

const SVG = 'http://www.w3.org/2000/svg';
const [LEFT, RIGHT, TOP, BOTTOM] = [46, 222, 20, 100]; // of the axes
const figure = document.getElementById('curve');
let learnt = 1;

function element(name, attributes, text = '') {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function drawing(points, blanks) {
  const [first, last] = [points[0], points[points.length - 1]];
  const heights = points.map((point) => point.filled);
  const [least, reached] = [Math.min(...heights), Math.max(...heights)];
  // of all blanks a review is a small part, so the axes end a quarter after what was done, where it is soon
  const soon = Math.max(10, last.answers / 4);
  const most = 10 * Math.ceil((last.answers + soon) / 10);
  const top = Math.max(Math.min(blanks, reached + Math.max(most - last.answers, Math.ceil((reached - least) / 4))), least + 1);
  const at = ({ answers, filled }) => [
    LEFT + (answers / most) * (RIGHT - LEFT),
    BOTTOM - ((filled - least) / (top - least)) * (BOTTOM - TOP),
  ].map((value) => value.toFixed(1)).join();
  const svg = element('svg', {
    viewBox: '0 0 230 132', role: 'img', 'aria-label': `${first.filled} blanks filled at first, ${last.filled} of ${blanks} now`,
  });
  const write = (x, y, anchor, what) => svg.append(element('text', { x, y, 'text-anchor': anchor }, what.toLocaleString('en')));
  write(0, 10, 'start', 'blanks filled');
  write(LEFT - 4, TOP + 4, 'end', top);
  write(LEFT - 4, BOTTOM + 4, 'end', least);
  write(LEFT, BOTTOM + 14, 'middle', 0);
  write(RIGHT, BOTTOM + 14, 'end', most);
  write((LEFT + RIGHT) / 2, BOTTOM + 28, 'middle', 'labels reviewed');
  svg.append(element('path', { class: 'axes', d: `M${LEFT},${TOP}V${BOTTOM}H${RIGHT}` }));
  svg.append(element('polyline', { points: points.map(at).join(' ') }));
  const [x, y] = at(last).split(',');
  svg.append(element('circle', { cx: x, cy: y, r: 2.5 }));
  return svg;
}

async function draw() {
  let answer;
  try {
    answer = await ask('/api/curve');
  } catch {
    return; // the page says so itself when the server is needed
  }
  const { points, blanks, precision, learning } = answer;
  const now = points[points.length - 1];
  const caption = document.createElement('figcaption');
  caption.className = 'quiet';
  const share = ((100 * now.filled) / Math.max(blanks, 1)).toFixed(1);
  caption.textContent = `${now.filled.toLocaleString('en')} of ${blanks.toLocaleString('en')} blanks filled (${share} %), `
    + `by you or at a precision of ${precision}. ${learning}`;
  figure.replaceChildren(drawing(points, blanks), caption);
  figure.hidden = false;
  if (points.length !== learnt) document.dispatchEvent(new Event('learnt'));
  learnt = points.length;
}

draw();
setInterval(draw, 10000);
