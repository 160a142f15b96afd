// Making a poll.

import assert from 'node:assert/strict';
import { eventually, flow } from './harness.mjs';
import { arrives } from './pages.mjs';

flow('a poll is made, with a preview that follows', async (stage) => {
  const author = await stage.person({ user: await stage.server.user() });
  const { page } = author;
  await author.go('/');
  await page.getByRole('link', { name: 'Create a poll' }).first().click();
  await page.getByRole('heading', { name: 'Create a poll' }).waitFor();
  await author.look('create');
  const preview = page.getByRole('region', { name: 'How others will see it' });
  await page.getByLabel('Your question').fill('Tea or coffee?');
  await page.getByLabel('Option 1', { exact: true }).fill('Tea');
  await page.getByLabel('Option 2', { exact: true }).fill('Coffee');
  await page.getByRole('button', { name: 'Add an option' }).click();
  await page.getByLabel('Option 3', { exact: true }).fill('Water');
  await page.getByRole('button', { name: 'Move option 3 up' }).click();
  await page.getByLabel('Tags', { exact: true }).fill('Drinks, ');
  // It is inert, and so has no roles.
  await eventually('the preview follows', async () => /#drinks.*Tea or coffee\?.*Tea.*Water.*Coffee/s.test(await preview.innerText()));
  await author.look('create-filled');
  await page.getByRole('button', { name: 'Publish' }).click();
  await page.waitForURL('**/p/*');
  await page.getByRole('heading', { name: 'Tea or coffee?', level: 1 }).waitFor();
  const id = Number(new URL(page.url()).pathname.slice(3));
  const { title, options, tags } = await stage.server.call('GET', `/api/polls/${id}`);
  assert.deepEqual({ title, options, tags }, { title: 'Tea or coffee?', options: ['Tea', 'Water', 'Coffee'], tags: ['drinks'] });
  const other = await stage.person({ user: await stage.server.user() });
  await other.go('/');
  await arrives(other.page, 'Tea or coffee?');
});

flow('faults of a poll are told as the API tells them', async (stage) => {
  const author = await stage.person({ user: await stage.server.user() });
  const { page } = author;
  await author.go('/create');
  await page.getByLabel('Your question').fill('x'.repeat(301));
  await page.getByLabel('Option 1', { exact: true }).fill('Tea');
  await page.getByLabel('Option 2', { exact: true }).fill('Tea');
  await page.getByRole('button', { name: 'Publish' }).click();
  await eventually('the title is at fault', async () => (await page.getByLabel('Your question').getAttribute('aria-invalid')) === 'true');
  await author.look('create-faults');
  // The same content, told by the server.
  const answer = await fetch(stage.server.address + '/api/polls', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${author.user?.token}` },
    body: JSON.stringify({ title: 'x'.repeat(301), options: ['Tea', 'Tea'], tags: [] }),
  });
  const { errors } = /** @type {{errors: {field: string, message: string}[]}} */ (await answer.json());
  assert.deepEqual(
    errors.map(({ field }) => field),
    ['title', 'options[1]', 'tags'],
  );
  const shown = (await page.locator('form').innerText()).toLowerCase(); // style makes the first letter large
  for (const { message } of errors) assert.ok(shown.includes(message), `${message}: ${shown}`);
  const described = async (/** @type {string} */ label) => {
    const ids = (await page.getByLabel(label, { exact: true }).getAttribute('aria-describedby')) ?? '';
    return (
      await Promise.all(
        ids
          .split(' ')
          .filter(Boolean)
          .map((id) => page.locator(`#${id}`).innerText()),
      )
    ).join(' ');
  };
  assert.match(await described('Your question'), /300/);
  assert.match(await described('Option 2'), /same/);
  assert.match(await described('Tags'), /1 to 10/);
  // What was written outlives the tab's page.
  await page.reload();
  assert.equal((await page.getByLabel('Your question').inputValue()).length, 301);
});

flow(
  'a visitor writes a poll, signs in, and publishes it',
  async (stage) => {
    const user = await stage.server.user();
    const author = await stage.person();
    const { page } = author;
    await author.go('/create');
    await page.getByLabel('Your question').fill('Tea or coffee?');
    await page.getByLabel('Option 1', { exact: true }).fill('Tea');
    await page.getByLabel('Option 2', { exact: true }).fill('Coffee');
    await page.getByLabel('Tags', { exact: true }).fill('drinks ');
    await page.locator('form').getByRole('button', { name: 'Sign in' }).click();
    await page.getByLabel('E-mail address').fill(user.email);
    await page.getByLabel('Password', { exact: true }).fill(user.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('heading', { name: 'Create a poll' }).waitFor();
    await page.getByRole('button', { name: 'Publish' }).click();
    await page.getByRole('heading', { name: 'Tea or coffee?', level: 1 }).waitFor();
  },
  { on: ['phone'] },
);
