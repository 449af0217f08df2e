// Keeps the screen on while a radio channel is in use: a phone that locks itself hides the page,
// which releases the key.

export class WakeLock {
  #wanted = false;
  /** @type {WakeLockSentinel | null} */
  #lock = null;

  /** @param {AbortSignal} signal ends it */
  constructor(signal) {
    // The system drops the lock when the page is hidden.
    document.addEventListener('visibilitychange', () => this.#hold(), { signal });
    signal.addEventListener('abort', () => this.set(false));
  }

  /**
   * Keeps the screen on from now on, or no longer.
   *
   * @param {boolean} wanted
   */
  set(wanted) {
    this.#wanted = wanted;
    if (wanted) this.#hold();
    else this.#drop();
  }

  async #hold() {
    if (!this.#wanted || document.hidden || (this.#lock && !this.#lock.released)) return;
    try {
      this.#lock = await navigator.wakeLock?.request('screen');
    } catch {
      // Refused, for instance for lack of battery: the screen behaves as on any page.
    }
    if (!this.#wanted) this.#drop();
  }

  #drop() {
    this.#lock?.release();
    this.#lock = null;
  }
}
