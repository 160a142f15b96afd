// The feed: what a visitor and a voter do in it.

import assert from 'node:assert/strict';
import { eventually, flow } from './harness.mjs';
import { arrives, card, option, reading, swipe, tap, told } from './pages.mjs';

flow('a visitor sees popular polls, and is asked to sign up when voting', async (stage) => {
  const [lunch] = await stage.server.polls({ title: 'What is for lunch?', options: ['Soup', 'Salad'] });
  const voter = await stage.server.user();
  await voter.vote(lunch.id, 0);
  await stage.server.restart(); // polls are ranked at once then
  const visitor = await stage.person();
  const { page } = visitor;
  await visitor.go('/');
  await arrives(page, lunch.title);
  await visitor.look('feed-visitor');
  await tap(visitor, option(page, lunch.title, 'Salad'));
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  await visitor.look('feed-welcome');
  await dialog.getByRole('button', { name: 'Sign up' }).click();
  await page.waitForURL('**/sign-up');
  assert.equal((await stage.server.stats(lunch.id)).totalVotes, 1);
});

flow('a vote by tap fills the bars at once, and counts', async (stage) => {
  const [lunch, rain] = await stage.server.polls({ title: 'What is for lunch?', options: ['Soup', 'Salad'] }, { title: 'Will it rain?' });
  const other = await stage.server.user();
  await other.vote(lunch.id, 0);
  const voter = await stage.person({ user: await stage.server.user() });
  const { page } = voter;
  await voter.go('/');
  await arrives(page, lunch.title);
  await voter.look('feed');
  await tap(voter, option(page, lunch.title, 'Salad'));
  await eventually('the bars are filled', async () => (await reading(option(page, lunch.title, 'Salad'))).includes('50%'));
  assert.match(await reading(option(page, lunch.title, 'Salad')), /Salad Your vote 1 votes? 50%/);
  assert.match(await reading(option(page, lunch.title, 'Soup')), /Soup 1 votes? 50%/);
  assert.equal(await option(page, lunch.title, 'Salad').getAttribute('aria-pressed'), 'true');
  await card(page, lunch.title).getByText('2 votes, 0 skips').waitFor();
  await eventually('it is counted', async () => (await stage.server.stats(lunch.id)).votes[1].count === 1);
  await voter.look('feed-voted');
  // It is final.
  await option(page, lunch.title, 'Soup').click({ force: true });
  await page.getByRole('button', { name: 'Next' }).click();
  await arrives(page, rain.title);
  const { totalVotes, totalSkips } = await stage.server.stats(lunch.id);
  assert.deepEqual({ totalVotes, totalSkips }, { totalVotes: 2, totalSkips: 0 });
});

flow('bars follow the votes of others', async (stage) => {
  const [lunch] = await stage.server.polls({ title: 'What is for lunch?', options: ['Soup', 'Salad'] });
  const watchers = [
    await stage.person({ user: await stage.server.user() }),
    await stage.person({ user: await stage.server.user(), device: 'desktop' }),
  ];
  for (const watcher of watchers) {
    await watcher.go('/');
    await arrives(watcher.page, lunch.title);
    await tap(watcher, option(watcher.page, lunch.title, 'Soup'));
  }
  for (const { page } of watchers) {
    await eventually('both votes are seen', async () => /2 votes 100%/.test(await reading(option(page, lunch.title, 'Soup'))));
  }
  const other = await stage.server.user();
  await other.vote(lunch.id, 1);
  const began = Date.now();
  await Promise.all(
    watchers.map(({ page }) =>
      eventually('the other vote is seen', async () => /1 vote 33%/.test(await reading(option(page, lunch.title, 'Salad')))),
    ),
  );
  console.log(`a vote is seen in two browsers ${Date.now() - began} ms after its answer`);
});

flow('a vote that is refused is taken back with a word', async (stage) => {
  const [lunch, rain] = await stage.server.polls({ title: 'What is for lunch?', options: ['Soup', 'Salad'] }, { title: 'Will it rain?' });
  const voter = await stage.person({ user: await stage.server.user() });
  const { page } = voter;
  voter.expect(/\/api\/stream/, /409/);
  await page.route('**/api/stream*', (route) => route.abort()); // which would tell that the poll is closed
  await voter.go('/');
  await arrives(page, lunch.title);
  await voter.installed();
  await stage.server.operate('poll', 'close', String(lunch.id));
  await tap(voter, option(page, lunch.title, 'Soup'));
  await told(page, '“What is for lunch?” was closed. Your vote was not counted.');
  assert.equal(await card(page, lunch.title).getByText('Your vote').count(), 0);
  await voter.shot(`feed-refused-${stage.device}`);
  await page.getByRole('button', { name: 'Skip' }).click();
  await arrives(page, rain.title);
  assert.equal((await stage.server.stats(lunch.id)).totalVotes, 0);
});

flow('seen polls do not come back', async (stage) => {
  const [a, b, c, d] = await stage.server.polls({ title: 'A?' }, { title: 'B?' }, { title: 'C?' }, { title: 'D?' });
  const voter = await stage.person({ user: await stage.server.user() });
  const { page } = voter;
  voter.expect(/409/); // of what a page sends again because it had not seen the answer
  await voter.go('/');
  await arrives(page, a.title);
  await tap(voter, option(page, a.title, 'No'));
  await card(page, a.title).getByText('Your vote').waitFor();
  await page.getByRole('button', { name: 'Next' }).click();
  await arrives(page, b.title);
  await page.getByRole('button', { name: 'Skip' }).click();
  await arrives(page, c.title);
  await swipe(voter);
  await arrives(page, d.title);
  // At once: what is not told yet must not come back either.
  await page.reload();
  await arrives(page, d.title);
  for (const { title } of [a, b, c]) assert.equal(await card(page, title).count(), 0, title);
  await eventually('all is counted', async () => {
    const counts = await Promise.all([a, b, c, d].map(({ id }) => stage.server.stats(id)));
    return JSON.stringify(counts.map((s) => [s.totalVotes, s.totalSkips])) === '[[1,0],[0,1],[0,1],[0,0]]';
  });
  await page.getByRole('button', { name: 'Skip' }).click();
  await arrives(page, 'You have seen everything');
  await voter.look('feed-end');
});

flow(
  'a notch of the wheel is one swipe, and so is a long stroke over a touchpad',
  async (stage) => {
    const [a, b, c] = await stage.server.polls({ title: 'A?' }, { title: 'B?' }, { title: 'C?' }, { title: 'D?' });
    const voter = await stage.person({ user: await stage.server.user() });
    const { page } = voter;
    await voter.go('/');
    await arrives(page, a.title);
    await page.mouse.move(640, 400);
    await page.mouse.wheel(0, 10); // a finger at rest
    await page.mouse.wheel(0, 100);
    await arrives(page, b.title);
    for (let i = 0; i < 30; i++) await page.mouse.wheel(0, 40);
    await arrives(page, c.title);
    await page.waitForFunction(() => new Promise((resolve) => setTimeout(() => resolve(true), 300))); // one stroke has ended
    await page.mouse.wheel(0, -100);
    await arrives(page, b.title);
    await eventually('two are skipped', async () => {
      const counts = await Promise.all([a, b, c].map(({ id }) => stage.server.stats(id)));
      return JSON.stringify(counts.map((s) => s.totalSkips)) === '[1,1,0]';
    });
  },
  { on: ['desktop'] },
);

flow(
  'the next page is there before it is needed',
  async (stage) => {
    await stage.server.polls(...Array.from({ length: 45 }, (_, i) => ({ title: `Number ${i}?` })));
    const voter = await stage.person({ user: await stage.server.user(), options: { reducedMotion: 'reduce' } });
    const { page } = voter;
    /** @type {string[]} */
    const asked = [];
    page.on('request', (request) => {
      if (/\/api\/polls\?/.test(request.url())) asked.push(request.url());
    });
    await voter.go('/');
    for (let i = 0; i < 45; i++) {
      await arrives(page, `Number ${i}?`);
      const pages = asked.length;
      if (i === 15) assert.ok(pages >= 2, `${pages} pages were asked for`);
      if (i === 35) assert.ok(pages >= 3, `${pages} pages were asked for`);
      await page.keyboard.press('ArrowDown');
    }
    await arrives(page, 'You have seen everything');
  },
  { on: ['desktop'] },
);

flow('filters by tag, by words and by heat', async (stage) => {
  const [soup, tram, bike] = await stage.server.polls(
    { title: 'Soup or salad?', tags: ['food'] },
    { title: 'Trams for the centre?', tags: ['city', 'traffic'] },
    { title: 'Do you cycle?', tags: ['traffic'] },
  );
  for (let i = 0; i < 3; i++) await (await stage.server.user()).vote(bike.id, 0);
  await stage.server.restart(); // polls are ranked at once then
  const voter = await stage.person({ user: await stage.server.user() });
  const { page } = voter;
  await voter.go('/');
  await arrives(page, soup.title);
  const filters = page.getByRole('group', { name: 'Filter' });
  await filters.getByRole('button', { name: '#traffic' }).click();
  await arrives(page, tram.title);
  assert.equal(await filters.getByRole('button', { name: '#traffic' }).getAttribute('aria-pressed'), 'true');
  await page.reload();
  await arrives(page, tram.title);
  await filters.getByRole('button', { name: 'Hot' }).click();
  await arrives(page, bike.title);
  await filters.getByRole('button', { name: 'Search' }).click();
  await page.getByRole('searchbox', { name: 'Search' }).fill('cent');
  await arrives(page, tram.title);
  await voter.look('feed-search');
  await page.getByRole('searchbox', { name: 'Search' }).fill('nothing of the kind');
  await arrives(page, 'Nothing here');
  await voter.look('feed-nothing');
  await page.getByRole('button', { name: 'All polls' }).click();
  await arrives(page, soup.title);
  await card(page, soup.title).getByRole('link', { name: '#food' }).click();
  await eventually(
    'its tag is chosen',
    async () => (await filters.getByRole('button', { name: '#food' }).getAttribute('aria-pressed')) === 'true',
  );
  await page.goBack();
  await eventually(
    'no tag is chosen',
    async () => (await filters.getByRole('button', { name: 'New' }).getAttribute('aria-pressed')) === 'true',
  );
});

flow(
  "the day's votes are counted down to their own card",
  async (stage) => {
    const [a, b, c] = await stage.server.polls({ title: 'A?' }, { title: 'B?' }, { title: 'C?' });
    const voter = await stage.person({ user: await stage.server.user() });
    const { page } = voter;
    await voter.go('/');
    await page.getByRole('link', { name: '2 votes left today' }).waitFor();
    await arrives(page, a.title);
    await tap(voter, option(page, a.title, 'Yes'));
    await page.getByRole('link', { name: '1 vote left today' }).waitFor();
    await page.getByRole('button', { name: 'Next' }).click();
    await arrives(page, b.title);
    await tap(voter, option(page, b.title, 'Yes'));
    await page.getByRole('link', { name: '0 votes left today' }).waitFor();
    await eventually('it is counted', async () => (await stage.server.stats(b.id)).totalVotes === 1);
    await page.getByRole('button', { name: 'Next' }).click();
    await arrives(page, 'That was all for today');
    await voter.look('feed-limit');
    await page.getByRole('button', { name: 'Next' }).click();
    await arrives(page, c.title);
    await tap(voter, option(page, c.title, 'Yes'));
    await told(page, 'You have cast all votes of today');
    assert.equal(await card(page, c.title).getByText('Your vote').count(), 0);
    await page.getByRole('button', { name: 'Skip' }).click();
    await eventually('the skip is counted', async () => (await stage.server.stats(c.id)).totalSkips === 1);
  },
  { env: { LIMITS_DAILY_VOTES: '2' } },
);

flow(
  'a keyboard is enough',
  async (stage) => {
    const [a, b, c] = await stage.server.polls({ title: 'A?' }, { title: 'B?' }, { title: 'C?' });
    const voter = await stage.person({ user: await stage.server.user() });
    const { page } = voter;
    await voter.go('/');
    await arrives(page, a.title);
    await page.keyboard.press('?');
    const help = page.getByRole('dialog', { name: 'Keys' });
    await help.waitFor();
    await voter.look('feed-keys');
    // Single keys may be switched off: speech and shaking hands press them unasked.
    await help.getByRole('checkbox', { name: 'Single keys act' }).uncheck();
    await page.keyboard.press('Escape');
    await help.waitFor({ state: 'hidden' });
    await page.keyboard.press('2');
    await page.keyboard.press('s');
    await page.reload();
    await arrives(page, a.title);
    await page.keyboard.press('1');
    await page.keyboard.press('?');
    await page.getByRole('button', { name: 'Keys' }).click();
    await help.getByRole('checkbox', { name: 'Single keys act' }).check();
    await page.keyboard.press('Escape');
    await help.waitFor({ state: 'hidden' });
    assert.deepEqual(await stage.server.stats(a.id).then((s) => [s.totalVotes, s.totalSkips]), [0, 0]);
    await page.keyboard.press('ArrowDown');
    await arrives(page, b.title);
    await page.keyboard.press('ArrowUp');
    await arrives(page, a.title);
    await page.keyboard.press('2');
    await card(page, a.title).getByText('Your vote').waitFor();
    assert.match(await reading(option(page, a.title, 'No')), /Your vote/);
    await page.keyboard.press('s');
    await arrives(page, b.title);
    await page.keyboard.press('S');
    await arrives(page, c.title);
    await page.keyboard.press('/');
    await page.getByRole('searchbox').and(page.locator(':focus')).waitFor();
    await page.keyboard.type('b');
    await page.keyboard.press('s'); // is text, not a skip
    assert.equal(await page.getByRole('searchbox').inputValue(), 'bs');
    await page.keyboard.press('Escape');
    await arrives(page, c.title);
    await eventually('all is counted', async () => {
      const counts = await Promise.all([a, b, c].map(({ id }) => stage.server.stats(id)));
      return JSON.stringify(counts.map((s) => [s.totalVotes, s.totalSkips])) === '[[1,0],[0,1],[0,0]]';
    });
  },
  { on: ['desktop'] },
);
