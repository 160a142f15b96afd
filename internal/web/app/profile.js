// The profile of the person who is signed in, for what shows it.

import { html } from 'htm/preact';
import { useEffect, useState } from 'preact/hooks';
import { Failed } from './list.js';
import { loadProfile } from './session.js';
import { Loading } from './ui.js';

/** @typedef {import('../types.js').Profile} Profile */

/**
 * Loads the profile for what shows it.
 * @param {{children: (profile: Profile, reload: () => Promise<void>) => any}} props
 */
export function WithProfile({ children }) {
  const [profile, setProfile] = useState(/** @type {Profile | null} */ (null));
  const [failure, setFailure] = useState(/** @type {unknown} */ (null));
  const reload = async () => {
    setFailure(null);
    await loadProfile().then(setProfile, setFailure);
  };
  useEffect(() => void reload(), []);
  if (profile) return children(profile, reload);
  return failure ? html`<${Failed} error=${failure} again=${reload} />` : html`<${Loading} />`;
}
