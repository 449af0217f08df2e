// The push-to-talk key: a button held with a finger, a mouse or a pen, the space bar held anywhere
// on the page, or a latched press. A stuck key would leave the microphone open, so the key is also
// released when the window loses the focus or is hidden, when the system takes over a touch, and
// when a release was missed.

/** @typedef {'pointer' | 'space' | 'latch'} Holder */

export class PttKey {
  #button;
  #press;
  #release;
  #latch;
  /**
   * What holds the key down; '' while it is up.
   *
   * @type {Holder | ''}
   */
  #by = '';

  /**
   * @param {object} parts
   * @param {HTMLButtonElement} parts.button
   * @param {() => void} parts.press called when the key goes down
   * @param {() => void} parts.release called when the key comes up
   * @param {() => boolean} parts.latch whether a press latches: the key then stays down until the
   * next press
   * @param {AbortSignal} parts.signal ends the key's listeners
   */
  constructor({ button, press, release, latch, signal }) {
    this.#button = button;
    this.#press = press;
    this.#release = release;
    this.#latch = latch;
    this.#watchPointer(signal);
    this.#watchKeys(signal);
    const up = () => this.up();
    addEventListener('blur', up, { signal });
    addEventListener('pagehide', up, { signal });
    document.addEventListener('visibilitychange', () => document.hidden && this.up(), { signal });
    // Enter, and the click that a screen reader or voice control makes, have no duration: they
    // latch.
    button.addEventListener('click', (event) => event.detail === 0 && this.#down('latch'), { signal });
  }

  get latched() {
    return this.#by === 'latch';
  }

  /** Releases the key, whatever holds it. */
  up() {
    if (!this.#by) return;
    this.#by = '';
    this.#release();
  }

  /** @param {Holder} by */
  #down(by) {
    if (this.latched) return this.up();
    if (this.#by || this.#button.hidden || this.#button.disabled) return;
    this.#by = this.#latch() ? 'latch' : by;
    this.#press();
  }

  /** @param {Holder} by */
  #let(by) {
    if (this.#by === by) this.up();
  }

  /** @param {AbortSignal} signal */
  #watchPointer(signal) {
    const button = this.#button;
    button.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || !event.isPrimary) return;
      // A finger that slides off the button still holds it.
      button.setPointerCapture(event.pointerId);
      this.#down('pointer');
    }, { signal });
    for (const end of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      button.addEventListener(end, () => this.#let('pointer'), { signal });
    }
    // The mouse button was released where the page could not see it.
    button.addEventListener('pointermove', ({ buttons }) => buttons === 0 && this.#let('pointer'), { signal });
    // A long touch would open a menu, which would end the touch.
    button.addEventListener('contextmenu', (event) => event.preventDefault(), { signal });
  }

  /** @param {AbortSignal} signal */
  #watchKeys(signal) {
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') return this.up();
      if (event.target === this.#button && event.key === 'Enter' && event.repeat) return event.preventDefault();
      if (!this.#takes(event)) return;
      // Prevents that the space bar clicks the button or scrolls the page.
      event.preventDefault();
      if (!event.repeat) this.#down('space');
    }, { signal });
    document.addEventListener('keyup', (event) => {
      if (event.key !== ' ') return;
      // Prevents the click that Firefox derives from the key-up.
      if (event.target === this.#button) event.preventDefault();
      this.#let('space');
    }, { signal });
  }

  /**
   * Returns whether a press of the space bar talks: it does, unless the focused element uses the
   * space bar.
   *
   * @param {KeyboardEvent} event
   */
  #takes(event) {
    if (event.key !== ' ' || event.ctrlKey || event.altKey || event.metaKey) return false;
    if (event.target === this.#button) return true;
    return !(event.target instanceof Element && event.target.closest('input, select, textarea, button, summary, a'));
  }
}
