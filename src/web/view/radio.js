// The page's section for a room with floor control: the state of the floor, the push-to-talk
// button, the channels. Hidden in rooms without floor control.

/** @import { Alarm, FloorDisplay, Mode } from '../types' */
/** @import { Floor } from '../model/floor.js' */
/** @import { Mute } from '../model/mute.js' */
/** @import { Settings } from '../model/settings.js' */
/** @import { Call } from '../net/call.js' */
/** @import { Tune } from './tones.js' */

import { clock } from '../clock.js';
import { floorText } from '../model/floor-text.js';
import { Monitors } from '../model/monitors.js';
import { Channels } from './channels.js';
import { byId, find, put, putIcon } from './dom.js';
import { PttKey } from './ptt-key.js';
import { Tones } from './tones.js';
import { WakeLock } from './wake-lock.js';

const CLOCK_MS = 200;
// Time left of the talk limit at which a warning is played: enough to finish a sentence.
const WARN_MS = 5_000;

export class Radio {
  #call;
  #floor;
  #mute;
  #talks;
  #alarm;
  #alone;
  #section = byId('room');
  #display = byId('floor');
  #ptt = byId('ptt', HTMLButtonElement);
  #latch = byId('latch', HTMLInputElement);
  #left = byId('floor-left');
  #bar = byId('floor-bar');
  #key;
  #settings;
  #tones;
  #wakeLock;
  #monitors;
  #channels;
  #over = new AbortController();
  /** @type {ReturnType<typeof setInterval>} */
  #clock;
  /**
   * Whether the room has floor control, null until that is known.
   *
   * @type {boolean | null}
   */
  #guarded = null;
  /**
   * What the page shows, null before it is first drawn.
   *
   * @type {FloorDisplay | null}
   */
  #shown = null;
  #warned = false;
  /** Whether a change of the room's mode has muted the microphone, rather than a person. */
  #hushed = false;

  /**
   * @param {object} parts
   * @param {Call} parts.call
   * @param {Floor} parts.floor
   * @param {Mute} parts.mute
   * @param {Settings} parts.settings
   * @param {boolean} parts.talks whether there is a microphone
   * @param {(room: string, mode: Mode) => void} parts.go moves the person to another channel, to
   * talk there
   * @param {Alarm} parts.alarm shows a notice; '' hides it
   * @param {() => boolean} parts.alone whether nobody else is connected
   */
  constructor({ call, floor, mute, settings, talks, go, alarm, alone }) {
    const { signal } = this.#over;
    this.#call = call;
    this.#floor = floor;
    this.#mute = mute;
    this.#talks = talks;
    this.#alarm = alarm;
    this.#alone = alone;
    this.#settings = settings;
    this.#tones = new Tones(settings);
    this.#wakeLock = new WakeLock(signal);
    this.#monitors = new Monitors(call, { clock, settings });
    this.#channels = new Channels({ call, floor, monitors: this.#monitors, go, signal });
    this.#key = new PttKey({
      button: this.#ptt,
      press: () => this.#press(),
      release: () => this.#release(),
      // In a moderated room a request goes on waiting without holding the key.
      latch: () => this.#latch.checked || floor.mode === 'moderated',
      signal,
    });
    this.#ptt.hidden = !talks;
    this.#wireOptions(signal);
    floor.addEventListener('change', () => this.#draw(), { signal });
    call.addEventListener('state', () => this.#draw(), { signal });
    mute.addEventListener('change', () => mute.muted || this.#alarm('', 'mode'), { signal });
    this.#section.addEventListener('click', (event) => this.#handBack(event), { signal });
    this.#watchChoice(signal);
    this.#clock = setInterval(() => this.#drawTime(), CLOCK_MS);
    this.#draw();
  }

  /**
   * Updates the section after participants have connected or left, or have begun to monitor this
   * room.
   */
  peopleChanged() {
    this.#draw();
  }

  close() {
    clearInterval(this.#clock);
    this.#key.up();
    this.#over.abort();
    this.#monitors.close();
    this.#tones.close();
  }

  /** @param {AbortSignal} signal */
  #wireOptions(signal) {
    const cues = byId('cues', HTMLInputElement);
    cues.checked = this.#tones.on;
    cues.addEventListener('change', () => (this.#tones.on = cues.checked), { signal });
    this.#latch.checked = this.#settings.recall('latch') === 'on';
    this.#latch.addEventListener('change', () => {
      this.#settings.remember('latch', this.#latch.checked ? 'on' : 'off');
      this.#key.up();
      this.#draw();
    }, { signal });
  }

  #press() {
    if (this.#mute.muted) this.#floor.refuse('muted');
    else this.#floor.press();
    this.#draw();
  }

  #release() {
    this.#floor.release();
    this.#draw();
  }

  #draw() {
    this.#follow();
    this.#mute.gate(this.#floor.live);
    if (!this.#guarded) return;
    // A refusal releases a latched key.
    if (this.#floor.own.state === 'refused' && this.#key.latched) this.#key.up();
    const { latched } = this.#key;
    const now = floorText(this.#floor, {
      online: this.#call.online,
      latch: this.#latch.checked,
      latched,
      touch: matchMedia('(hover: none)').matches,
      talks: this.#talks,
      alone: this.#alone(),
    });
    const before = this.#shown;
    this.#shown = now;
    this.#display.dataset.floor = now.state;
    this.#ptt.dataset.floor = now.state;
    this.#ptt.setAttribute('aria-pressed', String(['asking', 'queued', 'held', 'ending'].includes(now.state)));
    put(byId('floor-words'), now.words);
    put(byId('floor-more'), now.more);
    put(byId('ptt-words'), this.#label(now.state));
    find(document, '.latch').hidden = !this.#talks || this.#floor.mode === 'moderated';
    putIcon(this.#display, now.icon);
    putIcon(this.#ptt, ['free', 'taken'].includes(now.state) ? 'mic' : now.icon);
    this.#drawTime();
    this.#tell(before, now);
  }

  /** Shows or hides the section, and adapts the mute, when the room gets or loses floor control. */
  #follow() {
    const { guarded, mode } = this.#floor;
    if (mode === null || guarded === this.#guarded) return;
    const was = this.#guarded;
    this.#guarded = guarded;
    this.#section.dataset.mode = guarded ? 'radio' : 'open';
    for (const id of ['handset', 'channels', 'cues-field']) byId(id).hidden = !guarded;
    this.#channels.active = guarded;
    this.#monitors.active = guarded;
    this.#wakeLock.set(guarded);
    if (!guarded) this.#key.up();
    if (was === null || !this.#talks) return;
    // A person on a radio channel does not expect to be heard without the key, so the loss of floor
    // control mutes them. When the room has floor control again, the mute ends, because the key
    // suffices.
    const hushed = !guarded && !this.#mute.muted;
    if (hushed) this.#mute.set(true);
    if (guarded && this.#hushed) this.#mute.set(false);
    this.#hushed = hushed;
    this.#alarm(hushed ? 'This room is a conference now. You are muted until you unmute yourself.' : '', 'mode');
  }

  /** @param {FloorDisplay['state']} state */
  #label(state) {
    const latch = this.#latch.checked;
    if (state === 'held' || state === 'ending') return latch || this.#key.latched ? 'Press to stop' : 'Release to stop';
    if (state === 'offline') return 'Not connected';
    if (this.#floor.mode === 'moderated') return state === 'queued' ? 'Lower hand' : 'Raise hand';
    if (state === 'queued') return 'Waiting…';
    return latch ? 'Press to talk' : 'Hold to talk';
  }

  #drawTime() {
    const { until = null, total = null, state } = this.#shown ?? {};
    const left = until === null ? null : Math.max(0, until - clock.now());
    put(this.#left, left === null ? '' : minutes(left));
    this.#bar.hidden = left === null || !total;
    if (left !== null && total) find(this.#bar, 'span').style.transform = `scaleX(${Math.min(1, left / total).toFixed(3)})`;
    const short = state === 'held' && left !== null && left <= WARN_MS && total !== null && total > WARN_MS;
    this.#display.classList.toggle('short', short);
    if (short && !this.#warned) {
      this.#cue('warning');
      this.#aloud('Five seconds left');
    }
    this.#warned = short;
  }

  /**
   * Announces a change of the floor by a tone, and by a sentence for screen readers.
   *
   * @param {FloorDisplay | null} before
   * @param {FloorDisplay} now
   */
  #tell(before, now) {
    if (before?.state === now.state && before.words === now.words) return;
    const cue = before && CUES[now.state]?.(before.state);
    if (cue) this.#cue(cue);
    this.#aloud(OWN.has(now.state) ? `${now.words}. ${now.more}` : now.words);
  }

  /** @param {Tune} name */
  #cue(name) {
    if (this.#floor.tones && SERVED.has(name)) return;
    this.#tones.play(name);
  }

  /** @param {string} sentence */
  #aloud(sentence) {
    put(byId('floor-aloud'), sentence);
  }

  /**
   * Moves the focus to the push-to-talk button after a click with the mouse: otherwise the space
   * bar would press the clicked control again instead of talking.
   *
   * @param {MouseEvent} event
   */
  #handBack(event) {
    if (!this.#guarded || !(event instanceof PointerEvent) || event.pointerType !== 'mouse') return;
    if (event.target instanceof Element && event.target.closest('button, summary, input')) this.#ptt.focus({ preventScroll: true });
  }

  /**
   * Moves the focus to the push-to-talk button after a microphone was chosen with a pointer:
   * otherwise the space bar would open the list again.
   *
   * @param {AbortSignal} signal
   */
  #watchChoice(signal) {
    let byPointer = false;
    const list = byId('microphone');
    list.addEventListener('pointerdown', () => (byPointer = true), { signal });
    list.addEventListener('keydown', () => (byPointer = false), { signal });
    list.addEventListener('change', () => {
      if (this.#guarded && byPointer) this.#ptt.focus({ preventScroll: true });
    }, { signal });
  }
}

/**
 * The tone for each state of the floor, which depends on the state before.
 *
 * @type {Partial<Record<FloorDisplay['state'], (before: FloorDisplay['state']) => Tune | false>>}
 */
const CUES = {
  held: () => 'granted',
  queued: (before) => before !== 'queued' && 'queued',
  denied: () => 'refused',
  ending: () => 'revoked',
  revoked: (before) => before !== 'ending' && 'revoked',
  // The connection is dead, so the person is no longer heard.
  offline: (before) => WISHED.has(before) && 'refused',
  // If several participants may talk, the other talkers continue.
  taken: (before) => TALKED.has(before) && 'ended',
  free: (before) => (TALKED.has(before) ? 'ended' : before === 'taken' && 'freed'),
};

const TALKED = new Set(['held', 'ending']);
const WISHED = new Set(['asking', 'queued', 'held', 'ending']);

// Tones that the page leaves to the server, if the room's floor tones are on.
/** @type {Set<Tune>} */
const SERVED = new Set(['granted', 'refused', 'ended']);

// States of which screen readers read the second line too. The second line of all other states is
// only shown.
const OWN = new Set(['queued', 'denied', 'revoked', 'ending']);

/** @param {number} ms */
function minutes(ms) {
  const seconds = Math.ceil(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}
