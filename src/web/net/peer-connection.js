// Waits for a peer connection to gather candidates and to connect; sends late candidates to the
// server.

import { patch } from './api.js';
import * as sdp from './sdp.js';

// How long an offer waits for its candidates. Host candidates are found within milliseconds;
// candidates that come later are trickled.
const GATHER_MS = 300;
const TRICKLE_MS = 100;

/** The server accepted the join, but the media path was not established or was lost. */
export class Lost extends Error {}

/**
 * Resolves when the offer has all its candidates, or after GATHER_MS.
 *
 * @param {RTCPeerConnection} pc
 * @returns {Promise<void>}
 */
export function gathered(pc) {
  return new Promise((resolve) => {
    // Right after a restart the state is still the old 'complete', but the new description has no
    // candidates yet.
    const look = () => {
      if (pc.iceGatheringState === 'complete' && pc.localDescription?.sdp.includes('a=candidate:')) resolve();
    };
    pc.addEventListener('icegatheringstatechange', look);
    setTimeout(resolve, GATHER_MS);
    look();
  });
}

/**
 * Resolves once media can flow; throws Lost if `untilTrouble` resolves before that, or after `ms`.
 *
 * @param {Pick<RTCPeerConnection, 'connectionState' | 'addEventListener'>} pc
 * @param {number} ms
 * @param {Promise<unknown>} untilTrouble
 * @param {boolean} before whether this call was ever connected: only then does the error say that
 * the connection was lost
 */
export async function connected(pc, ms, untilTrouble, before) {
  const waiting = new AbortController();
  const success = new Promise((resolve) => {
    const look = () => pc.connectionState === 'connected' && resolve('connected');
    pc.addEventListener('connectionstatechange', look, { signal: waiting.signal });
    look();
  });
  const timeout = new Promise((resolve) => setTimeout(resolve, ms, 'timeout'));
  const outcome = await Promise.race([success, timeout, untilTrouble]);
  waiting.abort();
  if (outcome === 'timeout') {
    throw new Lost('The server answers, but no sound comes through. A firewall may be blocking UDP.');
  }
  if (outcome !== 'connected') throw new Lost(before ? 'The connection was lost.' : 'No connection yet.');
}

/**
 * Sends the candidates that are found after `offer` was sent, in batches.
 *
 * @param {RTCPeerConnection} pc
 * @param {string} session
 * @param {string} offer
 */
export function trickleRest(pc, session, offer) {
  /** @type {string[]} */
  const late = [];
  let timer = 0;
  const flush = () => {
    timer = 0;
    patch(session, sdp.trickle(offer, late.splice(0))).catch(() => {
      // The candidates in the offer may suffice; if not, the connection times out and the call
      // starts again.
    });
  };
  /** @param {{ candidate: string, usernameFragment?: string | null }} late */
  const consider = ({ candidate, usernameFragment }) => {
    if (!candidate || offer.includes(candidate)) return;
    // A restart has begun since `offer` was sent, and the restart's own offer has this candidate.
    if (usernameFragment && usernameFragment !== sdp.ufrag(offer)) return;
    late.push(candidate);
    timer ||= setTimeout(flush, TRICKLE_MS);
  };
  pc.onicecandidate = (event) => event.candidate && consider(event.candidate);
  // Candidates that were found while the offer was on its way are now in the local description.
  for (const [, candidate] of pc.localDescription?.sdp.matchAll(/^a=(candidate:.*)$/gm) ?? []) consider({ candidate });
}
