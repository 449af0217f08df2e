// What the state of the floor looks like in words: every state has a shape and a sentence of its own, none needs colour.

// TS 24.380: the causes of Floor Deny and, a number space of their own, those of Floor Revoke.
const DENIED = {
  1: 'Somebody else is on air.',
  2: 'Something went wrong at the server.',
  3: 'Nobody else is on this channel.',
  4: 'That was too soon. Try again in a moment.',
  5: 'You may only listen here.',
  6: 'The server cannot carry another talker now.',
  7: 'The queue is full.',
};
const REVOKED = {
  1: 'Only one may talk here.',
  2: 'Your time is almost up.',
  3: 'You had no permission to talk.',
  4: 'Somebody more urgent takes over.',
  6: 'The server cannot carry you any longer.',
  7: 'Somebody took the floor back.',
};

/**
 * The floor as `{ state, icon, words, more, until, total }`: `words` say it in short, `more` what to do or why,
 * `until` when it ends, in performance.now() time, or null.
 *
 * - `online`: whether the server answers; `latch`: a press stays until the next one; `latched`: it does so now; `touch`: no
 *   keyboard, no mouse; `talks`: there is a microphone; `alone`: nobody else is connected.
 */
export function floorText(floor, { online, latch, latched, touch, talks, alone }) {
  const { own } = floor;
  if (!online) return shown('offline', 'clock', 'Not connected', 'Waiting for the server.');
  switch (own.state) {
    case 'asking':
      return shown('asking', 'hourglass', 'Asking…', 'You are heard as soon as you have the floor.');
    case 'queued':
      return queued(floor, latched);
    case 'held':
      return shown('held', 'on-air', 'On air', latched ? 'Press again to stop.' : 'Release to stop.', own);
    case 'ending':
      return shown('ending', 'stop', 'Wrap up', REVOKED[own.cause] ?? 'Your turn ends.', own);
    case 'refused':
      return refused(floor);
  }
  if (floor.talkers.size) return taken(floor, talks);
  const free = (more) => shown('free', 'free', 'Channel free', more);
  if (!talks) return free('Nobody is talking.');
  if (alone) return free('Nobody else is connected.');
  if (floor.mode === 'moderated') return free('Press to raise your hand.');
  const key = touch ? 'the button' : 'the button or space bar';
  return free(latch ? `Press ${key} to talk.` : `Hold ${key} to talk.`);
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
  const { position, size } = floor.own;
  if (floor.mode === 'moderated') return shown('queued', 'queue', 'Hand raised', 'Waiting for a moderator.');
  const words = position === 1 ? 'You’re next' : `In the queue: ${position} of ${size}`;
  const before = floor.talkers.size ? `${talking(floor)}. ` : '';
  return shown('queued', 'queue', words, `${before}${latched ? 'Press again to cancel.' : 'Keep holding, or release to cancel.'}`);
}

function talking(floor) {
  return `${names(floor)} ${floor.talkers.size > 1 ? 'are' : 'is'} talking`;
}

function taken(floor, talks) {
  const who = talking(floor);
  const untils = [...floor.talkers.values()].map(({ until }) => until).filter((until) => until !== null);
  // With several talkers the first to end makes room.
  const until = untils.length ? Math.min(...untils) : null;
  let more = 'Press to join the queue.';
  if (!floor.mayRequest) more = 'Broadcast – listening only.';
  else if (floor.mode === 'moderated') more = 'Press to raise your hand.';
  else if (floor.talkers.size < floor.places) more = 'Press to join in.';
  if (!talks) more = 'You are listening.';
  return shown('taken', 'volume', who, more, { until });
}

function refused({ own, talkers }) {
  const holder = talkers.get(own.holder)?.name;
  switch (own.why) {
    case 'denied':
      if (own.cause === 1 && holder) return shown('denied', 'denied', 'Can’t talk now', `${holder} is on air.`);
      return shown('denied', 'denied', 'Can’t talk now', DENIED[own.cause] ?? own.reason ?? 'The server gave no reason.');
    case 'revoked':
      return own.cause === 2
        ? shown('revoked', 'stop', 'Time’s up', 'Release, then press again to talk.')
        : shown('revoked', 'stop', 'Stopped', REVOKED[own.cause] ?? 'Your turn has ended.');
    case 'muted':
      return shown('denied', 'mic-off', 'You are muted', 'Unmute yourself to talk.');
    case 'unanswered':
      return shown('denied', 'denied', 'No answer', 'The server does not answer. Nobody heard you.');
    default:
      return shown('denied', 'denied', 'Not sent', 'The connection was lost. Nobody heard the rest.');
  }
}
