// What others may try with the web app.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { eventually, flow, unique } from './harness.mjs';
import { arrives, card } from './pages.mjs';

const attack = '</script><img src=x onerror="alert(1)"><script>alert(2)</script>{{7*7}}';

flow(
  'markup in what people write is text everywhere',
  async (stage) => {
    const user = await stage.server.user();
    const poll = await user.call('POST', '/api/polls', {
      title: `Title ${attack}`,
      options: [`One ${attack}`, `Two "'><b>`],
      tags: ['city'],
    });
    await user.vote(poll.id, 0);
    await stage.server.restart(); // polls are ranked at once then
    const person = await stage.person({ user });
    const { page } = person;
    const intact = async (/** @type {string} */ where) => {
      const injected = await page.evaluate(() => document.querySelectorAll('img[src="x"], b').length);
      assert.equal(injected, 0, where);
    };
    await person.go(`/p/${poll.id}`);
    assert.equal(await page.getByRole('heading', { level: 1 }).textContent(), poll.title);
    await page.getByRole('button', { name: 'Share' }).last().click();
    await page.getByRole('dialog').getByText(poll.title).waitFor();
    await page.getByRole('dialog').getByText('On your page').click();
    await eventually('the frame is offered', async () =>
      (await page.getByRole('textbox', { name: 'HTML' }).inputValue()).includes('iframe'),
    );
    assert.doesNotMatch(await page.getByRole('textbox', { name: 'HTML' }).inputValue(), /<img|<script/);
    await intact('share');
    await person.go('/me/votes');
    await page.getByText(poll.title).waitFor();
    await intact('votes');
    await person.go(`/embed/${poll.id}`);
    await page.getByRole('heading', { name: poll.title }).waitFor();
    await intact('embed');
    await person.go(`/?q=${encodeURIComponent('<img src=x onerror=alert(3)>')}`);
    await arrives(page, 'Nothing here');
    await intact('search');
    const visitor = await stage.person();
    await visitor.go('/');
    await arrives(visitor.page, poll.title);
    assert.equal(
      await card(visitor.page, poll.title)
        .getByRole('button', { name: `One ${attack}` })
        .count(),
      1,
    );
  },
  { on: ['desktop'] },
);

flow(
  'injected script does not run, and finds nowhere to send what it finds',
  async (stage) => {
    const person = await stage.person({ user: await stage.server.user() });
    const { page } = person;
    person.expect(/policy: /, /Content Security Policy/, /TrustedHTML/, /TrustedScript/, /violates/, /: csp$/);
    await person.go('/');
    await arrives(page, 'You have seen everything');
    const ran = await page.evaluate(async () => {
      const tried = (/** @type {() => unknown} */ attempt) => {
        try {
          attempt();
        } catch {
          /* refused: as it should be */
        }
      };
      tried(() => {
        const script = document.createElement('script');
        script.textContent = 'document.title = "inline"';
        document.body.append(script);
      });
      tried(() => {
        document.body.insertAdjacentHTML('beforeend', '<img src="/none" onerror="document.title = \'handler\'">');
      });
      tried(() => {
        Object.assign(document.createElement('a'), { href: 'javascript:document.title = "address"' }).click();
      });
      const sent = await fetch('http://127.0.0.1:9/').then(
        () => 'sent',
        () => 'kept',
      );
      return [document.title, sent];
    });
    assert.deepEqual(ran, ['Vote', 'kept']);
    for (const breach of [/policy: (script-src|require-trusted-types-for)/, /policy: connect-src/]) {
      await eventually(`${breach} is told`, () => person.faults.some((fault) => breach.test(fault)));
    }
  },
  { on: ['desktop'] },
);

flow(
  "other sites can do nothing in one's name",
  async (stage) => {
    const user = await stage.server.user();
    const [poll] = await stage.server.polls({ title: 'Tea or coffee?' });
    const site = createServer((request, answer) => {
      if (request.url !== '/') return answer.writeHead(204).end();
      answer.setHeader('Content-Type', 'text/html; charset=utf-8').end(`<!doctype html><html lang="en"><title>Elsewhere</title>
      <form method="post" enctype="text/plain" action="${stage.server.url}/api/auth/refresh"><button>Go</button></form>`);
    }).listen(0, '127.0.0.1');
    await once(site, 'listening');
    try {
      const address = site.address();
      assert.ok(address && typeof address === 'object');
      const person = await stage.person({ user });
      const { page } = person;
      person.expect(/CORS/, /4\d\d/, /ERR_FAILED/, /ERR_ABORTED/);
      await page.goto(`http://127.0.0.1:${address.port}/`);
      const outcomes = await page.evaluate(
        async ([server, id]) => {
          const attempt = (/** @type {string} */ path, /** @type {RequestInit} */ request) =>
            fetch(server + path, { method: 'POST', credentials: 'include', ...request }).then(
              (r) => (r.type === 'opaque' ? 'blind' : `read ${r.status}`),
              () => 'refused',
            );
          const json = { 'Content-Type': 'application/json' };
          return [
            await attempt('/api/auth/refresh', { headers: { 'X-Vote-Client': 'web' } }),
            await attempt('/api/auth/refresh', { mode: 'no-cors' }),
            await attempt('/api/auth/logout', { headers: { 'X-Vote-Client': 'web' } }),
            await attempt(`/api/polls/${id}/vote`, { headers: json, body: '{"optionIndex":0}' }),
            await attempt(`/api/polls/${id}/vote`, { mode: 'no-cors', body: '{"optionIndex":0}' }),
          ];
        },
        [stage.server.url, String(poll.id)],
      );
      assert.deepEqual(outcomes, ['refused', 'blind', 'refused', 'refused', 'blind']);
      await page.getByRole('button', { name: 'Go' }).click();
      await page.waitForURL(stage.server.url + '/**');
      assert.equal((await stage.server.stats(poll.id)).totalVotes, 0);
      // The session has outlived it all.
      await person.go('/me');
      await page.getByText('Here since').waitFor();
    } finally {
      site.closeAllConnections();
      site.close();
    }
  },
  { on: ['desktop'] },
);

flow(
  'a page that was left says nothing of who left it',
  async (stage) => {
    const [lunch] = await stage.server.polls({ title: 'What is for lunch?' });
    const person = await stage.person({ user: await stage.server.user(unique('mira')) });
    const { page } = person;
    person.expect(/409/); // of the same vote, sent again by a page that had not seen the answer
    await person.go('/');
    await arrives(page, lunch.title);
    await page.keyboard.press('1');
    await card(page, lunch.title).getByText('Your vote').waitFor();
    await eventually('it is counted', async () => (await stage.server.stats(lunch.id)).totalVotes === 1);
    await person.go('/me/settings');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('link', { name: 'Sign in' }).waitFor();
    await person.go(`/p/${lunch.id}`);
    await card(page, lunch.title).waitFor();
    assert.equal(await page.getByText('Your vote').count(), 0);
    const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
    assert.ok(!kept.includes(person.user?.username ?? 'mira'), kept);
  },
  { on: ['desktop'] },
);
