// Keeps the screen on while a radio channel is in use: when a phone locks itself, the page is
// hidden, which releases the push-to-talk key.

export class WakeLock {
  #wanted = false;
  /** @type {WakeLockSentinel | null} */
  #lock = null;

  /** @param {AbortSignal} signal ends the wake lock's use */
  constructor(signal) {
    // The system drops the lock when the page is hidden, so it is requested again.
    document.addEventListener('visibilitychange', () => this.#hold(), { signal });
    signal.addEventListener('abort', () => this.set(false));
  }

  /**
   * Sets whether the screen is to stay on.
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
      // The system refuses the lock, for instance when the battery is low: the screen then turns
      // off as on any page.
    }
    if (!this.#wanted) this.#drop();
  }

  #drop() {
    this.#lock?.release();
    this.#lock = null;
  }
}
