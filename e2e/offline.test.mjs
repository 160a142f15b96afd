// Without a network: the app opens, and what is chosen is sent once, in order,
// when there is a way again.

import assert from 'node:assert/strict';
import { eventually, flow } from './harness.mjs';
import { arrives, card, option, tap, told } from './pages.mjs';

/** @typedef {import('./harness.mjs').Person} Person */

// What the browser says of requests that find no network.
const noNetwork = [
  /ERR_INTERNET_DISCONNECTED/,
  /ERR_CONNECTION_REFUSED/,
  /ERR_FAILED/,
  /ERR_EMPTY_RESPONSE/,
  /ERR_CONNECTION_RESET/,
  /ERR_INCOMPLETE_CHUNKED_ENCODING/,
];

/**
 * Keeps the choices that the server was asked to count, in the order of asking.
 *
 * @param {Person} person
 */
function listen(person) {
  /** @type {string[]} */
  const sent = [];
  person.context.on('response', (response) => {
    const request = response.request();
    const path = new URL(request.url()).pathname;
    if (request.method() !== 'POST' || !/interactions|vote$|skip$/.test(path) || !response.ok()) return;
    const body = request.postDataJSON();
    if (Array.isArray(body)) sent.push(...body.map((one) => `${one.pollId}:${one.skip ? 'skip' : one.optionIndex}`));
    else sent.push(`${path.split('/')[3]}:${path.endsWith('skip') ? 'skip' : body.optionIndex}`);
  });
  return sent;
}

flow('the app opens without a network, and choices are sent in order later', async (stage) => {
  const [a, b, c, d] = await stage.server.polls({ title: 'A?' }, { title: 'B?' }, { title: 'C?' }, { title: 'D?' });
  const voter = await stage.person({ user: await stage.server.user() });
  const { page } = voter;
  voter.expect(...noNetwork);
  const sent = listen(voter);
  await voter.go('/');
  await arrives(page, a.title);
  await voter.installed();
  await page.reload(); // so that the app is controlled and the feed is kept
  await arrives(page, a.title);

  await voter.offline(true);
  await page.reload();
  await arrives(page, a.title);
  await page.getByText('No network').first().waitFor();
  await voter.look('offline');
  await tap(voter, option(page, a.title, 'No'));
  await card(page, a.title).getByText('Your vote').waitFor();
  await page.getByRole('button', { name: 'Next' }).click();
  await arrives(page, b.title);
  await page.getByRole('button', { name: 'Skip' }).click();
  await arrives(page, c.title);
  await tap(voter, option(page, c.title, 'Yes'));
  await page.getByText('3 choices are kept and will be sent').waitFor();
  await voter.look('offline-waiting');
  assert.deepEqual(sent, []);
  // What is kept outlives the page.
  await page.reload();
  await arrives(page, d.title);
  await page.getByText('3 choices are kept and will be sent').waitFor();

  await voter.offline(false);
  await told(page, '3 choices were sent and counted');
  assert.deepEqual(sent, [`${a.id}:1`, `${b.id}:skip`, `${c.id}:0`]);
  const counts = await Promise.all([a, b, c, d].map(({ id }) => stage.server.stats(id)));
  assert.deepEqual(
    counts.map((s) => [s.totalVotes, s.totalSkips]),
    [
      [1, 0],
      [0, 1],
      [1, 0],
      [0, 0],
    ],
  );
  await page.reload();
  await arrives(page, d.title);
  assert.equal(sent.length, 3);
});

flow(
  'choices of a tab that was closed are sent by the next one',
  async (stage) => {
    const [a, b] = await stage.server.polls({ title: 'A?' }, { title: 'B?' });
    const voter = await stage.person({ user: await stage.server.user() });
    voter.expect(...noNetwork);
    const sent = listen(voter);
    await voter.go('/');
    await arrives(voter.page, a.title);
    await voter.installed();
    await voter.offline(true);
    await tap(voter, option(voter.page, a.title, 'No'));
    await voter.page.getByText('1 choice is kept and will be sent').waitFor();
    await voter.page.close();
    await voter.offline(false);
    const next = await voter.tab();
    await voter.go('/', next);
    await eventually('it is counted', async () => (await stage.server.stats(a.id)).votes[1].count === 1);
    await arrives(next, b.title);
    assert.deepEqual(sent, [`${a.id}:1`]);
  },
  { on: ['phone'] },
);

flow('a choice that is refused later is told', async (stage) => {
  const [a, b, c] = await stage.server.polls({ title: 'A?' }, { title: 'B?' }, { title: 'C?' });
  const user = await stage.server.user();
  const voter = await stage.person({ user });
  const { page } = voter;
  voter.expect(...noNetwork, /409/, /429/);
  await voter.go('/');
  await arrives(page, a.title);
  await voter.installed();
  await voter.offline(true);
  await tap(voter, option(page, a.title, 'No'));
  await page.getByRole('button', { name: 'Next' }).click();
  await arrives(page, b.title);
  await page.getByRole('button', { name: 'Skip' }).click();
  await arrives(page, c.title);
  await page.getByText('2 choices are kept and will be sent').waitFor();
  await user.vote(a.id, 0); // elsewhere, meanwhile
  await voter.offline(false);
  await told(page, 'You had voted on “A?” before. The first vote counts.');
  await voter.shot(`offline-refused-${stage.device}`);
  await eventually('the other one is counted', async () => (await stage.server.stats(b.id)).totalSkips === 1);
  assert.deepEqual(
    (await stage.server.stats(a.id)).votes.map((v) => v.count),
    [1, 0, 0],
  );
});

flow(
  "votes beyond the day's are told when they are sent",
  async (stage) => {
    const [a, b] = await stage.server.polls({ title: 'A?' }, { title: 'B?' });
    const user = await stage.server.user();
    const voter = await stage.person({ user });
    const { page } = voter;
    voter.expect(...noNetwork, /429/);
    await voter.go('/');
    await arrives(page, a.title);
    await voter.installed();
    await voter.offline(true);
    await tap(voter, option(page, a.title, 'No'));
    await page.getByText('1 choice is kept and will be sent').waitFor();
    await user.vote(b.id, 0); // the only one of the day, elsewhere
    await voter.offline(false);
    await told(page, 'No votes were left that day. Your vote on “A?” was not counted.');
    assert.equal((await stage.server.stats(a.id)).totalVotes, 0);
  },
  { on: ['phone'], env: { LIMITS_DAILY_VOTES: '1' } },
);

flow(
  'a server that is away for a while loses no vote',
  async (stage) => {
    const [a] = await stage.server.polls({ title: 'A?' });
    const voter = await stage.person({ user: await stage.server.user() });
    const { page } = voter;
    voter.expect(...noNetwork);
    await voter.go('/');
    await arrives(page, a.title);
    await voter.installed();
    await stage.server.stop();
    await tap(voter, option(page, a.title, 'No'));
    await page.getByText('1 choice waits to be sent').waitFor();
    await stage.server.start();
    await eventually('it is counted', async () => (await stage.server.stats(a.id)).votes[1].count === 1);
    await told(page, '1 choice was sent and counted');
  },
  { on: ['desktop'] },
);

flow(
  'the page of a poll opens without a network',
  async (stage) => {
    const [a] = await stage.server.polls({ title: 'A?' });
    const person = await stage.person();
    const { page } = person;
    person.expect(...noNetwork);
    await person.go(`/p/${a.id}`);
    await page.getByRole('heading', { name: a.title }).waitFor();
    await person.installed();
    await page.reload();
    await page.getByRole('heading', { name: a.title }).waitFor();
    await eventually('it is kept', async () => await page.evaluate(() => indexedDB.databases().then((list) => list.length > 0)));
    await person.offline(true);
    await page.reload();
    await page.getByRole('heading', { name: a.title }).waitFor();
  },
  { on: ['phone'] },
);

flow(
  'the app can be installed',
  async (stage) => {
    const person = await stage.person();
    const { page } = person;
    await person.go('/');
    await person.installed();
    const session = await person.context.newCDPSession(page);
    const { errors, data, url } = await session.send('Page.getAppManifest');
    assert.deepEqual(errors, []);
    const { installabilityErrors } = await session.send('Page.getInstallabilityErrors');
    // Profiles of tests are like private ones, in which nothing is installed.
    assert.deepEqual(
      installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito'),
      [],
    );
    /** @type {{name: string, start_url: string, display: string, icons: {src: string, sizes: string, type: string, purpose?: string}[]}} */
    const manifest = JSON.parse(data ?? '');
    assert.equal(manifest.display, 'standalone');
    assert.equal(new URL(manifest.start_url, url).pathname, '/');
    assert.ok(manifest.icons.some(({ purpose }) => purpose?.includes('maskable')));
    for (const { src, sizes, type } of manifest.icons) {
      const icon = await person.context.request.get(new URL(src, url).href);
      assert.equal(icon.headers()['content-type'], type, src);
      if (sizes === 'any') continue;
      const size = await page.evaluate(async (src) => {
        const image = new Image();
        image.src = src;
        await image.decode();
        return `${image.naturalWidth}x${image.naturalHeight}`;
      }, src);
      assert.equal(size, sizes, src);
    }
    await page.reload();
    assert.ok(await page.evaluate(() => navigator.serviceWorker.controller !== null));
  },
  { on: ['phone'] },
);
