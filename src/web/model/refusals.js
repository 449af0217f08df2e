// Plain sentences for the server's refusals. They depend on the type of a problem document (RFC
// 9457) or of an `error` event, and on its numbers; the server's own sentence, which is meant for
// programmers, is the last resort.

/** @import { Refusal } from '../types' */

/**
 * The last part of a problem type: `room-full` for `urn:mixminus:problem:room-full`.
 *
 * @param {string | undefined} type
 * @returns {string}
 */
export function kindOf(type) {
  return String(type ?? '').split(/[:/]/).pop() ?? '';
}

/**
 * A sentence for a refusal.
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
 * The sentence for a room without a free place.
 *
 * @param {number | undefined} limit
 */
export function full(limit) {
  return limit !== undefined && limit > 0 ? `This room is full (${limit} of ${limit}).` : 'This room is full.';
}

/**
 * The sentence for a room that does not exist, on a server where visitors cannot create rooms.
 *
 * @param {string} name
 */
export function noSuchRoom(name) {
  return `There is no room called “${name}”. Choose one below.`;
}
