// The HTTP half of the contract (/v1/openapi.json): rooms, joining, trickle, leaving.
// Everything here either answers or throws Problem (the server said no) or Unreachable (it said nothing).

const TIMEOUT_MS = 8_000;

/** The server refused; `message` is the sentence of its problem document (RFC 9457). */
export class Problem extends Error {
  constructor(status, sentence, retryAfterMs) {
    super(sentence);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** No answer at all: the network or the server is away. */
export class Unreachable extends Error {
  constructor() {
    super('The server cannot be reached.');
  }
}

/** `{ rooms: [...] }`. */
export async function listRooms() {
  return (await request('v1/rooms')).json();
}

/** One room with its participants; throws a Problem with status 404 when it does not exist. */
export async function readRoom(room) {
  return (await request(roomPath(room))).json();
}

/** Changes settings of a room, `{ mode: 'ptt' }` say; what is not named stays as it is. */
export async function changeRoom(room, change) {
  const headers = { 'Content-Type': 'application/json' };
  await request(roomPath(room), { method: 'PATCH', headers, body: JSON.stringify(change) });
}

/** Offers to join. The returned `session` URL is a secret: who has it may mute, move or end this participant. */
export async function join(room, name, offer) {
  const query = new URLSearchParams({ name });
  const response = await request(`${roomPath(room)}/participants?${query}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp' },
    body: offer,
  });
  return {
    answer: await response.text(),
    id: response.headers.get('Participant-Id'),
    session: new URL(response.headers.get('Location'), response.url).href,
    iceServers: iceServers(response.headers.get('Link') ?? ''),
  };
}

/** Sends a trickle-ice-sdpfrag; returns the server's own fragment after an ICE restart, else ''. */
export async function patch(session, fragment, { restart = false } = {}) {
  const headers = { 'Content-Type': 'application/trickle-ice-sdpfrag' };
  if (restart) headers['If-Match'] = '*';
  const response = await request(session, { method: 'PATCH', headers, body: fragment });
  return response.status === 200 ? response.text() : '';
}

/** Ends a session without waiting: `keepalive` lets the request outlive the page. */
export function end(session) {
  fetch(session, { method: 'DELETE', keepalive: true }).catch(() => {
    // The server notices by itself when nobody answers its consent checks.
  });
}

/** The room's WebSocket address. */
export function eventsUrl(room) {
  const url = new URL(`${roomPath(room)}/events`, document.baseURI);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}

function roomPath(room) {
  return `v1/rooms/${encodeURIComponent(room)}`;
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...options,
    });
  } catch {
    throw new Unreachable();
  }
  if (!response.ok) throw await problem(response);
  return response;
}

async function problem(response) {
  const document = await response.json().catch(() => ({}));
  const sentence =
    document.detail || document.title || `The server answered ${response.status} ${response.statusText}`.trim() + '.';
  const retryAfter = Number(response.headers.get('Retry-After'));
  return new Problem(response.status, sentence, retryAfter > 0 ? retryAfter * 1000 : 0);
}

// Link: <turn:host:3478>; rel="ice-server"; username="u"; credential="c"   (RFC 9725, section 4.6)
function iceServers(link) {
  const servers = [];
  for (const [, url, rest] of link.matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"[^"]*"|[^\s,;]+))*)/g)) {
    const parameter = (key) => rest.match(new RegExp(`;\\s*${key}\\s*=\\s*(?:"([^"]*)"|([^\\s,;]+))`))?.slice(1).find(Boolean);
    if (parameter('rel') !== 'ice-server') continue;
    servers.push({ urls: url, username: parameter('username'), credential: parameter('credential') });
  }
  return servers;
}
