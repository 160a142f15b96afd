// The keys of the feed.

import { html } from 'htm/preact';
import { hasKeys, helping, setKeys } from './overlays.js';
import { t } from './texts.js';
import { Dialog } from './ui.js';

const keys = /** @type {const} */ ([
  [['1', '…', '9', '0'], 'help.digits'],
  [['S'], 'help.skip'],
  [['↑', '↓'], 'help.arrows'],
  [['/'], 'help.search'],
  [['?'], 'help.help'],
]);

export default function Help() {
  return html`<${Dialog} title=${t('help.title')} onClose=${() => (helping.value = false)}>
    <dl class="keys">
      ${keys.map(([names, text]) => html`<div key=${text}><dt>${names.map((name) => html`<kbd>${name}</kbd> `)}</dt><dd>${t(text)}</dd></div>`)}
    </dl>
    <label class="choice"><input type="checkbox" checked=${hasKeys.value} onChange=${(/** @type {Event} */ event) => setKeys(/** @type {HTMLInputElement} */ (event.target).checked)} /> ${t('help.on')}</label>
  </${Dialog}>`;
}
