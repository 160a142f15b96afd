// What is known of the counts of polls.
//
// One stream follows the polls at hand. The state of a poll only moves to a
// higher version, whichever way it came.

import { signal } from '@preact/signals';

/** @typedef {import('../types.js').Stats} Stats */

/** @type {Map<number, import('@preact/signals').Signal<Stats | null>>} */
const known = new Map();

/**
 * Returns the counts of a poll; null until some are known.
 * @param {number} pollId
 */
export function statsOf(pollId) {
  let stats = known.get(pollId);
  if (!stats) known.set(pollId, (stats = signal(/** @type {Stats | null} */ (null))));
  return stats;
}

/** @param {Stats} stats */
export function learn(stats) {
  const have = statsOf(stats.pollId);
  if (!have.value || have.value.version < stats.version) have.value = stats;
}

/** Whether the stream is connected: what is shown moves by itself. */
export const isLive = signal(false);

/** Polls that take no votes any more, as the stream or a refusal said. */
export const gone = signal(/** @type {ReadonlySet<number>} */ (new Set()));

/** @param {number} pollId */
export function lose(pollId) {
  if (!gone.peek().has(pollId)) gone.value = new Set(gone.peek()).add(pollId);
}

const most = 100; // polls that the server takes in one stream

/** @type {EventSource | null} */
let source = null;
/** @type {number[]} */
let watched = [];
/** @type {number | undefined} */
let again;
let tries = 0;

/**
 * Follows these polls and no others; at most the last 100 of them.
 * @param {number[]} pollIds
 */
export function watch(pollIds) {
  const wanted = pollIds.filter((id) => !gone.peek().has(id)).slice(-most);
  if (wanted.join() === watched.join()) return;
  watched = wanted;
  tries = 0;
  connect();
}

/**
 * Connects anew. For who saw that the server does not answer: nothing tells a
 * stream that is dead from one that has no news.
 */
export function renew() {
  if (isLive.peek()) connect();
}

function disconnect() {
  clearTimeout(again);
  source?.close();
  source = null;
  isLive.value = false;
}

function connect() {
  disconnect();
  if (watched.length === 0 || document.hidden || !navigator.onLine) return;
  const mine = (source = new EventSource(`/api/stream?polls=${watched.join()}`));
  mine.onopen = () => {
    tries = 0;
    isLive.value = true;
  };
  mine.addEventListener('stats', (event) => learn(JSON.parse(event.data)));
  mine.addEventListener('gone', (event) => {
    const { pollId } = JSON.parse(event.data);
    lose(pollId);
    watched = watched.filter((id) => id !== pollId);
    // The server ends a stream that has no poll left, and refuses another one.
    if (watched.length === 0) disconnect();
  });
  mine.onerror = () => {
    isLive.value = false;
    // The browser connects again by itself, unless the answer was no stream.
    if (mine.readyState !== EventSource.CLOSED) return;
    const wait = Math.min(60_000, 2000 * 2 ** tries++);
    again = setTimeout(connect, wait * (0.5 + Math.random() / 2));
  };
}

// A page that nobody sees needs no stream. One that is left is not always hidden
// first, and one that was left may be shown again as it was.
document.addEventListener('visibilitychange', () => (document.hidden ? disconnect() : connect()));
addEventListener('pagehide', disconnect);
addEventListener('pageshow', (event) => {
  if (event.persisted) connect();
});
addEventListener('online', connect);
addEventListener('offline', disconnect);
