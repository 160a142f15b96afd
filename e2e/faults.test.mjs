// The rules that the web app tells faults by are those of the server: the same
// words for the same inputs. No browser is needed.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { Server } from './harness.mjs';

/** @typedef {{field: string, message: string}} Fault */

/** Loads a module of the web app, whatever its folder says of modules. @param {string} name @returns {Promise<any>} */
async function load(name) {
  const text = await readFile(new URL(`../internal/web/app/${name}`, import.meta.url), 'utf8');
  return import(`data:text/javascript,${encodeURIComponent(text)}`);
}

/** @type {{pollFaults: (content: object) => Fault[], usernameFault: (s: string) => string, emailFault: (s: string) => string,
 *   passwordFault: (s: string) => string, textOf: (message: string) => {key: string, values: Record<string, number>} | null}} */
const rules = await load('faults.js');
/** @type {Record<string, string>} */
const texts = (await load('texts/en.js')).default;

/** @type {Server} */
let server;
let token = '';
before(async () => {
  server = await Server.start();
  token = (await server.user()).token;
});
after(() => server.remove());

/**
 * Returns the faults that the server tells of a body.
 *
 * @param {string} where
 * @param {object} body
 * @returns {Promise<Fault[]>}
 */
async function faultsOf(where, body) {
  const answer = await fetch(server.address + where, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });
  if (answer.status === 201) return [];
  assert.equal(answer.status, 422, `${where} ${JSON.stringify(body)}`);
  return /** @type {{errors: Fault[]}} */ (await answer.json()).errors;
}

/** Has the English text of a fault be what the server said. @param {string} message */
function isTold(message) {
  const text = rules.textOf(message);
  assert.ok(text, `no text for “${message}”`);
  assert.equal(
    texts[text.key].replace(/\{(\w+)\}/g, (_, name) => String(text.values[name])),
    message,
  );
}

const spaces = ' \t\n\v\f\r\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000';
const strings = [
  '',
  ' ',
  spaces,
  `${spaces}trimmed${spaces}`,
  '\ufeffmark',
  'a',
  'ab',
  'abc',
  'a b',
  'a\nb',
  'a\tb',
  'a\u0000',
  'a\u007f',
  'a\u0085b',
  'a\u2028b',
  'a\u2029b',
  '\ufdd0a',
  'a\uffff',
  'a\u{1ffff}',
  '\u200b',
  '\u200d\u2060',
  '\u0301',
  'e\u0301',
  'é'.repeat(50),
  'e\u0301'.repeat(50),
  'e\u0301'.repeat(51),
  '!',
  '…',
  '👍',
  '👍🏽',
  '👨‍👩‍👧',
  '👍'.repeat(200),
  '👍'.repeat(201),
  'x'.repeat(50),
  'x'.repeat(51),
  'x'.repeat(200),
  'x'.repeat(201),
  'x'.repeat(300),
  'x'.repeat(301),
  '-',
  '_',
  '.',
  '-_',
  '-a',
  'a.b',
  'a,b',
  '#tag',
  '½',
  '٣',
  '²',
  'Ⅷ',
  'ǅ',
  'ß',
  'ẞ',
  'İ',
  'İ'.repeat(50),
  'İstanbul',
  'ΟΔΟΣ',
  'ﬁ',
  '한국어',
  '食べ物',
  'مُوسِيقَى',
  'हिन्दी',
  'ไทย',
];

test('polls have the faults that the server tells', async (t) => {
  const options = ['Yes', 'No'];
  const tags = ['city'];
  /** @type {Record<string, {title: string, options: string[], tags: string[]}>} */
  const polls = {
    'a good one': { title: 'A question', options, tags },
    'all empty': { title: '', options: ['', ''], tags: [] },
    'nothing at all': { title: '', options: [], tags: [] },
    'one option': { title: 'A question', options: ['Yes'], tags },
    '20 options': { title: 'A question', options: strings.slice(-20), tags },
    '21 options': { title: 'A question', options: Array.from({ length: 21 }, (_, i) => `${i}`), tags },
    '25 faulty options': { title: 'A question', options: Array.from({ length: 25 }, () => ''), tags },
    'the same options': { title: 'A question', options: ['a', ' a ', 'b', 'a', 'é', 'e\u0301', '', '', 'A'], tags },
    '10 tags': { title: 'A question', options, tags: Array.from({ length: 10 }, (_, i) => `${i}`) },
    '11 tags': { title: 'A question', options, tags: Array.from({ length: 11 }, (_, i) => `${i}`) },
    '20 times the same tag': { title: 'A question', options, tags: Array.from({ length: 20 }, () => 'Tag') },
    '21 times the same tag': { title: 'A question', options, tags: Array.from({ length: 21 }, () => 'Tag') },
    'the same tags': { title: 'A question', options, tags: ['Σ', 'σ', 'ς', 'É', 'e\u0301', 'K', 'K', ' k ', '!', ''] },
    'faults everywhere': { title: 'a\u0000', options: ['x'.repeat(201), 'ok', 'ok', '\u200b'], tags: ['a b', '-', 'x'.repeat(51)] },
  };
  for (const [i, s] of strings.entries()) polls[`text ${i}`] = { title: s, options: [s, `${s}!`], tags: [s] };
  for (const [name, content] of Object.entries(polls)) {
    await t.test(name, async () => {
      const faults = await faultsOf('/api/polls', content);
      assert.deepEqual(rules.pollFaults(content), faults);
      for (const { message } of faults) isTold(message);
    });
  }
});

/**
 * Compares what is said of a field of a registration that has another fault, so
 * that no account is made.
 *
 * @param {'username' | 'email' | 'password'} field
 * @param {(s: string) => string} rule
 * @param {string[]} inputs
 */
async function compare(field, rule, inputs) {
  const bad = { username: '', email: '', password: '' };
  for (const input of inputs) {
    const faults = await faultsOf('/api/auth/register', { ...bad, [field]: input });
    const message = faults.find((fault) => fault.field === field)?.message ?? '';
    assert.equal(rule(input), message, `${field} ${JSON.stringify(input)}`);
    if (message) isTold(message);
  }
}

test('usernames have the faults that the server tells', () => compare('username', rules.usernameFault, strings));

test('passwords have the faults that the server tells', () =>
  compare('password', rules.passwordFault, [
    ...strings,
    'x'.repeat(7),
    ' '.repeat(8),
    'x'.repeat(128),
    'x'.repeat(129),
    'e\u0301'.repeat(7),
    'e\u0301'.repeat(8),
    '👍'.repeat(8),
  ]));

test('e-mail addresses have the faults that the server tells', () =>
  compare('email', rules.emailFault, [
    ...strings,
    'a@b.c',
    ' a@b.c ',
    'a@b',
    'a@b.',
    'a@.b',
    '@b.c',
    'a@',
    'a@b@c.d',
    'a b@c.d',
    'a@b c.d',
    '.a@b.c',
    'a.@b.c',
    'a..b@c.d',
    'a.b@c.d',
    'a+b@c.d',
    "!#$%&'*+-/=?^_`{|}~@b.c",
    '"a"@b.c',
    '"a b"@b.c',
    'a"b@c.d',
    'a\\b@c.d',
    'a(b)@c.d',
    '(b)a@c.d',
    'a@c.d(b)',
    'A <a@b.c>',
    '<a@b.c>',
    'a@[127.0.0.1]',
    'a@b.c, d@e.f',
    'a:b@c.d',
    'g:a@b.c;',
    'a,b@c.d',
    'a;b@c.d',
    'ä@ö.ü',
    'a@bücher.example',
    'محمد@مثال.إختبار',
    'a@-b.c',
    'a@b-.c',
    'a@b.-c',
    'a@b_c.d',
    'a@b.c1',
    'a@1.2',
    `${'x'.repeat(64)}@b.c`,
    `${'x'.repeat(65)}@b.c`,
    `${'é'.repeat(32)}@b.c`,
    `${'é'.repeat(33)}@b.c`,
    `a@${'x'.repeat(63)}.c`,
    `a@${'x'.repeat(64)}.c`,
    `a@${'é'.repeat(32)}.c`,
    `a@${'x.'.repeat(126)}`,
    `a@${'x.'.repeat(125)}xx`,
    `a@${'x.'.repeat(126)}xx`,
    `${'x'.repeat(255)}@b.c`,
    'a\u0000@b.c',
    'a\u00a0b@c.d',
    'a\u200b@c.d',
    'a@b\u200b.c',
    '=?utf-8?q?a?=@b.c',
    'a@b.c\n',
    'a\n@b.c',
  ]));

test('faults that the app adds itself have texts', () => {
  isTold('must not be empty');
  isTold('is required to change the e-mail address or the password');
  assert.equal(rules.textOf('must be quite different'), null);
});
