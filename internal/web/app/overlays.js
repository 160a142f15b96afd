// What is open above the page. The dialogs themselves are loaded when first used.

import { signal } from '@preact/signals';
import { everywhere, here } from './storage.js';

/** @typedef {import('../types.js').Poll} Poll */

/** The poll that is being shared. */
export const sharing = signal(/** @type {Poll | null} */ (null));

/** Whether the keys are explained. */
export const helping = signal(false);

/** Whether single keys vote, skip and search: speech and shaking hands may press them unasked. */
export const hasKeys = signal(everywhere.get('vote.keys') !== false);

/** @param {boolean} are */
export function setKeys(are) {
  hasKeys.value = are;
  everywhere.set('vote.keys', are);
}

/** What a visitor wanted to do when asked to sign in. */
export const welcoming = signal(/** @type {{poll: Poll, optionIndex: number} | null} */ (null));

/** @param {Poll} poll */
export function share(poll) {
  sharing.value = poll;
}

/**
 * Asks a visitor to sign in, and keeps the vote they meant for afterwards.
 * @param {{poll: Poll, optionIndex: number}} intent
 */
export function askToSignIn(intent) {
  welcoming.value = intent;
}

const kept = 'vote.intent';

/**
 * Keeps a visitor's vote until they have signed in, in this tab.
 * @param {{poll: Poll, optionIndex: number} | null} intent
 */
export function keepIntent(intent) {
  here.set(kept, intent);
}

/**
 * Returns the vote that was kept, and forgets it.
 * @returns {{poll: Poll, optionIndex: number} | null}
 */
export function takeIntent() {
  const intent = here.get(kept);
  keepIntent(null);
  return intent;
}
