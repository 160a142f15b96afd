// Votes and skips on their way to the server.
//
// A choice is kept in the browser's database before it is sent and until the
// server has answered it, so a choice made without a network, or in a page that
// was closed, is sent when there is a way again. Choices are sent in order, by
// one tab at a time, which tells the others what became of them. Sending one twice
// does no harm: a vote is final, and the refusal of a second one names the option
// that was counted.

import { batch, signal } from '@preact/signals';
import * as database from 'idb-keyval';
import { isPassing, NoAnswer, Refused } from './http.js';
import { learn, lose, renew, statsOf } from './results.js';
import { call, loadProfile, user, votesTold, votesUnderWay } from './session.js';

/** @typedef {import('../types.js').Choice} Choice */
/** @typedef {import('../types.js').Verdict} Verdict */

/**
 * @typedef {object} Mine what the person did with a poll
 * @property {number | null} optionIndex null for a skip
 * @property {'sending' | 'counted'} state
 * @property {import('../types.js').Stats | null} base the counts when it was chosen
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

/** @type {Set<(choice: Choice) => void>} */
const choiceListeners = new Set();

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
 * Calls a function for each choice that is made in this tab.
 * @param {(choice: Choice) => void} listener
 */
export function onChoice(listener) {
  choiceListeners.add(listener);
  return () => choiceListeners.delete(listener);
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

/**
 * The choices that this tab shows as waiting, by key, and whether they are votes.
 * @type {Map<string, boolean>}
 */
const mineWaiting = new Map();

function countWaiting() {
  waiting.value = mineWaiting.size;
  votesUnderWay.value = [...mineWaiting.values()].filter(Boolean).length;
}

/**
 * Choices that the browser would not keep: they live as long as this page.
 * @type {Choice[]}
 */
let unkept = [];

/** Keys of choices that were answered, should the browser fail to forget them. */
const done = new Set();

/**
 * Keys of choices at which the server failed, the longest untried first. They
 * are sent alone and after all others, so that they hold up none.
 * @type {Set<string>}
 */
const failed = new Set();

const tabs = new BroadcastChannel('vote-outbox');

const keyOf = (/** @type {number} */ id) => `outbox:${id}`;

/**
 * @param {import('../types.js').Poll} poll
 * @param {number} optionIndex
 */
export function vote(poll, optionIndex) {
  return choose({ key: crypto.randomUUID(), pollId: poll.id, title: poll.title, optionIndex, option: poll.options[optionIndex] });
}

/** @param {import('../types.js').Poll} poll */
export function skip(poll) {
  return choose({ key: crypto.randomUUID(), pollId: poll.id, title: poll.title, optionIndex: null });
}

/** @param {Choice} choice */
async function choose(choice) {
  const id = user.value?.id;
  if (id === undefined) return;
  const isVote = choice.optionIndex !== null;
  mineWaiting.set(choice.key, isVote);
  batch(() => {
    choiceOf(choice.pollId).value = {
      optionIndex: choice.optionIndex,
      state: 'sending',
      base: statsOf(choice.pollId).value,
    };
    countWaiting();
  });
  for (const tell of choiceListeners) tell(choice);
  keeping++;
  try {
    await database.update(keyOf(id), (queue = []) => [...queue, choice]);
  } catch (error) {
    console.error(error); // this browser keeps nothing
    if (user.value?.id !== id) return;
    if (navigator.onLine) unkept.push(choice);
    else settle([choice], [{ pollId: choice.pollId, status: 0, code: 'not_kept' }]); // what cannot be kept is not promised
  } finally {
    keeping--;
  }
  flushIn(isVote || waiting.value >= enough ? 0 : linger);
}

/**
 * Returns the choices of somebody that have no answer yet, oldest first.
 * @param {number} id
 * @returns {Promise<Choice[]>}
 */
export async function queued(id) {
  /** @type {Choice[]} */
  let kept = [];
  try {
    kept = (await database.get(keyOf(id))) ?? [];
  } catch (error) {
    console.error(error);
  }
  return [...kept, ...unkept].filter(({ key }) => !done.has(key));
}

/**
 * Takes up what an earlier page left, for the person who is signed in.
 */
export async function resume() {
  const id = user.value?.id;
  if (id === undefined) return;
  const queue = await queued(id);
  if (user.value?.id !== id) return;
  batch(() => {
    for (const { key, pollId, optionIndex } of queue) {
      mineWaiting.set(key, optionIndex !== null);
      choiceOf(pollId).value = { optionIndex, state: 'sending', base: choiceOf(pollId).value?.base ?? null };
    }
    countWaiting();
  });
  if (queue.length) {
    isStuck.value = true;
    flushIn(0);
  }
}

/**
 * Takes up what the server remembers of a person and a poll. What was chosen
 * here since is newer, and a choice never ends.
 * @param {number} pollId
 * @param {NonNullable<import('../types.js').Poll['viewer']>} viewer
 */
export function recall(pollId, { voted, optionIndex, skipped }) {
  const choice = choiceOf(pollId);
  if (choice.value?.state === 'sending' || (choice.value && !voted)) return;
  if (voted || skipped) choice.value = { optionIndex: voted ? optionIndex : null, state: 'counted', base: null };
}

/** Forgets everything, waiting choices included. @param {number} id the user's */
export function forget(id) {
  return database.del(keyOf(id));
}

/** Shows nothing more of the person who was signed in. Waiting choices stay for their return. */
export function reset() {
  mineWaiting.clear();
  unkept = [];
  late = 0;
  batch(() => {
    for (const choice of mine.values()) choice.value = null;
    countWaiting();
    isStuck.value = false;
  });
}

/** @type {number | undefined} */
let timer;
let due = Infinity;
let failures = 0;
/** Choices that were accepted since some had to wait. */
let late = 0;

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
    for (;;) {
      const id = user.value?.id;
      if (id === undefined) return;
      const queue = await queued(id);
      if (user.value?.id !== id) continue;
      if (queue.length === 0) {
        failures = 0;
        if (keeping === 0) rest();
        return;
      }
      try {
        const { isAnswered, wait } = await deliver(id, next(queue));
        if (isAnswered) failures = 0;
        if (isAnswered && wait === 0) continue;
        isStuck.value = true;
        retryIn(wait);
      } catch (error) {
        if (!isPassing(error) && !(error instanceof Refused && error.status === 401)) console.error(error);
        if (!user.value) return;
        if (error instanceof NoAnswer) renew();
        isStuck.value = true;
        retryIn(error instanceof Refused ? error.retryAfter : 0);
      }
      return;
    }
  });
}

/** What is sent next of a queue. @param {Choice[]} queue */
function next(queue) {
  const good = queue.filter(({ key }) => !failed.has(key));
  if (good.length > 0) return good.slice(0, most);
  return [...failed].flatMap((key) => queue.filter((choice) => choice.key === key)).slice(0, 1);
}

/** @param {number} retryAfter seconds that the server asked for, 0 when it did not */
function retryIn(retryAfter) {
  const wait = retryAfter ? retryAfter * 1000 : Math.min(60_000, 1000 * 2 ** failures++);
  flushIn(wait * (1 + Math.random() / 2)); // not all at once when a server is back
}

/** Nothing waits: what this tab still shows as under way was answered to another. */
function rest() {
  mineWaiting.clear();
  batch(() => {
    countWaiting();
    isStuck.value = false;
    for (const choice of mine.values()) {
      if (choice.value?.state === 'sending') choice.value = { ...choice.value, state: 'counted' };
    }
  });
  if (late > 0) for (const tell of replayListeners) tell(late);
  late = 0;
}

/**
 * Sends choices of somebody. Returns whether any was answered for good, and after
 * how many seconds those that are left may be sent, 0 when the server named none.
 * @param {number} id
 * @param {Choice[]} choices
 */
async function deliver(id, choices) {
  const verdicts = await verdictsOn(choices);
  const isLater = (/** @type {Verdict} */ { status, code }) => status >= 500 || (status === 429 && code === 'rate_limited');
  const answered = choices.filter((_, i) => verdicts[i] && !isLater(verdicts[i]));
  const finals = verdicts.filter((verdict) => !isLater(verdict));
  for (const { key } of answered) {
    done.add(key);
    failed.delete(key);
  }
  choices.forEach(({ key }, i) => {
    if (verdicts[i]?.status !== 500) return;
    failed.delete(key);
    failed.add(key);
  });
  if (user.value?.id === id) {
    if (isStuck.value) late += finals.filter(({ status }) => status === 200).length;
    settle(answered, finals);
    tabs.postMessage({ id, choices: answered, verdicts: finals });
  }
  unkept = unkept.filter(({ key }) => !done.has(key));
  await database.update(keyOf(id), (/** @type {Choice[]} */ queue = []) => queue.filter(({ key }) => !done.has(key)))
    .then(() => { for (const { key } of answered) done.delete(key); }, console.error);
  const waits = verdicts.filter(({ status }) => status !== 500).filter(isLater).map(({ retryAfter }) => retryAfter ?? 1);
  return { isAnswered: answered.length > 0, wait: Math.max(0, ...waits) };
}

/**
 * Shows what became of choices.
 * @param {Choice[]} choices
 * @param {Verdict[]} verdicts of each, for good
 */
function settle(choices, verdicts) {
  /** @type {Refusal[]} */
  const refused = [];
  let isCountedBefore = false;
  batch(() => {
    choices.forEach((choice, i) => {
      const { status, code = 'internal', optionIndex, votesRemainingToday } = verdicts[i];
      const isVote = choice.optionIndex !== null;
      const isMine = mineWaiting.delete(choice.key);
      if (votesRemainingToday !== undefined) votesTold.value = votesRemainingToday;
      const before = code === 'already_voted' ? optionIndex : undefined;
      const shown = choiceOf(choice.pollId);
      const isShown = shown.value?.optionIndex === choice.optionIndex;
      if (status === 200 || (isVote && before === choice.optionIndex)) {
        // Another tab's choice is shown too; a vote after a skip is not undone by it.
        if (isShown || isVote || !shown.value) {
          shown.value = { optionIndex: choice.optionIndex, state: 'counted', base: isShown ? (shown.value?.base ?? null) : null };
        }
        if (status !== 200 && isMine) isCountedBefore = true;
        return;
      }
      if (before !== undefined) shown.value = { optionIndex: before, state: 'counted', base: null };
      else if (isShown) shown.value = null;
      if (code === 'poll_closed' || code === 'not_found') lose(choice.pollId);
      if (isVote && code === 'daily_vote_limit') votesTold.value = 0;
      // That a skipped poll had been voted on before changes nothing for anybody.
      if (isVote) refused.push({ choice, code, optionIndex: before });
    });
    countWaiting();
  });
  if (isCountedBefore) loadProfile().catch(() => {}); // the answer that told the votes left was lost
  for (const refusal of refused) for (const tell of refusalListeners) tell(refusal);
}

tabs.onmessage = ({ data: { id, choices, verdicts } }) => {
  if (user.value?.id === id) settle(choices, verdicts);
};

/**
 * Asks the server. A vote alone is answered with the counts that include it, and
 * charged to the window of votes only. What the server does not take together is
 * sent one by one, so that one bad choice holds up no other.
 * @param {Choice[]} choices
 * @returns {Promise<Verdict[]>} of each, or of the first ones only
 */
async function verdictsOn(choices) {
  const [{ pollId, optionIndex }] = choices;
  try {
    if (choices.length > 1 || optionIndex === null) {
      return await call('POST', '/api/interactions', {
        body: choices.map((c) => (c.optionIndex === null ? { pollId: c.pollId, skip: true } : { pollId: c.pollId, optionIndex: c.optionIndex })),
      });
    }
    const { stats, votesRemainingToday } = await call('POST', `/api/polls/${pollId}/vote`, { body: { optionIndex } });
    learn(stats);
    return [{ pollId, status: 200, optionIndex, votesRemainingToday }];
  } catch (error) {
    // Without a code it is not the word of this server on the choice.
    const isFailure = error instanceof Refused && error.status === 500; // of this choice perhaps, not of the server
    if (!(error instanceof Refused) || (!isFailure && (isPassing(error) || error.status === 401 || error.status === 403 || error.code === 'internal'))) throw error;
    if (choices.length > 1) return verdictsOn(choices.slice(0, 1));
    return [{ pollId, status: error.status, code: error.code, optionIndex: error.optionIndex }];
  }
}

addEventListener('online', () => flushIn(0));
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && waiting.value > 0) flushIn(0);
});
