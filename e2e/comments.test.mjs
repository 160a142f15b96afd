// What the server sends of a script is what a parser reads in its file.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { tokenizer } from 'acorn';
import { Server } from './harness.mjs';

const app = new URL('../internal/web/app/', import.meta.url);

/** What a script consists of, and on which line. @param {string} script */
function parts(script) {
  return [...tokenizer(script, { ecmaVersion: 'latest', sourceType: 'module', locations: true })]
    .map((token) => /** @type {any} */ (token))
    .map(({ type, value, loc }) => [type.label, value instanceof RegExp ? String(value) : (value?.value ?? value), loc?.start.line]);
}

test('scripts lose their comments and nothing else', async () => {
  const server = await Server.start();
  try {
    const shell = await (await fetch(server.address + '/')).text();
    /** @type {{imports: Record<string, string>}} */
    const { imports } = JSON.parse(shell.match(/<script type="importmap">(.*?)<\/script>/s)?.[1] ?? '{}');
    const names = (await readdir(app, { recursive: true })).filter((name) => name.endsWith('.js') && name !== 'sw.js');
    assert.ok(names.length > 20);
    for (const name of names) {
      const sent = await (await fetch(server.address + imports[`/assets/${name}`])).text();
      const file = await readFile(new URL(name, app), 'utf8');
      assert.deepEqual(parts(sent), parts(file), name);
      assert.equal(sent.split('\n').length, file.split('\n').length, name);
    }
    const worker = await (await fetch(server.address + '/sw.js')).text();
    const [, ...rest] = worker.split('\n');
    assert.deepEqual(parts(rest.join('\n')), parts(await readFile(new URL('sw.js', app), 'utf8')));
  } finally {
    await server.remove();
  }
});
