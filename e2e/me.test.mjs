// One's own page.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { eventually, flow } from './harness.mjs';
import { told } from './pages.mjs';

flow('one finds what one did, asked and is told', async (stage) => {
  const [lunch, rain] = await stage.server.polls({ title: 'What is for lunch?', options: ['Soup', 'Salad'] }, { title: 'Will it rain?' });
  const user = await stage.server.user();
  await user.vote(lunch.id, 1);
  await user.skip(rain.id);
  const mine = await user.call('POST', '/api/polls', { title: 'Tea or coffee?', options: ['Tea', 'Coffee'], tags: ['drinks'] });
  const late = await user.call('POST', '/api/polls', { title: 'Nobody answers?', options: ['Yes', 'No'], tags: ['drinks'] });
  await Promise.all(Array.from({ length: 10 }, async () => (await stage.server.user()).vote(mine.id, 0)));
  await eventually('ten votes are news', async () => (await user.call('GET', '/api/users/me/notifications')).items.length === 1);

  const person = await stage.person({ user });
  const { page } = person;
  const list = (/** @type {string} */ name) => page.getByRole('group', { name, exact: true });
  const to = (/** @type {string} */ name) => page.getByRole('navigation', { name: 'Your page' }).getByRole('link', { name }).click();
  await person.go('/me');
  await page.getByRole('link', { name: /^1 ?vote$/ }).waitFor();
  await person.look('me');
  await to('Votes');
  await list('Votes').getByRole('listitem').filter({ hasText: lunch.title }).filter({ hasText: 'Your vote: Salad' }).waitFor();
  await person.look('me-votes');
  await to('Skips');
  await list('Skips').getByRole('listitem').filter({ hasText: rain.title }).waitFor();
  await person.look('me-skips');
  await to('News');
  await list('News').getByRole('listitem').filter({ hasText: mine.title }).filter({ hasText: 'reached 10 votes' }).waitFor();
  await person.look('me-news');
  await to('Polls');
  await list('Polls').getByRole('listitem').filter({ hasText: mine.title }).filter({ hasText: '10 votes' }).waitFor();
  assert.equal(await page.getByRole('button', { name: `Delete “${mine.title}”` }).count(), 0);
  await person.look('me-polls');
  await page.getByRole('button', { name: `Delete “${late.title}”` }).click();
  const dialog = page.getByRole('dialog', { name: 'Delete this poll?' });
  await dialog.waitFor();
  await person.look('me-delete');
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await told(page, 'The poll is deleted');
  assert.equal(await list('Polls').getByRole('listitem').filter({ hasText: late.title }).count(), 0);
  assert.equal((await fetch(`${stage.server.address}/api/polls/${late.id}`)).status, 404);
});

flow(
  'the account is changed',
  async (stage) => {
    const user = await stage.server.user();
    const person = await stage.person({ user });
    const { page } = person;
    person.expect(/403/);
    await person.go('/me/settings');
    await page.getByRole('heading', { name: 'Account' }).waitFor();
    await page.getByText('Password', { exact: true }).click();
    await person.look('settings');
    await page.getByLabel('New password', { exact: true }).fill('battery correct horse');
    await page.getByLabel('Current password', { exact: true }).filter({ visible: true }).fill('wrong horse battery');
    await page.getByRole('button', { name: 'Save' }).filter({ visible: true }).click();
    await page.getByText('That is not your password.').waitFor();
    await page.getByLabel('Current password', { exact: true }).filter({ visible: true }).fill(user.password);
    await page.getByRole('button', { name: 'Save' }).filter({ visible: true }).click();
    await told(page, 'Your password is changed');
    await stage.server.call('POST', '/api/auth/login', { body: { email: user.email, password: 'battery correct horse' } });
  },
  { on: ['phone'] },
);

flow('everything that is stored is downloaded, and the account erased', async (stage) => {
  const [lunch] = await stage.server.polls({ title: 'What is for lunch?', options: ['Soup', 'Salad'] });
  const user = await stage.server.user();
  await user.vote(lunch.id, 1);
  const person = await stage.person({ user });
  const { page } = person;
  person.expect(/403/);
  await person.go('/me/settings');
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download' }).click()]);
  assert.equal(download.suggestedFilename(), 'vote-export.json');
  const everything = JSON.parse(await readFile(await download.path(), 'utf8'));
  assert.ok(JSON.stringify(everything).includes(user.email));
  assert.ok(JSON.stringify(everything).includes(String(lunch.id)));

  await page.getByRole('button', { name: 'Erase the account' }).click();
  const dialog = page.getByRole('dialog', { name: 'Erase the account' });
  await dialog.waitFor();
  await person.look('erase');
  await dialog.getByLabel('Password', { exact: true }).fill('wrong horse battery');
  await dialog.getByRole('button', { name: 'Erase for good' }).click();
  await dialog.getByText('That is not your password.').waitFor();
  await dialog.getByLabel('Password', { exact: true }).fill(user.password);
  await dialog.getByRole('button', { name: 'Erase for good' }).click();
  await told(page, 'Your account is erased');
  await page.getByRole('link', { name: 'Sign in' }).waitFor();
  const answer = await fetch(stage.server.address + '/api/auth/login', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ email: user.email, password: user.password }),
  });
  assert.equal(answer.status, 401);
  assert.equal((await stage.server.stats(lunch.id)).totalVotes, 1);
});
