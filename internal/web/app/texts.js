// The texts of the app, in the visitor's language.

import { signal } from '@preact/signals';
import { everywhere } from './storage.js';
import en from './texts/en.js';

/** @typedef {keyof typeof en} Key */
/** @typedef {Record<string, string | Record<string, string>>} Catalogue */

/** The languages there are, each by its own name. */
export const languages = { en: 'English', de: 'Deutsch', ar: 'العربية' };

const rightToLeft = new Set(['ar']);
const kept = 'vote.language';

/** @type {Catalogue} */
let catalogue = en;

export const language = signal('en');

/** @type {Intl.PluralRules} */
let plurals;
/** @type {Intl.NumberFormat} */
let numbers;
/** @type {Intl.NumberFormat} */
let percents;
/** @type {Intl.RelativeTimeFormat} */
let relative;
setFormats('en');

/** @param {string} tag */
function setFormats(tag) {
  plurals = new Intl.PluralRules(tag);
  numbers = new Intl.NumberFormat(tag);
  percents = new Intl.NumberFormat(tag, { style: 'percent', maximumFractionDigits: 1 });
  relative = new Intl.RelativeTimeFormat(tag, { numeric: 'auto', style: 'short' });
}

/** Speaks the language chosen before, else the first of the browser's that there is. */
export function speakPreferred() {
  const wanted = [everywhere.get(kept), ...navigator.languages].map((tag) => String(tag).split('-')[0]);
  return speak(wanted.find((tag) => Object.hasOwn(languages, tag)) ?? 'en');
}

/**
 * Changes the language and remembers it.
 * @param {string} tag
 */
export async function choose(tag) {
  everywhere.set(kept, tag);
  await speak(tag);
}

/** @param {string} tag */
async function speak(tag) {
  if (tag !== 'en') {
    try {
      catalogue = (await (tag === 'de' ? import('./texts/de.js') : import('./texts/ar.js'))).default;
    } catch {
      tag = 'en'; // it could not be loaded
    }
  }
  if (tag === 'en') catalogue = en;
  setFormats(tag);
  document.documentElement.lang = tag;
  document.documentElement.dir = rightToLeft.has(tag) ? 'rtl' : 'ltr';
  language.value = tag;
}

/**
 * Returns a text with the values put in; `count` chooses among its plural forms.
 * @param {Key} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  language.value; // who shows a text shows it anew in another language
  let text = catalogue[key] ?? en[key];
  if (typeof text !== 'string') text = text[plurals.select(Number(values.count))] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === 'number' ? numbers.format(value) : value;
  });
}

/** @param {number} n */
export function number(n) {
  language.value;
  return numbers.format(n);
}

/** @param {number} share from 0 to 100 */
export function percent(share) {
  language.value;
  return percents.format(share / 100);
}

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const units = [['year', 31_536_000], ['month', 2_592_000], ['day', 86_400], ['hour', 3600], ['minute', 60]];

/**
 * Tells how long ago a time was.
 * @param {string} time RFC 3339
 */
export function ago(time) {
  language.value;
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  for (const [unit, length] of units) {
    if (seconds >= length) return relative.format(-Math.floor(seconds / length), unit);
  }
  return t('now');
}

/**
 * Tells a day and its time.
 * @param {string | number | Date} time
 * @param {Intl.DateTimeFormatOptions} [options]
 */
export function dateTime(time, options = { dateStyle: 'medium', timeStyle: 'short' }) {
  return new Intl.DateTimeFormat(language.value, options).format(new Date(time));
}
