// Settings that the browser remembers between visits: the name, the microphone, the volume. The
// storage may be refused (private windows, strict settings); then nothing is remembered and nothing
// fails.

/** @import { KeyValueStore } from '../types' */

const PREFIX = 'mixminus.';

export class Settings {
  #storage;

  /**
   * @param {() => KeyValueStore} storage returns the storage; a browser may throw on the mere
   * access
   */
  constructor(storage) {
    this.#storage = storage;
  }

  /**
   * The remembered string, or `otherwise`.
   *
   * @param {string} key
   * @param {string} otherwise
   */
  recall(key, otherwise = '') {
    try {
      return this.#storage().getItem(PREFIX + key) ?? otherwise;
    } catch {
      return otherwise;
    }
  }

  /**
   * Remembers `value` for later visits.
   *
   * @param {string} key
   * @param {string} value
   */
  remember(key, value) {
    try {
      this.#storage().setItem(PREFIX + key, value);
    } catch {
      // The storage is refused, so nothing is remembered.
    }
  }
}
