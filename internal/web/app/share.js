// The ways to pass a poll on: its link, a code to scan, a frame, a picture.

import { html } from 'htm/preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { correction, generate } from 'lean-qr/nano';
import { send } from './http.js';
import { sharing } from './overlays.js';
import { statsOf } from './results.js';
import { t } from './texts.js';
import { Dialog, reason } from './ui.js';

const quiet = 4; // modules around the code, which readers need to find it

/** @param {{poll: import('../types.js').Poll}} props */
export default function Share({ poll }) {
  const link = `${location.origin}/p/${poll.id}`;
  const image = `/p/${poll.id}/image.png?v=${statsOf(poll.id).peek()?.version ?? 0}`;
  const pass = () => navigator.share({ title: poll.title, url: link }).catch(() => {}); // who changes their mind needs no word
  return html`<${Dialog} title=${t('share')} class="share" onClose=${() => (sharing.value = null)}>
    <p dir="auto" class="soft">${poll.title}</p>
    <${Copied} label=${t('share.link')} text=${link} />
    ${'share' in navigator && html`<button class="button strong" onClick=${pass}>${t('share.other')}</button>`}
    <${Code} text=${link} />
    <details>
      <summary>${t('share.image')}</summary>
      <img src=${image} width="1200" height="630" loading="lazy" alt=${t('share.imageAlt', { title: poll.title })} />
      <p><a class="button" href=${image} download=${`poll-${poll.id}.png`}>${t('share.save')}</a></p>
    </details>
    <${Frame} link=${link} />
  </${Dialog}>`;
}

/**
 * A text with a button that copies it.
 * @param {{label: string, text: string, lines?: number}} props
 */
function Copied({ label, text, lines = 1 }) {
  const [done, tell] = useState(/** @type {string | null} */ (null));
  const copy = (/** @type {{currentTarget: HTMLElement}} */ { currentTarget }) => {
    const field = currentTarget.parentElement?.querySelector('input, textarea');
    /** @type {HTMLInputElement} */ (field).select();
    // Without a secure context there is no clipboard, and the text is at least selected.
    Promise.resolve(navigator.clipboard?.writeText(text) ?? Promise.reject()).then(() => tell(text), () => tell(null));
  };
  return html`<div class="field copied">
    <label>${label}${lines > 1
      ? html`<textarea readonly dir="ltr" spellcheck=${false} rows=${lines} value=${text} />`
      : html`<input readonly dir="ltr" value=${text} />`}</label>
    <button class="button" onClick=${copy}>${t(done === text ? 'share.copied' : 'share.copy')}</button>
    <span class="sr" role="status">${done === text ? t('share.copied') : ''}</span>
  </div>`;
}

/** @param {{text: string}} props */
function Code({ text }) {
  const { size, path } = useMemo(() => {
    const code = generate(text, { minCorrectionLevel: correction.M });
    let path = '';
    for (let y = 0; y < code.size; y++) {
      for (let x = 0; x < code.size; x++) if (code.get(x, y)) path += `M${x} ${y}h1v1h-1z`;
    }
    return { size: code.size + 2 * quiet, path };
  }, [text]);
  return html`<svg class="qr" role="img" aria-label=${t('share.code')} viewBox=${`${-quiet} ${-quiet} ${size} ${size}`}>
    <rect x=${-quiet} y=${-quiet} width=${size} height=${size} rx="2" fill="#fff" /><path d=${path} fill="#000" shape-rendering="crispEdges" />
  </svg>`;
}

/** What puts the poll on another page. @param {{link: string}} props */
function Frame({ link }) {
  const [isOpen, open] = useState(false);
  const [code, show] = useState('');
  const [failure, fail] = useState(/** @type {unknown} */ (null));
  useEffect(() => {
    if (!isOpen || code) return;
    fail(null);
    send('GET', `/oembed?format=json&url=${encodeURIComponent(link)}`).then((answer) => show(answer.html), fail);
  }, [isOpen]);
  return html`<details onToggle=${(/** @type {{currentTarget: HTMLDetailsElement}} */ event) => open(event.currentTarget.open)}>
    <summary>${t('share.frame')}</summary>
    ${code ? html`<${Copied} label=${t('share.frameText')} text=${code} lines=${5} />` : failure ? html`<p class="fault" role="alert">${reason(failure)}</p>` : null}
  </details>`;
}
