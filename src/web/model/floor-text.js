// Texts and icons for the state of the floor: each state has its own icon and sentence, so that no
// state is told by colour alone.

/** @import { FloorDisplay, FloorView, OwnFloor } from '../types' */

// TS 24.380: the causes of Floor Deny and of Floor Revoke, which have separate number spaces.
/** @type {Record<number, string>} */
const DENIED = {
  1: 'Somebody else is on air.',
  2: 'The server had an internal error.',
  3: 'Nobody else is on this channel.',
  4: 'That was too soon. Try again in a moment.',
  5: 'You may only listen here.',
  6: 'The server is too busy for another talker.',
  7: 'The queue is full.',
};
/** @type {Record<number, string>} */
const REVOKED = {
  1: 'Only one person may talk at a time.',
  2: 'Your time is almost up.',
  3: 'You have no permission to talk.',
  4: 'Somebody with higher priority takes over.',
  6: 'The server is overloaded.',
  7: 'Another participant ended your turn.',
};

/**
 * Describes the floor: `words` is the short text, `more` says what to do or why, `until` is the end
 * of the state in the clock's time.
 *
 * @param {FloorView} floor
 * @param {object} page
 * @param {boolean} page.online whether the server answers
 * @param {boolean} page.latch whether a press of the key stays until the next press
 * @param {boolean} page.latched whether such a press holds the key now
 * @param {boolean} page.touch whether there is neither keyboard nor mouse
 * @param {boolean} page.talks whether there is a microphone
 * @param {boolean} page.alone whether nobody else is connected
 * @returns {FloorDisplay}
 */
export function floorText(floor, { online, latch, latched, touch, talks, alone }) {
  const { own } = floor;
  if (!online) return shown('offline', 'clock', 'Not connected', 'Waiting for the server.');
  switch (own.state) {
    case 'asking':
      return shown('asking', 'hourglass', 'Asking…', 'You are heard as soon as you have the floor.');
    case 'queued':
      return queued(floor, own, latched);
    case 'held':
      return shown('held', 'on-air', 'On air', latched ? 'Press again to stop.' : 'Release to stop.', own);
    case 'ending':
      return shown('ending', 'stop', 'Finish now', REVOKED[own.cause] ?? 'Your turn ends.', own);
    case 'refused':
      return refused(floor, own);
  }
  if (floor.talkers.size) return taken(floor, talks);
  /** @param {string} more */
  const free = (more) => shown('free', 'free', 'Channel free', more);
  if (!talks) return free('Nobody is talking.');
  if (alone) return free('Nobody else is connected.');
  if (floor.mode === 'moderated') return free('Press to raise your hand.');
  const key = touch ? 'the button' : 'the button or space bar';
  return free(latch ? `Press ${key} to talk.` : `Hold ${key} to talk.`);
}

/**
 * Returns the names of the talkers: "Ann", "Ann and Ben", "Ann, Ben and 2 others"; '' if nobody
 * talks.
 *
 * @param {FloorView} floor
 */
export function names(floor) {
  const all = [...floor.talkers.values()].map(({ name }) => name || 'Somebody');
  if (all.length <= 2) return all.join(' and ');
  return `${all[0]}, ${all[1]} and ${all.length - 2} ${all.length === 3 ? 'other' : 'others'}`;
}

/**
 * @param {FloorDisplay['state']} state
 * @param {string} icon
 * @param {string} words
 * @param {string} more
 * @param {{ until?: number | null, total?: number | null }} time
 * @returns {FloorDisplay}
 */
function shown(state, icon, words, more, { until = null, total = null } = {}) {
  return { state, icon, words, more, until, total };
}

/**
 * @param {FloorView} floor
 * @param {Extract<OwnFloor, { state: 'queued' }>} own
 * @param {boolean} latched
 */
function queued(floor, { position, size }, latched) {
  if (floor.mode === 'moderated') return shown('queued', 'queue', 'Hand raised', 'Waiting for a moderator.');
  const words = position === 1 ? 'You’re next' : `In the queue: ${position} of ${size}`;
  const before = floor.talkers.size ? `${talking(floor)}. ` : '';
  return shown('queued', 'queue', words, `${before}${latched ? 'Press again to cancel.' : 'Keep holding, or release to cancel.'}`);
}

/** @param {FloorView} floor */
function talking(floor) {
  return `${names(floor)} ${floor.talkers.size > 1 ? 'are' : 'is'} talking`;
}

/**
 * @param {FloorView} floor
 * @param {boolean} talks
 */
function taken(floor, talks) {
  const who = talking(floor);
  const untils = [...floor.talkers.values()].map(({ until }) => until).filter((until) => until !== null);
  // Among several talkers, the first whose time ends frees a place.
  const until = untils.length ? Math.min(...untils) : null;
  let more = 'Press to join the queue.';
  if (!floor.mayRequest) more = 'Broadcast: only the presenter can talk.';
  else if (floor.mode === 'moderated') more = 'Press to raise your hand.';
  else if (floor.talkers.size < floor.places) more = 'Press to join in.';
  if (!talks) more = 'You are listening.';
  return shown('taken', 'volume', who, more, { until });
}

/**
 * @param {FloorView} floor
 * @param {Extract<OwnFloor, { state: 'refused' }>} own
 */
function refused({ talkers }, own) {
  const holder = talkers.get(own.holder ?? '')?.name;
  const cause = own.cause ?? 0;
  switch (own.why) {
    case 'denied':
      if (own.cause === 1 && holder) return shown('denied', 'denied', 'Can’t talk now', `${holder} is on air.`);
      return shown('denied', 'denied', 'Can’t talk now', DENIED[cause] ?? own.reason ?? 'The server gave no reason.');
    case 'revoked':
      return own.cause === 2
        ? shown('revoked', 'stop', 'Time’s up', 'Release, then press again to talk.')
        : shown('revoked', 'stop', 'Stopped', REVOKED[cause] ?? 'Your turn has ended.');
    case 'muted':
      return shown('denied', 'mic-off', 'You are muted', 'Unmute yourself to talk.');
    case 'unanswered':
      return shown('denied', 'denied', 'No answer', 'The server does not answer. Nobody heard you.');
    default:
      return shown('denied', 'denied', 'Not sent', 'The connection was lost. Nobody heard the rest.');
  }
}
