// A poll as people hold it: the question, the options, which become the bars.

import { html } from 'htm/preact';
import { choiceOf, vote } from './outbox.js';
import { askToSignIn, share } from './overlays.js';
import { gone, isLive, statsOf } from './results.js';
import { isSignedIn, loadProfile, votesLeft } from './session.js';
import { ago, number, t } from './texts.js';
import { hueOf, say, Title } from './ui.js';

/** @typedef {import('../types.js').Poll} Poll */

/**
 * The counts to show: those known, and the person's own vote at once. Counts
 * never fall, so the higher of what was there with it and what the server tells
 * is never too much for long, and hides that a vote is counted before it shows.
 * @param {Poll} poll
 * @returns {{counts: number[], total: number, skips: number | null, known: boolean}}
 */
function countsOf(poll) {
  const stats = statsOf(poll.id).value;
  const mine = choiceOf(poll.id).value;
  const counts = poll.options.map((_, i) => stats?.votes[i]?.count ?? 0);
  if (mine && mine.optionIndex !== null && (mine.state === 'sending' || mine.base)) {
    const before = mine.base?.votes[mine.optionIndex]?.count ?? 0;
    counts[mine.optionIndex] = Math.max(counts[mine.optionIndex], before + 1);
  }
  const total = counts.reduce((sum, count) => sum + count, 0);
  return { counts, total: Math.max(total, stats ? 0 : poll.totalVotes), skips: stats?.totalSkips ?? null, known: stats !== null };
}

/**
 * Votes for the person who is signed in, or asks a visitor to sign in first.
 * @param {Poll} poll
 * @param {number} optionIndex
 */
export function choose(poll, optionIndex) {
  const mine = choiceOf(poll.id).value;
  if (optionIndex >= poll.options.length || (mine && mine.optionIndex !== null)) return;
  if (!isSignedIn.value) return askToSignIn({ poll, optionIndex });
  if (poll.closed || gone.value.has(poll.id)) return say(t('error.poll_closed'));
  if (votesLeft.value === 0) {
    loadProfile().catch(() => {}); // the day may have changed: clocks differ
    return say(t('error.daily_vote_limit'));
  }
  void vote(poll, optionIndex);
}

/**
 * @param {{poll: Poll, reveal?: boolean, level?: 1 | 2, showKeys?: boolean}} props
 *   reveal: the bars are there before a vote too
 */
export function Card({ poll, reveal = false, level = 2, showKeys = true }) {
  const mine = choiceOf(poll.id).value;
  const { counts, total, skips, known } = countsOf(poll);
  const voted = mine !== null && mine.optionIndex !== null;
  const isGone = poll.closed || gone.value.has(poll.id);
  const results = (reveal && known) || voted;
  const title = `poll-${poll.id}`;
  const length = poll.title.length;
  const size = length > 200 ? 'xs' : length > 110 ? 's' : length > 60 ? 'm' : 'l';
  return html`<article class="card ${results ? 'res' : ''} ${voted ? 'voted' : ''}" aria-labelledby=${title} style=${{ '--hue': String(hueOf(poll.tags[0] ?? '')) }}>
    <div class="meta">
      ${poll.tags.slice(0, 3).map((tag) => html`<a class="tag" key=${tag} href=${`/?tag=${encodeURIComponent(tag)}`}><bdi>#${tag}</bdi></a>`)}
      <span class="by">${poll.author && html`<bdi>${poll.author.username}</bdi>, `}<time dateTime=${poll.createdAt}>${ago(poll.createdAt)}</time></span>
      <span class="live ${isLive.value && !isGone ? '' : 'still'}" title=${t(isLive.value ? 'live' : 'notLive')}>${number(total)}<span class="sr"> ${t('votesWord', { count: total })}</span></span>
    </div>
    ${level === 1
      ? html`<${Title} id=${title} class="question" data-size=${size} dir="auto">${poll.title}</${Title}>`
      : html`<h2 id=${title} class="question" data-size=${size} dir="auto">${poll.title}</h2>`}
    <ol class="opts">
      ${poll.options.map((option, i) => {
        const share = total > 0 ? (counts[i] / total) * 100 : 0;
        const isMine = mine?.optionIndex === i;
        return html`<li key=${i}><button class="opt ${isMine ? 'mine' : ''} ${isMine && mine?.state === 'sending' ? 'sending' : ''}"
            aria-pressed=${isMine ? 'true' : undefined} aria-disabled=${voted || isGone ? 'true' : undefined}
            style=${{ '--v': results ? String(share) : '0' }} onClick=${() => choose(poll, i)}>
          ${showKeys && !voted && html`<kbd aria-hidden="true">${i < 10 ? (i + 1) % 10 : ''}</kbd>`}
          <span class="lab"><bdi>${option}</bdi>${isMine && html` <span class="yours">${t('yourVote')}</span>`}</span>
          ${results && html`<span class="cnt">${number(counts[i])}<span class="sr"> ${t('votesWord', { count: counts[i] })}</span></span>
            <span class="pct">${t('percent', { n: Math.round(share) })}</span>`}
        </button></li>`;
      })}
    </ol>
    <div class="foot">
      <span>${isGone ? t('gone') : results ? `${t('countVotes', { count: total })}, ${t('countSkips', { count: skips ?? 0 })}` : t('final')}</span>
      <button class="link" onClick=${() => share(poll)}>${t('share')}</button>
    </div>
  </article>`;
}
