// Asks a visitor who wants to vote to sign up or in, and keeps the vote meanwhile.

import { html } from 'htm/preact';
import { keepIntent, welcoming } from './overlays.js';
import { go } from './router.js';
import { t } from './texts.js';
import { Dialog } from './ui.js';

/** @param {{intent: {poll: import('../types.js').Poll, optionIndex: number}}} props */
export default function Welcome({ intent }) {
  const leave = (/** @type {string} */ to) => {
    keepIntent(intent);
    welcoming.value = null;
    go(to);
  };
  return html`<${Dialog} title=${t('welcome.title')} onClose=${() => (welcoming.value = null)}>
    <p dir="auto">${t('welcome.text', { option: intent.poll.options[intent.optionIndex] })}</p>
    <p class="row">
      <button class="button strong" onClick=${() => leave('/sign-up')}>${t('signUp')}</button>
      <button class="button" onClick=${() => leave('/sign-in')}>${t('signIn')}</button>
    </p>
  </${Dialog}>`;
}
