// Requests to the server this page came from.

/** An answer that is not a success, as its problem document tells. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {{code?: string, detail?: string, errors?: {field: string, message: string}[], optionIndex?: number}} problem
   * @param {number} retryAfter seconds, 0 when the server named none
   */
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? `status ${status}`);
    this.status = status;
    this.code = problem.code ?? 'internal';
    this.errors = problem.errors ?? [];
    this.optionIndex = problem.optionIndex;
    this.retryAfter = retryAfter;
  }
}

/** No answer came: no network, no server, or too late. Whether the request did anything is unknown. */
export class NoAnswer extends Error {}

const usualPatience = 15_000; // ms

/**
 * Sends a request and returns the answer's body: parsed JSON, text, or null.
 * Throws {@link Refused} or {@link NoAnswer}.
 * @param {string} method
 * @param {string} path
 * @param {{body?: unknown, token?: string | null, headers?: Record<string, string>, signal?: AbortSignal, patience?: number}} [options] patience: ms
 * @returns {Promise<any>}
 */
export async function send(method, path, { body, token, headers = {}, signal, patience = usualPatience } = {}) {
  /** @type {Record<string, string>} */
  const head = { accept: 'application/json', ...headers };
  if (body !== undefined) head['content-type'] = 'application/json';
  if (token) head.authorization = `Bearer ${token}`;
  const stop = new AbortController(); // AbortSignal.any is too new to count on
  const end = () => stop.abort();
  const timer = setTimeout(end, patience);
  signal?.addEventListener('abort', end);
  let response, content;
  try {
    signal?.throwIfAborted();
    response = await fetch(path, {
      method,
      headers: head,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'same-origin',
      signal: stop.signal,
    });
    content = await response.text();
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new NoAnswer('no answer', { cause });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
  }
  const type = response.headers.get('content-type') ?? '';
  let data = null;
  if (type.includes('json')) {
    try {
      data = JSON.parse(content);
    } catch (cause) {
      throw new NoAnswer('not the answer of the server', { cause }); // of a captive portal, say
    }
  } else if (content) {
    data = content;
  }
  if (!response.ok) {
    const problem = data !== null && typeof data === 'object' ? data : {};
    throw new Refused(response.status, problem, Number(response.headers.get('retry-after')) || 0);
  }
  return data;
}

/**
 * Tells whether a request may succeed later as it is: nobody answered, or the
 * server was busy, starting or ending.
 * @param {unknown} error
 */
export function isPassing(error) {
  return error instanceof NoAnswer || (error instanceof Refused && (error.status >= 500 || error.code === 'rate_limited'));
}
