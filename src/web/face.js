// What the state of the floor looks like in words: every state has a shape and a sentence of its own, none needs colour.

// TS 24.380: the causes of Floor Deny and, a number space of their own, those of Floor Revoke.
const DENIED = {
  1: 'Somebody else has the floor.',
  2: 'Something went wrong at the server.',
  3: 'Nobody else is on this channel.',
  4: 'That was too soon. Try again in a moment.',
  5: 'You may only listen here.',
  6: 'The server cannot carry another talker now.',
  7: 'The queue is full.',
};
const REVOKED = {
  1: 'Only one may talk here.',
  2: 'Your talk time is up.',
  3: 'You had no permission to talk.',
  4: 'Somebody more urgent takes over.',
  6: 'The server cannot carry you any longer.',
  7: 'Somebody took the floor back.',
};

/**
 * The floor as `{ state, icon, words, more, until, total }`: `words` say it in short, `more` what to do or why,
 * `until` when it ends, in performance.now() time, or null.
 *
 * - `connected`: whether the call is; `latched`: whether the key stays down by itself; `touch`: no keyboard, no mouse.
 */
export function face(floor, { connected, latched, touch, talks }) {
  const { own } = floor;
  if (!connected) return shown('offline', 'clock', 'Not connected', 'Waiting for the server.');
  switch (own.state) {
    case 'asking':
      return shown('asking', 'hourglass', 'Asking…', 'You are heard as soon as you have the floor.');
    case 'queued':
      return shown('queued', 'queue', `In the queue: ${own.position} of ${own.size}`, queued(floor, latched));
    case 'held':
      return shown('held', 'on-air', 'You talk', latched ? 'Press again to end.' : 'Let go to end.', own);
    case 'ending':
      return shown('ending', 'stop', 'Come to an end', REVOKED[own.cause] ?? 'Your turn ends.', own);
    case 'refused':
      return refused(floor);
  }
  if (floor.talkers.size) return taken(floor, talks);
  if (!talks) return shown('free', 'free', 'Free', 'Nobody talks.');
  if (floor.mode === 'moderated') return shown('free', 'free', 'Free', 'Press to raise your hand.');
  return shown('free', 'free', 'Free', touch ? 'Hold the button and talk.' : 'Hold the button or the space bar, and talk.');
}

/** "Ann", "Ann and Ben", "Ann, Ben and 2 others"; '' when nobody talks. */
export function names(floor) {
  const all = [...floor.talkers.values()].map(({ name }) => name || 'Somebody');
  if (all.length <= 2) return all.join(' and ');
  return `${all[0]}, ${all[1]} and ${all.length - 2} ${all.length === 3 ? 'other' : 'others'}`;
}

function shown(state, icon, words, more, { until = null, total = null } = {}) {
  return { state, icon, words, more, until, total };
}

function queued(floor, latched) {
  if (floor.mode === 'moderated') return 'Your hand is up. A moderator gives the floor.';
  const before = floor.talkers.size ? `${names(floor)} ${floor.talkers.size > 1 ? 'talk' : 'talks'}. ` : '';
  return `${before}${latched ? 'Press again to give up.' : 'Keep holding, or let go to give up.'}`;
}

function taken(floor, talks) {
  const who = `${names(floor)} ${floor.talkers.size > 1 ? 'talk' : 'talks'}`;
  const untils = [...floor.talkers.values()].map(({ until }) => until).filter((until) => until !== null);
  // With several talkers the first to end makes room.
  const until = untils.length ? Math.min(...untils) : null;
  let more = 'Press to be the next.';
  if (!floor.mayRequest) more = 'A broadcast: only its maker talks.';
  else if (floor.mode === 'moderated') more = 'Press to raise your hand.';
  else if (floor.talkers.size < floor.places) more = 'Press to join in.';
  if (!talks) more = 'You are listening.';
  return shown('taken', 'volume', who, more, { until });
}

function refused({ own, talkers }) {
  const holder = talkers.get(own.holder)?.name;
  switch (own.why) {
    case 'denied':
      if (own.cause === 1 && holder) return shown('denied', 'denied', 'Denied', `${holder} has the floor.`);
      return shown('denied', 'denied', 'Denied', DENIED[own.cause] ?? own.reason ?? 'The server gave no reason.');
    case 'revoked':
      return shown('revoked', 'stop', 'Cut off', REVOKED[own.cause] ?? 'Your turn has ended.');
    case 'muted':
      return shown('denied', 'mic-off', 'You are muted', 'Unmute yourself to talk.');
    case 'unanswered':
      return shown('denied', 'denied', 'No answer', 'The server does not answer. Nobody heard you.');
    default:
      return shown('denied', 'denied', 'Not sent', 'The connection was lost. Nobody heard the rest.');
  }
}
