// What people find on the pages, and do there.

import { eventually } from './harness.mjs';

/** @typedef {import('./harness.mjs').Person} Person */
/** @typedef {import('playwright-core').Page} Page */

/**
 * The card of a poll.
 *
 * @param {Page} page
 * @param {string} title
 */
export const card = (page, title) => page.getByRole('article', { name: title, exact: true });

/**
 * An option of a poll, which becomes its bar.
 *
 * @param {Page} page
 * @param {string} title
 * @param {string} option
 */
export const option = (page, title, option) => card(page, title).getByRole('button', { name: new RegExp(`^${option}\\b`) });

/**
 * Waits until the card of a poll, or one without, is what the screen shows.
 *
 * @param {Page} page
 * @param {string} title
 */
export async function arrives(page, title) {
  await eventually(
    `"${title}" is in view`,
    async () =>
      (await page.evaluate(async () => {
        const seen = document.elementFromPoint(innerWidth / 2, innerHeight / 2)?.closest('section');
        const { top, bottom } = seen?.getBoundingClientRect() ?? { top: Infinity, bottom: Infinity };
        for (let i = 0; i < 3; i++) await new Promise((resolve) => requestAnimationFrame(resolve));
        const rests = seen?.getBoundingClientRect().top === top;
        return rests && Math.abs(top + bottom - innerHeight) < innerHeight / 6 ? seen?.querySelector('h2')?.textContent : '';
      })) === title,
  );
}

/**
 * Waits until something is told by a short message, as a screen reader has it.
 *
 * @param {Page} page
 * @param {string | RegExp} text
 */
export const told = (page, text) => page.getByRole('status').filter({ hasText: text }).waitFor();

/**
 * What a bar shows.
 *
 * @param {import('playwright-core').Locator} bar
 */
export const reading = async (bar) => (await bar.innerText()).replace(/\s+/g, ' ').trim();

/**
 * Taps with a finger, or clicks.
 *
 * @param {Person} person
 * @param {import('playwright-core').Locator} at
 */
export const tap = (person, at) => (person.device === 'phone' ? at.tap() : at.click());

/**
 * Swipes up with a finger, or turns the wheel.
 *
 * @param {Person} person
 */
export async function swipe(person) {
  const { width, height } = person.page.viewportSize() ?? { width: 0, height: 0 };
  if (person.device === 'desktop') {
    await person.page.mouse.move(width / 2, height / 2);
    await person.page.mouse.wheel(0, height * 0.4);
    return;
  }
  const session = await person.context.newCDPSession(person.page);
  const touch = (/** @type {'touchStart' | 'touchMove' | 'touchEnd'} */ type, /** @type {number[]} */ ...at) =>
    session.send('Input.dispatchTouchEvent', { type, touchPoints: at.map((y) => ({ x: width / 2, y })) });
  await touch('touchStart', height * 0.75);
  for (let y = height * 0.75; y > height * 0.15; y -= 20) await touch('touchMove', y);
  await touch('touchEnd');
  await session.detach();
}
