// Pieces that every page uses: short messages, dialogs, the mark, loading.

import { html } from 'htm/preact';
import { useEffect, useRef } from 'preact/hooks';
import { signal } from '@preact/signals';
import { t } from './texts.js';
import { NoAnswer, Refused } from './http.js';

/** @typedef {{text: string, action?: {label: string, run: () => void}}} Message */

const messages = signal(/** @type {Message[]} */ ([]));
const most = 3; // messages shown at once

/**
 * Shows a short message for some seconds, below those that are there, and has it
 * read out.
 * @param {string} text
 * @param {{label: string, run: () => void}} [action] a button beside it; the message then stays
 */
export function say(text, action) {
  const message = { text, action };
  messages.value = [...messages.value.filter((other) => other.text !== text), message].slice(-most);
  if (!action) setTimeout(() => drop(message), 5000);
}

/** @param {Message} message */
const drop = (message) => (messages.value = messages.value.filter((other) => other !== message));

/** The place of the messages. One a page, always there, so that readers notice a change in it. */
export function Messages() {
  return html`<div class="messages" role="status" aria-atomic="false">
    ${messages.value.map((message) => html`<div class="message" key=${message.text}>
      <span dir="auto">${message.text}</span>
      ${message.action && html`<button onClick=${() => { message.action?.run(); drop(message); }}>${message.action.label}</button>
        <button class="quiet" aria-label=${t('close')} onClick=${() => drop(message)}>×</button>`}
    </div>`)}
  </div>`;
}

/**
 * Says in the visitor's language why something failed.
 * @param {unknown} error
 */
export function reason(error) {
  if (error instanceof NoAnswer) return t(navigator.onLine ? 'error.noAnswer' : 'error.offline');
  if (!(error instanceof Refused)) {
    console.error(error);
    return t('error.internal');
  }
  switch (error.code) {
    case 'rate_limited':
      return error.retryAfter > 90
        ? t('error.rate_limited_long', { count: Math.ceil(error.retryAfter / 60) })
        : t('error.rate_limited', { count: Math.max(1, error.retryAfter) });
    case 'invalid_credentials': case 'wrong_password': case 'banned': case 'email_taken': case 'username_taken':
    case 'not_found': case 'poll_closed': case 'has_votes': case 'daily_vote_limit': case 'daily_poll_limit':
    case 'invalid': case 'invalid_option': case 'already_voted': case 'unauthorized':
      return t(`error.${error.code}`);
    default:
      return t(error.status >= 500 || error.status === 429 ? 'error.busy' : 'error.internal');
  }
}

/**
 * A modal dialog. Escape, the button and a click beside it close it.
 * @param {{title: string, onClose: () => void, children?: any, class?: string}} props
 */
export function Dialog({ title, onClose, children, class: name = '' }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    dialog?.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  const beside = (/** @type {MouseEvent} */ event) => {
    if (event.target === element.current) onClose();
  };
  return html`<dialog ref=${element} class=${name} aria-labelledby="dialog-title" onClick=${beside}
      onCancel=${(/** @type {Event} */ event) => { event.preventDefault(); onClose(); }}>
    <div class="sheet">
      <header><h2 id="dialog-title">${title}</h2><button class="quiet" aria-label=${t('close')} onClick=${onClose}>×</button></header>
      ${children}
    </div>
  </dialog>`;
}

/** The mark and the name, a link home. */
export function Logo() {
  return html`<a class="logo" href="/" aria-label=${t('home')}><i></i>Vote</a>`;
}

/** The head of every page but the feed's. @param {{children?: any}} props */
export function Head({ children }) {
  return html`<header class="head"><${Logo} /><span class="gap"></span>${children}</header>`;
}

/**
 * The title of a page. Takes the focus when the page is shown, so that readers
 * begin there.
 * @param {{children?: any, [attribute: string]: any}} props
 */
export function Title({ children, ...attributes }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => element.current?.focus({ preventScroll: true }), []);
  return html`<h1 ref=${element} tabIndex=${-1} ...${attributes}>${children}</h1>`;
}

/** Something is on its way. */
export function Loading() {
  return html`<div class="loading" role="progressbar" aria-label=${t('loading')}><i></i><i></i><i></i></div>`;
}

/**
 * The accent of a poll by its first tag: always the same hue, in degrees, for
 * the same tag (FNV-1a over UTF-16).
 * @param {string} tag
 */
export function hueOf(tag) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < tag.length; i++) hash = Math.imul(hash ^ tag.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % 360;
}

/** Whether the visitor asked for less motion. */
export const isCalm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
