// Plain sentences for the server's refusals. A sentence is chosen by the type and the numbers of a
// problem document (RFC 9457) or of an `error` event. For an unknown type the server's own sentence
// is shown, which is meant for programmers.

/** @import { Refusal } from '../types' */

/**
 * Returns the last part of a problem type: `room-full` for `urn:mixminus:problem:room-full`.
 *
 * @param {string | undefined} type
 * @returns {string}
 */
export function kindOf(type) {
  return String(type ?? '').split(/[:/]/).pop() ?? '';
}

/**
 * Returns a sentence for a refusal.
 *
 * @param {Refusal} problem the problem document or the `error` event
 * @param {string} room the room that the request was about
 * @returns {string}
 */
export function refusal(problem, room) {
  const named = problem.room ?? room;
  switch (kindOf(problem.type)) {
    case 'room-full':
      return full(problem.limit ?? problem.max_participants);
    case 'no-such-room':
    case 'unknown-room':
      return named ? noSuchRoom(named) : 'There is no such room.';
    case 'monitoring-refused':
      return `${named ? `The room “${named}”` : 'This room'} does not allow monitoring.`;
    case 'too-many-messages':
    case 'too-many-requests':
      return 'Too fast. Wait a moment.';
    default:
      return problem.detail || problem.title || '';
  }
}

/**
 * Returns the sentence for a room without a free place.
 *
 * @param {number | undefined} limit
 */
export function full(limit) {
  return limit !== undefined && limit > 0 ? `This room is full (${limit} of ${limit}).` : 'This room is full.';
}

/**
 * Returns the sentence for a room that does not exist, on a server where visitors cannot create
 * rooms.
 *
 * @param {string} name
 */
export function noSuchRoom(name) {
  return `There is no room called “${name}”. Choose one below.`;
}
