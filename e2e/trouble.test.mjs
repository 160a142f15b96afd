// What the app does when something is not as it should be: the browser, the
// network, the server, or the app in another tab.

import assert from 'node:assert/strict';
import { eventually, flow } from './harness.mjs';
import { arrives, card, option, tap, told } from './pages.mjs';

flow('what was seen stays away without a network', async (stage) => {
  const [a, b, c] = await stage.server.polls({ title: 'A?' }, { title: 'B?' }, { title: 'C?' });
  const voter = await stage.person({ user: await stage.server.user() });
  const { page } = voter;
  voter.expect(/ERR_INTERNET_DISCONNECTED|ERR_FAILED/);
  await voter.go('/');
  await arrives(page, a.title);
  await voter.installed();
  await tap(voter, option(page, a.title, 'Yes'));
  await page.getByRole('button', { name: 'Next' }).click();
  await arrives(page, b.title);
  await eventually('the vote is counted', async () => (await stage.server.stats(a.id)).totalVotes === 1);
  await voter.offline(true);
  await page.reload();
  await arrives(page, b.title);
  assert.equal(await card(page, a.title).count(), 0);
  // Seen meanwhile by another device.
  await voter.user?.vote(c.id, 0);
  await voter.offline(false);
  await eventually("the feed is the server's again", async () => (await card(page, c.title).count()) === 0);
  await arrives(page, b.title);
});

flow(
  'what one tab has dealt with leaves the other',
  async (stage) => {
    const [a, b, c] = await stage.server.polls({ title: 'A?' }, { title: 'B?' }, { title: 'C?' });
    const voter = await stage.person({ user: await stage.server.user() });
    const other = await voter.tab();
    await voter.go('/');
    await arrives(voter.page, a.title);
    await voter.go('/', other);
    await arrives(other, a.title);
    await other.keyboard.press('ArrowDown');
    await arrives(other, b.title);
    await other.keyboard.press('1');
    await card(other, b.title).getByText('Your vote').waitFor();
    await eventually('it is gone', async () => (await card(voter.page, b.title).count()) === 0);
    await voter.page.bringToFront();
    await voter.page.keyboard.press('ArrowDown');
    await arrives(voter.page, c.title);
  },
  { on: ['desktop'] },
);

flow(
  'a choice that the server fails at holds up no other',
  async (stage) => {
    const [a, b, c] = await stage.server.polls({ title: 'A?' }, { title: 'B?' }, { title: 'C?' });
    const voter = await stage.person({ user: await stage.server.user() });
    const { page } = voter;
    voter.expect(/500/);
    let isBroken = true;
    await page.route(`**/api/polls/${a.id}/vote`, (route) =>
      isBroken
        ? route.fulfill({ status: 500, contentType: 'application/problem+json', body: '{"status":500,"code":"internal"}' })
        : route.continue(),
    );
    await page.route('**/api/interactions', (route) =>
      isBroken && route.request().postData()?.includes(String(a.id))
        ? route.fulfill({ status: 500, contentType: 'application/problem+json', body: '{"status":500,"code":"internal"}' })
        : route.continue(),
    );
    await voter.go('/');
    for (const { title } of [a, b, c]) {
      await arrives(page, title);
      await page.keyboard.press('1');
      await card(page, title).getByText('Your vote').waitFor();
      await page.keyboard.press('s');
    }
    await eventually(
      'the others are counted',
      async () => (await stage.server.stats(c.id)).totalVotes === 1 && (await stage.server.stats(b.id)).totalVotes === 1,
    );
    assert.equal((await stage.server.stats(a.id)).totalVotes, 0);
    isBroken = false;
    await eventually('it is counted at last', async () => (await stage.server.stats(a.id)).totalVotes === 1);
  },
  { on: ['desktop'] },
);

/** What waits until it is opened. */
function gate() {
  let open = () => {};
  const opened = new Promise((resolve) => {
    open = () => resolve(null);
  });
  return { opened, open };
}

flow(
  'votes left know of those under way',
  async (stage) => {
    const [a, b] = await stage.server.polls({ title: 'A?' }, { title: 'B?' });
    const voter = await stage.person({ user: await stage.server.user() });
    const { page } = voter;
    voter.expect(/409/);
    const [first, second] = [gate(), gate()];
    await page.route(`**/api/polls/${a.id}/vote`, async (route) => {
      await first.opened;
      await route.continue();
    });
    let isAsked = false;
    await page.route(`**/api/polls/${b.id}/vote`, async (route) => {
      isAsked = true;
      await second.opened;
      await route.fulfill({ status: 409, contentType: 'application/problem+json', body: '{"status":409,"code":"poll_closed"}' });
    });
    await voter.go('/');
    await page.getByRole('link', { name: '5 votes left today' }).waitFor();
    await arrives(page, a.title);
    await page.keyboard.press('1');
    await page.keyboard.press('s');
    await arrives(page, b.title);
    await page.keyboard.press('1');
    await page.getByRole('link', { name: '3 votes left today' }).waitFor();
    first.open();
    await eventually('the first vote is answered', () => isAsked);
    await page.getByRole('link', { name: '3 votes left today' }).waitFor();
    second.open();
    await told(page, '“B?” was closed');
    await page.getByRole('link', { name: '4 votes left today' }).waitFor();
  },
  { on: ['desktop'], env: { LIMITS_DAILY_VOTES: '5' } },
);

flow(
  'keys that lead far skip nothing on the way, and those held down only once',
  async (stage) => {
    const [a, b, , d] = await stage.server.polls({ title: 'A?' }, { title: 'B?' }, { title: 'C?' }, { title: 'D?' });
    const voter = await stage.person({ user: await stage.server.user() });
    const { page } = voter;
    await voter.go('/');
    await arrives(page, a.title);
    await page.keyboard.press('End');
    await arrives(page, 'You have seen everything');
    await page.keyboard.press('ArrowUp');
    await arrives(page, d.title);
    await page.keyboard.press('Home');
    await arrives(page, a.title);
    await page.keyboard.down('s');
    await page.keyboard.press('1'); // the poll that goes is not voted on any more
    await arrives(page, b.title);
    await page.keyboard.down('s');
    await page.keyboard.up('s');
    await page.keyboard.press('2');
    await card(page, b.title).getByText('Your vote').waitFor();
    await eventually('two choices are counted', async () => {
      const [first, second] = await Promise.all([stage.server.stats(a.id), stage.server.stats(b.id)]);
      return first.totalSkips === 1 && first.totalVotes === 0 && second.totalVotes === 1;
    });
    assert.equal((await stage.server.stats(d.id)).totalSkips, 0);
  },
  { on: ['desktop'] },
);

flow(
  'a page that could not be loaded is asked for again before it is needed',
  async (stage) => {
    const polls = Array.from({ length: 22 }, (_, i) => ({ title: `Number ${i}?` }));
    await stage.server.polls(...polls);
    const voter = await stage.person({ user: await stage.server.user(), options: { reducedMotion: 'reduce' } });
    const { page } = voter;
    voter.expect(/503/);
    let failures = 0;
    await page.route('**/api/polls?*cursor*', (route) =>
      failures++ < 2
        ? route.fulfill({ status: 503, contentType: 'application/problem+json', body: '{"status":503,"code":"overloaded"}' })
        : route.continue(),
    );
    await voter.go('/');
    for (const { title } of polls) {
      await arrives(page, title);
      await page.keyboard.press('ArrowDown');
    }
    assert.ok(failures > 2);
  },
  { on: ['desktop'] },
);

flow(
  'a page that brings nothing new is followed by the next',
  async (stage) => {
    const [a] = await stage.server.polls({ title: 'A?' });
    const voter = await stage.person({ user: await stage.server.user() });
    const { page } = voter;
    await page.route('**/api/polls?*', (route) =>
      new URL(route.request().url()).searchParams.has('cursor')
        ? route.fulfill({ json: { polls: [a], nextCursor: null } })
        : route.fulfill({ json: { polls: [], nextCursor: 'on' } }),
    );
    await voter.go('/');
    await arrives(page, a.title);
  },
  { on: ['desktop'] },
);

flow(
  'a part that cannot be loaded offers to reload',
  async (stage) => {
    const [a] = await stage.server.polls({ title: 'A?' });
    const visitor = await stage.person();
    const { page } = visitor;
    visitor.expect(/404/);
    await page.addInitScript(() => {
      Reflect.deleteProperty(Navigator.prototype, 'serviceWorker');
    }); // which would have all parts
    await page.route(/\/assets\/(help|enter)\./, (route) => route.fulfill({ status: 404 }));
    await visitor.go(`/p/${a.id}`);
    await card(page, a.title).waitFor();
    await page.getByRole('link', { name: 'To the feed', exact: true }).click();
    await page.getByRole('region', { name: 'Polls' }).waitFor();
    await page.keyboard.press('?');
    await told(page, 'The server does not answer');
    await page.getByRole('link', { name: 'Sign in' }).click();
    await page.getByRole('heading', { name: 'That did not work' }).waitFor();
    await page.unroute(/\/assets\/(help|enter)\./);
    await page.locator('.page').getByRole('button', { name: 'Reload' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).and(page.locator(':focus')).waitFor();
  },
  { on: ['desktop'] },
);

flow(
  'a browser that keeps nothing still shows polls',
  async (stage) => {
    const [a] = await stage.server.polls({ title: 'A?' });
    const visitor = await stage.person();
    const { page } = visitor;
    await page.addInitScript(() => {
      for (const name of ['localStorage', 'sessionStorage', 'indexedDB']) {
        Object.defineProperty(window, name, {
          get() {
            throw new DOMException('denied', 'SecurityError');
          },
        });
      }
      // @ts-expect-error older browsers have none
      delete AbortSignal.any;
    });
    visitor.expect(/denied/);
    await visitor.go('/');
    await page.getByRole('button', { name: 'Popular' }).waitFor();
    await visitor.go('/create');
    await page.getByRole('textbox', { name: 'Your question' }).fill('Does it work?');
    await visitor.go(`/p/${a.id}`);
    await card(page, a.title).getByRole('button').first().waitFor();
    await page.getByRole('heading', { name: a.title }).and(page.locator(':focus')).waitFor();
  },
  { on: ['desktop'] },
);

flow(
  'a clock that is ahead refreshes the session no oftener',
  async (stage) => {
    const [a] = await stage.server.polls({ title: 'A?' });
    const voter = await stage.person({ user: await stage.server.user() });
    const { page } = voter;
    let refreshed = 0;
    page.on('request', (request) => {
      if (request.url().endsWith('/api/auth/refresh')) refreshed++;
    });
    await page.clock.setSystemTime(Date.now() + 7 * 86_400_000);
    await voter.go('/');
    await arrives(page, a.title);
    await page.keyboard.press('1');
    await eventually('it is counted', async () => (await stage.server.stats(a.id)).totalVotes === 1);
    await page.keyboard.press('s');
    await arrives(page, 'You have seen everything');
    assert.equal(refreshed, 1);
  },
  { on: ['desktop'] },
);
