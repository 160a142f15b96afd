// What the browser keeps beside its database. Storage that is switched off or
// full takes nothing and has nothing, and the app goes on without.

/** @param {'localStorage' | 'sessionStorage'} name */
const area = (name) => ({
  /** Returns a value, null when there is none. @param {string} key @returns {any} */
  get(key) {
    try {
      return JSON.parse(globalThis[name].getItem(key) ?? 'null');
    } catch {
      return null;
    }
  },
  /** @param {string} key @param {unknown} value null removes it */
  set(key, value) {
    try {
      if (value === null) globalThis[name].removeItem(key);
      else globalThis[name].setItem(key, JSON.stringify(value));
    } catch (error) {
      console.warn(error);
    }
  },
});

/** For all tabs and starts. */
export const everywhere = area('localStorage');

/** For this tab, as long as it is open. */
export const here = area('sessionStorage');
