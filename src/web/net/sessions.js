// Ends the sessions that a crash has left behind. A page that crashes sends no DELETE, so its participant would stay in the
// room until the server gives it up. The address of each session is kept in the browser's storage, and its page holds a
// lock of the same name: a session whose lock is free has no page any more.
//
// Needs Web Locks, which browsers give to secure pages only. Without them the server removes such participants, only later.

import { end } from './api.js';
import { recall, remember } from '../model/settings.js';

const KEY = 'sessions';
// More than anybody has open; the storage must not grow for ever.
const MOST = 20;

/** Ends the sessions whose pages are gone. */
export function endAbandoned() {
  if (!navigator.locks) return;
  for (const session of stored()) {
    navigator.locks.request(session, { ifAvailable: true }, (lock) => {
      if (!lock) return;
      drop(session);
      end(session);
    });
  }
}

/** Keeps the session of `call` from being taken for an abandoned one while this page lives. */
export function guard(call) {
  if (!navigator.locks) return;
  let current = null;
  let release = () => {};
  call.addEventListener('session', () => {
    if (current) drop(current);
    release();
    current = call.session;
    if (current) hold(current);
  });
  addEventListener('pagehide', () => current && drop(current));

  function hold(session) {
    navigator.locks.request(session, () => new Promise((resolve) => {
      // The session ended while the lock was on its way.
      if (session !== current) return resolve();
      release = resolve;
      // Stored only now: a session without a lock would be ended by the next page that opens.
      remember(KEY, JSON.stringify([...stored(), session].slice(-MOST)));
    }));
  }
}

function drop(session) {
  remember(KEY, JSON.stringify(stored().filter((other) => other !== session)));
}

/** The stored addresses, all on this server, whatever else may have been written there. */
function stored() {
  try {
    const urls = JSON.parse(recall(KEY, '[]'));
    return urls.filter((url) => new URL(url).origin === location.origin).slice(-MOST);
  } catch {
    return [];
  }
}
