// Whether others hear this participant. The wish of the person at the microphone counts: a moderator may mute
// (the wish follows), but nobody can switch a muted microphone on from afar. In a room with a floor the key closes the
// microphone besides.
//
// Dispatches `change` whenever `muted` changed.

// Echoes of one's own commands arrive by two ways and out of step; until they have, the server's word is old.
const SETTLE_MS = 1_000;

export class Mute extends EventTarget {
  muted = false;

  #call;
  #track;
  // Until the room's mode is known nobody is to be heard by mistake.
  #open = false;
  #served = false;
  #settling = 0;

  constructor(call, track) {
    super();
    this.#call = call;
    this.attach(track);
    // A new participant is not muted: there is something to tell only when the person is.
    call.addEventListener('sync', () => this.muted && this.#tellServer());
    call.addEventListener('event', ({ detail }) => this.#hear(detail));
    // Nobody is left to agree with.
    call.addEventListener('state', () => call.state === 'idle' && clearTimeout(this.#settling));
  }

  set(muted) {
    this.#apply(muted);
    this.#tellServer();
  }

  /** Follows a change of microphone. */
  attach(track) {
    this.#track = track;
    this.#switch();
  }

  /** Opens and closes the microphone beside the mute. */
  gate(open) {
    this.#open = open;
    this.#switch();
  }

  #switch() {
    if (this.#track) this.#track.enabled = this.#open && !this.muted;
  }

  #apply(muted) {
    if (this.muted === muted) return;
    this.muted = muted;
    this.#switch();
    this.dispatchEvent(new Event('change'));
  }

  #tellServer() {
    this.#call.say({ command: this.muted ? 'mute' : 'unmute' });
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      this.#settling = 0;
      this.#reconcile();
    }, SETTLE_MS);
  }

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
