// How the votes on a poll came in: a line for each option that grows as votes
// are added up, and the same as a table.

import { html } from 'htm/preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { send } from './http.js';
import { statsOf } from './results.js';
import { dateTime, language, number, t } from './texts.js';
import { hueOf } from './ui.js';

/** @typedef {import('../types.js').Poll} Poll */
/** @typedef {'hour' | 'day'} Bucket */

/**
 * @typedef {object} Series
 * @property {Bucket} bucket
 * @property {number} from ms
 * @property {number[]} base votes for each option before that
 * @property {{start: string, votes: number[]}[]} buckets
 */

const hour = 3_600_000; // ms
const day = 24 * hour;
const length = { hour, day };
const longest = { hour: 7 * day, day: 365 * day };
const rest = 30_000; // ms between two requests, at least
const named = 5; // options whose line has a name
const gap = 9.4; // percent of the height between two names, as app.css sizes them

/**
 * @param {Poll} poll
 * @param {Bucket} bucket
 * @param {AbortSignal} signal
 * @returns {Promise<Series>}
 */
async function load(poll, bucket, signal) {
  const born = Date.parse(poll.createdAt);
  const earliest = Math.max(born, Date.now() - longest[bucket]);
  const query = new URLSearchParams({ bucket, from: new Date(earliest).toISOString() });
  /** @type {{buckets: Series['buckets'], totals: {votes: number[]}}} */
  const { buckets, totals } = await send('GET', `/api/polls/${poll.id}/analytics?${query}`, { signal });
  const stats = statsOf(poll.id).peek();
  // The series is some seconds behind the counts: a poll that it holds whole had none before.
  const base = poll.options.map((_, i) => (earliest === born ? 0 : Math.max(0, (stats?.votes[i]?.count ?? 0) - totals.votes[i])));
  return { bucket, buckets, base, from: Math.max(born, Date.parse(buckets[0].start)) };
}

/**
 * The series, loaded anew when votes have come in, but calmly and only while
 * the page is seen.
 * @param {Poll} poll
 * @param {Bucket} bucket
 */
function useSeries(poll, bucket) {
  const [series, show] = useState(/** @type {Series | null} */ (null));
  useEffect(() => {
    const page = new AbortController();
    const stats = statsOf(poll.id);
    const version = () => stats.peek()?.version ?? 0;
    let had = -1; // the version when asked last
    let isBehind = false; // as the series may be right after votes
    let asked = 0;
    /** @type {number | undefined} */
    let timer;
    const refresh = async () => {
      timer = undefined;
      if (document.hidden) return;
      isBehind = had !== -1 && had !== version();
      had = version();
      asked = Date.now();
      try {
        show(await load(poll, bucket, page.signal));
      } catch {
        isBehind = true;
      }
      if (!page.signal.aborted) plan();
    };
    const plan = () => {
      if (timer === undefined && (isBehind || had !== version()) && !document.hidden) timer = setTimeout(refresh, Math.max(0, asked + rest - Date.now()));
    };
    const leave = stats.subscribe(plan);
    document.addEventListener('visibilitychange', plan);
    return () => {
      page.abort();
      clearTimeout(timer);
      leave();
      document.removeEventListener('visibilitychange', plan);
    };
  }, [poll.id, bucket]);
  return series;
}

/** @param {{poll: Poll}} props */
export function Chart({ poll }) {
  const [chosen, choose] = useState(/** @type {Bucket} */ (Date.now() - Date.parse(poll.createdAt) < 3 * day ? 'hour' : 'day'));
  const series = useSeries(poll, chosen);
  const title = `chart-${poll.id}`;
  const stats = statsOf(poll.id).value;
  const isEmpty = (stats?.totalVotes ?? poll.totalVotes) === 0;
  if (!series && !isEmpty) return null;
  return html`<section class="chart" aria-labelledby=${title} style=${{ '--hue': String(hueOf(poll.tags[0] ?? '')) }}>
    <header>
      <h2 id=${title}>${t('chart.title')}</h2>
      ${!isEmpty && html`<div class="row" role="group" aria-labelledby=${title}>
        ${/** @type {const} */ (['hour', 'day']).map((bucket) => html`<button key=${bucket} class="chip" aria-pressed=${bucket === chosen ? 'true' : 'false'}
          onClick=${() => choose(bucket)}>${t(`chart.${bucket}`)}</button>`)}
      </div>`}
    </header>
    ${isEmpty || !series ? html`<p class="soft">${t('chart.none')}</p>` : html`<${Plot} poll=${poll} series=${series} /><${Table} poll=${poll} series=${series} />`}
  </section>`;
}

/** The next number that reads well. @param {number} n */
function roundUp(n) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(1, n)));
  return ([1, 2, 4, 6, 8, 10].find((step) => step * unit >= n) ?? 10) * unit;
}

/** @param {{poll: Poll, series: Series}} props */
function Plot({ poll, series }) {
  const { bucket, buckets, base, from } = series;
  const now = Math.max(Date.now(), from + 60_000);
  const stats = statsOf(poll.id).value;
  const x = (/** @type {number} */ time) => (Math.min(1, (time - from) / (now - from)) * 100).toFixed(2);

  const lines = poll.options.map((option, i) => {
    let sum = base[i];
    const points = buckets.map(({ start, votes }) => [Date.parse(start) + length[bucket], (sum += votes[i])]);
    const last = Math.max(sum, stats?.votes[i]?.count ?? 0);
    points[points.length - 1] = [now, last];
    return { option, i, last, points };
  });
  const top = roundUp(Math.max(...lines.map(({ last }) => last)));
  const y = (/** @type {number} */ votes) => (100 - (votes / top) * 100).toFixed(2);
  const ranked = lines.toSorted((a, b) => b.last - a.last);
  const places = apart(ranked.slice(0, named).map(({ last }) => Number(y(last))));
  const compact = new Intl.NumberFormat(language.value, { notation: 'compact' });
  const time = (/** @type {number} */ at) => (bucket === 'day' ? dateTime(at, { dateStyle: 'medium' }) : dateTime(at));
  const gist = { from: time(from), to: t('chart.now'), total: lines.reduce((all, { last }) => all + last, 0), count: ranked[0].last, option: ranked[0].option };

  return html`<div class="plot" role="img" aria-label=${t('chart.gist', gist)}>
    <div class="lines">
      ${[top, top / 2, 0].filter(Number.isInteger).map((tick) => html`<span class="tick" key=${tick / top} style=${{ bottom: `${(tick / top) * 100}%` }}>${tick > 0 && compact.format(tick)}</span>`)}
      <svg viewBox="0 0 100 100" preserveAspectRatio="none">
        ${ranked.map(({ i, last, points }, rank) => html`<path key=${i} class=${rank < named ? `line l${rank}` : 'line'}
          d=${`M0 ${y(base[i])}${points.map(([at, votes]) => `L${x(at)} ${y(votes)}`).join('')}`} />
          ${rank < named && html`<path key=${`dot-${i}`} class="dot l${rank}" d=${`M100 ${y(last)}h0`} />`}`).reverse()}
      </svg>
    </div>
    <div class="names">
      ${ranked.slice(0, named).map(({ option, i }, rank) => html`<span class="name" key=${i} style=${{ top: `${places[rank]}%` }}>
        <svg viewBox="0 0 22 4" width="22" height="4"><path class="line l${rank}" d="M1 2h20" /></svg><bdi>${option}</bdi></span>`)}
    </div>
    <p class="times"><span>${time(from)}</span><span>${t('chart.now')}</span></p>
    ${ranked.length > named && html`<p class="others">${t('chart.rest', { count: ranked.length - named })}</p>`}
  </div>`;
}

/**
 * Moves places, in their order, so that names do not lie on each other.
 * @param {number[]} places in percent from the top
 */
function apart(places) {
  const moved = [...places];
  for (let i = 1; i < moved.length; i++) moved[i] = Math.max(moved[i], moved[i - 1] + gap);
  for (let i = moved.length - 1, most = 100; i >= 0; i--, most -= gap) moved[i] = Math.min(moved[i], most);
  return moved;
}

/** @param {{poll: Poll, series: Series}} props */
function Table({ poll, series }) {
  const [isOpen] = useState(() => matchMedia('(min-width: 800px)').matches);
  const spoken = language.value;
  const rows = useMemo(() => {
    const { bucket, buckets } = series;
    const time = (/** @type {string} */ start) => (bucket === 'day' ? dateTime(start, { dateStyle: 'medium', timeZone: 'UTC' }) : dateTime(start));
    return buckets
      .map(({ start, votes }) => ({ start, votes, all: votes.reduce((sum, n) => sum + n, 0) }))
      .filter(({ all }) => all > 0)
      .reverse()
      .map(({ start, votes, all }) => html`<tr key=${start}><th scope="row"><time dateTime=${start}>${time(start)}</time></th>
        ${votes.map((n) => html`<td>${number(n)}</td>`)}<td>${number(all)}</td></tr>`);
  }, [series, spoken]);
  if (rows.length === 0) return null;
  const caption = t(`chart.${series.bucket}Caption`);
  return html`<details open=${isOpen}>
    <summary>${t('chart.table')}</summary>
    <div class="scroll" role="region" aria-label=${caption} tabindex="0">
      <table>
        <caption>${caption}</caption>
        <thead><tr><th scope="col">${t('chart.time')}</th>${poll.options.map((option) => html`<th scope="col"><bdi>${option}</bdi></th>`)}<th scope="col">${t('chart.all')}</th></tr></thead>
        <tbody>${rows}</tbody>
      </table>
    </div>
  </details>`;
}
