// The service worker: what lets the app open without a network.

import { say } from './ui.js';
import { t } from './texts.js';

// A page takes no text for a script's address; this policy knows one address only.
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('vote', { createScriptURL: () => '/sw.js' });

/** Starts the service worker, and offers a new version of the app when there is one. */
export async function install() {
  /** @type {ServiceWorkerRegistration} */
  let registration;
  try {
    registration = await navigator.serviceWorker.register(policy ? policy.createScriptURL('') : '/sw.js');
  } catch (error) {
    console.warn(error); // the app works without, but needs a network to open
    return;
  }
  const offer = () => {
    const fresh = registration.waiting;
    if (!fresh || !navigator.serviceWorker.controller) return;
    say(t('update'), { label: t('update.now'), run: () => fresh.postMessage('take over') });
  };
  offer();
  registration.addEventListener('updatefound', () => {
    registration.installing?.addEventListener('statechange', offer);
  });
  const had = navigator.serviceWorker.controller;
  navigator.serviceWorker.addEventListener('controllerchange', () => {
    if (had) location.reload();
  });
}
