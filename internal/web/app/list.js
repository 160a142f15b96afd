// Lists of the server that come in pages.

import { html } from 'htm/preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { call } from './session.js';
import { t } from './texts.js';
import { Loading, reason } from './ui.js';

/** Says why something could not be loaded. @param {{error: unknown, again: () => void}} props */
export const Failed = ({ error, again }) => html`<p>${reason(error)}</p><p><button class="button" onClick=${again}>${t('again')}</button></p>`;

/**
 * A list of the server that is read on by a button.
 * @template T
 * @param {{path: string, label: string, empty: string, keyOf: (item: T) => number | string, row: (item: T, drop: () => void) => any, above?: any[], without?: Set<number | string>}} props
 *   above: rows that the server does not know yet; without: keys of items that are among them
 */
export function List({ path, label, empty, keyOf, row, above = [], without }) {
  const [items, setItems] = useState(/** @type {T[]} */ ([]));
  const [state, setState] = useState(/** @type {'loading' | 'ready' | 'failed'} */ ('loading'));
  const [failure, setFailure] = useState(/** @type {unknown} */ (null));
  const cursor = useRef(/** @type {string | null} */ (null));
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  /** Which item is to have the focus after the next change; -1 for the list itself. */
  const wanted = useRef(/** @type {number | null} */ (null));

  const more = async () => {
    setState('loading');
    try {
      const query = new URLSearchParams({ limit: '20', ...(cursor.current && { cursor: cursor.current }) });
      const page = await call('GET', `${path}?${query}`);
      if (cursor.current) wanted.current = above.length + items.length;
      cursor.current = page.nextCursor;
      setItems((now) => [...now, ...page.items]);
      setState('ready');
    } catch (error) {
      setFailure(error);
      setState('failed');
    }
  };
  useEffect(() => void more(), []);
  useLayoutEffect(() => {
    if (wanted.current === null) return;
    const element = wanted.current < 0 ? place.current : place.current?.querySelector('ul')?.children[wanted.current]?.querySelector('a, button') ?? place.current;
    wanted.current = null;
    /** @type {HTMLElement | null} */ (element)?.focus();
  }, [items]);
  const drop = (/** @type {T} */ item) => {
    wanted.current = -1;
    setItems((now) => now.filter((other) => keyOf(other) !== keyOf(item)));
  };
  const shown = without ? items.filter((item) => !without.has(keyOf(item))) : items;
  return html`<div class="items" ref=${place} role="group" aria-label=${label} tabIndex=${-1}>
    ${above.length + shown.length > 0 && html`<ul class="list">${above}${shown.map((item) => html`<li key=${keyOf(item)}>${row(item, () => drop(item))}</li>`)}</ul>`}
    ${state === 'loading' && html`<${Loading} />`}
    ${state === 'failed' && html`<${Failed} error=${failure} again=${more} />`}
    ${state === 'ready' && above.length + shown.length === 0 && html`<p class="soft">${empty}</p>`}
    ${state === 'ready' && cursor.current && html`<p><button class="button" onClick=${more}>${t('more')}</button></p>`}
  </div>`;
}
