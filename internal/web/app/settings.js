// The account: its name, address and password, its sessions, and its end.

import { html } from 'htm/preact';
import { useRef, useState } from 'preact/hooks';
import { emailFault, emptyFault, passwordFault, usernameFault } from './faults.js';
import { forgetFeed } from './feed.js';
import { Failure, Field, Submit, useForm } from './forms.js';
import { Refused } from './http.js';
import { List } from './list.js';
import { flush, forget, waiting } from './outbox.js';
import { WithProfile } from './profile.js';
import { go } from './router.js';
import { call, erase, isSignedIn, signOut, user } from './session.js';
import { choose, dateTime, language, languages, t } from './texts.js';
import { Dialog, reason, say } from './ui.js';

/** @typedef {import('../types.js').Profile} Profile */
/** @typedef {{id: string, createdAt: string, current: boolean}} Device a session */

const rules = { username: usernameFault, email: emailFault, password: passwordFault };
const unconfirmed = 'is required to change the e-mail address or the password';
const flushPatience = 5000; // ms
const exportPatience = 600_000; // ms

export default function Settings() {
  const [open, setOpen] = useState(/** @type {'' | 'signOut' | 'erase'} */ (''));
  return html`
    <section class="group">
      <h2>${t('set.account')}</h2>
      <${WithProfile}>${(/** @type {Profile} */ profile, /** @type {() => Promise<void>} */ reload) => /** @type {const} */ (['username', 'email', 'password']).map((kind) =>
        html`<${Change} key=${kind} kind=${kind} now=${kind === 'password' ? '' : profile[kind]} profile=${profile} reload=${reload} />`)}</${WithProfile}>
    </section>
    <section class="group field">
      <h2><label for="language">${t('set.language')}</label></h2>
      <select id="language" value=${language.value} onChange=${(/** @type {{currentTarget: HTMLSelectElement}} */ event) => choose(event.currentTarget.value)}>
        ${Object.entries(languages).map(([tag, name]) => html`<option key=${tag} value=${tag} lang=${tag}>${name}</option>`)}
      </select>
    </section>
    <section class="group">
      <h2>${t('set.sessions')}</h2>
      <${List} path="/api/users/me/sessions" label=${t('set.sessions')} empty="" keyOf=${(/** @type {Device} */ { id }) => id} row=${(/** @type {Device} */ device, /** @type {() => void} */ drop) => html`<${Session} device=${device} drop=${drop} />`} />
    </section>
    <section class="group">
      <h2>${t('set.data')}</h2>
      <p>${t('set.exportText')}</p>
      <p><${Export} /></p>
    </section>
    <section class="group">
      <h2>${t('set.leave')}</h2>
      <p class="row"><${SignOut} ask=${() => setOpen('signOut')} />
        <button class="button danger" onClick=${() => setOpen('erase')}>${t('set.erase')}</button></p>
    </section>
    ${open === 'signOut' && html`<${Dialog} title=${t('set.unsent')} onClose=${() => setOpen('')}>
      <p>${t('set.unsentText', { count: waiting.value })}</p>
      <p class="row"><button class="button strong" onClick=${() => { setOpen(''); void leave(); }}>${t('signOut')}</button><button class="button" onClick=${() => setOpen('')}>${t('cancel')}</button></p>
    </${Dialog}>`}
    ${open === 'erase' && html`<${EraseDialog} onClose=${() => setOpen('')} />`}`;
}

/**
 * One thing of the account that can be changed.
 * @param {{kind: keyof typeof rules, now: string, profile: Profile, reload: () => Promise<void>}} props
 */
function Change({ kind, now, profile, reload }) {
  const fold = useRef(/** @type {HTMLDetailsElement | null} */ (null));
  const isGuarded = kind !== 'username';
  const form = useForm(/** @type {Record<string, string>} */ ({ [kind]: now, currentPassword: '' }), (values) => ({
    [kind]: rules[kind](values[kind]),
    currentPassword: isGuarded && !values.currentPassword ? unconfirmed : '',
  }));
  const save = async () => {
    const value = form.values[kind];
    await call('PATCH', '/api/users/me', { body: { [kind]: value, ...(isGuarded && { currentPassword: form.values.currentPassword }) } });
    say(t(`set.saved.${kind}`));
    fold.current?.querySelector('summary')?.focus();
    if (fold.current) fold.current.open = false;
    form.reset();
    if (kind !== 'password') form.set({ [kind]: value });
    await reload();
  };
  return html`<details class="fold" ref=${fold}>
    <summary><span>${t(kind)}</span> <bdi class="soft">${now}</bdi></summary>
    <form class="form" ...${form.attributes} onSubmit=${(/** @type {Event} */ event) => form.submit(event, save)}>
      <${Failure} text=${form.failure} />
      ${kind === 'password' && html`<input type="text" name="username" autocomplete="username" value=${profile.email} hidden />`}
      <${Field} ...${form.field(kind)} id=${`set-${kind}`} type=${kind === 'username' ? 'text' : kind} label=${t(kind === 'password' ? 'set.newPassword' : kind)}
        hint=${kind === 'password' ? t('set.othersEnd') : ''} autocomplete=${kind === 'password' ? 'new-password' : kind} dir=${isGuarded ? 'ltr' : 'auto'} />
      ${isGuarded && html`<${Field} ...${form.field('currentPassword')} id=${`set-${kind}-current`} type="password" label=${t('set.currentPassword')} autocomplete="current-password" dir="ltr" />`}
      <${Submit} isBusy=${form.isBusy}>${t('save')}</${Submit}>
    </form>
  </details>`;
}

/** @param {{device: Device, drop: () => void}} props */
function Session({ device, drop }) {
  const since = dateTime(device.createdAt);
  const end = async () => {
    try {
      await call('DELETE', `/api/users/me/sessions/${device.id}`);
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) return say(reason(error));
    }
    drop();
    say(t('set.sessionEnded'));
  };
  return html`<p class="facts session"><span>${t('set.since', { date: since })}</span>
    ${device.current ? html`<span class="state">${t('set.current')}</span>` : html`<button class="link" aria-label=${t('set.endOf', { date: since })} onClick=${end}>${t('set.end')}</button>`}</p>`;
}

function Export() {
  const [isBusy, setBusy] = useState(false);
  const run = async () => {
    if (isBusy) return;
    setBusy(true);
    try {
      const everything = await call('GET', '/api/users/me/export', { patience: exportPatience });
      const link = document.createElement('a');
      link.href = URL.createObjectURL(new Blob([JSON.stringify(everything, null, 2)], { type: 'application/json' }));
      link.download = 'vote-export.json';
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // when it is surely read
    } catch (error) {
      say(reason(error));
    }
    setBusy(false);
  };
  return html`<button class="button" aria-busy=${isBusy ? 'true' : undefined} onClick=${run}>${t(isBusy ? 'underWay' : 'set.export')}</button>`;
}

/** Ends the session, and shows the feed as visitors see it. */
async function leave() {
  try {
    await signOut();
  } catch (error) {
    if (isSignedIn.value) return say(reason(error));
  }
  go('/');
  say(t('set.signedOut'));
}

/** Sends what waits before the session ends; what cannot be sent is told. @param {{ask: () => void}} props */
function SignOut({ ask }) {
  const [isBusy, setBusy] = useState(false);
  const run = async () => {
    if (isBusy) return;
    setBusy(true);
    if (waiting.value > 0 && navigator.onLine) await Promise.race([flush(), new Promise((resolve) => setTimeout(resolve, flushPatience))]);
    setBusy(false);
    if (waiting.value > 0) ask();
    else await leave();
  };
  return html`<button class="button" aria-busy=${isBusy ? 'true' : undefined} onClick=${run}>${t('signOut')}</button>`;
}

/** @param {{onClose: () => void}} props */
function EraseDialog({ onClose }) {
  const form = useForm({ currentPassword: '' }, ({ currentPassword }) => ({ currentPassword: emptyFault(currentPassword) }));
  const run = async () => {
    const id = /** @type {{id: number}} */ (user.value).id;
    await erase(form.values.currentPassword);
    await Promise.allSettled([forget(id), forgetFeed(id)]);
    onClose();
    go('/');
    say(t('set.erased'));
  };
  return html`<${Dialog} title=${t('set.erase')} onClose=${onClose}>
    <p>${t('set.eraseGoes')}</p>
    <p>${t('set.eraseStays')}</p>
    <form class="form" ...${form.attributes} onSubmit=${(/** @type {Event} */ event) => form.submit(event, run, () => 'currentPassword')}>
      <${Failure} text=${form.failure} />
      <${Field} ...${form.field('currentPassword')} id="erase-password" type="password" label=${t('password')} autocomplete="current-password" dir="ltr" />
      <p class="row"><${Submit} isBusy=${form.isBusy} class="danger">${t('set.eraseNow')}</${Submit}><button type="button" class="button" onClick=${onClose}>${t('cancel')}</button></p>
    </form>
  </${Dialog}>`;
}
