// Requests to the server of this page.

const PATIENCE = 30000; // milliseconds
const NAME = 'sarlp-client'; // of this browser, so that others' answers are told from its own

function client() {
  const name = localStorage.getItem(NAME) ?? crypto.randomUUID();
  localStorage.setItem(NAME, name);
  return name;
}

/** The answer of the server as an object; an Error that says why if there is none, or the server refuses. Its `conflicts`
 * are the labels that somebody else answered meanwhile. */
export async function ask(path, body) {
  const headers = { 'Sarlp-Client': client() };
  const options = { signal: AbortSignal.timeout(PATIENCE), headers };
  if (body !== undefined) {
    headers['Content-Type'] = 'application/json';
    Object.assign(options, { method: 'POST', body: JSON.stringify(body) });
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    const why = error.name === 'TimeoutError' ? 'has not answered in time' : 'can not be reached; is it running?';
    throw new Error(`Not done: the server ${why}`);
  }
  if (response.ok && !response.headers.get('Content-Type').startsWith('application/json')) return null;
  const answer = await response.json().catch(() => null);
  if (!response.ok || answer === null) {
    const error = new Error(answer?.error ?? `Not done: the server answers ${response.status}`);
    throw Object.assign(error, { conflicts: answer?.conflicts });
  }
  return answer;
}
