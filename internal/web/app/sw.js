// The service worker. The server puts one line before this file that sets
// self.release: the version, and every file of the app by its lasting address.
//
// A release is kept whole: the app of one version never meets files of another.
// Nothing of the API is kept here.

/** @typedef {{version: string, files: string[]}} Release */

const worker = /** @type {any} */ (self);
/** @type {Release} */
const release = worker.release;
const name = `vote-${release.version}`;
const patience = 3000; // ms that a page may take before the kept one is shown

/** What is kept from the start: of the languages those that the browser asks for; another one when it is chosen. */
const files = release.files.filter((file) => {
  const language = /^\/assets\/texts\/(\w+)\./.exec(file)?.[1] ?? 'en';
  return language === 'en' || navigator.languages.some((tag) => tag.split('-')[0] === language);
});

worker.addEventListener('install', (/** @type {any} */ event) => {
  event.waitUntil(
    caches.open(name).then((cache) =>
      cache.addAll([new Request('/', { cache: 'reload' }), '/manifest.webmanifest', ...files]),
    ),
  );
});

worker.addEventListener('activate', (/** @type {any} */ event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter((old) => old.startsWith('vote-') && old !== name).map((old) => caches.delete(old))))
      .then(() => worker.clients.claim()),
  );
});

worker.addEventListener('message', (/** @type {MessageEvent} */ event) => {
  if (event.data === 'take over') worker.skipWaiting();
});

worker.addEventListener('fetch', (/** @type {any} */ event) => {
  const { method, mode, url } = event.request;
  const { origin, pathname } = new URL(url);
  if (method !== 'GET' || origin !== location.origin) return;
  if (mode === 'navigate') {
    if (isPage(pathname)) event.respondWith(page(event.request));
  } else if (pathname.startsWith('/assets/') || pathname === '/manifest.webmanifest') {
    event.respondWith(caches.match(event.request).then((kept) => kept ?? load(event.request, pathname)));
  }
});

/**
 * @param {Request} request
 * @param {string} pathname
 */
async function load(request, pathname) {
  const answer = await fetch(request);
  if (answer.ok && release.files.includes(pathname)) await (await caches.open(name)).put(request, answer.clone());
  return answer;
}

/** @param {string} pathname */
function isPage(pathname) {
  return /^\/(create|sign-in|sign-up|me(\/\w+)?|p\/\d+)?$/.test(pathname);
}

/**
 * Answers with the page from the server, or with the app as it is kept when there
 * is no network or it takes too long.
 * @param {Request} request
 */
async function page(request) {
  const kept = () => caches.match('/').then((shell) => shell ?? Response.error());
  /** @type {number | undefined} */
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, patience)));
  try {
    const answer = await Promise.race([fetch(request), late.then(() => null)]);
    if (answer) return answer;
    return (await caches.match('/')) ?? fetch(request);
  } catch {
    return kept();
  } finally {
    clearTimeout(timer);
  }
}
