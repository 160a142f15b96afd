// Forms: fields with their labels and faults, and what every form does.

import { html } from 'htm/preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { lengthOf, normalText, textOf } from './faults.js';
import { Refused } from './http.js';
import { t } from './texts.js';
import { reason } from './ui.js';

/** Tells a fault in the visitor's language, or as it came. @param {string} message */
export function told(message) {
  const text = textOf(message);
  return text ? t(text.key, text.values) : message;
}

/** The fields that a refusal without a list of faults is about. */
const fieldOf = /** @type {Record<string, string>} */ ({ email_taken: 'email', username_taken: 'username', wrong_password: 'currentPassword' });

/**
 * Holds the values of a form and the faults to show: of the fields that were
 * left, after an attempt of all, and what the server said.
 * @template {Record<string, any>} Values
 * @param {Values | (() => Values)} initial
 * @param {(values: Values) => Record<string, string>} check the faults by field, empty for none
 */
export function useForm(initial, check) {
  const [values, setValues] = useState(initial);
  const [left, setLeft] = useState(/** @type {ReadonlySet<string>} */ (new Set()));
  const [refused, setRefused] = useState(/** @type {Record<string, string>} */ ({}));
  const [failure, setFailure] = useState('');
  const [isBusy, setBusy] = useState(false);
  const [attempts, setAttempts] = useState(0);
  const busy = useRef(false);
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const faults = check(values);

  useEffect(() => {
    if (attempts > 0) /** @type {HTMLElement | null | undefined} */ (form.current?.querySelector('[aria-invalid="true"], .failure'))?.focus();
  }, [attempts]);

  /** @param {Partial<Values>} change @param {string} [field] the field that was changed */
  const set = (change, field = Object.keys(change)[0]) => {
    setValues((now) => ({ ...now, ...change }));
    setRefused(({ [field]: _, ...rest }) => rest);
  };
  const leave = (/** @type {string} */ field) => setLeft((now) => (now.has(field) ? now : new Set(now).add(field)));
  const faultOf = (/** @type {string} */ field) => refused[field] || (left.has(field) && faults[field]) || '';

  return {
    /** What the form element needs. */
    attributes: {
      ref: form,
      noValidate: true,
      // A click on a button leaves the field only when it is through: the fault
      // that leaving shows would move the button away under it.
      onMouseDown: (/** @type {MouseEvent} */ event) => {
        if (event.target instanceof Element && event.target.closest('button')) event.preventDefault();
      },
    },
    values, failure, isBusy, set, leave, faultOf,
    /** What a {@link Field} needs. @param {string & keyof Values} name */
    field: (name) => ({
      name, value: values[name], fault: faultOf(name),
      onInput: (/** @type {string} */ value) => set(/** @type {any} */ ({ [name]: value })),
      onLeave: () => { if (values[name] !== '') leave(name); },
    }),
    /** Empties the form. */
    reset() {
      setValues(initial);
      setLeft(new Set());
      setRefused({});
      setFailure('');
    },
    /**
     * Does what the form is for, unless something is wrong or it is being done.
     * @param {Event} event
     * @param {() => Promise<unknown>} action
     * @param {(field: string) => string} [rename] the form's name of a field of the server
     */
    async submit(event, action, rename = (field) => field) {
      event.preventDefault();
      if (busy.current) return;
      setLeft(new Set(Object.keys(faults)));
      setFailure('');
      if (Object.values(faults).some(Boolean)) return setAttempts((n) => n + 1);
      busy.current = true;
      setBusy(true);
      try {
        await action();
      } catch (error) {
        const told = error instanceof Refused ? error : null;
        /** @type {Record<string, string>} */
        const found = {};
        for (const { field, message } of told?.errors ?? []) found[rename(field)] ??= message;
        const about = fieldOf[told?.code ?? ''];
        if (about) found[rename(about)] = reason(error);
        const isShown = Object.keys(found).length > 0 && Object.keys(found).every((field) => field in faults);
        setRefused(found);
        if (!isShown) setFailure(reason(error));
        setAttempts((n) => n + 1);
      } finally {
        busy.current = false;
        setBusy(false);
      }
    },
  };
}

/**
 * A field with its label, what helps to fill it in, and what is wrong with it.
 * @param {{name: string, label: string, value: string, fault?: string, onInput: (value: string) => void, onLeave?: () => void,
 *   id?: string, type?: string, hint?: string, most?: number, rows?: number, beside?: any, [attribute: string]: any}} props
 *   most: the characters it may have; rows: of a text that grows; beside: what stands at the end of the label's line
 */
export function Field({ name, label, value, fault = '', onInput, onLeave, id = `f-${name}`, type = 'text', hint = '', most = 0, rows = 0, beside, ...rest }) {
  const [isShown, show] = useState(false);
  const length = most ? lengthOf(normalText(value)) : 0;
  const isNear = length > most * 0.8;
  const described = [fault && `${id}-fault`, hint && `${id}-hint`, isNear && `${id}-count`].filter(Boolean).join(' ');
  const attributes = {
    dir: 'auto', ...rest, id, name, value, required: true, 'aria-invalid': fault ? 'true' : undefined, 'aria-describedby': described || undefined,
    onInput: (/** @type {{currentTarget: HTMLInputElement}} */ event) => onInput(event.currentTarget.value),
    onBlur: onLeave,
  };
  return html`<div class="field">
    <div class="above"><label for=${id}>${label}</label>${beside}</div>
    ${rows
      ? html`<textarea rows=${rows} ...${attributes}></textarea>`
      : type === 'password'
        ? html`<div class="secret"><input type=${isShown ? 'text' : type} autocapitalize="none" spellcheck=${false} ...${attributes} />
            <button type="button" class="link" aria-label=${t(isShown ? 'hidePassword' : 'showPassword')} onClick=${() => show(!isShown)}>${t(isShown ? 'hide' : 'show')}</button></div>`
        : html`<input type=${type} ...${attributes} />`}
    ${isNear && html`<p class="hint" id=${`${id}-count`}>${t('ofMost', { count: length, most })}</p>`}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${fault && html`<p class="fault" id=${`${id}-fault`}>${told(fault)}</p>`}
  </div>`;
}

/** Why the whole of a form failed. Takes the focus, so that it is read. @param {{text: string}} props */
export const Failure = ({ text }) => text && html`<p class="fault failure" tabIndex=${-1}>${text}</p>`;

/** The button of a form. @param {{isBusy: boolean, children: any, class?: string}} props */
export const Submit = ({ isBusy, children, class: name = 'strong' }) =>
  html`<button class="button ${name}" aria-disabled=${isBusy ? 'true' : undefined} aria-busy=${isBusy ? 'true' : undefined}>${isBusy ? t('underWay') : children}</button>`;
