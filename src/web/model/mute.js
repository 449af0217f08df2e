// Whether this participant is muted. The person at the microphone decides: other clients may mute
// the participant, which the page then shows, but nobody can unmute a microphone remotely. In a
// room with floor control the push-to-talk key also opens and closes the microphone.
//
// Dispatches `change` when `muted` changes.

/** @import { CallHandle, Clock, ServerEvent, Switchable } from '../types' */

// How long the page ignores the server's state after it has sent a mute command: the event that
// confirms the command arrives over data channel and WebSocket at different times, and older events
// may arrive before it.
const SETTLE_MS = 1_000;

export class Mute extends EventTarget {
  muted = false;

  #call;
  #clock;
  /** @type {Switchable | null} */
  #track = null;
  // Closed until the room's mode is known, so that nobody is heard by mistake.
  #open = false;
  /** The state that the server reported last. */
  #served = false;
  /**
   * Cancels the wait for the confirmation of a command; null if there is none.
   *
   * @type {(() => void) | null}
   */
  #settling = null;

  /**
   * @param {CallHandle} call
   * @param {Switchable | null} track the microphone's, null to listen only
   * @param {Clock} clock
   */
  constructor(call, track, clock) {
    super();
    this.#call = call;
    this.#clock = clock;
    this.attach(track);
    // A new participant is not muted: the server must be told only if the person is.
    call.addEventListener('sync', () => this.muted && this.#tellServer());
    call.addEventListener('event', ({ detail }) => this.#hear(detail));
    // Without a call there is no server state to reconcile.
    call.addEventListener('state', () => call.state === 'idle' && this.#settling?.());
  }

  /**
   * Mutes or unmutes on behalf of the person.
   *
   * @param {boolean} muted
   */
  set(muted) {
    this.#apply(muted);
    this.#tellServer();
  }

  /**
   * Changes to another microphone.
   *
   * @param {Switchable | null} track
   */
  attach(track) {
    this.#track = track;
    this.#switch();
  }

  /**
   * Opens or closes the microphone for the push-to-talk key, independently of the mute.
   *
   * @param {boolean} open
   */
  gate(open) {
    this.#open = open;
    this.#switch();
  }

  #switch() {
    if (this.#track) this.#track.enabled = this.#open && !this.muted;
  }

  /** @param {boolean} muted */
  #apply(muted) {
    if (this.muted === muted) return;
    this.muted = muted;
    this.#switch();
    this.dispatchEvent(new Event('change'));
  }

  #tellServer() {
    this.#call.say({ command: this.muted ? 'mute' : 'unmute' });
    this.#settling?.();
    this.#settling = this.#clock.after(SETTLE_MS, () => {
      this.#settling = null;
      this.#reconcile();
    });
  }

  /** @param {ServerEvent} event */
  #hear(event) {
    const own = this.#call.id;
    if (event.event === 'muted' && event.participant === own) this.#served = event.muted;
    else if (event.event === 'changed' && event.participant.id === own) this.#served = event.participant.muted;
    else if (event.event === 'room') this.#served = event.room.participants.find(({ id }) => id === own)?.muted ?? false;
    else return;
    if (!this.#settling) this.#reconcile();
  }

  #reconcile() {
    if (this.#served === this.muted) return;
    if (this.#served) this.#apply(true);
    else this.#tellServer();
  }
}
