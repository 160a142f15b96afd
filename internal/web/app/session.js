// Who is signed in.
//
// The refresh token is in a cookie that no script can read, and the access token
// in this module's memory only, so that injected script finds nothing to carry
// away. What is kept in the browser's storage is who signed in last, for a start
// without a network.
//
// Tabs share the cookie and each has an access token of its own. A refresh token
// is good once, so tabs take turns.

import { batch, computed, signal } from '@preact/signals';
import { Refused, send } from './http.js';
import { everywhere } from './storage.js';

/** @typedef {import('../types.js').Session} Session */
/** @typedef {import('../types.js').Profile} Profile */

const kept = 'vote.user';
const web = { 'x-vote-client': 'web' };

/** @type {import('@preact/signals').Signal<{id: number, username: string} | null>} */
export const user = signal(remembered());

/** Votes left on this UTC day as the server told last; null when unknown or unlimited. */
export const votesTold = signal(/** @type {number | null} */ (null));

/** Votes that the server may not have counted yet. */
export const votesUnderWay = signal(0);

/** Votes left on this UTC day; null when unknown or unlimited. */
export const votesLeft = computed(() => (votesTold.value === null ? null : Math.max(0, votesTold.value - votesUnderWay.value)));

/** Votes of this UTC day and those left, as far as the server told. */
export const votesPerDay = signal(/** @type {number | null} */ (null));

export const isSignedIn = computed(() => user.value !== null);

/** Whether the server has ended the session, without being asked to. */
export const hasEnded = signal(false);

/** @type {{token: string, until: number} | null} */
let access = null;

function remembered() {
  const value = everywhere.get(kept);
  return Number.isInteger(value?.id) && typeof value.username === 'string' ? value : null;
}

/** @param {Session} session */
function enter(session) {
  const until = Date.parse(session.expiresAt);
  // To a clock that is ahead every token has ended: then the server is to say when.
  access = { token: session.token, until: until - Date.now() > 60_000 ? until : Infinity };
  const { id, username } = session.user;
  everywhere.set(kept, { id, username });
  hasEnded.value = false;
  if (user.value?.id === id && user.value.username === username) return;
  batch(() => {
    user.value = { id, username };
    votesTold.value = votesPerDay.value = null;
  });
}

function leave() {
  access = null;
  everywhere.set(kept, null);
  batch(() => {
    user.value = null;
    votesTold.value = votesPerDay.value = null;
  });
}

/**
 * @param {string} email
 * @param {string} password
 */
export async function signIn(email, password) {
  await navigator.locks.request('vote-session', async () => {
    enter(await send('POST', '/api/auth/login', { body: { email, password }, headers: web }));
  });
}

/**
 * @param {string} username
 * @param {string} email
 * @param {string} password
 */
export async function signUp(username, email, password) {
  await navigator.locks.request('vote-session', async () => {
    enter(await send('POST', '/api/auth/register', { body: { username, email, password }, headers: web }));
  });
}

/** Ends the session on the server and here. Without an answer from the server nothing changes. */
export async function signOut() {
  await call('POST', '/api/auth/logout', { headers: web });
  leave();
}

/**
 * Has the server erase the account, and forgets it here.
 * @param {string} password
 */
export async function erase(password) {
  await call('DELETE', '/api/users/me', { body: { password }, headers: web });
  leave();
}

/**
 * Returns an access token, a new one when the one at hand is missing, about to
 * end, or the one that was refused.
 * @param {string} [refused]
 */
async function token(refused) {
  const good = () => access !== null && access.token !== refused && access.until - Date.now() > 30_000;
  if (!good()) {
    await navigator.locks.request('vote-session', async () => {
      if (good()) return; // another call was quicker
      const before = user.value?.id;
      try {
        enter(await send('POST', '/api/auth/refresh', { headers: web }));
      } catch (error) {
        if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
          leave();
          hasEnded.value = before !== undefined;
        }
        throw error;
      }
      if (user.value?.id !== before) location.reload(); // another page signed in as somebody else
    });
  }
  return access?.token;
}

/**
 * Sends a request as the person who is signed in, and as nobody else, whoever
 * signs in meanwhile. Throws like `send`; when the session has ended,
 * {@link Refused} with status 401, and that person is not signed in any more.
 * @param {string} method
 * @param {string} path
 * @param {{body?: unknown, headers?: Record<string, string>, signal?: AbortSignal, patience?: number}} [options]
 */
export async function call(method, path, options) {
  const who = user.peek()?.id;
  /** @param {string} [refused] */
  const theirs = async (refused) => {
    const good = await token(refused);
    if (user.peek()?.id !== who) throw new Refused(401, { code: 'unauthorized' }, 0);
    return good;
  };
  const first = await theirs();
  try {
    return await send(method, path, { ...options, token: first });
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 401) throw error;
  }
  return send(method, path, { ...options, token: await theirs(first) });
}

/**
 * Sends a request that anyone may make: as the person who is signed in, if any,
 * else anonymously.
 * @param {string} method
 * @param {string} path
 * @param {{signal?: AbortSignal}} [options]
 */
export function ask(method, path, options) {
  return user.value ? call(method, path, options) : send(method, path, options);
}

/** Loads the profile and with it the votes left today. @returns {Promise<Profile>} */
export async function loadProfile() {
  /** @type {Profile} */
  const profile = await call('GET', '/api/users/me');
  const left = profile.votesRemainingToday;
  batch(() => {
    votesTold.value = left;
    votesPerDay.value = left === null ? null : left + profile.votesToday;
    if (user.value && user.value.username !== profile.username) {
      user.value = { id: profile.id, username: profile.username };
      everywhere.set(kept, user.value);
    }
  });
  return profile;
}

addEventListener('storage', (event) => {
  if (event.key !== kept) return;
  const now = remembered();
  if (now?.id === user.value?.id) return;
  access = null;
  if (now === null) leave();
  else location.reload();
});
