// The room on the page: its people, the state of the connection in words, and the person's own
// controls.

/** @import { AlarmTopic, CallState, Mode, ServerEvent } from '../types' */
/** @import { Mute } from '../model/mute.js' */
/** @import { Settings } from '../model/settings.js' */
/** @import { Call } from '../net/call.js' */
/** @import { Microphone } from './microphone.js' */
/** @import { Playback } from './playback.js' */

import { clock } from '../clock.js';
import { CallStats } from '../model/call-stats.js';
import { Floor } from '../model/floor.js';
import { refusal } from '../model/refusals.js';
import { Roster } from '../model/roster.js';
import { SilenceWatch } from '../model/silence.js';
import { Controls } from './controls.js';
import { byId, find, put, say } from './dom.js';
import { MonitorList } from './monitor-list.js';
import { Radio } from './radio.js';
import { RosterList } from './roster.js';

const QUALITY_MS = 2_000;
const COPIED_MS = 2_000;
// How long the page shows a refusal, which needs no action of the person.
const NOTICE_MS = 8_000;

export class Room {
  roster;
  floor;

  #section = byId('room');
  #heading = byId('room-title');
  #status = byId('status');
  #words = byId('status-words');
  #why = byId('status-why');
  #retry = byId('retry');
  #count = byId('people-count');
  #quality = byId('quality');
  #copy = byId('copy');
  #call;
  #people;
  #controls;
  #radio;
  #monitors;
  #stats = new CallStats();
  #over = new AbortController();
  /** @type {ReturnType<typeof setInterval>[]} */
  #timers = [];
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #copied;
  #said = '';
  /** @type {AlarmTopic} */
  #alarmAbout = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #alarmTimer;

  /**
   * @param {object} parts
   * @param {Call} parts.call
   * @param {Mute} parts.mute
   * @param {Microphone} parts.microphone
   * @param {Playback} parts.playback
   * @param {Settings} parts.settings
   * @param {() => void} parts.leave called when the person presses Leave
   * @param {() => void} parts.talk called when a listener turns on the microphone
   * @param {(room: string, mode: Mode) => void} parts.go called when the person switches to another
   * room
   */
  constructor({ call, mute, microphone, playback, settings, leave, talk, go }) {
    const { signal } = this.#over;
    this.#call = call;
    /** @type {import('../types').Alarm} */
    const alarm = (sentence, about) => this.alarm(sentence, about);
    this.floor = new Floor(call, clock);
    this.roster = new Roster(clock);
    this.#people = new RosterList(this.roster, {
      list: byId('people'),
      template: byId('person', HTMLTemplateElement),
      grant: (id) => this.floor.grant(id),
    });
    this.#monitors = new MonitorList(call, signal);
    this.#controls = new Controls({ call, floor: this.floor, mute, microphone, playback, alarm });
    const alone = () => this.roster.deserted && this.#monitors.total === 0;
    this.#radio = new Radio({ call, floor: this.floor, mute, settings, talks: Boolean(microphone.track), go, alarm, alone });
    new SilenceWatch({ call, talking: () => this.roster.participants.some(({ talking }) => talking), clock, signal });
    this.#heading.textContent = call.room;
    this.alarm('');
    byId('alarm-close').addEventListener('click', () => this.#dismiss(), { signal });
    call.addEventListener('state', () => this.#drawState(), { signal });
    call.addEventListener('event', ({ detail }) => this.#hear(detail), { signal });
    this.floor.addEventListener('change', () => this.#drawFloor(), { signal });
    call.addEventListener('stream', ({ detail }) => playback.play(detail), { signal });
    byId('leave').addEventListener('click', leave, { signal });
    byId('talk').addEventListener('click', talk, { signal });
    this.#retry.addEventListener('click', () => call.hurry(), { signal });
    this.#copy.addEventListener('click', () => this.#copyLink(), { signal });
    this.#timers.push(setInterval(() => this.#drawQuality(), QUALITY_MS));
    this.#drawPeople();
    this.#drawState();
    this.#section.hidden = false;
    this.#heading.focus();
  }

  close() {
    this.#over.abort();
    for (const timer of this.#timers) clearInterval(timer);
    clearInterval(this.#countdown);
    clearTimeout(this.#alarmTimer);
    this.#radio.close();
    this.floor.close();
    this.#controls.close();
    this.#section.hidden = true;
  }

  /** @param {ServerEvent} event */
  #hear(event) {
    if (event.event === 'levels') return this.#people.showLevels(event.levels);
    const sentence = this.roster.apply(event, this.#call.id);
    if (event.event === 'error') this.alarm(refusal(event, ''), 'refusal');
    if (sentence) say(sentence);
    this.#drawPeople();
  }

  #drawPeople() {
    const { participants } = this.roster;
    const { length } = participants;
    const alone = length === 1 && participants[0].id === this.#call.id;
    this.#count.textContent = length === 0 ? '' : alone ? 'You’re the only one here' : length === 1 ? '1 person' : `${length} people`;
    this.#drawTitle();
    this.#radio.peopleChanged();
  }

  #drawFloor() {
    const { talkers, queue, mode } = this.floor;
    this.#people.mark(talkers, queue, mode === 'moderated');
  }

  #drawTitle() {
    const { state, room, why, silence } = this.#call;
    // On a dead connection nobody is known to talk.
    const talkers = why || silence ? [] : this.roster.talkers;
    let now = '';
    if (state !== 'connected') now = `${state === 'connecting' ? 'Connecting' : 'Reconnecting'} · `;
    else if (talkers.length > 2) now = `${talkers.length} people are talking · `;
    else if (talkers.length === 2) now = `${talkers.join(' and ')} are talking · `;
    else if (talkers.length === 1) now = `${talkers[0]} is talking · `;
    document.title = `${now}${room} · mixminus`;
  }

  #drawState() {
    const { state, why, retryAt, silence } = this.#call;
    clearInterval(this.#countdown);
    this.#status.dataset.state = state;
    this.#section.dataset.state = state;
    this.#status.classList.toggle('alert', Boolean(why) || silence > 0 || state === 'reconnecting');
    this.#why.textContent = why;
    this.#retry.hidden = !retryAt;
    if (state !== 'connected' || why || silence) this.#forgetQuality();
    // Without the room's events the page does not know who talks, so it shows nobody as talking
    // until a new connection brings the list of participants.
    if (state !== 'connected' || why) this.roster.hush();
    const draw = () => put(this.#words, words(state, retryAt, why, silence));
    draw();
    if (retryAt) this.#countdown = setInterval(draw, 250);
    this.#drawTitle();
    this.#sayState(state, why, silence);
  }

  /** Forgets the measured quality, because a repaired connection may have another. */
  #forgetQuality() {
    this.#quality.textContent = '';
    this.#stats = new CallStats();
  }

  /**
   * Reads each state of the connection aloud once, although the words on the page change every
   * second.
   *
   * @param {CallState} state
   * @param {string} why
   * @param {number} silence
   */
  #sayState(state, why, silence) {
    const sentence = `${words(state, 0, why, silence && 2)} ${why}`.trim();
    if (sentence === this.#said || state === 'idle') return;
    this.#said = sentence;
    say(sentence);
  }

  async #drawQuality() {
    const { pc, state, why } = this.#call;
    if (!pc || state !== 'connected' || why || document.hidden) return;
    const { roundTripMs, bufferMs, lossPercent } = await this.#stats.measure(pc);
    if (!this.#call.online || this.#call.silence) return;
    const parts = [];
    if (roundTripMs !== null) parts.push(`Delay ${Math.round(roundTripMs)} ms`);
    if (bufferMs !== null) parts.push(`Jitter buffer ${Math.round(bufferMs)} ms`);
    if (lossPercent !== null) parts.push(`Packet loss ${lossPercent.toFixed(lossPercent < 10 ? 1 : 0)}\u00a0%`);
    put(this.#quality, parts.join(' · '));
  }

  async #copyLink() {
    const link = new URL(`#room=${encodeURIComponent(this.#call.room)}`, location.origin + location.pathname).href;
    const done = await copy(link);
    const label = find(this.#copy, '.label');
    label.textContent = done ? 'Copied' : 'Copy failed';
    say(done ? 'Link copied' : `Copying failed. The link is ${link}`);
    clearTimeout(this.#copied);
    this.#copied = setTimeout(() => (label.textContent = 'Copy link'), COPIED_MS);
  }

  /**
   * Shows, and reads aloud, a notice that must not be missed.
   *
   * @param {string} sentence '' hides the notice if it is about the same topic
   * @param {AlarmTopic} about the topic; a 'refusal' is hidden after NOTICE_MS
   */
  alarm(sentence, about = '') {
    if (!sentence && about && about !== this.#alarmAbout) return;
    this.#alarmAbout = about;
    clearTimeout(this.#alarmTimer);
    byId('alarm').hidden = !sentence;
    put(byId('alarm-text'), sentence);
    if (about === 'refusal') this.#alarmTimer = setTimeout(() => this.alarm('', 'refusal'), NOTICE_MS);
  }

  #dismiss() {
    this.alarm('');
    // The focus was on the button that is now hidden.
    this.#heading.focus({ preventScroll: true });
  }
}

/**
 * @param {CallState} state
 * @param {number} retryAt
 * @param {string} why
 * @param {number} silence
 */
function words(state, retryAt, why, silence) {
  const seconds = Math.ceil((retryAt - performance.now()) / 1000);
  // The server does not answer, but the browser has not given up the path yet: sound may still
  // pass.
  if (state === 'connected' && why) return 'Checking the connection…';
  if (state === 'connected') return silence ? `No sound for ${silence}\u00a0s…` : 'Connected';
  const left = `${seconds}\u00a0s`;
  if (retryAt && seconds > 0) return state === 'connecting' ? `Trying again in ${left}` : `Reconnecting in ${left}`;
  return state === 'connecting' ? 'Connecting…' : 'Reconnecting…';
}

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A page over plain HTTP has no clipboard API; the older `copy` command needs selected text.
    const field = document.createElement('textarea');
    field.value = text;
    field.className = 'aside';
    document.body.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}
