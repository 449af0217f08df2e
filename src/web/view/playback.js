// What one hears: the room's sound, its volume, and the button for browsers that want a touch first.

import { recall, remember } from '../model/settings.js';

export class Playback {
  #audio;
  #button;

  /** - `audio`: the audio element; `button`: shown while the browser holds the sound back. */
  constructor(audio, button) {
    this.#audio = audio;
    this.#button = button;
    this.volume = Number(recall('volume', '1'));
    button.addEventListener('click', () => this.#start());
  }

  /** Linear, 0..=1. */
  get volume() {
    return this.#audio.volume;
  }

  set volume(volume) {
    this.#audio.volume = Math.min(1, Math.max(0, volume));
    remember('volume', String(volume));
  }

  /** False on iOS, where only the buttons on the device's side set the volume. */
  get adjustable() {
    const before = this.#audio.volume;
    this.#audio.volume = before === 0.5 ? 0.4 : 0.5;
    const moved = this.#audio.volume !== before;
    this.#audio.volume = before;
    return moved;
  }

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
      // AbortError: a newer stream took this one's place while it was starting.
      if (error.name === 'NotAllowedError') this.#button.hidden = false;
    }
  }
}
