// The feed: what comes next, and how it is held.
//
// Pages are loaded well before they are needed, and what is not seen yet is kept
// for a start without a network. Cards far from the one in view are empty places.

import { html } from 'htm/preact';
import { useEffect, useRef } from 'preact/hooks';
import { batch, computed, signal } from '@preact/signals';
import * as database from 'idb-keyval';
import { Card, choose } from './card.js';
import { popular as askedEarly } from './early.js';
import { Refused, send } from './http.js';
import { choiceOf, flush, isStuck, onChoice, queued, skip, waiting } from './outbox.js';
import { hasKeys, helping } from './overlays.js';
import { watch } from './results.js';
import { go, hasMoved, path, query } from './router.js';
import { call, isSignedIn, user, votesLeft, votesPerDay } from './session.js';
import { number, t } from './texts.js';
import { isCalm, Loading, Logo, reason } from './ui.js';

/** @typedef {import('../types.js').Poll} Poll */
/** @typedef {{tag: string, q: string, sort: 'new' | 'hot'}} Filter */
/** @typedef {{poll: Poll} | 'limit'} Item */

/** @type {import('@preact/signals').Signal<Filter>} */
const filter = signal({ tag: '', q: '', sort: 'new' });
const items = signal(/** @type {Item[]} */ ([]));
const state = signal(/** @type {'loading' | 'more' | 'end' | 'failed' | 'offline'} */ ('loading'));
const failure = signal(/** @type {unknown} */ (null));
const active = signal(0);
const tags = signal(/** @type {string[]} */ ([]));

const pageSize = 20;
const ahead = 10; // cards that are loaded beyond the one in view, at least
const drawn = 2; // cards on each side of the one in view that are drawn
const stock = 60; // polls that are kept for a time without network

/** @type {string | null} */
let cursor = null;
/** Whose feed is shown: a change starts it anew. */
let owner = /** @type {number | null | undefined} */ (undefined);
let loading = /** @type {AbortController | null} */ (null);
/** The last place that was in view. */
let furthest = 0;
/** Whether what is shown was kept, and may hold what was seen elsewhere since. */
let isOld = false;

const keyOf = (/** @type {number} */ id) => `feed:${id}`;
const isPlain = () => !filter.value.tag && !filter.value.q && filter.value.sort === 'new';

/** The filter as both the page's address and the API name it. */
function filterQuery() {
  const { tag, q, sort } = filter.value;
  const given = new URLSearchParams();
  if (tag) given.set('tag', tag);
  if (q) given.set('q', q);
  if (sort === 'hot') given.set('sort', sort);
  return given;
}

/** Takes the filter that the page's address names, and tells whether it is another one. */
function takeFilter() {
  const given = new URLSearchParams(query.value);
  /** @type {Filter} */
  const wanted = { tag: given.get('tag') ?? '', q: given.get('q') ?? '', sort: given.get('sort') === 'hot' ? 'hot' : 'new' };
  if (JSON.stringify(wanted) === JSON.stringify(filter.value)) return false;
  filter.value = wanted;
  searching.value = wanted.q !== '';
  return true;
}

/**
 * Shows the feed through another filter, from its start.
 * @param {Partial<Filter>} change
 */
function show(change) {
  filter.value = { ...filter.value, ...change };
  const given = filterQuery();
  go(given.size ? `/?${given}` : '/', { replace: true });
  void restart();
}

/** Loads the feed from its start. */
async function restart() {
  loading?.abort();
  loading = null;
  batch(() => {
    items.value = [];
    heights.clear();
    active.value = furthest = 0;
    isOld = false;
    state.value = 'loading';
    owner = user.value?.id ?? null;
  });
  cursor = null;
  await more();
}

/** Loads the next page, once at a time. */
async function more() {
  if (loading) return;
  const mine = (loading = new AbortController());
  state.value = 'loading';
  try {
    const page = user.value ? await personal(mine.signal) : await popular(mine.signal);
    const pending = await pendingIds();
    if (mine.signal.aborted) return;
    batch(() => {
      if (isOld) items.value = items.value.slice(0, furthest + 1);
      isOld = false;
      add(page.polls, pending);
      cursor = page.nextCursor;
      state.value = cursor === null ? 'end' : 'more';
    });
    void keep();
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error instanceof Refused && error.code === 'cursor_expired') {
      cursor = null;
      loading = null;
      return more();
    }
    if (!(error instanceof Refused) && (await takeKept())) return;
    failure.value = error;
    state.value = error instanceof Refused ? 'failed' : 'offline';
  } finally {
    if (loading === mine) loading = null;
    watch(pollsFrom(active.value - 5));
  }
  if (isWaitedFor()) void more();
}

/** Whether somebody waits at the end although there is more: nothing on the last page was new. */
const isWaitedFor = () => state.value === 'more' && active.value >= items.value.length;

/** The next page for the person who is signed in. @param {AbortSignal} signal @returns {Promise<import('../types.js').FeedPage>} */
async function personal(signal) {
  // What was just voted on or skipped must be told first: it is not to come back.
  if (waiting.value > 0 && !isStuck.value) await flush();
  const given = filterQuery();
  given.set('limit', String(pageSize));
  if (cursor !== null) given.set('cursor', cursor);
  return call('GET', `/api/polls?${given}`, { signal });
}

/** The answer that was asked for before anything else, which serves once. */
let atStart = askedEarly;

/** What a visitor gets: the hottest polls, filtered here. @param {AbortSignal} signal */
async function popular(signal) {
  const { tag, q } = filter.value;
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const isFirst = cursor === null && !tag && !q;
  const early = isFirst && atStart;
  atStart = null;
  const answer = (early && (await early)) || (await send('GET', `/api/polls/popular?limit=${isFirst ? 10 : 100}`, { signal }));
  const polls = /** @type {Poll[]} */ (answer.polls).filter((poll) => {
    const text = [poll.title, ...poll.options, ...poll.tags].join(' ').toLowerCase();
    return (!tag || poll.tags.includes(tag)) && words.every((word) => text.includes(word));
  });
  return { polls, nextCursor: isFirst && answer.polls.length === 10 ? 'rest' : null };
}

/** The polls of choices that wait for the server, those of other tabs too. */
async function pendingIds() {
  const id = user.value?.id;
  return new Set(id === undefined ? [] : (await queued(id)).map(({ pollId }) => pollId));
}

/**
 * Appends polls that are neither there nor seen.
 * @param {Poll[]} polls
 * @param {Set<number>} pending polls that are seen
 */
function add(polls, pending) {
  const there = new Set(items.value.map((item) => (item === 'limit' ? 0 : item.poll.id)));
  const fresh = polls.filter((poll) => !there.has(poll.id) && !pending.has(poll.id) && choiceOf(poll.id).value === null);
  items.value = [...items.value, ...fresh.map((poll) => ({ poll }))];
}

/** @param {number} start */
const pollsFrom = (start) => items.value.slice(Math.max(0, start)).flatMap((item) => (item === 'limit' ? [] : [item.poll.id]));

/** @param {Item} item */
const isSeen = (item) => item !== 'limit' && choiceOf(item.poll.id).value !== null;

const unseen = () => items.value.flatMap((item) => (item === 'limit' || isSeen(item) ? [] : [item.poll]));

/** Whether polls that are still to come were seen elsewhere. */
const isStale = () => items.value.slice(furthest + 1).some(isSeen);

function dropSeen() {
  items.value = items.value.filter((item, i) => i <= furthest || !isSeen(item));
}

// What is kept for a start without a network holds nothing that was seen.
onChoice(({ pollId }) => {
  const id = Number(user.value?.id);
  database.update(keyOf(id), (/** @type {Poll[]} */ polls = []) => polls.filter((poll) => poll.id !== pollId)).catch(console.error);
});

async function keep() {
  const id = user.value?.id;
  if (id === undefined || !isPlain()) return;
  try {
    await database.set(keyOf(id), unseen().slice(-stock));
  } catch (error) {
    console.error(error); // without it the app needs a network to start
  }
}

/** Shows what was kept, when nothing else is there. Tells whether there was something. */
async function takeKept() {
  const id = user.value?.id;
  if (id === undefined || !isPlain() || items.value.length > 0) return false;
  const polls = /** @type {Poll[]} */ ((await database.get(keyOf(id)).catch(() => null)) ?? []);
  const pending = await pendingIds();
  if (user.value?.id !== id) return false;
  batch(() => {
    add(polls, pending);
    isOld = true;
    state.value = 'offline';
  });
  return items.value.length > 0;
}

/** Forgets the polls kept for somebody. @param {number} id */
export const forgetFeed = (id) => database.del(keyOf(id));

/** Puts the card of the daily limit where the visitor is, and takes it away when the day is over. */
function showLimit() {
  const there = items.value.indexOf('limit');
  if (votesLeft.value && there >= active.value) items.value = items.value.toSpliced(there, 1);
  if (votesLeft.value !== 0 || there !== -1 || !isSignedIn.value || !isPlain()) return;
  const at = items.value.length === 0 ? 0 : active.value + (choiceOf(idAt(active.value)).value ? 1 : 0);
  items.value = items.value.toSpliced(at, 0, 'limit');
}

/** What is read out when a card comes into view. @param {Item | undefined} item */
const titleOf = (item) => (item === undefined ? '' : item === 'limit' ? t('limit.title') : item.poll.title);

/** @param {number} index */
function idAt(index) {
  const item = items.value[index];
  return item && item !== 'limit' ? item.poll.id : 0;
}

/** @type {HTMLElement | null} */
let scroller = null;

/** @param {number} index */
function scrollTo(index) {
  const isFar = Math.abs(index - active.value) > 1;
  scroller?.children[index]?.scrollIntoView({ behavior: isFar || isCalm() ? 'instant' : 'smooth', block: 'center' });
}

/** Where a key or button leads to: places passed on the way there were not swiped over. */
let heading = -1;

/** @param {number} step */
function move(step) {
  const to = Math.min(Math.max(0, active.value + step), items.value.length);
  heading = to === active.value ? -1 : to;
  scrollTo(to);
}

/** Skips the poll in view, unless it was voted on, and goes on. */
function next() {
  skipAt(active.value);
  move(1);
}

/** @param {number} index */
function skipAt(index) {
  const item = items.value[index];
  if (isSignedIn.value && item && item !== 'limit' && choiceOf(item.poll.id).value === null) void skip(item.poll);
}

/** @type {number | undefined} */
let settling;

/** The height that a place had when it was drawn, px. @type {Map<number, number>} */
const heights = new Map();

/** Which place holds the middle of the view. @param {HTMLElement} root */
function atCentre(root) {
  const centre = root.scrollTop + root.clientHeight / 2;
  let index = 0;
  while (index + 1 < root.children.length && /** @type {HTMLElement} */ (root.children[index + 1]).offsetTop <= centre) index++;
  return index;
}

/** Another card has come to rest in view. @param {number} index */
function arrive(index) {
  const from = active.value;
  if (index === from || !scroller) return;
  if (heading === -1) for (let i = from; i < index; i++) skipAt(i); // swiped away
  heading = -1;
  for (let i = from - drawn; i <= from + drawn; i++) {
    const place = /** @type {HTMLElement | undefined} */ (scroller.children[i]);
    if (place) heights.set(i, place.offsetHeight);
  }
  const hadFocus = scroller.children[from]?.contains(document.activeElement);
  active.value = index;
  furthest = Math.max(furthest, index);
  if (hadFocus) scroller.focus({ preventScroll: true }); // what is out of view takes no keys
  // What failed is tried again with each card, before it is missed.
  if (state.value !== 'end' && items.value.length - index <= ahead) void more();
}

/** Whether going on skips the poll in view. */
const isSkip = computed(() => {
  const item = items.value[active.value];
  return isSignedIn.value && item !== undefined && item !== 'limit' && choiceOf(item.poll.id).value === null;
});

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (path.value !== '/' || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (event.target instanceof HTMLElement && event.target.closest('input, textarea, select')) return;
  if (event.key.length === 1 && !hasKeys.value) return;
  const item = items.value[active.value];
  if (/^[0-9]$/.test(event.key)) {
    if (heading === -1 && item && item !== 'limit') choose(item.poll, (Number(event.key) + 9) % 10);
  } else if (event.key === 's' || event.key === 'S') { if (!event.repeat) next(); }
  else if (event.key === 'ArrowDown' || event.key === 'PageDown') move(1);
  else if (event.key === 'ArrowUp' || event.key === 'PageUp') move(-1);
  else if (event.key === 'End') move(Infinity);
  else if (event.key === 'Home') move(-Infinity);
  else if (event.key === '/') searching.value = true;
  else if (event.key === '?') helping.value = true;
  else return;
  event.preventDefault();
}

const pauseOfWheel = 200; // ms without an event end a gesture of a wheel or a touchpad
const notch = 40; // px that are meant: less is a finger at rest
let wheeled = 0; // when the gesture's last event was
let distance = 0; // how far it went, px; beyond any once it has moved the feed

/**
 * A notch of a wheel, or a stroke over a touchpad however long it runs on, is one
 * swipe. The browser would snap back after a notch.
 * @param {WheelEvent} event
 */
function onWheel(event) {
  const place = scroller?.children[active.value];
  if (event.ctrlKey || !place) return; // ctrl: the page is made larger
  const { scrollTop, scrollHeight, clientHeight } = place;
  const isDown = event.deltaY > 0;
  const isFresh = event.timeStamp - wheeled > pauseOfWheel;
  // What is longer than the view is read to its end first.
  const isRead = isDown ? scrollTop + clientHeight >= scrollHeight - 1 : scrollTop <= 0;
  if (isFresh) distance = isRead ? 0 : Infinity;
  wheeled = event.timeStamp;
  if (!isRead) return;
  event.preventDefault();
  if (Math.abs(distance) > notch) return;
  distance += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : event.deltaY * notch;
  if (Math.abs(distance) <= notch) return;
  if (isDown) next();
  else move(-1);
}

const searching = signal(false);

export function Feed() {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const count = items.value.length;

  useEffect(() => {
    document.documentElement.classList.add('in-feed');
    const isOther = takeFilter();
    searching.value = filter.value.q !== '';
    scroller = list.current;
    heading = -1;
    if (hasMoved() && document.activeElement === document.body) scroller?.focus({ preventScroll: true });
    if (owner !== (user.value?.id ?? null) || isOther || state.value === 'failed') void restart();
    else {
      scroller?.children[active.value]?.scrollIntoView({ behavior: 'instant', block: 'center' });
      watch(pollsFrom(active.value - 5));
    }
    if (tags.value.length === 0) {
      send('GET', '/api/tags?limit=12').then((answer) => (tags.value = answer.items.map((/** @type {{tag: string}} */ i) => i.tag)), () => {});
    }
    const retry = () => { if (state.value === 'offline') void more(); };
    addEventListener('keydown', onKey);
    addEventListener('online', retry);
    return () => {
      document.documentElement.classList.remove('in-feed');
      scroller = null;
      removeEventListener('keydown', onKey);
      removeEventListener('online', retry);
    };
  }, []);

  // A session may end, or begin in another tab.
  const id = user.value?.id ?? null;
  useEffect(() => {
    if (owner !== undefined && owner !== id) void restart();
  }, [id]);

  // A link to a tag, and the way back from it, change the query only.
  useEffect(() => query.subscribe(() => {
    if (path.value === '/' && takeFilter()) void restart();
  }), []);

  // There is a way to the server again.
  useEffect(() => {
    if (!isStuck.value && state.value === 'offline') void more();
  }, [isStuck.value]);

  const stale = isStale();
  useEffect(() => {
    if (stale) dropSeen();
  }, [stale]);

  useEffect(showLimit, [votesLeft.value, state.value === 'loading']);

  useEffect(() => {
    const root = list.current;
    if (!root) return;
    const settle = () => {
      clearTimeout(settling);
      settling = setTimeout(() => arrive(atCentre(root)), 90);
    };
    const halt = () => (heading = -1); // a finger takes over
    root.addEventListener('scroll', settle, { passive: true });
    root.addEventListener('touchstart', halt, { passive: true });
    root.addEventListener('wheel', onWheel, { passive: false });
    return () => {
      clearTimeout(settling);
      root.removeEventListener('scroll', settle);
      root.removeEventListener('touchstart', halt);
      root.removeEventListener('wheel', onWheel);
    };
  }, []);

  // The last place is made anew with each page: the browser holds on to the place
  // in view, and who waits in the last one is to see what came.
  return html`
    <h1 class="sr">${t('feed')}</h1>
    <header class="head">
      <${Logo} />
      ${searching.value ? html`<${Search} />` : html`<${Chips} />`}
      <button class="chip hint-keys" aria-label=${t('help.title')} onClick=${() => (helping.value = true)}>?</button>
      <${Ring} />
    </header>
    <div class="feed" ref=${list} role="region" aria-label=${t('feed')} aria-busy=${state.value === 'loading' ? 'true' : 'false'} tabindex="0">
      ${items.value.map((item, i) => html`<section class="slot" key=${item === 'limit' ? 'limit' : item.poll.id} inert=${i !== active.value}
          style=${{ '--h': heights.has(i) && Math.abs(i - active.value) > drawn ? `${heights.get(i)}px` : 'auto' }}>
        ${Math.abs(i - active.value) <= drawn && (item === 'limit' ? html`<${LimitCard} />` : html`<${Card} poll=${item.poll} />`)}
      </section>`)}
      <section class="slot" key=${`end ${count}`} inert=${active.value !== count}><${EndCard} /></section>
    </div>
    <p class="sr" aria-live="polite">${titleOf(items.value[active.value])}</p>
    <nav class="actions" aria-label=${t('actions')}>
      ${active.value < count
        ? html`<button class="big" onClick=${next}>${isSkip.value ? t('skip') : t('next')}<kbd aria-hidden="true">S</kbd></button>`
        : isSignedIn.value
          ? html`<button class="big" onClick=${state.value === 'end' ? restart : more}>${t(state.value === 'end' ? 'end.check' : 'again')}</button>`
          : html`<a class="big" href="/sign-up">${t('signUp')}</a>`}
      <a class="ic" href="/create" aria-label=${t('create')}>+</a>
    </nav>`;
}

function Chips() {
  const { tag, sort } = filter.value;
  const chip = (/** @type {string} */ label, /** @type {boolean} */ on, /** @type {() => void} */ run) =>
    html`<button class="chip" key=${label} aria-pressed=${on ? 'true' : 'false'} onClick=${run}><bdi>${label}</bdi></button>`;
  const listed = tag && !tags.value.includes(tag) ? [tag, ...tags.value] : tags.value;
  return html`<div class="chips" role="group" aria-label=${t('filter')}>
    <button class="chip" aria-label=${t('search')} onClick=${() => (searching.value = true)}>
      <svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true"><circle cx="7" cy="7" r="4.5" /><path d="m10.5 10.5 4 4" /></svg>
    </button>
    ${isSignedIn.value
      ? [chip(t('new'), !tag && sort === 'new', () => show({ tag: '', sort: 'new' })), chip(t('hot'), !tag && sort === 'hot', () => show({ tag: '', sort: 'hot' }))]
      : chip(t('popular'), !tag, () => show({ tag: '' }))}
    ${listed.map((name) => chip(`#${name}`, tag === name, () => show({ tag: tag === name ? '' : name, sort: 'new' })))}
  </div>`;
}

/** @type {number | undefined} */
let typing;

function Search() {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => field.current?.focus(), []);
  const close = () => {
    searching.value = false;
    clearTimeout(typing);
    if (filter.value.q) show({ q: '' });
  };
  const type = (/** @type {string} */ q) => {
    clearTimeout(typing);
    typing = setTimeout(() => show({ q: q.trim() }), 350);
  };
  return html`<form class="search" role="search" onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); field.current?.blur(); }}>
    <input ref=${field} type="search" maxlength="200" enterkeyhint="search" dir="auto" autocomplete="off" aria-label=${t('search')} placeholder=${t('searchHint')}
      value=${filter.value.q} onInput=${() => type(field.current?.value ?? '')} onKeyDown=${(/** @type {KeyboardEvent} */ e) => { if (e.key === 'Escape') close(); }} />
    <button type="button" class="quiet" aria-label=${t('close')} onClick=${close}>×</button>
  </form>`;
}

/** The votes left today, and the way to one's own page. */
export function Ring() {
  if (!isSignedIn.value) return html`<a class="chip strong" href="/sign-in">${t('signIn')}</a>`;
  const left = votesLeft.value;
  const whole = votesPerDay.value;
  const label = left === null ? t('me') : t('votesLeft', { count: left });
  return html`<a class="ring" href="/me" title=${label} aria-label=${`${t('me')}. ${left === null ? '' : label}`}
    style=${{ '--p': String(left === null || !whole ? 1 : left / whole) }}>${left === null ? user.value?.username.slice(0, 1).toUpperCase() : number(left)}</a>`;
}

function LimitCard() {
  return html`<div class="card plain">
    <p class="figure" aria-hidden="true">${number(0)}</p>
    <h2 class="question" data-size="l">${t('limit.title')}</h2>
    <p>${t('limit.text', { count: votesPerDay.value ?? 0 })}</p>
    <p class="soft"><${Countdown} /></p>
  </div>`;
}

/** How long it is to the next UTC midnight. */
function Countdown() {
  const minutes = Math.ceil((86_400_000 - (Date.now() % 86_400_000)) / 60_000);
  return html`${t('limit.until', { hours: Math.floor(minutes / 60), minutes: minutes % 60 })}`;
}

function EndCard() {
  switch (state.value) {
    case 'loading':
    case 'more':
      return html`<div class="card plain"><${Loading} /></div>`;
    case 'failed':
    case 'offline':
      return html`<div class="card plain">
        <h2 class="question" data-size="l">${t(state.value === 'offline' ? 'end.offline' : 'end.failed')}</h2>
        <p>${state.value === 'offline' ? t('end.offlineText') : reason(failure.value)}</p>
        <p><button class="button" onClick=${() => more()}>${t('again')}</button></p>
      </div>`;
    default: {
      const isFiltered = filter.value.tag || filter.value.q;
      const nothing = isFiltered && items.value.length === 0;
      return html`<div class="card plain">
        <h2 class="question" data-size="l">${t(nothing ? 'end.nothing' : isSignedIn.value ? 'end.title' : 'end.visitor')}</h2>
        <p>${t(nothing ? 'end.nothingText' : isSignedIn.value ? 'end.text' : 'end.visitorText')}</p>
        <p class="row">
          ${isFiltered && html`<button class="button" onClick=${() => { searching.value = false; show({ tag: '', q: '', sort: 'new' }); }}>${t('end.all')}</button>`}
          ${isSignedIn.value
            ? html`<a class="button" href="/create">${t('create')}</a><button class="button" onClick=${restart}>${t('end.check')}</button>`
            : html`<a class="button" href="/sign-up">${t('signUp')}</a>`}
        </p>
      </div>`;
    }
  }
}
