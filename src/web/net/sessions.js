// Ends the sessions that a crash has left behind. A page that crashes sends no DELETE, so its
// participant would stay in the room until the server times it out. The URL of each session is kept
// in the browser's storage, and its page holds a lock of the same name: a session whose lock is
// free has no page any more.
//
// Needs Web Locks, which browsers offer to secure pages only. Without them the server removes such
// participants later.

/** @import { Settings } from '../model/settings.js' */
/** @import { Call } from './call.js' */

import { end } from './api.js';

const KEY = 'sessions';
// More sessions than anybody has open; the storage must not grow without limit.
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
      // Stored only now: the next page that opens would end a stored session without a lock.
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
