// Detects a dead connection early. While a participant of the room talks, the server sends packets
// and, five times a second, levels. If neither arrives for a while, the connection counts as
// silent. The browser would notice a dead path only after 5 s or more.

/** @import { Clock, StatsSource, WatchedCall } from '../types' */

const LOOK_MS = 500;
// Time without packets and events after which the connection counts as silent: longer than a stall
// of a busy machine or a short gap of a mobile network.
const SILENT_MS = 1_500;

/**
 * Decides whether a connection is silent, from the numbers of packets and events that have arrived.
 * The time is an argument.
 */
export class Silence {
  #packets = 0;
  #events = 0;
  /** When the last packet or event arrived, or when silence was last expected. */
  #sign = 0;
  #looked = 0;
  #silent = false;

  /**
   * Returns for how many seconds the connection has been silent; 0 if it works, or if nobody talks.
   *
   * Silence ends only with the next packet or event: a page that receives nothing cannot know that
   * nobody talks any more.
   *
   * @param {object} seen
   * @param {number} seen.now in ms
   * @param {number} seen.packets number of packets that have arrived so far
   * @param {number} seen.events number of events that have arrived so far
   * @param {boolean} seen.expected whether somebody is known to talk
   */
  look({ now, packets, events, expected }) {
    const arrived = packets !== this.#packets || events !== this.#events;
    // A page that was frozen did not look, so it cannot know whether the connection was silent.
    const frozen = now - this.#looked > 3 * LOOK_MS;
    this.#packets = packets;
    this.#events = events;
    this.#looked = now;
    if (arrived) this.#silent = false;
    if (arrived || (!this.#silent && (frozen || !expected))) this.#sign = now;
    const silence = now - this.#sign;
    if (silence >= SILENT_MS) this.#silent = true;
    return this.#silent ? Math.round(silence / 1000) : 0;
  }
}

/** Checks a call twice a second, and tells the call how long its connection has been silent. */
export class SilenceWatch {
  #call;
  #talking;
  #clock;
  #silence = new Silence();
  #events = 0;
  #cancel = () => {};

  /**
   * @param {object} parts
   * @param {WatchedCall} parts.call
   * @param {() => boolean} parts.talking whether somebody in the room is known to talk
   * @param {Clock} parts.clock
   * @param {AbortSignal} parts.signal ends the watch
   */
  constructor({ call, talking, clock, signal }) {
    this.#call = call;
    this.#talking = talking;
    this.#clock = clock;
    call.addEventListener('event', () => (this.#events += 1), { signal });
    this.#next();
    signal.addEventListener('abort', () => this.#cancel());
  }

  #next() {
    this.#cancel = this.#clock.after(LOOK_MS, () => {
      this.#next();
      this.#look();
    });
  }

  async #look() {
    const { pc, state, silence } = this.#call;
    const expected = state === 'connected' && this.#talking();
    const packets = pc && (expected || silence) ? await received(pc) : 0;
    const seconds = this.#silence.look({ now: this.#clock.now(), packets, events: this.#events, expected });
    if (this.#call.state === 'connected') this.#call.doubt(seconds);
  }
}

/** @param {StatsSource} pc */
async function received(pc) {
  let packets = 0;
  for (const { type, packetsReceived = 0 } of (await pc.getStats()).values()) if (type === 'inbound-rtp') packets += packetsReceived;
  return packets;
}
