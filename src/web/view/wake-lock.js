// Keeps the screen on while a radio is in use: a phone that locks itself hides the page, and that lets the key go.

export class WakeLock {
  #wanted = false;
  #lock = null;

  constructor(signal) {
    // The system takes the lock away with the page's visibility.
    document.addEventListener('visibilitychange', () => this.#hold(), { signal });
    signal.addEventListener('abort', () => this.set(false));
  }

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
      // Refused, for want of battery say: the screen behaves as on any page.
    }
    if (!this.#wanted) this.#drop();
  }

  #drop() {
    this.#lock?.release();
    this.#lock = null;
  }
}
