// Signing up and signing in.

import { html } from 'htm/preact';
import { useEffect } from 'preact/hooks';
import { emailFault, emptyFault, passwordFault, usernameFault } from './faults.js';
import { Failure, Field, Submit, useForm } from './forms.js';
import { go, returnPlace } from './router.js';
import { isSignedIn, signIn, signUp } from './session.js';
import { t } from './texts.js';
import { Head, Title } from './ui.js';

/** @param {{isNew: boolean}} props */
export default function Enter({ isNew }) {
  const form = useForm({ username: '', email: '', password: '' }, ({ username, email, password }) => ({
    username: isNew ? usernameFault(username) : '',
    email: isNew ? emailFault(email) : emptyFault(email.trim()),
    password: isNew ? passwordFault(password) : emptyFault(password),
  }));
  const isDone = isSignedIn.value;
  useEffect(() => {
    if (isDone) go(returnPlace(), { replace: true });
  }, [isDone]);

  const { username, email, password } = form.values;
  const enter = () => (isNew ? signUp(username, email, password) : signIn(email.trim(), password));
  return html`<${Head} />
    <div class="page">
      <${Title}>${t(isNew ? 'signUp' : 'signIn')}</${Title}>
      <p class="soft">${t(isNew ? 'enter.new' : 'enter.back')}</p>
      <form class="form" ...${form.attributes} onSubmit=${(/** @type {Event} */ event) => form.submit(event, enter)}>
        <${Failure} text=${form.failure} />
        ${isNew && html`<${Field} ...${form.field('username')} label=${t('username')} hint=${t('enter.public')} autocomplete="username" autocapitalize="none" spellcheck=${false} />`}
        <${Field} ...${form.field('email')} type="email" label=${t('email')} autocomplete=${isNew ? 'email' : 'username'} dir="ltr" />
        <${Field} ...${form.field('password')} type="password" label=${t('password')} hint=${isNew ? t('enter.length') : ''} autocomplete=${isNew ? 'new-password' : 'current-password'} dir="ltr" />
        <${Submit} isBusy=${form.isBusy}>${t(isNew ? 'signUp' : 'signIn')}</${Submit}>
      </form>
      <p>${t(isNew ? 'enter.have' : 'enter.none')} <a href=${isNew ? '/sign-in' : '/sign-up'}>${t(isNew ? 'signIn' : 'signUp')}</a></p>
    </div>`;
}
