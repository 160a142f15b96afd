// The page of one poll: its results as they come in, and how they came about.

import { html } from 'htm/preact';
import { useEffect, useState } from 'preact/hooks';
import * as database from 'idb-keyval';
import { Card } from './card.js';
import { Chart } from './chart.js';
import { Ring } from './feed.js';
import { NoAnswer, Refused, send } from './http.js';
import { recall } from './outbox.js';
import { share } from './overlays.js';
import { learn, statsOf, watch } from './results.js';
import { ask, user } from './session.js';
import { t } from './texts.js';
import { Head, Loading, reason, Title } from './ui.js';

/** @typedef {import('../types.js').Poll} Poll */
/** @typedef {import('../types.js').Stats} Stats */

const kept = 'polls';
const most = 50; // polls that are kept for a time without network

/**
 * What the server put into the page. It was true when the page was made, so it
 * serves once.
 * @param {number} id
 * @returns {Poll | null}
 */
function takeBoot(id) {
  const element = document.getElementById('boot');
  if (!element) return null;
  element.remove();
  const { poll, stats } = JSON.parse(element.textContent);
  if (poll.id !== id) return null;
  if (stats) learn(stats);
  return poll;
}

/** @param {Poll} poll */
async function keep({ viewer, ...poll }) {
  const stats = statsOf(poll.id).value;
  await database.update(kept, (list = []) =>
    [{ poll, stats }, ...list.filter((/** @type {{poll: Poll}} */ one) => one.poll.id !== poll.id)].slice(0, most),
  );
}

/** @param {number} id @returns {Promise<Poll | null>} */
async function takeKept(id) {
  /** @type {{poll: Poll, stats: Stats | null}[]} */
  const list = (await database.get(kept)) ?? [];
  const one = list.find(({ poll }) => poll.id === id);
  if (one?.stats) learn(one.stats);
  return one?.poll ?? null;
}

/** @param {{id: number}} props */
export default function PollPage({ id }) {
  const [poll, show] = useState(() => takeBoot(id));
  const [failure, fail] = useState(/** @type {unknown} */ (null));
  const [attempt, again] = useState(0);
  const who = user.value?.id;

  useEffect(() => {
    const page = new AbortController();
    const { signal } = page;
    const load = async () => {
      const counts = send('GET', `/api/polls/${id}/stats`, { signal }).then(learn, () => {}); // the stream tells them too
      /** @type {Poll} */
      const fresh = await ask('GET', `/api/polls/${id}`, { signal });
      if (signal.aborted) return;
      if (fresh.viewer) recall(id, fresh.viewer);
      show(fresh);
      fail(null);
      await counts;
      await keep(fresh).catch(() => {}); // some browsers keep nothing
    };
    load().catch(async (error) => {
      if (signal.aborted) return;
      const old = error instanceof NoAnswer ? await takeKept(id).catch(() => null) : null;
      if (signal.aborted) return;
      show((shown) => (error instanceof Refused && error.status === 404 ? null : (shown ?? old)));
      fail(error);
    });
    return () => page.abort();
  }, [id, who, attempt]);

  const isThere = poll !== null;
  useEffect(() => {
    if (isThere) watch([id]);
  }, [id, isThere]);

  useEffect(() => {
    document.title = `${poll ? poll.title : failure ? t('poll.none') : t('loading')} · Vote`;
  }, [poll?.title, failure]);

  useEffect(() => {
    if (!failure) return;
    const retry = () => again((n) => n + 1);
    addEventListener('online', retry);
    return () => removeEventListener('online', retry);
  }, [failure]);

  return html`
    <${Head}><${Ring} /></${Head}>
    <div class="page poll">
      ${poll
        ? html`<${Card} poll=${poll} level=${1} reveal showKeys=${false} />
          <${Chart} poll=${poll} />
          <div class="row">
            <button class="button" onClick=${() => share(poll)}>${t('share')}</button>
            ${poll.author && poll.author.id === who && html`<a class="button" href="/me/polls">${t('poll.yours')}</a>`}
          </div>`
        : failure
          ? html`<${Missing} failure=${failure} again=${() => again((n) => n + 1)} />`
          : html`<${Loading} />`}
    </div>
    <nav class="actions" aria-label=${t('actions')}>
      <a class="big" href="/">${t('poll.feed')}</a>
      <a class="ic" href="/create" aria-label=${t('create')}>+</a>
    </nav>`;
}

/** @param {{failure: unknown, again: () => void}} props */
function Missing({ failure, again }) {
  const isNone = failure instanceof Refused && failure.status === 404;
  return html`<div class="card plain">
    <${Title} class="question" data-size="l">${isNone ? t('poll.none') : t('end.failed')}</${Title}>
    <p>${isNone ? t('poll.noneText') : reason(failure)}</p>
    ${!isNone && html`<p><button class="button" onClick=${again}>${t('again')}</button></p>`}
  </div>`;
}
