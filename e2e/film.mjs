// Films a phone that watches a poll while a recorded conversation is replayed
// through the API of a server: `make film CONVERSATION=path/to/folder`.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import gifenc from 'gifenc';
import { PNG } from 'pngjs';
import { browser, devices, eventually, Server } from './harness.mjs';

const [conversation, file] = process.argv.slice(2);
if (!conversation || !file || !process.env.VOTE_VOTECTL) throw new Error('usage: node film.mjs FOLDER FILE.gif, by make film');

const pause = 250; // ms between frames
const most = 60; // frames

const server = await Server.start();
try {
  const watcher = await server.user('watcher');
  const replay = spawn(process.env.VOTE_VOTECTL, ['replay', '--server', server.address, conversation], { stdio: 'inherit' });
  const ended = once(replay, 'exit');

  // The poll that has most votes when all are there.
  let before = -1;
  const poll = await eventually('the conversation has begun', async () => {
    const { polls } = await watcher.call('GET', '/api/polls?limit=100');
    const grows = polls.length === before;
    before = polls.length;
    const [best] = [...polls].sort(
      (/** @type {{totalVotes: number}} */ a, /** @type {{totalVotes: number}} */ b) => b.totalVotes - a.totalVotes,
    );
    return grows && best?.totalVotes >= 3 ? best : undefined;
  });

  const page = await (await browser()).newPage({ ...devices.phone, deviceScaleFactor: 1, colorScheme: 'light', locale: 'en' });
  await page.goto(`${server.url}/p/${poll.id}`);
  await page.locator('.live:not(.still)').first().waitFor();

  /** @type {Buffer[]} */
  const frames = [];
  let running = true;
  void ended.then(() => {
    running = false;
  });
  while (running && frames.length < most) {
    frames.push(await page.screenshot());
    await page.waitForTimeout(pause);
  }
  const [code] = await ended;
  if (code !== 0) throw new Error(`the replay failed: ${code}`);
  await page.waitForTimeout(1000);
  frames.push(await page.screenshot());

  const gif = gifenc.GIFEncoder();
  for (const [i, frame] of frames.entries()) {
    const { width, height, data } = PNG.sync.read(frame);
    const palette = gifenc.quantize(data, 64);
    gif.writeFrame(gifenc.applyPalette(data, palette), width, height, { palette, delay: i === frames.length - 1 ? 3000 : pause / 2 });
  }
  gif.finish();
  await writeFile(file, gif.bytes());
} finally {
  await (await browser()).close();
  await server.remove();
}
process.exit(0); // a replay that was given up would hold it open
