// A call: the participation in one room, with its peer connection, the room's events, and
// reconnecting.
//
// The loop in `run` is the call's whole life: join, stay until there is trouble, repair the
// connection, and stay again. Trouble is either `interrupted` (the path is broken: restart ICE, the
// session continues) or `gone` (the server no longer knows this session: join again). A failed step
// is repeated after a pause, unless a repetition cannot help.
//
// Dispatches: `state`, `event` (the server's JSON, from both data channel and WebSocket, so
// possibly twice), `floor` (the same JSON, from only one of the two at a time, so in the server's
// order), `elsewhere` (events of monitored rooms), `session` (the session has changed), `stream`
// (the audio to play), `sync` (the data channel has opened or the room's state has arrived, so
// commands can be sent), `ended` (detail: a sentence that says why, or '').

/** @import { CallEvents, CallHandle, CallState, Command, Mode, RoomState, ServerEvent, TypedTarget } from '../types' */

import { clock } from '../clock.js';
import * as api from './api.js';
import { Pause, pauseMs } from './backoff.js';
import { RoomSocket } from './room-socket.js';
import { Lost, connected, gathered, trickleRest } from './peer-connection.js';
import * as sdp from './sdp.js';

const CONNECT_MS = 10_000;
const RESTART_MS = 6_000;
// How long the server may take to respond to a probe of a silent connection.
const PROBE_MS = 2_000;
// A connection that breaks within this time counts as a failure, so that a server which drops
// everybody is not flooded with joins.
const STEADY_MS = 5_000;

const STOPPING = 'server stopping';
/** Sentences for the reasons of a removal; @type {Record<string, string>} */
const REASONS = { kicked: 'You were removed from the room.', 'room closed': 'The room was closed.' };

/** @implements {CallHandle} */
export class Call extends /** @type {new () => TypedTarget<CallEvents>} */ (EventTarget) {
  /** @type {CallState} */
  state = 'idle';
  /** Why the call is not connected, as a sentence; '' if there is nothing to say. */
  why = '';
  /** When the next attempt starts, in performance.now() time; 0 while an attempt is under way. */
  retryAt = 0;
  /**
   * Seconds without a packet or an event although somebody talks; 0 while the connection works or
   * nobody talks.
   */
  silence = 0;
  /**
   * This participant's public id: a new one after each join, null while there is none.
   *
   * @type {string | null}
   */
  id = null;
  /** @type {RTCPeerConnection | null} */
  pc = null;

  #room;
  #name;
  #track;
  #mode;
  /** @type {string | null} */
  #session = null;
  #answer = '';
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  /** @type {RTCDataChannel | null} */
  #control = null;
  /** @type {RoomSocket | null} */
  #events = null;
  #over = false;
  #everConnected = false;
  /**
   * Whether `why` comes from a probe of a silent connection, so that the next packet or event
   * disproves it.
   */
  #probed = false;
  #probing = false;
  #pause = new Pause(clock);
  /**
   * Reports trouble, which resolves `#untilTrouble`.
   *
   * @type {(kind: 'gone' | 'interrupted') => void}
   */
  #trouble = () => {};
  /** @type {Promise<'gone' | 'interrupted'>} */
  #untilTrouble = new Promise(() => {});

  /**
   * @param {object} wish
   * @param {string} wish.room
   * @param {string} wish.name
   * @param {MediaStreamTrack | null} wish.track the microphone's, or null to listen only
   * @param {Mode | null} [wish.mode] the mode of the room if this call creates it, or null for the server's default
   */
  constructor({ room, name, track, mode = null }) {
    super();
    this.#room = room;
    this.#name = name;
    this.#track = track;
    this.#mode = mode;
    addEventListener('online', this.#online);
    addEventListener('pagehide', this.#pagehide);
  }

  get room() {
    return this.#room;
  }

  /**
   * The last known mode of the room. The next join names it, because that join creates the room
   * anew if the server was restarted.
   */
  get mode() {
    return this.#mode;
  }

  /** Whether the server answers, as far as the page knows. */
  get online() {
    return this.state === 'connected' && !this.why;
  }

  /** The secret URL of this session, or null. */
  get session() {
    return this.#session;
  }

  async run() {
    this.#become('connecting');
    let failures = 0;
    while (!this.#over) {
      try {
        this.#untilTrouble = new Promise((resolve) => (this.#trouble = resolve));
        await (this.pc && this.#session ? this.#restart(this.pc, this.#session) : this.#join());
        if (this.#over) return;
        this.#everConnected = true;
        this.#become('connected');
        const since = performance.now();
        if ((await this.#untilTrouble) === 'gone') this.#forget();
        if (performance.now() - since > STEADY_MS) failures = 0;
        await this.#rest(pauseMs(failures), '');
      } catch (thrown) {
        const error = /** @type {Error & { retryAfterMs?: number }} */ (thrown);
        if (this.#hopeless(error)) this.#finish(error.message);
        if (this.#over) return;
        // While the server does not answer, the session may still exist: it is kept for an ICE
        // restart.
        if (!(error instanceof api.Unreachable)) this.#forget();
        await this.#rest(Math.max(pauseMs(Math.max(1, failures)), error.retryAfterMs ?? 0), error.message);
      }
      failures += 1;
    }
  }

  leave() {
    this.#finish('');
  }

  /** Starts the next attempt to connect now instead of at the end of the pause. */
  hurry() {
    this.#pause.wake();
  }

  /**
   * Sends a command of this participant; returns false if neither the data channel nor the
   * WebSocket is open (`sync` reports when one opens).
   *
   * @param {Command} command
   */
  say(command) {
    if (this.#control?.readyState === 'open') {
      this.#control.send(JSON.stringify(command));
      return true;
    }
    const session = this.#session?.split('/').pop();
    return Boolean(session && this.#events?.send({ ...command, session }));
  }

  /**
   * Switches to another microphone without a new negotiation.
   *
   * @param {MediaStreamTrack} track
   */
  async replaceTrack(track) {
    this.#track = track;
    await this.pc?.getTransceivers()[0]?.sender.replaceTrack(track);
  }

  async #join() {
    const pc = this.#connection();
    await pc.setLocalDescription();
    await gathered(pc);
    const offer = description(pc);
    const joined = await api.join(this.#room, this.#name, offer, this.#mode);
    if (this.#over) return api.end(joined.session);
    this.#session = joined.session;
    this.#answer = joined.answer;
    this.#iceServers = joined.iceServers;
    this.id = joined.id;
    this.#tell('session');
    this.#listen();
    await pc.setRemoteDescription({ type: 'answer', sdp: joined.answer });
    trickleRest(pc, joined.session, offer);
    await connected(pc, CONNECT_MS, this.#untilTrouble, this.#everConnected);
  }

  /**
   * @param {RTCPeerConnection} pc
   * @param {string} session
   */
  async #restart(pc, session) {
    try {
      if (pc.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' });
      await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
      await gathered(pc);
      const offer = description(pc);
      const fragment = await api.patch(session, sdp.restart(offer), { restart: true });
      if (this.#over) return;
      if (!fragment) throw new Lost('The server does not restart connections.');
      this.#answer = sdp.restarted(this.#answer, fragment);
      await pc.setRemoteDescription({ type: 'answer', sdp: this.#answer });
      trickleRest(pc, session, offer);
      await connected(pc, RESTART_MS, this.#untilTrouble, true);
      this.#events?.renew();
    } catch (error) {
      if (this.#over || error instanceof api.Unreachable) throw error;
      // The server has forgotten the session, or the path does not recover: a new join repairs
      // both.
      this.#forget();
      await this.#join();
    }
  }

  #connection() {
    this.pc?.close();
    const pc = new RTCPeerConnection({ iceServers: this.#iceServers });
    this.pc = pc;
    pc.addTransceiver(this.#track ?? 'audio', { direction: this.#track ? 'sendrecv' : 'recvonly' });
    pc.ontrack = ({ track }) => this.#tell('stream', new MediaStream([track]));
    pc.oniceconnectionstatechange = () => {
      if (pc !== this.pc) return;
      if (pc.iceConnectionState === 'disconnected' && this.state === 'connected') this.#trouble('interrupted');
    };
    pc.onconnectionstatechange = () => {
      if (pc === this.pc && pc.connectionState === 'failed') this.#trouble('interrupted');
    };
    const control = pc.createDataChannel('control');
    control.onopen = () => this.#tell('sync');
    // A server that shuts down closes the data channel before it stops answering.
    control.onclose = () => control === this.#control && this.#check();
    control.onmessage = ({ data }) => control === this.#control && this.#hear(JSON.parse(data), true);
    this.#control = control;
    return pc;
  }

  #listen() {
    this.#events?.close();
    const events = new RoomSocket(api.eventsUrl(this.#room));
    events.addEventListener('event', ({ detail }) => this.#hear(detail, this.#control?.readyState !== 'open'));
    events.addEventListener('lost', () => this.#check());
    this.#events = events;
  }

  /**
   * @param {ServerEvent} event
   * @param {boolean} first whether the event came over the data channel, or over the WebSocket
   * while no data channel is open: only these events are in the server's order
   */
  #hear(event, first) {
    // An error may name another room, but it answers a command of this page.
    if (event.event !== 'error' && elsewhere(event, this.#room)) return first && this.#tell('elsewhere', event);
    // A room state that is too large for the data channel is shortened there; the WebSocket carries
    // the complete state.
    if (event.event === 'room' && event.room.participants_total !== undefined) return first && this.#tell('floor', event);
    if (event.event === 'room') {
      this.#mode = event.room.mode;
      this.#explain('');
      this.#seek(event.room);
      this.#tell('sync');
    }
    if (event.event === 'left' && event.participant === this.id) {
      if (REASONS[event.reason]) return this.#finish(REASONS[event.reason]);
      this.#trouble('gone');
    }
    // The participants join again when the server is back, so they stay in the list until then.
    if (event.event === 'left' && event.reason === STOPPING) return;
    this.#tell('event', event);
    if (first) this.#tell('floor', event);
  }

  /**
   * Records how long the connection has been silent although somebody talks; 0 while it works.
   *
   * @param {number} seconds
   */
  doubt(seconds) {
    if (seconds === this.silence) return;
    this.silence = seconds;
    if (seconds) this.#probe();
    else if (this.#probed) this.#explain('');
    this.#tell('state');
  }

  /**
   * Checks whether the server still answers, because a browser takes 5 s or more to give up a path.
   */
  async #probe() {
    if (this.#probing) return;
    this.#probing = true;
    const room = await this.#check(PROBE_MS);
    this.#probing = false;
    this.#probed = Boolean(this.why);
    // Nobody talks any more, and the event that reported this was lost.
    if (room && !room.participants.some(({ talking }) => talking)) this.#tell('event', { event: 'room', room });
    // The connection recovered while the probe was on its way.
    if (this.#probed && !this.silence) this.#explain('');
  }

  /**
   * Checks whether the server still knows this session, after a channel was lost or fell silent;
   * returns the room's state if the server does.
   *
   * @param {number} [timeoutMs]
   * @returns {Promise<RoomState | null>}
   */
  async #check(timeoutMs) {
    const session = this.#session;
    try {
      const room = await api.readRoom(this.#room, timeoutMs);
      if (session !== this.#session) return null;
      this.#seek(room);
      return room;
    } catch (thrown) {
      const error = /** @type {Error & { status?: number }} */ (thrown);
      if (session !== this.#session) return null;
      if (error.status === 404) this.#trouble('gone');
      else this.#explain(error.message);
      return null;
    }
  }

  /** @param {RoomState} room */
  #seek(room) {
    if (!room.participants.some(({ id }) => id === this.id)) this.#trouble('gone');
  }

  /**
   * @param {number} ms
   * @param {string} why
   */
  async #rest(ms, why) {
    this.why = why;
    this.retryAt = ms > 0 ? performance.now() + ms : 0;
    this.#become(this.#everConnected ? 'reconnecting' : 'connecting');
    if (ms > 0) await this.#pause.sleep(ms);
    if (this.#over) return;
    this.retryAt = 0;
    this.#tell('state');
  }

  /** Ends the session and drops everything that belongs to it. */
  #forget() {
    if (this.#session) api.end(this.#session);
    this.#session = null;
    this.id = null;
    this.#tell('session');
    this.#events?.close();
    this.#events = null;
    this.#control = null;
    this.pc?.close();
  }

  /** @param {string} sentence */
  #finish(sentence) {
    if (this.#over) return;
    this.#over = true;
    removeEventListener('online', this.#online);
    removeEventListener('pagehide', this.#pagehide);
    this.#forget();
    this.pc = null;
    this.#trouble('gone');
    this.#pause.wake();
    this.#become('idle');
    this.#tell('ended', sentence);
  }

  /**
   * Whether another attempt is useless. A full room is worth another attempt: a place may become
   * free, and it may be this participant's own former session that still takes one.
   *
   * @param {unknown} error
   */
  #hopeless(error) {
    if (error instanceof api.Unreachable || error instanceof Lost) return false;
    if (!(error instanceof api.Problem)) return true;
    if (error.status === 409) return !this.#everConnected;
    return error.status >= 400 && error.status < 500 && error.status !== 408 && error.status !== 429;
  }

  #online = () => {
    this.#pause.wake();
    // The browser is probably on another network: the old path is dead even if ICE has not noticed
    // yet.
    if (this.state === 'connected') this.#trouble('interrupted');
  };

  #pagehide = () => {
    if (this.#session) api.end(this.#session);
  };

  /** @param {CallState} state */
  #become(state) {
    this.state = state;
    this.silence = 0;
    this.#probed = false;
    if (state === 'connected') {
      this.why = '';
      this.retryAt = 0;
    }
    this.#tell('state');
  }

  /** @param {string} why */
  #explain(why) {
    if (this.state !== 'connected' || this.why === why) return;
    this.why = why;
    this.#tell('state');
  }

  /**
   * @template {keyof CallEvents} Type
   * @param {Type} type
   * @param {CallEvents[Type]} [detail]
   */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Whether an event happened in another room: events of other rooms carry the room's name, and a
 * room's state includes its name.
 *
 * @param {ServerEvent} event
 * @param {string} own
 */
function elsewhere({ room }, own) {
  if (room === undefined) return false;
  return (typeof room === 'string' ? room : room.name) !== own;
}

/** @param {RTCPeerConnection} pc */
function description(pc) {
  return pc.localDescription?.sdp ?? '';
}
