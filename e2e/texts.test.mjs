// The texts of the app: every language has all of them, whole.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';

/** @typedef {Record<string, string | Record<string, string>>} Catalogue */

/** @param {string} language @returns {Promise<Catalogue>} */
async function catalogue(language) {
  const source = await readFile(new URL(`../internal/web/app/texts/${language}.js`, import.meta.url), 'utf8');
  return (await import('data:text/javascript,' + encodeURIComponent(source))).default;
}

const forms = (/** @type {string | Record<string, string>} */ text) => (typeof text === 'string' ? [text] : Object.values(text));
const gaps = (/** @type {string} */ text) => [...text.matchAll(/\{\w+\}/g)].map(([gap]) => gap);

const english = await catalogue('en');

for (const language of ['en', 'de', 'ar']) {
  test(`texts, ${language}`, async () => {
    const texts = await catalogue(language);
    assert.deepEqual(Object.keys(texts).sort(), Object.keys(english).sort());
    for (const [key, text] of Object.entries(texts)) {
      const model = english[key];
      assert.equal(typeof text, typeof model, key);
      const allowed = new Set(forms(model).flatMap(gaps));
      // What counts from zero in one language may count from one in another.
      if (allowed.has('{a}')) allowed.add('{next}');
      for (const form of forms(text)) {
        assert.ok(form.trim(), `${key} is empty`);
        for (const gap of gaps(form)) assert.ok(allowed.has(gap), `${key}: nobody fills in ${gap}`);
      }
      if (typeof text === 'string') {
        const missing = new Set(gaps(/** @type {string} */ (model)));
        for (const gap of gaps(text)) missing.delete(gap === '{next}' ? '{a}' : gap);
        assert.deepEqual([...missing], [], `${key} leaves out something`);
      } else {
        assert.deepEqual(Object.keys(text).sort(), [...new Intl.PluralRules(language).resolvedOptions().pluralCategories].sort(), key);
      }
    }
  });
}

test('texts, all are used, and all that are used are there', async () => {
  const folder = new URL('../internal/web/app/', import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.js'));
  const code = (await Promise.all(names.map((name) => readFile(new URL(name, folder), 'utf8')))).join('\n');
  for (const [, key] of code.matchAll(/\bt\('([^']+)'/g)) assert.ok(key in english, `there is no text ${key}`);
  const whole = new Set([...code.matchAll(/'([\w.]+)'/g)].map(([, key]) => key));
  const made = [...code.matchAll(/\bt\(`([^`]+)`/g)].map(
    ([, form]) => new RegExp(`^${form.replaceAll('.', '\\.').replace(/\$\{.*?\}/g, '.+')}$`),
  );
  const unused = Object.keys(english).filter((key) => !whole.has(key) && !made.some((form) => form.test(key)));
  assert.deepEqual(unused, []);
});
