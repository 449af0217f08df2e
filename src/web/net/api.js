// The HTTP half of the API (/v1/openapi.json): rooms, joining, trickled candidates, leaving. Every
// function returns a result, or throws Problem (the server refused) or Unreachable (there was no
// response).

/** @import { Mode, RoomList, RoomState } from '../types' */

import { kindOf, refusal } from '../model/refusals.js';

const TIMEOUT_MS = 8_000;

/**
 * A refusal by the server; `message` explains it in plain words, `kind` is the type of its problem
 * document (RFC 9457).
 */
export class Problem extends Error {
  /** @param {{ status: number, kind: string, sentence: string, retryAfterMs: number }} parts */
  constructor({ status, kind, sentence, retryAfterMs }) {
    super(sentence);
    this.status = status;
    this.kind = kind;
    this.retryAfterMs = retryAfterMs;
  }
}

/** No response: the network or the server is down. */
export class Unreachable extends Error {
  constructor() {
    super('The server cannot be reached.');
  }
}

/**
 * Returns the list of rooms.
 *
 * @returns {Promise<RoomList>}
 */
export async function listRooms() {
  return (await request('v1/rooms')).json();
}

/**
 * Returns one room with its participants; throws a Problem with status 404 if the room does not
 * exist.
 *
 * @param {string} room
 * @param {number} timeoutMs
 * @returns {Promise<RoomState>}
 */
export async function readRoom(room, timeoutMs = TIMEOUT_MS) {
  return (await request(roomPath(room), { room, timeoutMs })).json();
}

/**
 * Joins a room with an offer. The returned `session` URL is a secret: a client that knows it can
 * act as this participant, and end the session.
 *
 * @param {string} room
 * @param {string} name
 * @param {string} offer SDP
 * @param {Mode | null} mode the mode of the room if this join creates it; null leaves that to the server
 */
export async function join(room, name, offer, mode) {
  const query = new URLSearchParams({ name });
  if (mode) query.set('mode', mode);
  const response = await request(`${roomPath(room)}/participants?${query}`, {
    room,
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp' },
    body: offer,
  });
  return {
    answer: await response.text(),
    id: response.headers.get('Participant-Id'),
    session: new URL(response.headers.get('Location') ?? '', response.url).href,
    iceServers: iceServers(response.headers.get('Link') ?? ''),
  };
}

/**
 * Sends a trickle-ice-sdpfrag; returns the server's own fragment after an ICE restart, otherwise
 * ''.
 *
 * @param {string} session
 * @param {string} fragment
 * @param {{ restart?: boolean }} options
 */
export async function patch(session, fragment, { restart = false } = {}) {
  /** @type {Record<string, string>} */
  const headers = { 'Content-Type': 'application/trickle-ice-sdpfrag' };
  if (restart) headers['If-Match'] = '*';
  const response = await request(session, { method: 'PATCH', headers, body: fragment });
  return response.status === 200 ? response.text() : '';
}

/**
 * Ends a session without waiting: `keepalive` lets the request outlive the page.
 *
 * @param {string} session
 */
export function end(session) {
  fetch(session, { method: 'DELETE', keepalive: true }).catch(() => {
    // If the request fails, the server ends the session later, when its ICE consent checks get no
    // responses.
  });
}

/**
 * Returns the URL of the room's WebSocket.
 *
 * @param {string} room
 */
export function eventsUrl(room) {
  const url = new URL(`${roomPath(room)}/events`, document.baseURI);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}

/** @param {string} room */
function roomPath(room) {
  return `v1/rooms/${encodeURIComponent(room)}`;
}

/**
 * @param {string} path
 * @param {RequestInit & { room?: string, timeoutMs?: number }} options
 */
async function request(path, { room = '', timeoutMs = TIMEOUT_MS, ...options } = {}) {
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      cache: 'no-store',
      signal: AbortSignal.timeout(timeoutMs),
      ...options,
    });
  } catch {
    throw new Unreachable();
  }
  if (!response.ok) throw await problem(response, room);
  return response;
}

/**
 * @param {Response} response
 * @param {string} room
 */
async function problem(response, room) {
  const document = await response.json().catch(() => ({}));
  const retryAfter = Number(response.headers.get('Retry-After'));
  return new Problem({
    status: response.status,
    kind: kindOf(document.type),
    sentence: refusal(document, room) || `${`The server answered ${response.status} ${response.statusText}`.trim()}.`,
    retryAfterMs: retryAfter > 0 ? retryAfter * 1000 : 0,
  });
}

/**
 * Parses the ICE servers in a header such as `Link: <turn:host:3478>; rel="ice-server";
 * username="u"; credential="c"` (RFC 9725, section 4.6).
 *
 * @param {string} link
 * @returns {RTCIceServer[]}
 */
function iceServers(link) {
  /** @type {RTCIceServer[]} */
  const servers = [];
  for (const [, url, rest] of link.matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"[^"]*"|[^\s,;]+))*)/g)) {
    /** @param {string} key */
    const parameter = (key) => rest.match(new RegExp(`;\\s*${key}\\s*=\\s*(?:"([^"]*)"|([^\\s,;]+))`))?.slice(1).find(Boolean);
    if (parameter('rel') !== 'ice-server') continue;
    servers.push({ urls: url, username: parameter('username'), credential: parameter('credential') });
  }
  return servers;
}
