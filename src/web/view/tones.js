// Short tones for changes of the floor, for people who do not look at the page. A person can switch
// the tones off.

/** @import { Settings } from '../model/settings.js' */

/** @typedef {'granted' | 'queued' | 'refused' | 'revoked' | 'ended' | 'freed' | 'warning'} Tune */

// Each tone: frequency, start and duration (Hz, s, s). Rising tones are good news, falling ones
// bad.
/** @type {Record<Tune, [number, number, number][]>} */
const TUNES = {
  granted: [[880, 0, 0.07], [1320, 0.08, 0.09]],
  queued: [[660, 0, 0.06], [660, 0.12, 0.06]],
  refused: [[220, 0, 0.26]],
  revoked: [[440, 0, 0.1], [330, 0.12, 0.1], [220, 0.24, 0.18]],
  ended: [[1320, 0, 0.05], [880, 0.06, 0.07]],
  freed: [[990, 0, 0.04]],
  warning: [[740, 0, 0.05], [740, 0.1, 0.05], [740, 0.2, 0.05]],
};

// Amplitude of the tones, linear: quieter than the voices. Soft edges avoid clicks.
const LOUDNESS = 0.12;
const EDGE_S = 0.008;

export class Tones {
  #settings;
  #on;
  /** @type {AudioContext | null} */
  #context = null;

  /** @param {Settings} settings */
  constructor(settings) {
    this.#settings = settings;
    this.#on = settings.recall('cues', 'on') === 'on';
  }

  get on() {
    return this.#on;
  }

  set on(/** @type {boolean} */ on) {
    this.#on = on;
    this.#settings.remember('cues', on ? 'on' : 'off');
  }

  /** @param {Tune} name */
  play(name) {
    if (!this.#on) return;
    const context = (this.#context ??= new AudioContext());
    // Browsers play no sound before the first touch or key press. The tone is dropped, because it
    // would make no sense later.
    if (context.state !== 'running') {
      context.resume();
      if (!navigator.userActivation?.isActive) return;
    }
    for (const [hz, after, length] of TUNES[name]) tone(context, hz, context.currentTime + after, length);
  }

  close() {
    this.#context?.close();
    this.#context = null;
  }
}

/**
 * @param {AudioContext} context
 * @param {number} hz
 * @param {number} begin in the context's time
 * @param {number} length in seconds
 */
function tone(context, hz, begin, length) {
  const oscillator = new OscillatorNode(context, { frequency: hz });
  const gain = new GainNode(context, { gain: 0 });
  gain.gain.setValueAtTime(0, begin);
  gain.gain.linearRampToValueAtTime(LOUDNESS, begin + EDGE_S);
  gain.gain.setValueAtTime(LOUDNESS, begin + length - EDGE_S);
  gain.gain.linearRampToValueAtTime(0, begin + length);
  oscillator.connect(gain).connect(context.destination);
  oscillator.start(begin);
  oscillator.stop(begin + length);
}
