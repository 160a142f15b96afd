// Which page of the app is shown.

import { batch, signal } from '@preact/signals';

export const path = signal(location.pathname);

/** The query of the page's address. */
export const query = signal(location.search);

let moves = 0;

/** Whether another page was left for the one that is shown, and the focus with it. */
export const hasMoved = () => moves > 0;

function arrive() {
  moves++;
  batch(() => {
    path.value = location.pathname;
    query.value = location.search;
  });
}

const entrance = /^\/sign-(in|up)$/;
let place = '/';

/** The place that was left to sign in or up, to return to. */
export const returnPlace = () => place;

/**
 * Shows another page of the app.
 * @param {string} to path, query allowed
 * @param {{replace?: boolean}} [options]
 */
export function go(to, { replace = false } = {}) {
  if (!entrance.test(location.pathname)) place = location.pathname + location.search;
  if (replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  arrive();
}

const pages = /^\/(create|sign-in|sign-up|me(\/(votes|skips|polls|notifications|settings))?|p\/\d+)?$/;

addEventListener('popstate', arrive);

addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin || !pages.test(link.pathname)) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
