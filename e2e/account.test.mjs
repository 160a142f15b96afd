// Accounts: signing up, in and out, and the session of several tabs.

import assert from 'node:assert/strict';
import { eventually, flow, unique } from './harness.mjs';
import { arrives, card, option, tap, told } from './pages.mjs';

flow('a visitor signs up, and the vote they meant is cast', async (stage) => {
  const [lunch] = await stage.server.polls({ title: 'What is for lunch?', options: ['Soup', 'Salad'] });
  await stage.server.restart(); // polls are ranked at once then
  const person = await stage.person();
  const { page } = person;
  const name = unique('mira');
  await person.go('/');
  await arrives(page, lunch.title);
  await tap(person, option(page, lunch.title, 'Salad'));
  await page.getByRole('dialog').getByRole('button', { name: 'Sign up' }).click();
  await page.getByRole('heading', { name: 'Sign up' }).waitFor();
  await person.look('sign-up');

  // Every fault is told beside its field before anything is sent.
  await page.getByLabel('Name').fill('mi');
  await page.getByLabel('E-mail address').fill('mira');
  await page.getByLabel('Password', { exact: true }).fill('short');
  await page.getByRole('button', { name: 'Sign up' }).click();
  for (const label of ['Name', 'E-mail address', 'Password']) {
    await eventually(
      `${label} is at fault`,
      async () => (await page.getByLabel(label, { exact: true }).getAttribute('aria-invalid')) === 'true',
    );
  }
  await person.look('sign-up-faults');

  await page.getByLabel('Name').fill(name);
  await page.getByLabel('E-mail address').fill(`${name}@example.org`);
  await page.getByLabel('Password', { exact: true }).fill('correct horse battery');
  await page.getByRole('button', { name: 'Sign up' }).click();
  await told(page, 'Your vote for “Salad” is sent');
  await eventually('it is counted', async () => (await stage.server.stats(lunch.id)).votes[1].count === 1);
  assert.equal(new URL(page.url()).pathname, '/');

  // No script can read what keeps the session.
  const kept = await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }]));
  assert.doesNotMatch(kept, /eyJ|token|refresh/i);
  const [cookie, ...others] = await person.context.cookies(stage.server.url + '/api/auth/refresh');
  assert.deepEqual(others, []);
  assert.deepEqual(
    { name: cookie.name, path: cookie.path, httpOnly: cookie.httpOnly, sameSite: cookie.sameSite },
    { name: 'vote_refresh', path: '/api/auth', httpOnly: true, sameSite: 'Strict' },
  );
});

flow(
  'names and addresses that are taken are told',
  async (stage) => {
    const taken = await stage.server.user();
    const person = await stage.person();
    const { page } = person;
    person.expect(/409/);
    await person.go('/sign-up');
    await page.getByLabel('Name').fill(taken.username);
    await page.getByLabel('E-mail address').fill(`${unique('other')}@example.org`);
    await page.getByLabel('Password', { exact: true }).fill('correct horse battery');
    await page.getByRole('button', { name: 'Sign up' }).click();
    await page.getByText('This name is taken.').waitFor();
  },
  { on: ['phone'] },
);

flow('a user signs in, and out', async (stage) => {
  const user = await stage.server.user();
  const person = await stage.person();
  const { page } = person;
  person.expect(/401/);
  await person.go('/sign-in');
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await person.look('sign-in');
  await page.getByLabel('E-mail address').fill(user.email);
  await page.getByLabel('Password', { exact: true }).fill('wrong horse battery');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('This e-mail address and password do not fit.').waitFor();
  await page.getByLabel('Password', { exact: true }).fill(user.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await arrives(page, 'You have seen everything');

  await page.reload(); // the cookie signs in again
  await arrives(page, 'You have seen everything');
  await page.getByRole('link', { name: 'Your page' }).click();
  await page.getByRole('link', { name: 'Settings' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('link', { name: 'Sign in' }).waitFor();
  await page.reload();
  await page.getByRole('link', { name: 'Sign in' }).waitFor();
  assert.deepEqual(await person.context.cookies(stage.server.url + '/api/auth/refresh'), []);
});

flow(
  'tabs that refresh at once stay signed in',
  async (stage) => {
    const [lunch] = await stage.server.polls({ title: 'What is for lunch?' });
    const person = await stage.person({ user: await stage.server.user() });
    await person.go('/');
    await arrives(person.page, lunch.title);
    const tabs = [person.page, await person.tab(), await person.tab()];
    for (let round = 0; round < 3; round++) {
      await Promise.all(tabs.map((tab) => (round === 0 ? person.go('/me', tab) : tab.reload())));
      await Promise.all(tabs.map((tab) => tab.getByRole('heading', { name: person.user?.username }).waitFor()));
      // What only the server can tell.
      await Promise.all(tabs.map((tab) => tab.getByText('Here since').waitFor()));
    }
    await Promise.all(tabs.map((tab) => person.go('/', tab)));
    await tap(person, option(tabs[2], lunch.title, 'Yes'));
    await eventually('it is counted', async () => (await stage.server.stats(lunch.id)).totalVotes === 1);
  },
  { on: ['desktop'] },
);

flow(
  'signing out in one tab is seen in the others',
  async (stage) => {
    const person = await stage.person({ user: await stage.server.user() });
    const other = await person.tab();
    await person.go('/me/settings');
    await person.go('/me', other);
    await other.getByText('Here since').waitFor();
    await person.page.getByRole('button', { name: 'Sign out' }).click();
    await other.getByText('Sign in to see your votes').waitFor();
  },
  { on: ['desktop'] },
);

flow(
  'a session that was ended is told, and nothing is lost',
  async (stage) => {
    const [lunch] = await stage.server.polls({ title: 'What is for lunch?' });
    const user = await stage.server.user();
    const person = await stage.person({ user });
    const { page } = person;
    person.expect(/401/);
    await person.go('/');
    await arrives(page, lunch.title);
    const { items } = await user.call('GET', '/api/users/me/sessions');
    for (const { id, current } of items) if (!current) await user.call('DELETE', `/api/users/me/sessions/${id}`);
    await tap(person, option(page, lunch.title, 'Yes'));
    await page.getByRole('link', { name: 'Sign in' }).waitFor();
    await person.go('/sign-in');
    await page.getByLabel('E-mail address').fill(user.email);
    await page.getByLabel('Password', { exact: true }).fill(user.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await eventually('what was chosen is sent', async () => (await stage.server.stats(lunch.id)).totalVotes === 1);
    assert.equal(await card(page, lunch.title).filter({ hasText: 'One choice, final' }).count(), 0);
  },
  { on: ['phone'] },
);
