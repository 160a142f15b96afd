// The pictures of the documentation: `make pictures` puts them into
// docs/pictures. Each way to a picture is a test like any other.

import { eventually, flow } from './harness.mjs';

/** @typedef {import('./harness.mjs').Person} Person */
/** @typedef {import('./harness.mjs').Server} Server */

const polls = [
  {
    title: 'Should the old tram line come back?',
    options: ['Yes, all of it', 'Only the centre', 'No'],
    tags: ['city', 'transport'],
    shares: [62, 27, 11],
  },
  {
    title: 'Which language would you start a new backend in today?',
    options: ['Go', 'Rust', 'Python', 'TypeScript'],
    tags: ['programming'],
    shares: [41, 26, 19, 14],
  },
  { title: 'Pineapple on pizza?', options: ['Always', 'Never', 'Only when nobody looks'], tags: ['food'], shares: [30, 45, 25] },
  {
    title: 'Who wins the league this season?',
    options: ['Rovers', 'City', 'United', 'Athletic'],
    tags: ['sports'],
    shares: [40, 30, 20, 10],
  },
  { title: 'Is a hot dog a sandwich?', options: ['Yes', 'No', 'It is a taco'], tags: ['food', 'philosophy'], shares: [35, 50, 15] },
];

const voters = 24;

/**
 * Makes the polls, and has people vote on them.
 *
 * @param {Server} server
 */
async function life(server) {
  const jonas = await server.user('jonas');
  const crowd = [];
  while (crowd.length < voters) crowd.push(await server.user());
  for (const { title, options, tags, shares } of [...polls].reverse()) {
    const poll = await jonas.call('POST', '/api/polls', { title, options, tags });
    await Promise.all(
      crowd.map((voter, i) => {
        let left = (i * 37 + 11) % 100;
        const option = shares.findIndex((share) => (left -= share) < 0);
        return i % 13 === 12 ? voter.skip(poll.id) : voter.vote(poll.id, option);
      }),
    );
  }
}

/**
 * Keeps a picture of the page in both themes.
 *
 * @param {Person} person
 * @param {string} name
 */
async function picture(person, name) {
  for (const theme of /** @type {const} */ (['light', 'dark'])) {
    await person.page.emulateMedia({ colorScheme: theme });
    await person.settle();
    await person.shot(`picture-${name}-${person.device}-${theme}`);
  }
}

flow(
  'the pictures of the documentation',
  async (stage) => {
    await life(stage.server);
    const person = await stage.person({ user: await stage.server.user('mira'), options: { deviceScaleFactor: 1 } });
    const { page } = person;
    const card = (/** @type {string} */ title) => page.getByRole('article', { name: title });
    const bar = (/** @type {string} */ title, /** @type {string} */ option) =>
      card(title).getByRole('button', { name: new RegExp(`^${option}\\b`) });
    const isLive = () => eventually('it is live', () => page.locator('.live:not(.still)').first().isVisible());

    await person.go('/');
    await bar(polls[0].title, 'Yes').waitFor();
    await isLive();
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => {}));
    await picture(person, 'feed');

    await bar(polls[0].title, 'Yes').click();
    await card(polls[0].title).getByText('%').first().waitFor();
    await picture(person, 'voted');

    await card(polls[0].title).getByRole('button', { name: 'Share' }).click();
    await page.getByRole('dialog').getByRole('img').first().waitFor();
    await picture(person, 'share');
    await page.keyboard.press('Escape');

    const [voted] = (await person.user?.call('GET', '/api/users/me/votes')).items;
    await person.go(`/p/${voted.pollId}`);
    await isLive();
    await page.getByRole('img').first().waitFor();
    await picture(person, 'poll');

    await person.go('/create');
    const form = page.getByRole('main');
    await form.getByRole('textbox', { name: 'Question' }).fill('What should the new square be called?');
    for (const [i, text] of ['Market Square', 'Tram Square', 'Ada Square'].entries()) {
      if (i === 2) await form.getByRole('button', { name: 'Add an option' }).click();
      await form.getByRole('textbox', { name: `Option ${i + 1}` }).fill(text);
    }
    await form.getByRole('textbox', { name: 'Tags' }).fill('city,');
    await page.evaluate(() => {
      if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    });
    await picture(person, 'create');

    const { polls: rest } = await person.user?.call('GET', '/api/polls');
    for (const { id } of rest.slice(1)) await person.user?.vote(id, 1);
    await person.go('/me/votes');
    await page.getByRole('link', { name: polls[2].title }).first().waitFor();
    await picture(person, 'profile');

    await person.go('/');
    await bar(polls[1].title, 'Go').waitFor();
    await isLive();
    person.expect(/INTERNET_DISCONNECTED/);
    await person.offline(true);
    await bar(polls[1].title, 'Go').click();
    await page.getByText('1 choice is kept').waitFor();
    await picture(person, 'offline');
    await person.offline(false);
    await page.getByText('1 choice is kept').waitFor({ state: 'hidden' });
  },
  { env: { LIMITS_DAILY_VOTES: '100' } },
);
