// A poll in a frame on another page: its results as they come in, and the way to
// vote here. Whoever frames it may have the browser keep everything from it: no
// session, no storage.
//
// The frame tells the page around it how high it is:
//   {type: 'vote:height', id: <the poll's>, height: <CSS pixels>}

import { html, render } from 'htm/preact';
import { gone, isLive, learn, statsOf, watch } from './results.js';
import { number, speakPreferred, t } from './texts.js';
import { hueOf } from './ui.js';

/** @typedef {import('../types.js').Poll} Poll */

/** @param {{poll: Poll}} props */
function Frame({ poll }) {
  const stats = statsOf(poll.id).value;
  const total = stats?.totalVotes ?? poll.totalVotes;
  const isGone = poll.closed || gone.value.has(poll.id);
  const length = poll.title.length;
  return html`<article class="card res voted" aria-labelledby="title" style=${{ '--hue': String(hueOf(poll.tags[0] ?? '')) }}>
    <h1 id="title" class="question" data-size=${length > 200 ? 'xs' : length > 60 ? 's' : 'm'} dir="auto">${poll.title}</h1>
    <ol class="opts">
      ${poll.options.map((option, i) => {
        const count = stats?.votes[i]?.count ?? 0;
        const share = total > 0 ? (count / total) * 100 : 0;
        return html`<li key=${i} class="opt" style=${{ '--v': String(share) }}>
          <bdi class="lab">${option}</bdi>
          ${stats && html`<span class="cnt">${number(count)}<span class="sr"> ${t('votesWord', { count })}</span></span>
            <span class="pct">${t('percent', { n: Math.round(share) })}</span>`}
        </li>`;
      })}
    </ol>
    <div class="foot">
      <span class="live ${isLive.value && !isGone ? '' : 'still'}">${isGone ? t('gone') : t('countVotes', { count: total })}</span>
      <a class="button strong" href=${`/p/${poll.id}`} target="_blank" rel="noopener">${t(isGone ? 'embed.open' : 'embed.vote')}</a>
    </div>
  </article>`;
}

async function start() {
  const root = /** @type {HTMLElement} */ (document.getElementById('app'));
  /** @type {{poll: Poll, stats: import('../types.js').Stats | null}} */
  const { poll, stats } = JSON.parse(document.getElementById('boot')?.textContent ?? '');
  if (stats) learn(stats);
  await speakPreferred();
  root.replaceChildren();
  render(html`<${Frame} poll=${poll} />`, root);
  watch([poll.id]);
  if (parent !== window) {
    new ResizeObserver(() => parent.postMessage({ type: 'vote:height', id: poll.id, height: Math.ceil(root.getBoundingClientRect().height) }, '*')).observe(root);
  }
}

void start();
