// Plays the room's sound; handles the volume, and the button for browsers that require a touch
// before they play.

/** @import { Settings } from '../model/settings.js' */

export class Playback {
  #audio;
  #button;
  #settings;

  /**
   * @param {HTMLAudioElement} audio
   * @param {HTMLElement} button shown while the browser waits for a touch before it plays
   * @param {Settings} settings
   */
  constructor(audio, button, settings) {
    this.#audio = audio;
    this.#button = button;
    this.#settings = settings;
    this.volume = Number(settings.recall('volume', '1'));
    button.addEventListener('click', () => this.#start());
  }

  /** The volume of the room, linear, 0..=1. */
  get volume() {
    return this.#audio.volume;
  }

  set volume(/** @type {number} */ volume) {
    this.#audio.volume = Math.min(1, Math.max(0, volume));
    this.#settings.remember('volume', String(volume));
  }

  /** False on iOS, where only the device's own buttons set the volume. */
  get adjustable() {
    const before = this.#audio.volume;
    this.#audio.volume = before === 0.5 ? 0.4 : 0.5;
    const moved = this.#audio.volume !== before;
    this.#audio.volume = before;
    return moved;
  }

  /** @param {MediaStream} stream */
  play(stream) {
    this.#audio.srcObject = stream;
    this.#start();
  }

  stop() {
    this.#audio.srcObject = null;
    this.#button.hidden = true;
  }

  async #start() {
    try {
      await this.#audio.play();
      this.#button.hidden = true;
    } catch (error) {
      // AbortError means that a newer stream replaced this one while it was starting.
      if (error instanceof DOMException && error.name === 'NotAllowedError') this.#button.hidden = false;
    }
  }
}
