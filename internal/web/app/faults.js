// The rules that the server holds what people write to, so that a fault is told
// before anything is sent. The server has the last word.
//
// Faults are told in the server's words. Nothing here needs a browser.

/** @typedef {{field: string, message: string}} Fault */
/** @typedef {{title: string, options: string[], tags: string[]}} Content a poll as it is written */

export const limits = { title: 300, options: 20, option: 200, tags: 10, tag: 50, username: 50, password: 128 };

const notUnicode = 'must be valid UTF-8';
const control = 'must not contain control characters';
const invisible = 'must contain a visible character';
const noLetter = 'must contain a letter or a digit';
const tagCharacters = "must contain only letters, digits, '-' and '_'";
const nameCharacters = "must contain only letters, digits, '.', '_' and '-'";
const noAddress = 'must be an e-mail address';
const characters = (/** @type {number} */ least, /** @type {number} */ most) => `must have ${least} to ${most} characters`;

/** Tells of half a pair of surrogates, which no UTF-8 can hold. @param {string} s */
const isBroken = (s) => /\p{Surrogate}/u.test(s);

/** Removes white space as the server does, which knows other characters than String.trim. @param {string} s */
const trim = (s) => s.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, '');

/** The length in code points. @param {string} s */
export const lengthOf = (s) => [...s].length;

/** The length in bytes of UTF-8. @param {string} s */
const bytes = (s) => new TextEncoder().encode(s).length;

/** A text as it is stored. @param {string} s */
export const normalText = (s) => trim(s.normalize());

/**
 * A tag as it is stored: lower-case character by character, whatever stands
 * beside it.
 * @param {string} s
 */
export const normalTag = (s) => [...trim(s).normalize()].map((c) => (c === 'İ' ? 'i' : c.toLowerCase())).join('').normalize();

/**
 * Returns what is wrong with a text, empty when nothing is.
 * @param {string} s
 * @param {number} most characters
 */
export function textFault(s, most) {
  if (isBroken(s)) return notUnicode;
  s = normalText(s);
  if (/[\p{Cc}\p{Noncharacter_Code_Point}\u2028\u2029]/u.test(s)) return control;
  const length = lengthOf(s);
  if (length < 1 || length > most) return characters(1, most);
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(s) ? '' : invisible;
}

/** @param {string} s */
export function tagFault(s) {
  if (isBroken(s)) return notUnicode;
  s = normalTag(s);
  if (/[^\p{L}\p{Nd}\p{M}_-]/u.test(s)) return tagCharacters;
  const length = lengthOf(s);
  if (length < 1 || length > limits.tag) return characters(1, limits.tag);
  return /[\p{L}\p{Nd}]/u.test(s) ? '' : noLetter;
}

/** @param {string} s */
export function usernameFault(s) {
  if (isBroken(s)) return notUnicode;
  s = normalText(s);
  if (/[^\p{L}\p{Nd}\p{M}._-]/u.test(s)) return nameCharacters;
  const length = lengthOf(s);
  if (length < 3 || length > limits.username) return characters(3, limits.username);
  return /[\p{L}\p{Nd}]/u.test(s) ? '' : noLetter;
}

/** @param {string} s */
export function emailFault(s) {
  if (isBroken(s)) return notUnicode;
  s = normalText(s);
  if (bytes(s) > 254) return 'must have at most 254 bytes';
  const [local, host, ...rest] = s.split('@');
  const isLocal = /^[^()<>[\]:;\\,"]+$/.test(local) && !/^\.|\.\.|\.$/.test(local) && bytes(local) <= 64;
  const labels = (host ?? '').split('.');
  const isHost = labels.length > 1 && labels.every((label) => /^[\p{L}\p{Nd}\p{M}-]+$/u.test(label) && !/^-|-$/.test(label) && bytes(label) <= 63);
  return rest.length === 0 && isLocal && isHost && /^[\p{L}\p{M}\p{N}\p{P}\p{S}]+$/u.test(s) ? '' : noAddress;
}

/** @param {string} s */
export function passwordFault(s) {
  if (isBroken(s)) return notUnicode;
  const length = lengthOf(s.normalize());
  return length < 8 || length > limits.password ? characters(8, limits.password) : '';
}

/** Returns the fault of what must be given. @param {string} s */
export const emptyFault = (s) => (s === '' ? 'must not be empty' : '');

/**
 * Returns every fault of a poll, in the order of the server.
 * @param {Content} content
 */
export function pollFaults({ title, options, tags }) {
  /** @type {Fault[]} */
  const faults = [];
  const fault = (/** @type {string} */ field, /** @type {string} */ message) => {
    if (message) faults.push({ field, message });
  };
  fault('title', textFault(title, limits.title));
  if (options.length < 2 || options.length > limits.options) fault('options', `must have 2 to ${limits.options} entries`);
  /** @type {Map<string, number>} */
  const first = new Map();
  options.slice(0, limits.options).forEach((option, i) => {
    const message = textFault(option, limits.option);
    const same = first.get(normalText(option));
    if (message) fault(`options[${i}]`, message);
    else if (same !== undefined) fault(`options[${i}]`, `is the same as options[${same}]`);
    else first.set(normalText(option), i);
  });
  tags.slice(0, 2 * limits.tags).forEach((tag, i) => fault(`tags[${i}]`, tagFault(tag)));
  const distinct = new Set(tags.filter((tag) => !tagFault(tag)).map(normalTag));
  if (tags.length < 1 || tags.length > 2 * limits.tags || distinct.size > limits.tags) {
    fault('tags', `must have 1 to ${limits.tags} different entries`);
  }
  return faults;
}

/**
 * The server's words, each with the key of its text; an asterisk stands for a
 * number.
 */
const texts = /** @type {const} */ ({
  [notUnicode]: 'fault.unicode',
  [control]: 'fault.control',
  [invisible]: 'fault.invisible',
  [noLetter]: 'fault.letter',
  [tagCharacters]: 'fault.tag',
  [nameCharacters]: 'fault.name',
  [noAddress]: 'fault.address',
  'must not be empty': 'fault.empty',
  'must have * to * characters': 'fault.characters',
  'must have at most * bytes': 'fault.bytes',
  'must have * to * entries': 'fault.entries',
  'must have * to * different entries': 'fault.different',
  'is the same as options[*]': 'fault.same',
  'is required to change the e-mail address or the password': 'fault.confirm',
});

/**
 * Returns the key of the text of a fault and the numbers to put in: `a` and `b`
 * as they come, `next` one more than `a`, for people who count from one. Null
 * when the fault is none of those known here.
 * @param {string} message
 */
export function textOf(message) {
  const numbers = (message.match(/\d+/g) ?? []).map(Number);
  const key = texts[/** @type {keyof typeof texts} */ (message.replace(/\d+/g, '*'))];
  return key ? { key, values: { a: numbers[0] ?? 0, b: numbers[1] ?? 0, next: (numbers[0] ?? 0) + 1 } } : null;
}
