// Languages, sizes of text and screens, motion: nothing is lost in any of them.

import assert from 'node:assert/strict';
import { eventually, flow } from './harness.mjs';
import { arrives, card, option, reading, tap } from './pages.mjs';

/** @typedef {import('playwright-core').Page} Page */
/** @typedef {import('./harness.mjs').Stage} Stage */

const polls = [
  {
    title: 'Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft?',
    options: ['Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz', 'Nein'],
    tags: ['verwaltungsangelegenheiten'],
  },
  { title: 'هل يجب أن يعود خط الترام القديم؟', options: ['نعم، كله', 'الوسط فقط', 'لا'], tags: ['مدينة'] },
  { title: '旧电车线路应该恢复吗？'.repeat(20), options: ['是', '否 🚋'], tags: ['城市'] },
  {
    title: 'Which of these?',
    options: Array.from({ length: 20 }, (_, i) => `Option number ${i + 1} with some more words to it`),
    tags: ['city', 'food', 'sports'],
  },
];

/**
 * What sticks out of the page sideways, or is cut off where it stands.
 *
 * @param {Page} page
 * @returns {Promise<string[]>}
 */
async function lost(page) {
  return await page.evaluate(() => {
    const found = [];
    const root = document.scrollingElement ?? document.documentElement;
    if (root.scrollWidth > innerWidth) found.push(`the page is ${root.scrollWidth} wide, not ${innerWidth}`);
    for (const element of document.querySelectorAll('body *')) {
      if (!(element instanceof HTMLElement) || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
      const { overflowX, overflowY, clipPath } = getComputedStyle(element);
      if (clipPath !== 'none' || element.closest('[inert], .sr')) continue; // for the ears, or not to be used
      if (element.matches('input, .chips .chip, .chart .name bdi')) continue; // are short for what stands elsewhere, or scroll
      const name = `${element.tagName} ${element.className} "${element.textContent?.trim().slice(0, 40)}"`;
      const hides = (/** @type {string} */ overflow) => overflow === 'hidden' || overflow === 'clip';
      if (hides(overflowX) && element.scrollWidth > element.clientWidth + 1)
        found.push(`${name} is cut: ${element.scrollWidth} in ${element.clientWidth}`);
      if (hides(overflowY) && element.scrollHeight > element.clientHeight + 1)
        found.push(`${name} is cut: ${element.scrollHeight} high in ${element.clientHeight}`);
      // Text that no box around it may scroll must lie on the screen.
      const text = [...element.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent?.trim());
      const { left, right, width } = element.getBoundingClientRect();
      let scrolls = false;
      for (let at = /** @type {HTMLElement | null} */ (element); at; at = at.parentElement)
        scrolls ||= /auto|scroll/.test(getComputedStyle(at).overflowX) && at.scrollWidth > at.clientWidth;
      if (text && width > 0 && !scrolls && (left < -1 || right > innerWidth + 1))
        found.push(`${name} sticks out: ${Math.round(left)} to ${Math.round(right)} of ${innerWidth}`);
    }
    return found;
  });
}

/**
 * Looks at every page.
 *
 * @param {Stage} stage
 * @param {string} name
 * @param {import('playwright-core').BrowserContextOptions} options
 * @param {(page: Page) => Promise<unknown>} [change] after each page has come
 */
async function everywhere(stage, name, options, change = async () => {}) {
  const made = await stage.server.polls(...polls.map((poll) => ({ ...poll })));
  const user = await stage.server.user();
  const others = await Promise.all(Array.from({ length: 3 }, () => stage.server.user()));
  for (const poll of made) for (const [i, other] of others.entries()) await other.vote(poll.id, i % 2);
  const person = await stage.person({ user, options });
  const { page } = person;
  person.expect(/409/); // of the same vote, sent again by a page that had not seen the answer
  /** @type {string[]} */
  const faults = [];
  const check = async (/** @type {string} */ where) => {
    await change(page);
    await person.settle();
    await person.shot(`${name}-${where}-${stage.device}`);
    faults.push(
      ...(await lost(page)).map((fault) => `${where}: ${fault}`),
      ...(await person.violations()).map((fault) => `${where}: ${fault}`),
    );
  };
  await person.go('/');
  for (const [i, poll] of made.entries()) {
    await arrives(page, poll.title);
    await check(`feed-${i}`);
    await page.keyboard.press('1');
    await card(page, poll.title).locator('[aria-pressed="true"]').waitFor();
    await check(`voted-${i}`);
    await page.keyboard.press('s');
  }
  await eventually(
    'the feed is at its end',
    async () => await page.evaluate(() => document.querySelectorAll('.slot:not([inert])').length === 1),
  );
  await check('end');
  for (const [i, poll] of made.entries()) {
    await person.go(`/p/${poll.id}`);
    await page.getByRole('heading', { level: 1 }).waitFor();
    await page.getByRole('img').first().waitFor();
    await check(`poll-${i}`);
  }
  await page.locator('button.button').first().click();
  await page.getByRole('dialog').waitFor();
  await check('share');
  for (const where of ['/create', '/me', '/me/votes', '/me/polls', '/me/notifications', '/me/settings']) {
    await person.go(where);
    await page.getByRole('heading', { level: 1 }).waitFor();
    await eventually('it is loaded', async () => (await page.getByRole('progressbar').count()) === 0);
    await check(where.slice(1).replace('/', '-'));
  }
  const visitor = await stage.person({ options });
  for (const where of ['/sign-in', '/sign-up']) {
    await visitor.go(where);
    await visitor.page.getByRole('heading', { level: 1 }).waitFor();
    await change(visitor.page);
    await visitor.shot(`${name}-${where.slice(1)}-${stage.device}`);
    faults.push(...(await lost(visitor.page)).map((fault) => `${where}: ${fault}`));
  }
  assert.deepEqual(faults, []);
}

/** @param {number} times */
const textTimes = (times) => (/** @type {Page} */ page) =>
  page.evaluate(
    (size) => {
      document.documentElement.style.fontSize = size;
    },
    `${times * 100}%`,
  );

flow(
  'a screen of 320 px holds everything',
  async (stage) => {
    await everywhere(stage, 'narrow', { viewport: { width: 320, height: 640 } });
  },
  { on: ['phone'] },
);

flow('text at 200 % holds', async (stage) => {
  await everywhere(stage, 'large', {}, textTimes(2));
});

flow(
  'German holds',
  async (stage) => {
    await everywhere(stage, 'german', { locale: 'de-DE' });
  },
  { on: ['phone'] },
);

flow('Arabic holds, from right to left', async (stage) => {
  await everywhere(stage, 'arabic', { locale: 'ar-EG' }, async (page) => {
    assert.deepEqual(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dir]), ['ar', 'rtl']);
  });
});

flow(
  'the language is chosen, and kept',
  async (stage) => {
    const person = await stage.person({ user: await stage.server.user() });
    const { page } = person;
    person.expect(/ERR_INTERNET_DISCONNECTED/, /ERR_FAILED/);
    await person.go('/me/settings');
    await person.installed();
    await page.reload();
    await page.getByLabel('Language').selectOption({ label: 'Deutsch' });
    await page.getByRole('button', { name: 'Abmelden' }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'de');
    await person.offline(true);
    await page.reload();
    await page.getByRole('button', { name: 'Abmelden' }).waitFor();
    await person.offline(false);
    await page.locator('select').selectOption({ label: 'العربية' });
    await eventually('it is from right to left', async () => (await page.evaluate(() => document.documentElement.dir)) === 'rtl');
    await page.locator('select').selectOption({ label: 'English' });
    await page.getByRole('button', { name: 'Sign out' }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.dir), 'ltr');
  },
  { on: ['phone'] },
);

flow('who asked for less motion gets none', async (stage) => {
  const [lunch, rain] = await stage.server.polls({ title: 'What is for lunch?', options: ['Soup', 'Salad'] }, { title: 'Will it rain?' });
  const voter = await stage.person({ user: await stage.server.user(), options: { reducedMotion: 'reduce' } });
  const { page } = voter;
  await voter.go('/');
  await arrives(page, lunch.title);
  const moving = () =>
    page.evaluate(() =>
      document
        .getAnimations()
        .filter((a) => Number(a.effect?.getComputedTiming().endTime) > 1)
        .map((a) => String(a)),
    );
  assert.deepEqual(await moving(), []);
  await tap(voter, option(page, lunch.title, 'Soup'));
  await eventually('the bar is filled', async () => (await reading(option(page, lunch.title, 'Soup'))).includes('100%'));
  assert.deepEqual(await moving(), []);
  await page.getByRole('button', { name: 'Next' }).click();
  await arrives(page, rain.title);
  assert.deepEqual(await moving(), []);
});
