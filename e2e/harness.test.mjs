// The watch on people's browsers must be able to see: each page has one fault.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { eventually, flow, Person, Server, Stage } from './harness.mjs';

/** @param {string} body @param {string} [title] */
const page = (body, title = 'A page') =>
  `<!doctype html><html lang="en"><head><title>${title}</title></head><body><main><h1>It</h1>${body}</main></body></html>`;

/** @type {Record<string, [page: string, fault: RegExp]>} */
const faulty = {
  'an error on the console': [page('<script src="/script.js?console.error(%22so%20wrong%22)"></script>'), /^console: so wrong/],
  'an uncaught error': [page('<script src="/script.js?throw new Error(%22so%20wrong%22)"></script>'), /^uncaught: .*so wrong/],
  'a rejected promise': [page('<script src="/script.js?Promise.reject(new Error(%22so%20wrong%22))"></script>'), /^uncaught: .*so wrong/],
  'an inline script': [page('<script>document.title = "in"</script>'), /^console: policy: script-src/],
  'an inline style': [page('<p style="color: red">Red</p>'), /^console: policy: style-src/],
  'a request that fails': [page('<img alt="" src="/drop">'), /^request: GET .*\/drop/],
  'an answer 500': [page('<img alt="" src="/broken">'), /^answer: GET .*\/broken: 500/],
  'an answer 404': [page('<img alt="" src="/missing">'), /^console: .*404/],
  'a dialog': [page('<script src="/script.js?alert(%22so%20wrong%22)"></script>'), /^dialog: so wrong/],
};

/** @param {(url: string) => Promise<void>} use */
async function serving(use) {
  const server = createServer((request, answer) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const name = decodeURIComponent(url.pathname.slice(1));
    if (name === 'drop') return request.socket.destroy();
    answer.setHeader('Content-Security-Policy', "default-src 'self'; connect-src *; img-src *");
    if (name === 'script.js') return answer.setHeader('Content-Type', 'text/javascript').end(decodeURIComponent(url.search.slice(1)));
    if (name === 'broken') return answer.writeHead(500).end();
    if (name === 'favicon.ico') return answer.writeHead(204).end();
    const body = faulty[name]?.[0] ?? others[name];
    if (body === undefined) return answer.writeHead(404).end();
    answer.setHeader('Content-Type', 'text/html; charset=utf-8').end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address && typeof address === 'object');
  try {
    await use(`http://localhost:${address.port}/`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** @type {Record<string, string>} */
const others = {
  fine: page('<p>All is well.</p>'),
  unnamed: page('<button></button>'),
  faint: page('<p><font color="#cccccc">Hardly to be read.</font></p>'),
};

/** @param {(person: Person) => Promise<void>} play */
async function withPerson(play) {
  const stage = new Stage(await Server.start(), 'desktop');
  try {
    await play(await stage.person());
  } finally {
    await stage.end('harness', false);
  }
}

test('each fault is seen', async () => {
  await serving(async (url) => {
    await withPerson(async (person) => {
      for (const [name, [, fault]] of Object.entries(faulty)) {
        await person.page.goto(url + encodeURIComponent(name));
        await eventually(`${name}: ${fault} among ${person.faults.join('\n')}`, () => person.faults.some((f) => fault.test(f)));
        person.faults.length = 0;
      }
      await person.page.goto(url + 'fine');
      assert.deepEqual(person.faults, []);
    });
  });
});

test('axe sees what is wrong, and that nothing is', async () => {
  await serving(async (url) => {
    await withPerson(async (person) => {
      for (const [name, want] of Object.entries({ unnamed: /^button-name/, faint: /^color-contrast/ })) {
        await person.page.goto(url + name);
        const found = await person.violations();
        assert.equal(found.length, 1, found.join('\n'));
        assert.match(found[0], want);
        await assert.rejects(person.look('harness'));
      }
      await person.page.goto(url + 'fine');
      assert.deepEqual(await person.violations(), []);
    });
  });
});

flow(
  'a server is operated, and keeps its address and data',
  async ({ server }) => {
    const [poll] = await server.polls({ title: 'Open?' });
    const { url } = server;
    await server.operate('poll', 'close', String(poll.id));
    assert.equal(server.url, url);
    const voter = await server.user();
    await assert.rejects(voter.vote(poll.id, 0), /poll_closed/);
  },
  { on: ['desktop'] },
);
