// Notices a dead line early. While somebody in the room talks, the server sends packets and, five times a second, levels. If
// neither arrives for a while the line is silent, long before the browser gives up the path (5 s and more).

const LOOK_MS = 500;
// Longer than a stall of a busy machine or a short gap of a mobile network.
const SILENT_MS = 1_500;

/** Decides from what has arrived whether a line is silent. Knows no clock: time enters as an argument. */
export class Silence {
  #packets = 0;
  #events = 0;
  #sign = 0;
  #looked = 0;
  #silent = false;

  /**
   * Seconds without a sign of life, 0 while there is no reason for doubt. Doubt ends with the next sign only: a page that
   * hears nothing cannot know that nobody talks any more.
   *
   * - `now`: in ms; `packets`, `events`: how many have arrived so far; `expected`: whether somebody is known to talk.
   */
  look({ now, packets, events, expected }) {
    const arrived = packets !== this.#packets || events !== this.#events;
    // A page that was frozen has not looked, so it cannot know.
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

export class SilenceWatch {
  #call;
  #talking;
  #silence = new Silence();
  #events = 0;
  #timer;

  /** - `talking()`: whether somebody in the room is known to talk. */
  constructor({ call, talking, signal }) {
    this.#call = call;
    this.#talking = talking;
    call.addEventListener('event', () => (this.#events += 1), { signal });
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    signal.addEventListener('abort', () => clearInterval(this.#timer));
  }

  async #look() {
    const { pc, state, silence } = this.#call;
    const expected = state === 'connected' && this.#talking();
    const packets = expected || silence ? received(await pc.getStats()) : 0;
    const seconds = this.#silence.look({ now: performance.now(), packets, events: this.#events, expected });
    if (this.#call.state === 'connected') this.#call.doubt(seconds);
  }
}

function received(report) {
  let packets = 0;
  for (const { type, packetsReceived = 0 } of report.values()) if (type === 'inbound-rtp') packets += packetsReceived;
  return packets;
}
