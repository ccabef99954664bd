// The dialogue that writes the labels.

import { ask } from './api.js';

const $ = (id) => document.getElementById(id);

async function write() {
  $('export-write').disabled = true;
  $('exported').hidden = true;
  $('export-status').textContent = 'writing …';
  try {
    const answer = await ask('/api/export', { reviewed_only: !$('with-model').checked });
    const counts = [answer.reviewed, answer.suggested].map((number) => number.toLocaleString('en'));
    $('export-status').textContent = `Written: ${counts[0]} reviewed labels, ${counts[1]} by the model`
      + (answer.answers ? `, learnt from ${answer.answers.toLocaleString('en')} decisions.` : '.')
      + answer.notes.map((note) => ` ${note}.`).join('');
    $('files').replaceChildren(...Object.entries(answer.files).map(([name, path]) => {
      const entry = document.createElement('li');
      const code = document.createElement('code');
      code.textContent = path;
      entry.append(`${name}: `, code);
      return entry;
    }));
    $('command').textContent = answer.command;
    $('exported').hidden = false;
  } catch (error) {
    $('export-status').textContent = `Nothing is exported. ${error.message}`;
  } finally {
    $('export-write').disabled = false;
  }
}

async function copy() {
  await navigator.clipboard.writeText($('command').textContent);
  $('export-status').textContent = 'The command is in the clipboard.';
}

export function setUpExport() {
  $('export-open').addEventListener('click', () => {
    $('exported').hidden = true;
    $('export-status').textContent = '';
    $('export').showModal();
  });
  $('export-write').addEventListener('click', write);
  $('export-close').addEventListener('click', () => $('export').close());
  $('copy').addEventListener('click', copy);
}
