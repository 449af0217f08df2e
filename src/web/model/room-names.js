// Names of rooms: what is allowed, how people write them, and their order.

const ROOM_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

/**
 * Turns a room's name as people write it into one that the server accepts.
 *
 * @param {string} name
 */
export function spelled(name) {
  return name.trim().replace(/\s+/g, '-');
}

/**
 * Returns a sentence that says what is wrong with a room's name; '' for a valid name.
 *
 * @param {string} room
 */
export function roomFault(room) {
  if (!room) return 'Enter a room name or choose one below.';
  if (room.length > 64) return 'A room name has at most 64 characters.';
  if (!ROOM_NAME.test(room)) return 'Use only letters (A–Z), numbers, and . - _ (not starting with a dot).';
  return '';
}

/**
 * Compares two names as people sort them: `room 2` comes before `room 10`.
 *
 * @param {string} a
 * @param {string} b
 */
export function compareNames(a, b) {
  return a.localeCompare(b, undefined, { numeric: true });
}
