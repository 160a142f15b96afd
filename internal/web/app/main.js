// Starts the app: the language, who is signed in, the page asked for.

import './early.js';
import { html, render } from 'htm/preact';
import { useEffect, useState } from 'preact/hooks';
import { effect, signal, untracked } from '@preact/signals';
import { Feed } from './feed.js';
import { Refused } from './http.js';
import * as outbox from './outbox.js';
import { helping, keepIntent, sharing, takeIntent, welcoming } from './overlays.js';
import { watch } from './results.js';
import { go, path } from './router.js';
import { hasEnded, isSignedIn, loadProfile, user, votesPerDay, votesTold } from './session.js';
import { speakPreferred, t } from './texts.js';
import { Head, Loading, Messages, reason, say, Title } from './ui.js';

/** @typedef {import('../types.js').Poll} Poll */

/** Pages and dialogs that are loaded when first shown. */
const parts = {
  create: () => import('./create.js'),
  enter: () => import('./enter.js'),
  help: () => import('./help.js'),
  me: () => import('./me.js'),
  poll: () => import('./poll.js'),
  share: () => import('./share.js'),
  welcome: () => import('./welcome.js'),
};

/** @type {Map<string, any>} */
const loaded = new Map();

/**
 * Shows the default export of a part.
 * @param {{part: keyof typeof parts, quiet?: boolean, props?: object}} options quiet: nothing is shown until it is there
 */
function Part({ part, quiet = false, props = {} }) {
  const [failure, fail] = useState(/** @type {unknown} */ (null));
  const [, again] = useState(0);
  useEffect(() => {
    if (loaded.has(part)) return;
    fail(null);
    parts[part]().then((module) => {
      loaded.set(part, module.default);
      again((n) => n + 1);
    }, (error) => {
      fail(error);
      if (!quiet) return;
      sharing.value = welcoming.value = null;
      helping.value = false;
      say(t(navigator.onLine ? 'error.noAnswer' : 'error.offline'), reload());
    });
  }, [part]);
  const Component = loaded.get(part);
  if (Component) return html`<${Component} ...${props} />`;
  if (quiet) return null;
  const { label, run } = reload();
  return html`<${Head} /><div class="page">${failure
    ? html`<${Title}>${t('end.failed')}</${Title}><p>${t(navigator.onLine ? 'error.noAnswer' : 'error.offline')}</p><p><button class="button" onClick=${run}>${label}</button></p>`
    : html`<${Loading} />`}</div>`;
}

/** What helps when a part cannot be loaded: browsers don't try again by themselves, and a new release has other parts. */
const reload = () => ({ label: t('update.now'), run: () => location.reload() });

function Page() {
  const at = path.value;
  if (at === '/') return html`<${Feed} />`;
  if (at === '/create') return html`<${Part} key="create" part="create" />`;
  if (at === '/sign-in' || at === '/sign-up') return html`<${Part} key=${at} part="enter" props=${{ isNew: at === '/sign-up' }} />`;
  if (at.startsWith('/p/')) return html`<${Part} key=${at} part="poll" props=${{ id: Number(at.slice(3)) }} />`;
  return html`<${Part} key="me" part="me" props=${{ tab: at.slice(4) }} />`;
}

function App() {
  return html`
    <${Page} />
    <${Waiting} />
    <${Messages} />
    ${sharing.value && html`<${Part} part="share" quiet props=${{ poll: sharing.value }} />`}
    ${welcoming.value && html`<${Part} part="welcome" quiet props=${{ intent: welcoming.value }} />`}
    ${helping.value && html`<${Part} part="help" quiet />`}`;
}

/** Tells that there is no network, and how many choices wait for one. */
function Waiting() {
  const count = outbox.waiting.value;
  if (isOnline.value && !(outbox.isStuck.value && count > 0)) return null;
  return html`<p class="waiting" role="status">${isOnline.value ? t('waiting', { count }) : count > 0 ? t('offline.waiting', { count }) : t('offline')}</p>`;
}

const isOnline = signal(navigator.onLine);
for (const kind of ['online', 'offline']) addEventListener(kind, () => (isOnline.value = navigator.onLine));

outbox.onRefusal(({ choice, code, optionIndex }) => {
  const title = choice.title.length > 60 ? `${choice.title.slice(0, 59)}…` : choice.title;
  if (code === 'already_voted' && optionIndex !== undefined) say(t('refused.already_voted', { title }));
  else if (code === 'poll_closed' || code === 'not_found' || code === 'daily_vote_limit' || code === 'not_kept') say(t(`refused.${code}`, { title }));
  else say(t('refused.other', { title }));
});

outbox.onReplay((count) => say(t('replayed', { count })));

/** Whoever signs in finds what they left: waiting choices, the vote they meant. */
function onEntry() {
  outbox.reset();
  if (!isSignedIn.value) return;
  void outbox.resume().then(() => {
    const intent = takeIntent();
    if (intent) void outbox.vote(intent.poll, intent.optionIndex).then(() => say(t('counted', { option: intent.poll.options[intent.optionIndex] })));
  });
  loadProfile().catch((error) => {
    if (isSignedIn.value && error instanceof Refused) say(reason(error));
  });
}

const day = 86_400_000; // ms
const today = () => Math.floor(Date.now() / day);
let lastDay = today();

/** The votes left begin anew when the UTC day changes, and the server is asked, though not by everybody at once. */
function turnDay() {
  if (document.hidden || lastDay === today()) return;
  lastDay = today();
  if (!isSignedIn.value) return;
  votesTold.value = votesPerDay.value;
  setTimeout(() => loadProfile().catch(() => {}), 1000 + Math.random() * 60_000);
}

function atMidnight() {
  setTimeout(() => {
    turnDay();
    atMidnight();
  }, day - (Date.now() % day) + 100);
}

// No timer counts on while a machine sleeps.
document.addEventListener('visibilitychange', turnDay);

const pageTitles = /** @type {const} */ ({ '/create': 'create', '/sign-in': 'signIn', '/sign-up': 'signUp' });

async function start() {
  await speakPreferred();
  const root = /** @type {HTMLElement} */ (document.getElementById('app'));
  root.replaceChildren();
  render(html`<${App} />`, root);

  let entered = /** @type {number | null} */ (null);
  effect(() => {
    const id = user.value?.id ?? null;
    if (id !== null && id === entered) return;
    entered = id;
    untracked(onEntry);
  });
  effect(() => {
    if (hasEnded.value) untracked(() => say(t('ended'), { label: t('signIn'), run: () => go('/sign-in') }));
  });
  effect(() => {
    const at = path.value;
    // Who has gone back without signing in does not want that vote cast another day.
    if (!isSignedIn.peek() && !at.startsWith('/sign-')) keepIntent(null);
    if (at !== '/' && !at.startsWith('/p/')) watch([]);
    const key = at.startsWith('/me') ? 'me' : pageTitles[/** @type {keyof typeof pageTitles} */ (at)];
    if (!at.startsWith('/p/')) document.title = key ? `${t(key)} · Vote` : 'Vote';
    untracked(() => scrollTo({ top: 0, behavior: 'instant' }));
  });
  atMidnight();

  if ('serviceWorker' in navigator) {
    const { install } = await import('./install.js');
    await install();
  }
}

void start();

