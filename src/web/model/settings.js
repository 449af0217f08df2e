// Settings that the browser remembers between visits: the name, the microphone, the volume. A
// browser may refuse access to its storage (private windows, strict settings): the page then works,
// but remembers nothing.

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
   * Returns the remembered string, or `otherwise` if there is none.
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
      // The browser refuses access to the storage, so nothing is remembered.
    }
  }
}
