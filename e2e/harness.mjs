// What every test needs: a server of its own, people with browsers, and a watch
// on all that goes wrong in them while nobody looks.
//
// A test is told with `flow`, which runs it on each device, and fails it for any
// error on the console, breach of the content security policy, failed request,
// uncaught exception, or complaint of the server that the test did not announce.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { chromium } from 'playwright-core';

/** @typedef {import('playwright-core').Page} Page */
/** @typedef {import('playwright-core').BrowserContext} BrowserContext */
/** @typedef {import('playwright-core').BrowserContextOptions} ContextOptions */
/** @typedef {import('playwright-core').Locator} Locator */
/** @typedef {'phone' | 'desktop'} Device */
/** @typedef {{id: number, title: string, options: string[], tags: string[], createdAt: string, totalVotes: number}} Poll */
/** @typedef {{pollId: number, version: number, totalVotes: number, totalSkips: number, votes: {optionIndex: number, option: string, count: number, percentage: number}[]}} Stats */

/** How long anything may take: the machine may be slow, and busy with other tests. */
export const patience = Number(process.env.VOTE_E2E_PATIENCE ?? 30_000);

const programs = {
  server: variable('VOTE_SERVER'),
  votectl: variable('VOTE_VOTECTL'),
  chromium: variable('VOTE_CHROMIUM'),
};
const out = variable('VOTE_E2E_OUT');

/** @param {string} name */
function variable(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run these scripts by "go test -tags browser ./e2e"`);
  return value;
}

/** @type {Record<Device, ContextOptions>} */
export const devices = {
  phone: { viewport: { width: 412, height: 915 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  desktop: { viewport: { width: 1280, height: 800 } },
};

// One browser serves all tests of a script.
/** @type {Promise<import('playwright-core').Browser> | undefined} */
let launched;

/** The browser of this script. */
export function browser() {
  launched ??= chromium.launch({
    executablePath: programs.chromium,
    timeout: 2 * patience,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--force-color-profile=srgb',
    ],
  });
  return launched;
}

after(async () => {
  await (await launched)?.close();
});

// When the Go test is killed it ends nobody: everything here goes by itself.
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.exit(1);
}, 1000).unref();

/** @type {Set<import('node:child_process').ChildProcess>} */
const children = new Set();
/** @type {Set<string>} */
const folders = new Set();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

// No test is slowed down by limits that it is not about.
const unlimited = {
  LIMITS_DAILY_VOTES: '0',
  LIMITS_REQUESTS_PER_MINUTE: '0',
  LIMITS_VOTES_PER_MINUTE: '0',
  LIMITS_BURST_PER_SECOND: '0',
  LIMITS_LOGIN_PER_ACCOUNT_PER_MINUTE: '0',
  LIMITS_LOGIN_PER_ADDRESS_PER_MINUTE: '0',
  LIMITS_SIGN_INS_PER_ADDRESS: '0',
  LIMITS_REGISTRATIONS_PER_ADDRESS_PER_HOUR: '0',
  LIMITS_POLLS_PER_DAY: '0',
};

/** A server with data of its own. */
export class Server {
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;
  #log = '';
  #port = '0';
  /** @type {Promise<unknown>} */
  #registered = Promise.resolve();

  /**
   * @param {string} folder
   * @param {Record<string, string>} env
   */
  constructor(folder, env) {
    this.folder = folder;
    this.env = env;
    folders.add(folder);
  }

  /**
   * Starts one.
   *
   * @param {Record<string, string>} [env] variables beside those that switch limits off
   */
  static async start(env = {}) {
    const server = new Server(await mkdtemp(path.join(tmpdir(), 'vote-e2e-server-')), env);
    await server.start();
    return server;
  }

  /** What it is run with. */
  #environment() {
    return {
      PATH: process.env.PATH,
      HOME: this.folder,
      SERVER_HOST: '127.0.0.1',
      LOGGING_LEVEL: 'warn',
      GORACE: 'halt_on_error=1',
      ...unlimited,
      ...this.env,
      SERVER_PORT: this.#port,
    };
  }

  /** Where browsers find it: a secure context without TLS. */
  get url() {
    return `http://localhost:${this.#port}`;
  }

  /** Where the tests' own calls find it, and a page of another site. */
  get address() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** What it has logged. */
  get log() {
    return this.#log;
  }

  /** Starts it again, at its address and with its data. */
  async start() {
    const child = spawn(programs.server, { cwd: this.folder, env: this.#environment(), stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(child);
    this.#child = child;
    child.stderr.on('data', (text) => {
      this.#log += text;
    });
    const ended = once(child, 'exit');
    const told = (async () => {
      for await (const line of createInterface(child.stdout)) {
        const port = /http:\/\/.*:(\d+)/.exec(line)?.[1];
        if (port) return port;
      }
      await ended;
      throw new Error(`the server has ended:\n${this.#log}`);
    })();
    this.#port = await told;
    await eventually('the server is ready', async () => (await fetch(this.address + '/readyz')).ok);
  }

  /** Ends it in order. Its data stay. */
  async stop() {
    const child = this.#child;
    if (!child) return;
    this.#child = undefined;
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : Promise.resolve();
    child.kill('SIGTERM');
    await ended;
    children.delete(child);
    assert.equal(child.exitCode, 0, `the server did not end in order (${child.exitCode ?? child.signalCode}):\n${this.#log}`);
  }

  /** Ends it in order, and starts it again. */
  async restart() {
    await this.stop();
    await this.start();
  }

  /** Ends it and removes its data. */
  async remove() {
    try {
      await this.stop();
    } finally {
      await rm(this.folder, { recursive: true, force: true });
      folders.delete(this.folder);
    }
  }

  /**
   * Runs votectl on its data, with the server away meanwhile, as the embedded
   * storage asks for.
   *
   * @param {...string} words
   */
  async operate(...words) {
    await this.stop();
    const child = spawn(programs.votectl, words, { cwd: this.folder, env: this.#environment(), stdio: ['ignore', 'ignore', 'pipe'] });
    let complaints = '';
    child.stderr.on('data', (text) => {
      complaints += text;
    });
    const [code] = await once(child, 'exit');
    assert.equal(code, 0, `votectl ${words.join(' ')}: ${complaints}`);
    await this.start();
  }

  /**
   * Calls the API and returns the answer, which must be a good one.
   *
   * @param {string} method
   * @param {string} where
   * @param {{body?: unknown, token?: string}} [request]
   */
  async call(method, where, { body, token } = {}) {
    const answer = await fetch(this.address + where, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${where}: ${answer.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  /**
   * Makes an account.
   *
   * @param {string} [username]
   */
  async user(username = unique('user')) {
    const email = `${username}@example.org`;
    const password = 'correct horse battery';
    // One after the other: a server takes only so many at once.
    const registered = this.#registered.then(() => this.call('POST', '/api/auth/register', { body: { username, email, password } }));
    this.#registered = registered.catch(() => {});
    const { token, user } = await registered;
    return new User(this, { username, email, password, token, id: user.id });
  }

  /**
   * Makes polls of an account of their own, the first given being the newest, and
   * waits until feeds have them.
   *
   * @param {...{title: string, options?: string[], tags?: string[]}} polls
   * @returns {Promise<Poll[]>}
   */
  async polls(...polls) {
    const author = await this.user();
    /** @type {Poll[]} */
    const made = [];
    for (const { title, options = ['Yes', 'No', 'Perhaps'], tags = ['city'] } of polls.reverse()) {
      made.unshift(await author.call('POST', '/api/polls', { title, options, tags }));
    }
    return made;
  }

  /** @param {number} poll @returns {Promise<Stats>} */
  stats(poll) {
    return this.call('GET', `/api/polls/${poll}/stats`);
  }
}

/** An account. */
export class User {
  /**
   * @param {Server} server
   * @param {{username: string, email: string, password: string, token: string, id: number}} account
   */
  constructor(server, { username, email, password, token, id }) {
    this.server = server;
    this.username = username;
    this.email = email;
    this.password = password;
    this.token = token;
    this.id = id;
  }

  /**
   * Calls the API as this user.
   *
   * @param {string} method
   * @param {string} where
   * @param {unknown} [body]
   */
  call(method, where, body) {
    return this.server.call(method, where, { body, token: this.token });
  }

  /** @param {number} poll @param {number} option */
  vote(poll, option) {
    return this.call('POST', `/api/polls/${poll}/vote`, { optionIndex: option });
  }

  /** @param {number} poll */
  skip(poll) {
    return this.call('POST', `/api/polls/${poll}/skip`);
  }
}

let names = 0;

/** @param {string} kind */
export function unique(kind) {
  return `${kind}-${process.pid}-${++names}`;
}

/**
 * Waits until a check finds what it looks for.
 *
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} check
 * @returns {Promise<NonNullable<T>>}
 */
export async function eventually(what, check) {
  const limit = Date.now() + patience;
  for (;;) {
    let problem;
    try {
      const found = await check();
      if (found) return found;
    } catch (error) {
      problem = error;
    }
    if (Date.now() > limit) throw new Error(`never: ${what}`, { cause: problem });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A person with a browser profile of their own. */
export class Person {
  /** @type {string[]} */
  faults = [];
  /** @type {RegExp[]} */
  #expected = [];
  /** @type {Map<Page, import('playwright-core').CDPSession>} */
  #sessions = new Map();

  /**
   * @param {Stage} stage
   * @param {BrowserContext} context
   * @param {Page} page
   * @param {User | undefined} user
   * @param {Device} device
   */
  constructor(stage, context, page, user, device) {
    this.stage = stage;
    this.context = context;
    this.page = page;
    this.user = user;
    this.device = device;
  }

  /**
   * Announces faults that belong to the test.
   *
   * @param {...RegExp} patterns of what is reported
   */
  expect(...patterns) {
    this.#expected.push(...patterns);
  }

  /** What went wrong without being announced. */
  get unexpected() {
    return this.faults.filter((fault) => !this.#expected.some((pattern) => pattern.test(fault)));
  }

  /** @param {Page} page */
  watch(page) {
    const report = (/** @type {string} */ fault) => this.faults.push(fault);
    page.on('pageerror', (error) => report(`uncaught: ${error.stack ?? error.message}`));
    page.on('crash', () => report('the page crashed'));
    page.on('dialog', (dialog) => {
      report(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') {
        report(`console: ${message.text()} (${message.location().url})`);
      }
    });
    page.on('requestfailed', (request) => {
      // A page that is left drops what it waits for, and a stream that is closed
      // was never finished.
      const why = request.failure()?.errorText ?? '';
      if (why !== 'net::ERR_ABORTED') report(`request: ${request.method()} ${request.url()}: ${why}`);
    });
    page.on('request', (request) => {
      const url = new URL(request.url());
      if (/^(http|ws)/.test(url.protocol) && !['localhost', '127.0.0.1'].includes(url.hostname)) report(`outside: ${request.url()}`);
    });
    page.on('response', (response) => {
      if (response.status() >= 500) report(`answer: ${response.request().method()} ${response.url()}: ${response.status()}`);
    });
  }

  /** Opens another tab. */
  async tab() {
    const page = await this.context.newPage();
    page.setDefaultTimeout(patience);
    return page;
  }

  /**
   * Goes to a page of the server.
   *
   * @param {string} where
   * @param {Page} [page]
   */
  async go(where, page = this.page) {
    return await page.goto(this.stage.server.url + where);
  }

  /** Waits until the app is kept for times without a network. */
  async installed(page = this.page) {
    await page.evaluate(async () => {
      await navigator.serviceWorker.ready;
    });
  }

  /**
   * Takes the network away, or gives it back, also from the service worker.
   *
   * @param {boolean} offline
   */
  async offline(offline) {
    await this.context.setOffline(offline);
  }

  /** Waits until nothing moves but what always does. */
  async settle(page = this.page) {
    await page.evaluate(async () => {
      await document.fonts.ready;
      const ending = document.getAnimations().filter((a) => a.effect?.getComputedTiming().endTime !== Infinity);
      await Promise.allSettled(ending.map((a) => a.finished));
    });
  }

  /**
   * Keeps a picture, and has axe look at the page, in both themes.
   *
   * @param {string} name
   * @param {Page} [page]
   */
  async look(name, page = this.page) {
    /** @type {string[]} */
    const violations = [];
    for (const theme of /** @type {const} */ (['dark', 'light'])) {
      await page.emulateMedia({ colorScheme: theme });
      await this.settle(page);
      await this.shot(`${name}-${this.device}-${theme}`, page);
      violations.push(...(await this.violations(page)).map((v) => `${name}, ${theme}: ${v}`));
    }
    assert.deepEqual(violations, []);
  }

  /**
   * Keeps a picture.
   *
   * @param {string} name
   * @param {Page} [page]
   */
  async shot(name, page = this.page) {
    await mkdir(out, { recursive: true });
    await writeFile(path.join(out, name + '.png'), await page.screenshot());
  }

  /**
   * What axe finds wrong with the page.
   *
   * @param {Page} [page]
   * @returns {Promise<string[]>}
   */
  async violations(page = this.page) {
    // By the debugger's protocol: the page's policy lets no such script in. The
    // session stays, as the end of one brings a page's network back.
    const session = this.#sessions.get(page) ?? (await this.context.newCDPSession(page));
    this.#sessions.set(page, session);
    await session.send('Runtime.evaluate', { expression: axe + '; undefined' });
    const { result, exceptionDetails } = await session.send('Runtime.evaluate', {
      expression: `axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'] })
        .then((r) => r.violations.map((v) => v.id + ' (' + v.help + '): ' + v.nodes.map((n) => n.target.join(' ') + ' ' + n.html.slice(0, 200) + ' ' + n.any.concat(n.all, n.none).map((c) => c.message).join('; ')).join(' | ')))`,
      awaitPromise: true,
      returnByValue: true,
    });
    assert.equal(exceptionDetails, undefined);
    return result.value;
  }
}

/** Where a test plays. */
export class Stage {
  /** @type {Person[]} */
  people = [];

  /**
   * @param {Server} server
   * @param {Device} device
   */
  constructor(server, device) {
    this.server = server;
    this.device = device;
  }

  /**
   * Gives a person a browser, signed in when there is a user, on no page yet.
   *
   * @param {{user?: User, device?: Device, options?: ContextOptions}} [who]
   */
  async person({ user, device = this.device, options = {} } = {}) {
    const { url } = this.server;
    const context = await (
      await browser()
    ).newContext({
      locale: 'en-GB',
      timezoneId: 'UTC',
      colorScheme: 'light',
      ...devices[device],
      ...(user && {
        storageState: {
          cookies: [],
          origins: [
            { origin: url, localStorage: [{ name: 'vote.user', value: JSON.stringify({ id: user.id, username: user.username }) }] },
          ],
        },
      }),
      ...options,
    });
    context.setDefaultTimeout(patience);
    context.setDefaultNavigationTimeout(patience);
    await context.addInitScript(() => {
      addEventListener('securitypolicyviolation', (e) => {
        console.error(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`);
      });
    });
    const page = await context.newPage();
    const person = new Person(this, context, page, user, device);
    this.people.push(person);
    person.watch(page);
    context.on('page', (opened) => {
      person.watch(opened);
    });
    context.on('serviceworker', (worker) => {
      worker.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') person.faults.push(`worker: ${message.text()}`);
      });
    });
    if (user) {
      // As the page does it. What it keeps itself is its memory of who signed in.
      const answer = await context.request.post(url + '/api/auth/login', {
        headers: { 'X-Vote-Client': 'web', Origin: url },
        data: { email: user.email, password: user.password },
      });
      assert.ok(answer.ok(), `login: ${answer.status()}`);
    }
    return person;
  }

  /**
   * Ends it, and returns what went wrong.
   *
   * @param {string} name
   * @param {boolean} failed
   */
  async end(name, failed) {
    /** @type {string[]} */
    const faults = [];
    for (const [i, person] of this.people.entries()) {
      faults.push(...person.unexpected);
      if (failed || person.unexpected.length > 0) {
        const shot = `failed-${name.replace(/[^\p{L}\p{N}]+/gu, '-')}-${i}`;
        await person.shot(shot).catch(() => {}); // it is a picture of a wreck
      }
      await person.context.close();
    }
    await this.server.remove();
    if (/DATA RACE|panic|"level":"error"/.test(this.server.log)) faults.push(`the server: ${this.server.log}`);
    return faults;
  }
}

/**
 * Runs a test on each device, with a server and people of its own.
 *
 * @param {string} name
 * @param {(stage: Stage) => Promise<void>} play
 * @param {{on?: Device[], env?: Record<string, string>}} [how]
 */
export function flow(name, play, { on = ['phone', 'desktop'], env = {} } = {}) {
  for (const device of on) {
    const full = `${name}, ${device}`;
    test(full, { timeout: 6 * patience }, async () => {
      const stage = new Stage(await Server.start(env), device);
      /** @type {unknown} */
      let problem;
      try {
        await play(stage);
      } catch (error) {
        problem = error;
      }
      const faults = await stage.end(full, problem !== undefined);
      if (problem instanceof Error) {
        if (faults.length > 0) problem.stack += `\nBesides:\n${faults.join('\n')}`;
        throw problem;
      }
      assert.equal(problem, undefined);
      assert.deepEqual(faults, []);
    });
  }
}
