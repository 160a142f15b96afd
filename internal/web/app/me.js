// One's own page: what one did, what one asked, and the account.

import { html } from 'htm/preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Failure, Submit, useForm } from './forms.js';
import { Refused } from './http.js';
import { List } from './list.js';
import { choiceOf, queued, waiting } from './outbox.js';
import { WithProfile } from './profile.js';
import { call, isSignedIn, user, votesLeft, votesPerDay } from './session.js';
import Settings from './settings.js';
import { ago, dateTime, number, t } from './texts.js';
import { Dialog, Head, say, Title } from './ui.js';

/** @typedef {import('../types.js').Profile} Profile */
/** @typedef {import('../types.js').Poll & {state: 'open' | 'closed' | 'hidden'}} OwnPoll */
/** @typedef {{pollId: number, title: string | null, optionIndex?: number, option?: string | null, createdAt: string}} Past */
/** @typedef {{id: number, type: string, pollId: number, title: string | null, votes: number, createdAt: string}} Notification */

const tabs = /** @type {const} */ (['', 'votes', 'skips', 'polls', 'notifications', 'settings']);

/** @param {{tab: typeof tabs[number]}} props */
export default function Me({ tab }) {
  const id = user.value?.id;
  const nav = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => nav.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' }), [tab]);
  if (!isSignedIn.value) {
    return html`<${Head} /><div class="page">
      <${Title}>${t('me')}</${Title}>
      <p>${t('me.visitor')}</p>
      <p class="row"><a class="button strong" href="/sign-in">${t('signIn')}</a><a class="button" href="/sign-up">${t('signUp')}</a></p>
    </div>`;
  }
  return html`<${Head}><a class="quiet" href="/create" aria-label=${t('create')} title=${t('create')}>+</a></${Head}>
    <div class="page" key=${id}>
      <${Title}><bdi>${user.value?.username}</bdi></${Title}>
      <nav class="tabs" aria-label=${t('me')} ref=${nav}>${tabs.map((name) => html`<a key=${name} class="chip" href=${`/me${name && `/${name}`}`}
        aria-current=${name === tab ? 'page' : undefined}>${t(`me.${name || 'overview'}`)}</a>`)}</nav>
      <${contents[tab]} key=${tab} />
    </div>`;
}

const Overview = () => html`<${WithProfile}>${(/** @type {Profile} */ { totals, createdAt }) => {
  const left = votesLeft.value;
  const whole = votesPerDay.value;
  return html`
    <div class="today">
      ${left === null
        ? html`<p>${t('me.noLimit')}</p>`
        : html`<span class="ring" aria-hidden="true" style=${{ '--p': String(whole ? left / whole : 0) }}>${number(left)}</span>
            <p><strong>${t('votesLeft', { count: left })}</strong><br /><span class="soft">${t('me.ofDay', { count: whole ?? 0 })}</span></p>`}
    </div>
    <ul class="totals">${/** @type {const} */ (['votes', 'skips', 'polls']).map((kind) => html`<li key=${kind}>
      <a href=${`/me/${kind}`}><b>${number(totals[kind])}</b><span>${t(`me.total.${kind}`, { count: totals[kind] })}</span></a></li>`)}</ul>
    <p class="soft">${t('me.since', { date: dateTime(createdAt, { dateStyle: 'long' }) })}</p>`;
}}</${WithProfile}>`;

/** A poll in a list. @param {{id: number, title: string | null, children?: any}} props */
const Entry = ({ id, title, children }) => html`
  ${title === null ? html`<p class="entry soft">${t('me.gone')}</p>` : html`<a class="entry" href=${`/p/${id}`} dir="auto">${title}</a>`}
  <p class="facts">${children}</p>`;

/**
 * Returns the choices that waited for the server since this list is shown: the
 * server's own list may be a second old.
 * @param {boolean} isVote
 */
function useChoices(isVote) {
  const [choices, setChoices] = useState(/** @type {import('../types.js').Choice[]} */ ([]));
  const count = waiting.value;
  useEffect(() => {
    queued(Number(user.value?.id)).then((queue) => setChoices((now) => {
      const there = new Set(now.map(({ key }) => key));
      return [...now, ...queue.filter(({ key, optionIndex }) => (optionIndex !== null) === isVote && !there.has(key))];
    }), console.error);
  }, [count]);
  return choices.filter(({ pollId }) => choiceOf(pollId).value !== null).reverse();
}

/** @param {{isVote: boolean}} props */
function History({ isVote }) {
  const choices = useChoices(isVote);
  const name = isVote ? 'votes' : 'skips';
  const chosen = (/** @type {string | null | undefined} */ option) => option && html`<span>${t('yourVote')}: <bdi class="option">${option}</bdi></span>`;
  return html`<h2 class="sr">${t(`me.${name}`)}</h2>
    <${List} path=${`/api/users/me/${name}`} label=${t(`me.${name}`)} empty=${t(`me.${name}.none`)} keyOf=${(/** @type {Past} */ past) => past.pollId}
      without=${new Set(choices.map(({ pollId }) => pollId))}
      above=${choices.map(({ key, pollId, title, option }) => html`<li key=${key}><${Entry} id=${pollId} title=${title}>
        ${chosen(option)}<span>${t(choiceOf(pollId).value?.state === 'sending' ? 'me.waits' : 'now')}</span></${Entry}></li>`)}
      row=${(/** @type {Past} */ { pollId, title, option, createdAt }) => html`<${Entry} id=${pollId} title=${title}>
        ${chosen(option)}<time dateTime=${createdAt} title=${dateTime(createdAt)}>${ago(createdAt)}</time></${Entry}>`} />`;
}

function Polls() {
  const [deleting, setDeleting] = useState(/** @type {{poll: OwnPoll, drop: () => void} | null} */ (null));
  return html`<h2 class="sr">${t('me.polls')}</h2>
    <${List} path="/api/users/me/polls" label=${t('me.polls')} empty=${t('me.polls.none')} keyOf=${(/** @type {OwnPoll} */ poll) => poll.id}
      row=${(/** @type {OwnPoll} */ poll, /** @type {() => void} */ drop) => html`<${Entry} id=${poll.id} title=${poll.title}>
        ${poll.state !== 'open' && html`<span class="state">${t(`me.${poll.state}`)}</span>`}
        <span>${t('countVotes', { count: poll.totalVotes })}</span>
        <time dateTime=${poll.createdAt} title=${dateTime(poll.createdAt)}>${ago(poll.createdAt)}</time>
        ${poll.totalVotes === 0 && html`<button class="link danger" aria-label=${t('me.deleteOf', { title: poll.title })} onClick=${() => setDeleting({ poll, drop })}>${t('me.delete')}</button>`}
      </${Entry}>`} />
    ${deleting && html`<${DeleteDialog} poll=${deleting.poll} onClose=${() => setDeleting(null)} onDone=${() => {
      setDeleting(null);
      deleting.drop();
      say(t('me.deleted'));
    }} />`}`;
}

/** @param {{poll: OwnPoll, onClose: () => void, onDone: () => void}} props */
function DeleteDialog({ poll, onClose, onDone }) {
  const form = useForm({}, () => ({}));
  const run = () => call('DELETE', `/api/polls/${poll.id}`).catch((error) => {
    if (!(error instanceof Refused) || error.status !== 404) throw error; // it was deleted before
  }).then(onDone);
  return html`<${Dialog} title=${t('me.deleteTitle')} onClose=${onClose}>
    <p dir="auto">${t('me.deleteText', { title: poll.title })}</p>
    <form class="form" ...${form.attributes} onSubmit=${(/** @type {Event} */ event) => form.submit(event, run)}>
      <${Failure} text=${form.failure} />
      <p class="row"><${Submit} isBusy=${form.isBusy} class="danger">${t('me.delete')}</${Submit}><button type="button" class="button" onClick=${onClose}>${t('cancel')}</button></p>
    </form>
  </${Dialog}>`;
}

const Notifications = () => html`<h2 class="sr">${t('me.notifications')}</h2>
  <${List} path="/api/users/me/notifications" label=${t('me.notifications')} empty=${t('me.notifications.none')} keyOf=${(/** @type {Notification} */ { id }) => id}
    row=${(/** @type {Notification} */ { pollId, title, votes, createdAt }) => html`<${Entry} id=${pollId} title=${title}>
      <span>${t('me.milestone', { count: votes })}</span><time dateTime=${createdAt} title=${dateTime(createdAt)}>${ago(createdAt)}</time></${Entry}>`} />`;

const contents = {
  '': Overview,
  votes: () => html`<${History} isVote />`,
  skips: () => html`<${History} isVote=${false} />`,
  polls: Polls,
  notifications: Notifications,
  settings: Settings,
};
