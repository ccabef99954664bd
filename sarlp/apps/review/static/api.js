// Requests to the server of this page.

const PATIENCE = 30000; // milliseconds

/** The answer of the server as an object; an Error that says why if there is none, or the server refuses. */
export async function ask(path, body) {
  const options = { signal: AbortSignal.timeout(PATIENCE) };
  if (body !== undefined) {
    Object.assign(options, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
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
  if (!response.ok || answer === null) throw new Error(answer?.error ?? `Not done: the server answers ${response.status}`);
  return answer;
}
