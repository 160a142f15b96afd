// What a first visit costs. Bytes are held to a budget; times are told only.

import assert from 'node:assert/strict';
import { get } from 'node:http';
import { test } from 'node:test';
import { browser, devices, eventually, Server } from './harness.mjs';

const budget = 60_000; // bytes of script, compressed
const rounds = 5;

/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/**
 * Has somebody make polls, and returns the server.
 */
async function lively() {
  const server = await Server.start();
  await server.polls(...Array.from({ length: 20 }, (_, i) => ({ title: `Should line ${i} of the old tram come back?` })));
  await server.restart(); // polls are ranked at once then
  return server;
}

/**
 * How many bytes of a file travel to a browser.
 *
 * @param {Server} server
 * @param {string} name
 * @returns {Promise<number>}
 */
const travelling = (server, name) =>
  new Promise((resolve, reject) => {
    get(server.address + name, { headers: { 'Accept-Encoding': 'gzip, deflate, br, zstd' } }, (answer) => {
      let size = 0;
      answer.on('data', (part) => {
        size += part.length;
      });
      answer.on('end', () => {
        resolve(size);
      });
    }).on('error', reject);
  });

test('all script is below 60 KB, compressed', async () => {
  const server = await lively();
  try {
    const context = await (await browser()).newContext({ ...devices.phone, locale: 'en-GB' });
    const page = await context.newPage();
    /** @type {Set<string>} */
    const loaded = new Set(['/sw.js']);
    page.on('response', (response) => {
      if (response.request().resourceType() === 'script') loaded.add(new URL(response.url()).pathname);
    });
    await page.goto(server.url + '/');
    await page.getByRole('article').first().waitFor();
    const first = [...loaded];
    // All parts of the app, which the service worker has then fetched.
    const kept = await page.evaluate(async () => {
      await navigator.serviceWorker.ready;
      const requests = await Promise.all((await caches.keys()).map(async (name) => (await caches.open(name)).keys()));
      return requests.flat().map(({ url }) => new URL(url).pathname);
    });
    for (const name of kept) if (name.endsWith('.js')) loaded.add(name);
    await context.close();
    assert.ok(first.length > 10, `${first}`);
    assert.ok(loaded.size > first.length, `${[...loaded]}`);

    const sum = async (/** @type {Iterable<string>} */ names) =>
      (await Promise.all([...names].map((name) => travelling(server, name)))).reduce((all, size) => all + size, 0);
    const [early, all] = await Promise.all([sum(first), sum(loaded)]);
    console.log(
      `script until the first card: ${early} bytes in ${first.length} files; of the whole app: ${all} bytes in ${loaded.size} files`,
    );
    assert.ok(all < budget, `all script is ${all} bytes`);
  } finally {
    await server.remove();
  }
});

// Conditions as Chromium's tools emulate them: ms, bytes per second.
const networks = {
  '9 Mbit/s, 85 ms': { latency: 85, downloadThroughput: 9e6 / 8, uploadThroughput: 9e6 / 8 },
  '1.6 Mbit/s, 150 ms': { latency: 150, downloadThroughput: 1.6e6 / 8, uploadThroughput: 0.75e6 / 8 },
};

for (const [name, conditions] of Object.entries(networks)) {
  test(`the first card on a phone four times as slow as this machine, ${name}`, async () => {
    const server = await lively();
    try {
      /** @type {{cold: number[], warm: number[]}} */
      const times = { cold: [], warm: [] };
      for (let round = 0; round < rounds; round++) {
        const context = await (await browser()).newContext(devices.phone);
        await context.addInitScript(() => {
          const seen = () => {
            const card = document.querySelector('article .opt');
            if (!card || card.getBoundingClientRect().height === 0) return requestAnimationFrame(seen);
            // The frame that has it is on the screen when the next one begins.
            requestAnimationFrame(() => {
              Object.assign(window, { firstCard: performance.now() });
            });
          };
          requestAnimationFrame(seen);
        });
        const page = await context.newPage();
        for (const visit of /** @type {const} */ (['cold', 'warm'])) {
          const session = await context.newCDPSession(page);
          await session.send('Network.enable');
          await session.send('Network.emulateNetworkConditions', { offline: false, ...conditions });
          await session.send('Emulation.setCPUThrottlingRate', { rate: 4 });
          await page.goto(server.url + '/');
          times[visit].push(await eventually('the first card', () => page.evaluate(() => /** @type {any} */ (window).firstCard)));
          if (visit === 'cold')
            await page.evaluate(async () => {
              await navigator.serviceWorker.ready;
            });
          await session.detach();
        }
        await context.close();
      }
      console.log(
        `first card, ${name}, processor 4 times slower: cold ${Math.round(median(times.cold))} ms, warm ${Math.round(median(times.warm))} ms (medians of ${rounds})`,
      );
    } finally {
      await server.remove();
    }
  });
}
