// Votes and skips on their way to the server.
//
// A choice is kept in the browser's database before it is sent and until the
// server has answered it, so a choice made without a network, or in a page that
// was closed, is sent when there is a way again. Choices are sent in order, by
// one tab at a time. Sending one twice does no harm: a vote is final, and the
// refusal of a second one names the option that was counted.

import { batch, signal } from '@preact/signals';
import * as database from 'idb-keyval';
import { isPassing, Refused } from './http.js';
import { learn, statsOf } from './results.js';
import { call, user, votesLeft } from './session.js';

/** @typedef {import('./types.js').Choice} Choice */
/** @typedef {import('./types.js').Verdict} Verdict */

/**
 * @typedef {object} Mine what the person did with a poll
 * @property {number | null} optionIndex null for a skip
 * @property {'sending' | 'counted'} state
 * @property {import('./types.js').Stats | null} base the counts when it was chosen
 */

/**
 * @typedef {object} Refusal
 * @property {Choice} choice
 * @property {string} code of the API
 * @property {number} [optionIndex] the option that was counted before
 */

/** @type {Map<number, import('@preact/signals').Signal<Mine | null>>} */
const mine = new Map();

/**
 * Returns what the person who is signed in did with a poll, as far as known here.
 * @param {number} pollId
 */
export function choiceOf(pollId) {
  let choice = mine.get(pollId);
  if (!choice) mine.set(pollId, (choice = signal(/** @type {Mine | null} */ (null))));
  return choice;
}

/** How many choices wait for the server. */
export const waiting = signal(0);

/** Whether the last attempt found no way to the server. */
export const isStuck = signal(false);

/** @type {Set<(refusal: Refusal) => void>} */
const refusalListeners = new Set();

/** @type {Set<(count: number) => void>} */
const replayListeners = new Set();

/**
 * Calls a function for each choice that the server refused for good.
 * @param {(refusal: Refusal) => void} listener
 */
export function onRefusal(listener) {
  refusalListeners.add(listener);
  return () => refusalListeners.delete(listener);
}

/**
 * Calls a function when choices that had to wait have all been answered, with
 * how many were accepted.
 * @param {(count: number) => void} listener
 */
export function onReplay(listener) {
  replayListeners.add(listener);
  return () => replayListeners.delete(listener);
}

const most = 100; // choices that the server takes at once
const linger = 1500; // ms that skips wait for company
const enough = 20; // skips that are company

/** Choices that are shown and not yet kept. */
let keeping = 0;

const keyOf = (/** @type {number} */ id) => `outbox:${id}`;

/**
 * @param {import('./types.js').Poll} poll
 * @param {number} optionIndex
 */
export function vote(poll, optionIndex) {
  return choose({ key: crypto.randomUUID(), pollId: poll.id, title: poll.title, optionIndex, option: poll.options[optionIndex] });
}

/** @param {import('./types.js').Poll} poll */
export function skip(poll) {
  return choose({ key: crypto.randomUUID(), pollId: poll.id, title: poll.title, optionIndex: null });
}

/** @param {Choice} choice */
async function choose(choice) {
  const id = user.value?.id;
  if (id === undefined) return;
  const isVote = choice.optionIndex !== null;
  batch(() => {
    choiceOf(choice.pollId).value = {
      optionIndex: choice.optionIndex,
      state: 'sending',
      base: statsOf(choice.pollId).value,
    };
    waiting.value++;
    if (isVote && votesLeft.value !== null) votesLeft.value = Math.max(0, votesLeft.value - 1);
  });
  keeping++;
  try {
    await database.update(keyOf(id), (queue = []) => [...queue, choice]);
  } catch (error) {
    console.error(error); // the browser keeps nothing: what cannot be kept is not promised
    choiceOf(choice.pollId).value = null;
    waiting.value--;
    for (const tell of refusalListeners) tell({ choice, code: 'not_kept' });
    return;
  } finally {
    keeping--;
  }
  flushIn(isVote || waiting.value >= enough ? 0 : linger);
}

/** Returns the choices that wait for the server, oldest first. @returns {Promise<Choice[]>} */
export async function queued() {
  const id = user.value?.id;
  return id === undefined ? [] : ((await database.get(keyOf(id))) ?? []);
}

/**
 * Takes up what an earlier page left, for the person who is signed in.
 */
export async function resume() {
  const queue = await queued();
  batch(() => {
    waiting.value = queue.length;
    for (const { pollId, optionIndex } of queue) {
      choiceOf(pollId).value = { optionIndex, state: 'sending', base: null };
    }
  });
  if (queue.length) {
    isStuck.value = true;
    flushIn(0);
  }
}

/** Forgets everything, waiting choices included. @param {number} id the user's */
export function forget(id) {
  return database.del(keyOf(id));
}

/** Shows nothing more of the person who was signed in. Waiting choices stay for their return. */
export function reset() {
  batch(() => {
    for (const choice of mine.values()) choice.value = null;
    waiting.value = 0;
    isStuck.value = false;
  });
}

/** @type {number | undefined} */
let timer;
let due = Infinity;
let failures = 0;

/** @param {number} wait ms */
function flushIn(wait) {
  const at = performance.now() + wait;
  if (at >= due) return;
  clearTimeout(timer);
  due = at;
  timer = setTimeout(() => void flush(), wait);
}

/**
 * Sends what waits, and returns when it was answered or could not be sent; then
 * it is tried again later.
 */
export async function flush() {
  clearTimeout(timer);
  due = Infinity;
  await navigator.locks.request('vote-outbox', async () => {
    let accepted = 0;
    const waited = isStuck.value;
    for (;;) {
      const queue = await queued();
      if (queue.length === 0) {
        if (keeping === 0) settle();
        failures = 0;
        break;
      }
      try {
        const { answered, retryAfter } = await deliver(queue.slice(0, most));
        accepted += answered;
        failures = 0;
        if (retryAfter > 0) {
          isStuck.value = true;
          flushIn(retryAfter * 1000);
          break;
        }
      } catch (error) {
        if (!isPassing(error) && !(error instanceof Refused && error.status === 401)) console.error(error);
        isStuck.value = true;
        if (user.value) {
          const wait = error instanceof Refused && error.retryAfter ? error.retryAfter * 1000 : Math.min(60_000, 1000 * 2 ** failures++);
          flushIn(wait * (1 + Math.random() / 2));
        }
        return;
      }
    }
    if (waited && accepted > 0) for (const tell of replayListeners) tell(accepted);
  });
}

/** Nothing waits: what this tab shows as under way was answered to another. */
function settle() {
  batch(() => {
    waiting.value = 0;
    isStuck.value = false;
    for (const choice of mine.values()) {
      if (choice.value?.state === 'sending') choice.value = { ...choice.value, state: 'counted' };
    }
  });
}

/**
 * Sends the choices at the head of the queue.
 * @param {Choice[]} choices
 */
async function deliver(choices) {
  const id = user.value?.id;
  if (id === undefined) throw new Refused(401, {}, 0);
  const verdicts = await verdictsOn(choices);
  let answered = 0;
  let retryAfter = 0;
  /** @type {Set<string>} */
  const finished = new Set();
  /** @type {Refusal[]} */
  const refused = [];
  batch(() => {
    choices.forEach((choice, i) => {
      const verdict = verdicts[i];
      const isVote = choice.optionIndex !== null;
      if (verdict.status === 429 && verdict.code === 'rate_limited' || verdict.status >= 500) {
        retryAfter = Math.max(retryAfter, verdict.retryAfter ?? 1);
        return;
      }
      finished.add(choice.key);
      if (verdict.votesRemainingToday !== undefined) votesLeft.value = verdict.votesRemainingToday;
      const before = verdict.code === 'already_voted' ? verdict.optionIndex : undefined;
      if (verdict.status === 200 || (isVote && before === choice.optionIndex)) {
        answered++;
        const shown = choiceOf(choice.pollId).value;
        if (shown && shown.optionIndex === choice.optionIndex) choiceOf(choice.pollId).value = { ...shown, state: 'counted' };
        return;
      }
      choiceOf(choice.pollId).value =
        before === undefined ? null : { optionIndex: before, state: 'counted', base: null };
      if (isVote && votesLeft.value !== null && verdict.code !== 'daily_vote_limit') votesLeft.value++;
      if (isVote && verdict.code === 'daily_vote_limit') votesLeft.value = 0;
      // That a skipped poll had been voted on before changes nothing for anybody.
      if (isVote) refused.push({ choice, code: verdict.code ?? 'internal', optionIndex: before });
    });
  });
  await database.update(keyOf(id), (/** @type {Choice[]} */ queue = []) => queue.filter((choice) => !finished.has(choice.key)));
  waiting.value = Math.max(0, waiting.value - finished.size);
  for (const refusal of refused) for (const tell of refusalListeners) tell(refusal);
  return { answered, retryAfter };
}

/**
 * Asks the server. A vote alone is answered with the counts that include it, and
 * charged to the window of votes only.
 * @param {Choice[]} choices
 * @returns {Promise<Verdict[]>}
 */
async function verdictsOn(choices) {
  const [{ pollId, optionIndex }] = choices;
  if (choices.length > 1 || optionIndex === null) {
    return call('POST', '/api/interactions', {
      body: choices.map((c) => (c.optionIndex === null ? { pollId: c.pollId, skip: true } : { pollId: c.pollId, optionIndex: c.optionIndex })),
    });
  }
  try {
    const { stats, votesRemainingToday } = await call('POST', `/api/polls/${pollId}/vote`, { body: { optionIndex } });
    learn(stats);
    return [{ pollId, status: 200, optionIndex, votesRemainingToday }];
  } catch (error) {
    if (!(error instanceof Refused) || isPassing(error) || error.status === 401) throw error;
    return [{ pollId, status: error.status, code: error.code, optionIndex: error.optionIndex }];
  }
}

addEventListener('online', () => flushIn(0));
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && waiting.value > 0) flushIn(0);
});
