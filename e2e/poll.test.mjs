// The page of a poll, and what others make of it: shares, previews, frames.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import jsqr from 'jsqr';
import { PNG } from 'pngjs';
import { eventually, flow } from './harness.mjs';
import { card, option, reading, tap } from './pages.mjs';

flow('a poll is read by its link without an account, and moves', async (stage) => {
  const [tram] = await stage.server.polls({
    title: 'Should the old tram line come back?',
    options: ['Yes, all of it', 'Only the centre', 'No'],
    tags: ['city', 'transport'],
  });
  for (const choice of [0, 0, 1]) await (await stage.server.user()).vote(tram.id, choice);
  const visitors = [await stage.person(), await stage.person({ device: 'phone' })];
  for (const visitor of visitors) {
    await visitor.go(`/p/${tram.id}`);
    await eventually('the bars are there', async () =>
      /2 votes 67%/.test(await reading(option(visitor.page, tram.title, 'Yes, all of it'))),
    );
  }
  const [{ page }] = visitors;
  assert.equal(await page.getByRole('heading', { level: 1 }).textContent(), tram.title);
  await page.getByRole('img', { name: /Votes for each option added up/ }).waitFor();
  const table = page.getByText('As a table');
  if (!(await page.getByRole('table').isVisible())) await table.click();
  const cells = await page.getByRole('table').getByRole('row').last().getByRole('cell').allTextContents();
  assert.deepEqual(cells, ['2', '1', '0', '3']);
  await visitors[0].look('poll');

  await (await stage.server.user()).vote(tram.id, 2);
  for (const visitor of visitors) {
    await eventually('the vote is seen', async () => /1 vote 25%/.test(await reading(option(visitor.page, tram.title, 'No'))));
  }
});

flow('a poll is read without script', async (stage) => {
  const [tram] = await stage.server.polls({ title: 'Should the old tram line come back?', options: ['Yes', 'No'] });
  await (await stage.server.user()).vote(tram.id, 0);
  const reader = await stage.person({ options: { javaScriptEnabled: false } });
  reader.expect(/: csp$/); // as Chromium calls it
  await reader.go(`/p/${tram.id}`);
  const text = await reader.page.locator('body').innerText();
  for (const want of [tram.title, 'Yes', 'No', '100']) assert.ok(text.includes(want), `no ${want} in ${text}`);
  await reader.shot(`poll-without-script-${stage.device}`);
});

flow('a user votes on the page of a poll, once', async (stage) => {
  const [tram] = await stage.server.polls({ title: 'Should the old tram line come back?', options: ['Yes', 'No'] });
  const voter = await stage.person({ user: await stage.server.user() });
  const { page } = voter;
  voter.expect(/409/); // of the same vote, sent again by a page that had not seen the answer
  /** @type {string[]} */
  const sent = [];
  page.on('request', (request) => {
    if (request.url().endsWith('/vote')) sent.push(request.postData() ?? '');
  });
  await voter.go(`/p/${tram.id}`);
  await tap(voter, option(page, tram.title, 'No'));
  await card(page, tram.title).getByText('Your vote').waitFor();
  await eventually('it is counted', async () => (await stage.server.stats(tram.id)).votes[1].count === 1);
  await page.reload();
  await card(page, tram.title).getByText('Your vote').waitFor();
  assert.match(await reading(option(page, tram.title, 'No')), /Your vote/);
  await option(page, tram.title, 'Yes').click({ force: true });
  assert.deepEqual(new Set(sent), new Set(['{"optionIndex":1}']));
  await page.getByRole('link', { name: 'To the feed', exact: true }).click();
  await page.getByRole('heading', { name: 'You have seen everything' }).waitFor();
  assert.deepEqual(
    (await stage.server.stats(tram.id)).votes.map((v) => v.count),
    [0, 1],
  );
});

flow(
  'a poll that is not there says so',
  async (stage) => {
    const person = await stage.person();
    person.expect(/404/);
    await person.go('/p/1234567');
    await person.page.getByRole('heading', { name: 'This poll is not here' }).waitFor();
    await person.look('poll-missing');
  },
  { on: ['phone'] },
);

flow('a poll is shared by its link and by a code that can be scanned', async (stage) => {
  const [tram] = await stage.server.polls({ title: 'Should the old tram line come back?', options: ['Yes', 'No'] });
  const person = await stage.person({ options: { permissions: ['clipboard-read', 'clipboard-write'] } });
  const { page } = person;
  await person.go(`/p/${tram.id}`);
  await page.getByRole('button', { name: 'Share' }).last().click();
  const dialog = page.getByRole('dialog', { name: 'Share' });
  await dialog.waitFor();
  const link = `${stage.server.url}/p/${tram.id}`;
  assert.equal(await dialog.getByRole('textbox', { name: 'Link' }).inputValue(), link);
  const code = dialog.getByRole('img', { name: 'QR code of the link' });
  await code.waitFor();
  assert.equal(await scan(code), link);
  await person.look('share');
  await dialog.getByRole('button', { name: 'Copy' }).click();
  await dialog.getByRole('button', { name: 'Copied' }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), link);
  await dialog.getByText('On your page').click();
  await eventually('the frame is offered', async () =>
    (await dialog.getByRole('textbox', { name: 'HTML' }).inputValue()).includes(`/embed/${tram.id}`),
  );
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
});

/**
 * Reads a QR code from the picture of it.
 *
 * @param {import('playwright-core').Locator} code
 */
async function scan(code) {
  const { width, height, data } = PNG.sync.read(await code.screenshot());
  return jsqr.default(new Uint8ClampedArray(data), width, height)?.data;
}

flow(
  'what others preview of a poll',
  async (stage) => {
    const [tram] = await stage.server.polls({ title: 'Trams "now" & <always>?', options: ['Ja', 'نعم', '好'] });
    const person = await stage.person();
    const { page } = person;
    await person.go(`/p/${tram.id}`);
    const tag = (/** @type {string} */ name) =>
      page.evaluate(
        (name) => document.querySelector(`meta[property="${name}"], meta[name="${name}"]`)?.getAttribute('content') ?? '',
        name,
      );
    assert.equal(await tag('og:title'), tram.title);
    assert.equal(await tag('twitter:card'), 'summary_large_image');
    assert.ok((await tag('og:url')).endsWith(`/p/${tram.id}`));
    const image = await person.context.request.get(await tag('og:image'));
    assert.equal(image.headers()['content-type'], 'image/png');
    const { width, height } = PNG.sync.read(await image.body());
    assert.deepEqual([width, height], [1200, 630]);
    const discovery = await page.evaluate(() => document.querySelector('link[type="application/json+oembed"]')?.getAttribute('href') ?? '');
    const oembed = await (await person.context.request.get(new URL(discovery, stage.server.url).href)).json();
    assert.equal(oembed.title, tram.title);
    assert.match(oembed.html, new RegExp(`<iframe[^>]*/embed/${tram.id}`));
  },
  { on: ['desktop'] },
);

flow('a poll in a frame of another site shows its results, and moves', async (stage) => {
  const [tram] = await stage.server.polls({ title: 'Should the old tram line come back?', options: ['Yes', 'No'] });
  await (await stage.server.user()).vote(tram.id, 0);
  const site = createServer((request, answer) => {
    const framed = request.url === '/app' ? '/' : `/embed/${tram.id}`;
    answer.setHeader('Content-Type', 'text/html; charset=utf-8');
    answer.end(
      `<!doctype html><html lang="en"><title>Elsewhere</title><h1>Elsewhere</h1><iframe title="Poll" width="360" height="420" src="${stage.server.url}${framed}"></iframe>`,
    );
  }).listen(0, '127.0.0.1');
  await once(site, 'listening');
  try {
    const address = site.address();
    assert.ok(address && typeof address === 'object');
    const elsewhere = `http://127.0.0.1:${address.port}`;
    const person = await stage.person();
    const { page } = person;
    person.expect(/favicon/, /frame-ancestors/, /ERR_BLOCKED_BY_RESPONSE/);
    await page.goto(elsewhere + '/');
    const frame = page.frameLocator('iframe');
    await frame.getByRole('heading', { name: tram.title }).waitFor();
    await frame.getByRole('listitem').filter({ hasText: 'Yes' }).filter({ hasText: '100%' }).waitFor();
    await (await stage.server.user()).vote(tram.id, 1);
    await frame.getByRole('listitem').filter({ hasText: 'No' }).filter({ hasText: '50%' }).waitFor();
    await person.shot(`embed-in-a-page-${stage.device}`);
    assert.equal(await frame.getByRole('link', { name: 'Vote on Vote' }).getAttribute('target'), '_blank');
    await person.go(`/embed/${tram.id}`);
    await page.getByRole('heading', { name: tram.title }).waitFor();
    await person.look('embed');

    // Nothing else of the server may be framed.
    await page.goto(elsewhere + '/app');
    await eventually('the app is kept out', () => person.faults.some((fault) => /frame-ancestors/.test(fault)));
  } finally {
    site.closeAllConnections();
    site.close();
  }
});
