// The line of what is filled against what was decided.

import { ask } from './api.js';

const SVG = 'http://www.w3.org/2000/svg';
const [WIDTH, HEIGHT, EDGE] = [200, 100, 4];
const figure = document.getElementById('curve');

function drawing(points, blanks) {
  const [first, last] = [points[0], points[points.length - 1]];
  const right = Math.max(last.answers, 1);
  const bottom = Math.min(...points.map((point) => point.filled));
  const height = Math.max(blanks - bottom, 1);
  const at = ({ answers, filled }) => [
    EDGE + (answers / right) * (WIDTH - 2 * EDGE),
    HEIGHT - EDGE - ((filled - bottom) / height) * (HEIGHT - 2 * EDGE),
  ].map((value) => value.toFixed(1)).join();
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${first.filled} blanks filled at first, ${last.filled} of ${blanks} now`);
  const line = document.createElementNS(SVG, 'polyline');
  line.setAttribute('points', points.map(at).join(' '));
  for (const [name, value] of [['fill', 'none'], ['stroke', 'currentColor'], ['stroke-width', '2']]) {
    line.setAttribute(name, value);
  }
  svg.append(line);
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
}

draw();
setInterval(draw, 10000);
