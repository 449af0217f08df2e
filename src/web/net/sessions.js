// Ends the sessions that crashed pages have left on the server. A page that crashes sends no
// DELETE, so its participant would stay in the room until the server times it out. The URL of each
// session is kept in the browser's storage, and the page of the session holds a lock named by the
// URL: a session whose lock is free has no page any more.
//
// Needs Web Locks, which browsers offer to secure pages only. Without locks the server removes such
// participants later, by its timeout.

/** @import { Settings } from '../model/settings.js' */
/** @import { Call } from './call.js' */

import { end } from './api.js';

const KEY = 'sessions';
// Maximum number of stored sessions: more than anybody has open, and a limit for the storage.
const MOST = 20;

/**
 * Ends the sessions whose pages are gone.
 *
 * @param {Settings} settings
 */
export function endAbandoned(settings) {
  if (!navigator.locks) return;
  for (const session of stored(settings)) {
    navigator.locks.request(session, { ifAvailable: true }, (lock) => {
      if (!lock) return;
      drop(settings, session);
      end(session);
    });
  }
}

/**
 * Keeps the session of `call` from being treated as abandoned while this page lives.
 *
 * @param {Call} call
 * @param {Settings} settings
 */
export function guard(call, settings) {
  if (!navigator.locks) return;
  /** @type {string | null} */
  let current = null;
  /** @type {(value?: unknown) => void} */
  let release = () => {};
  call.addEventListener('session', () => {
    if (current) drop(settings, current);
    release();
    current = call.session;
    if (current) hold(current);
  });
  addEventListener('pagehide', () => current && drop(settings, current));

  /** @param {string} session */
  function hold(session) {
    navigator.locks.request(session, () => new Promise((resolve) => {
      // The session ended before the lock was granted.
      if (session !== current) return resolve(undefined);
      release = resolve;
      // The URL is stored after the lock is held: a page that opens now would end a stored session
      // whose lock is free.
      settings.remember(KEY, JSON.stringify([...stored(settings), session].slice(-MOST)));
    }));
  }
}

/**
 * @param {Settings} settings
 * @param {string} session
 */
function drop(settings, session) {
  settings.remember(KEY, JSON.stringify(stored(settings).filter((other) => other !== session)));
}

/**
 * Returns the stored URLs of this server; ignores values that are not valid.
 *
 * @param {Settings} settings
 * @returns {string[]}
 */
function stored(settings) {
  try {
    /** @type {string[]} */
    const urls = JSON.parse(settings.recall(KEY, '[]'));
    return urls.filter((url) => new URL(url).origin === location.origin).slice(-MOST);
  } catch {
    return [];
  }
}
