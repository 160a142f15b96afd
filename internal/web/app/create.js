// Making a poll: the form, and beside it the poll as others will hold it.
//
// What is written is kept in the tab until it is published, with the key under
// which it was sent: whoever sends it again after a lost answer makes no second
// poll.

import { html } from 'htm/preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { Card } from './card.js';
import { limits, normalTag, normalText, pollFaults, tagFault } from './faults.js';
import { Failure, Field, Submit, told, useForm } from './forms.js';
import { Refused, send } from './http.js';
import { go } from './router.js';
import { call, isSignedIn, user } from './session.js';
import { here } from './storage.js';
import { t } from './texts.js';
import { Head, say, Title } from './ui.js';

/** @typedef {{id: number, text: string}} Option */
/** @typedef {{title: string, options: Option[], tags: string[], tag: string}} Draft tag: what stands in the field of the tags */

const kept = 'vote.draft';
const keptKey = 'vote.draft.key';
const patience = 5; // times that a request under way is asked for again

let lastId = 0;
const blank = (text = '') => ({ id: ++lastId, text });

/** @returns {Draft} */
function restored() {
  const { title = '', options = ['', ''], tags = [], tag = '' } = here.get(kept) ?? {};
  return { title, options: options.map(blank), tags, tag };
}

/** @param {Draft} draft */
function keep({ title, options, tags, tag }) {
  here.set(kept, { title, options: options.map(({ text }) => text), tags, tag });
}

/** The poll as it is sent. @param {Draft} draft */
const contentOf = ({ title, options, tags, tag }) => ({
  title: normalText(title),
  options: options.map(({ text }) => normalText(text)),
  tags: tag.trim() ? [...tags, normalTag(tag)] : tags,
});

/**
 * The form's name of a field of the server.
 * @param {Draft} draft
 * @param {string} field
 */
function nameOf({ options }, field) {
  const index = /^options\[(\d+)\]$/.exec(field)?.[1];
  return index ? `o${options[Number(index)]?.id}` : field.replace(/\[.*/, '');
}

/** @param {Draft} draft */
function check(draft) {
  /** @type {Record<string, string>} */
  const faults = { title: '', tags: '' };
  for (const { id } of draft.options) faults[`o${id}`] = '';
  for (const { field, message } of pollFaults(contentOf(draft))) faults[nameOf(draft, field)] ||= message;
  return faults;
}

/**
 * Publishes a poll, once however often it is tried.
 * @param {ReturnType<typeof contentOf>} content
 * @returns {Promise<import('../types.js').Poll>}
 */
async function publish(content) {
  const text = JSON.stringify(content);
  let sent = here.get(keptKey);
  if (sent?.text !== text) {
    sent = { text, key: crypto.randomUUID() };
    here.set(keptKey, sent);
  }
  for (let tries = 0; ; tries++) {
    try {
      return await call('POST', '/api/polls', { body: content, headers: { 'idempotency-key': sent.key } });
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== 'idempotency_in_progress' || tries === patience) throw error;
      await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
    }
  }
}

export default function Create() {
  const form = useForm(/** @type {() => Draft} */ (restored), check);
  const draft = form.values;
  useEffect(() => keep(draft), [draft]);

  const wanted = useRef('');
  useLayoutEffect(() => {
    if (wanted.current) document.getElementById(wanted.current)?.focus();
    wanted.current = '';
  });

  const { options } = draft;
  /** @param {Option[]} changed @param {string} focus the id of what is to have the focus then */
  const arrange = (changed, focus) => {
    wanted.current = focus;
    form.set({ options: changed });
  };
  /** @param {number} from @param {number} to @param {string} focus */
  const move = (from, to, focus) => {
    if (options[to]) arrange(options.toSpliced(from, 1).toSpliced(to, 0, options[from]), focus);
  };
  /** @param {number} index */
  const remove = (index) => {
    if (options.length > 2) arrange(options.toSpliced(index, 1), `f-o${(options[index + 1] ?? options[index - 1]).id}`);
  };
  const add = () => {
    const option = blank();
    arrange([...options, option], `f-o${option.id}`);
  };
  /** Enter leads on: these texts have one line. @param {number} index of the option it is pressed in, -1 in the title */
  const onEnter = (index) => (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Enter' || event.isComposing) return;
    event.preventDefault();
    const next = options[index + 1];
    if (next) document.getElementById(`f-o${next.id}`)?.focus();
    else if (options[index].text.trim() && options.length < limits.options) add();
    else document.getElementById('f-tags')?.focus();
  };
  const oneLine = (/** @type {string} */ text) => text.replace(/\s*[\r\n]+\s*/g, ' ');

  const submit = (/** @type {Event} */ event) => {
    if (!isSignedIn.value) {
      event.preventDefault();
      return go('/sign-in');
    }
    return form.submit(event, async () => {
      const { id } = await publish(contentOf(draft));
      here.set(kept, null);
      here.set(keptKey, null);
      go(`/p/${id}`);
      say(t('create.done'));
    }, (field) => nameOf(draft, field));
  };

  return html`<${Head} />
    <div class="page wide">
      <${Title}>${t('create')}</${Title}>
      ${!isSignedIn.value && html`<p class="notice">${t('create.visitor')} <a href="/sign-in">${t('signIn')}</a> · <a href="/sign-up">${t('signUp')}</a></p>`}
      <form class="split" ...${form.attributes} onSubmit=${submit}>
        <div class="form">
          <${Failure} text=${form.failure && `${form.failure} ${t('create.kept')}`} />
          <${Field} ...${form.field('title')} label=${t('create.title')} rows=${2} most=${limits.title} onInput=${(/** @type {string} */ text) => form.set({ title: oneLine(text) })} onKeyDown=${onEnter(-1)} />
          ${options.map(({ id, text }, i) => html`<${Field} key=${id} name=${`o${id}`} id=${`f-o${id}`} label=${t('create.option', { number: i + 1 })} rows=${1} most=${limits.option}
            value=${text} fault=${form.faultOf(`o${id}`)} onKeyDown=${onEnter(i)}
            onInput=${(/** @type {string} */ value) => form.set({ options: options.with(i, { id, text: oneLine(value) }) }, `o${id}`)}
            onLeave=${() => { if (text) form.leave(`o${id}`); }}
            beside=${html`<span class="tools">
              <${Tool} id=${`up-${id}`} sign="↑" label=${t('create.up', { number: i + 1 })} isIdle=${i === 0} onClick=${() => move(i, i - 1, `up-${id}`)} />
              <${Tool} id=${`down-${id}`} sign="↓" label=${t('create.down', { number: i + 1 })} isIdle=${i === options.length - 1} onClick=${() => move(i, i + 1, `down-${id}`)} />
              <${Tool} id=${`remove-${id}`} sign="×" label=${t('create.remove', { number: i + 1 })} isIdle=${options.length <= 2} onClick=${() => remove(i)} />
            </span>`} />`)}
          ${options.length < limits.options && html`<p><button type="button" class="button" onClick=${add}>${t('create.add')}</button></p>`}
          <${Tags} form=${form} />
        </div>
        <section class="preview" aria-labelledby="preview">
          <h2 id="preview" class="label">${t('create.preview')}</h2>
          <div inert><${Preview} draft=${draft} /></div>
        </section>
        <div class="end"><${Submit} isBusy=${form.isBusy}>${t(isSignedIn.value ? 'create.publish' : 'signIn')}</${Submit}><p class="hint">${t('create.final')}</p></div>
      </form>
    </div>`;
}

/**
 * A small button of an option. An idle one keeps the focus.
 * @param {{id: string, sign: string, label: string, isIdle: boolean, onClick: () => void}} props
 */
const Tool = ({ id, sign, label, isIdle, onClick }) =>
  html`<button type="button" id=${id} class="quiet" aria-label=${label} aria-disabled=${isIdle ? 'true' : undefined} onClick=${onClick}>${sign}</button>`;

/** @param {{draft: Draft}} props */
function Preview({ draft }) {
  const { title, options, tags } = contentOf(draft);
  return html`<${Card} showKeys=${false} poll=${{
    id: 0,
    title: title || t('create.yourQuestion'),
    options: options.map((option, i) => option || t('create.option', { number: i + 1 })),
    tags: tags.filter((tag) => !tagFault(tag)),
    createdAt: new Date().toISOString(),
    author: user.value,
    totalVotes: 0,
  }} />`;
}

/** @param {{form: any}} props */
function Tags({ form }) {
  const { tags, tag } = /** @type {Draft} */ (form.values);
  const [known, setKnown] = useState(/** @type {string[]} */ ([]));
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(() => {
      const query = new URLSearchParams({ prefix: [...normalTag(tag)].slice(0, limits.tag).join(''), limit: '16' });
      send('GET', `/api/tags?${query}`, { signal: stop.signal }).then((answer) => setKnown(answer.items.map((/** @type {{tag: string}} */ item) => item.tag)), () => {});
    }, 200);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [tag]);
  const field = () => document.getElementById('f-tags')?.focus();

  /** Takes the tags that are complete; the last stays in the field. @param {string} text @param {boolean} [isDone] it is complete too */
  const take = (text, isDone = false) => {
    const parts = text.split(/[\s,،、，]+/);
    const last = isDone ? '' : /** @type {string} */ (parts.pop());
    const good = new Set(tags);
    const bad = [];
    for (const part of parts.map((part) => part.replace(/^#/, ''))) {
      if (part === '') continue;
      if (tagFault(part) || (good.size >= limits.tags && !good.has(normalTag(part)))) bad.push(part);
      else good.add(normalTag(part));
    }
    if (bad.length) form.leave('tags');
    form.set({ tags: [...good], tag: [...bad, last].join(' ') }, 'tags');
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.isComposing) return;
    if (event.key === 'Enter') {
      event.preventDefault();
      take(tag, true);
    } else if (event.key === 'Backspace' && tag === '' && tags.length) {
      form.set({ tags: tags.slice(0, -1) }, 'tags');
    }
  };
  const onBlur = (/** @type {FocusEvent} */ event) => {
    if (tag.trim() && !(event.relatedTarget instanceof Element && event.relatedTarget.closest('.offered'))) take(tag, true);
  };
  const fault = form.faultOf('tags');
  const offered = known.filter((name) => !tags.includes(name)).slice(0, 6);
  return html`<div class="field">
    <label for="f-tags">${t('create.tags')}</label>
    ${tags.length > 0 && html`<ul class="row tags">${tags.map((name) => html`<li key=${name}><button type="button" class="chip strong" aria-label=${t('create.untag', { tag: name })}
      onClick=${() => { form.set({ tags: tags.filter((other) => other !== name) }, 'tags'); field(); }}><bdi>#${name}</bdi> ×</button></li>`)}</ul>`}
    <input id="f-tags" dir="auto" autocomplete="off" autocapitalize="none" enterkeyhint="done" value=${tag}
      aria-invalid=${fault ? 'true' : undefined} aria-describedby=${fault ? 'f-tags-fault f-tags-hint' : 'f-tags-hint'}
      onInput=${(/** @type {InputEvent & {currentTarget: HTMLInputElement}} */ event) => (event.isComposing ? form.set({ tag: event.currentTarget.value }, 'tags') : take(event.currentTarget.value))}
      onCompositionEnd=${(/** @type {{currentTarget: HTMLInputElement}} */ event) => take(event.currentTarget.value)}
      onKeyDown=${onKey} onBlur=${onBlur} />
    <p class="hint" id="f-tags-hint">${t('create.tagsHint')}</p>
    ${fault && html`<p class="fault" id="f-tags-fault">${told(fault)}</p>`}
    ${tags.length < limits.tags && html`<div class="tabs offered" role="group" aria-label=${t('create.offered')}>${offered.map((name) => html`<button key=${name} type="button" class="chip"
      onClick=${() => { form.set({ tags: [...tags, name], tag: '' }, 'tags'); field(); }}>+ <bdi>${name}</bdi></button>`)}</div>`}
  </div>`;
}
