// The person's own controls: mute, level, volume, microphone.

/** @import { Alarm } from '../types' */
/** @import { Floor } from '../model/floor.js' */
/** @import { Mute } from '../model/mute.js' */
/** @import { Call } from '../net/call.js' */
/** @import { Microphone } from './microphone.js' */
/** @import { Playback } from './playback.js' */

import { FLOOR_DB, NoMicrophone } from './microphone.js';
import { byId, find, put, putIcon } from './dom.js';

// How fast the level meter falls. It rises at once and falls slowly, so that it does not flicker.
const FALL_DB_PER_S = 30;
// Interval at which the meter's value for screen readers is updated: a shorter one would make them
// talk all the time.
const SAY_MS = 1_000;

export class Controls {
  #mute;
  #floor;
  #microphone;
  #call;
  #alarm;
  #button = byId('mute');
  #hint = byId('mute-hint');
  #meter = byId('meter');
  #volume = byId('volume', HTMLInputElement);
  #toggle = byId('sound-toggle');
  #choice = byId('microphone', HTMLSelectElement);
  #choiceField = byId('microphone-field');
  #over = new AbortController();
  #frame = 0;

  /**
   * @param {object} parts
   * @param {Call} parts.call
   * @param {Floor} parts.floor
   * @param {Mute} parts.mute
   * @param {Microphone} parts.microphone
   * @param {Playback} parts.playback
   * @param {Alarm} parts.alarm shows a notice; '' hides it
   */
  constructor({ call, floor, mute, microphone, playback, alarm }) {
    this.#call = call;
    this.#mute = mute;
    this.#floor = floor;
    this.#microphone = microphone;
    this.#alarm = alarm;
    const { signal } = this.#over;
    const talks = Boolean(microphone.track);
    this.#meter.hidden = !talks;
    byId('talk').hidden = talks;
    this.#button.addEventListener('click', () => this.#turn(), { signal });
    document.addEventListener('keydown', (event) => this.#key(event), { signal });
    mute.addEventListener('change', () => this.#drawMute(), { signal });
    floor.addEventListener('change', () => this.#drawMute(), { signal });
    call.addEventListener('state', () => this.#drawMute(), { signal });
    this.#drawMute();
    this.#toggle.addEventListener('click', () => this.#fold(this.#toggle.getAttribute('aria-expanded') === 'true'), { signal });
    this.#fold(true);
    this.#wireVolume(playback, signal);
    this.#measure(signal);
    if (!talks) {
      this.#choiceField.hidden = true;
      return;
    }
    this.#choice.addEventListener('change', () => this.#switch(this.#choice.value), { signal });
    navigator.mediaDevices.addEventListener('devicechange', () => this.#drawChoices(), { signal });
    microphone.onended = () => this.#switch('');
    this.#drawChoices();
    this.#drawMeter();
  }

  close() {
    this.#over.abort();
    this.#microphone.onended = () => {};
    cancelAnimationFrame(this.#frame);
  }

  /**
   * Folds or opens the sound settings on a narrow page; on a wide one style.css keeps them open.
   *
   * @param {boolean} folded
   */
  #fold(folded) {
    this.#toggle.setAttribute('aria-expanded', String(!folded));
  }

  /**
   * Tells style.css how much of the window the controls cover.
   *
   * @param {AbortSignal} signal
   */
  #measure(signal) {
    const dock = find(document, '.dock');
    const observer = new ResizeObserver(() => {
      document.documentElement.style.setProperty('--dock-height', `${dock.offsetHeight}px`);
    });
    observer.observe(dock);
    signal.addEventListener('abort', () => {
      observer.disconnect();
      document.documentElement.style.removeProperty('--dock-height');
    });
  }

  #turn() {
    this.#mute.set(!this.#mute.muted);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key.toLowerCase() !== 'm' || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    const typing = event.target instanceof Element && event.target.closest('input:not([type=range]), select, textarea');
    if (this.#button.hidden || typing) return;
    event.preventDefault();
    this.#turn();
  }

  #drawMute() {
    const { muted } = this.#mute;
    const talks = Boolean(this.#microphone.track);
    // On a radio channel the push-to-talk key replaces the mute button, but a muted participant
    // needs the button to unmute.
    this.#button.hidden = !talks || (this.#floor.guarded && !muted);
    this.#button.dataset.muted = String(muted);
    put(byId('mute-words'), muted ? 'Unmute' : 'Mute');
    putIcon(this.#button, muted ? 'mic-off' : 'mic');
    let hint = this.#floor.live ? 'Your microphone is on.' : 'Your microphone is off.';
    if (muted) hint = 'You are muted.';
    if (!this.#call.online) hint = 'Nobody hears you now.';
    if (!talks) hint = 'You are listening.';
    put(this.#hint, hint);
  }

  /**
   * @param {Playback} playback
   * @param {AbortSignal} signal
   */
  #wireVolume(playback, signal) {
    byId('volume-field').hidden = !playback.adjustable;
    const draw = () => {
      const percent = Math.round(playback.volume * 100);
      this.#volume.value = String(percent);
      this.#volume.setAttribute('aria-valuetext', `${percent} percent`);
      this.#volume.style.setProperty('--filled', `${percent}%`);
    };
    this.#volume.addEventListener('input', () => {
      playback.volume = Number(this.#volume.value) / 100;
      draw();
    }, { signal });
    draw();
  }

  async #drawChoices() {
    const choices = await this.#microphone.choices();
    this.#choiceField.hidden = choices.length < 2;
    this.#choice.replaceChildren(
      ...choices.map(({ id, label, current }) => new Option(label, id, current, current)),
    );
  }

  /** @param {string} device */
  async #switch(device) {
    try {
      const track = await this.#microphone.open(device);
      if (this.#over.signal.aborted) return this.#microphone.close();
      this.#mute.attach(track);
      await this.#call.replaceTrack(track);
      this.#alarm('', 'microphone');
    } catch (error) {
      if (!(error instanceof NoMicrophone)) throw error;
      this.#alarm(error.message, 'microphone');
    }
    this.#drawChoices();
  }

  #drawMeter() {
    const bar = find(this.#meter, 'span');
    let shown = FLOOR_DB;
    let before = performance.now();
    let said = 0;
    /** @param {number} now */
    const draw = (now) => {
      const level = this.#microphone.level();
      shown = Math.max(level, shown - (FALL_DB_PER_S * (now - before)) / 1000, FLOOR_DB);
      before = now;
      bar.style.transform = `scaleX(${(1 - shown / FLOOR_DB).toFixed(3)})`;
      if (now - said > SAY_MS) {
        said = now;
        this.#meter.setAttribute('aria-valuenow', String(Math.round(level)));
        this.#meter.setAttribute('aria-valuetext', level <= FLOOR_DB ? 'silent' : `${Math.round(level)} decibels`);
      }
      this.#frame = requestAnimationFrame(draw);
    };
    this.#frame = requestAnimationFrame(draw);
  }
}
