// The room on the page: its people, the state of the connection in words, and one's own controls.

import { Controls } from './controls.js';
import { Floor } from '../model/floor.js';
import { MonitorList } from './monitor-list.js';
import { CallStats } from '../model/call-stats.js';
import { Radio } from './radio.js';
import { Roster } from './roster.js';
import { put, say } from './dom.js';
import { SilenceWatch } from '../model/silence.js';
import { refusal } from '../model/refusals.js';

const QUALITY_MS = 2_000;
const COPIED_MS = 2_000;
// A refusal that passes by itself is gone by then.
const NOTICE_MS = 8_000;

export class Room {
  roster;
  floor;

  #section = document.getElementById('room');
  #heading = document.getElementById('room-title');
  #status = document.getElementById('status');
  #words = document.getElementById('status-words');
  #why = document.getElementById('status-why');
  #retry = document.getElementById('retry');
  #count = document.getElementById('people-count');
  #quality = document.getElementById('quality');
  #copy = document.getElementById('copy');
  #call;
  #controls;
  #radio;
  #monitors;
  #stats = new CallStats();
  #over = new AbortController();
  #timers = [];
  #countdown = 0;
  #copied = 0;
  #said = '';
  #alarmAbout = '';
  #alarmTimer = 0;

  /**
   * - `leave()`: the person pressed Leave; `talk()`: a listener wants a microphone after all; `go(room)`: wants to be
   *   in another room.
   */
  constructor({ call, mute, microphone, playback, leave, talk, go }) {
    const { signal } = this.#over;
    this.#call = call;
    const alarm = (sentence, about) => this.alarm(sentence, about);
    this.floor = new Floor(call);
    this.roster = new Roster(document.getElementById('people'), document.getElementById('person'), (id) => this.floor.grant(id));
    this.#monitors = new MonitorList(call, signal);
    this.#controls = new Controls({ call, floor: this.floor, mute, microphone, playback, alarm });
    const alone = () => this.roster.deserted && this.#monitors.total === 0;
    this.#radio = new Radio({ call, floor: this.floor, mute, talks: Boolean(microphone.track), go, alarm, alone });
    new SilenceWatch({ call, talking: () => this.roster.participants.some(({ talking }) => talking), signal });
    this.#heading.textContent = call.room;
    this.alarm('');
    document.getElementById('alarm-close').addEventListener('click', () => this.#dismiss(), { signal });
    call.addEventListener('state', () => this.#drawState(), { signal });
    call.addEventListener('event', ({ detail }) => this.#hear(detail), { signal });
    this.floor.addEventListener('change', () => this.#drawFloor(), { signal });
    call.addEventListener('stream', ({ detail }) => playback.play(detail), { signal });
    document.getElementById('leave').addEventListener('click', leave, { signal });
    document.getElementById('talk').addEventListener('click', talk, { signal });
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
    this.#timers.forEach(clearInterval);
    clearInterval(this.#countdown);
    clearTimeout(this.#alarmTimer);
    this.#radio.close();
    this.floor.close();
    this.#controls.close();
    this.#section.hidden = true;
  }

  #hear(event) {
    const sentence = this.roster.apply(event, this.#call.id);
    if (event.event === 'error') this.alarm(refusal(event, ''), 'refusal');
    if (event.event === 'levels') return;
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
    this.roster.mark(talkers, queue, mode === 'moderated');
  }

  #drawTitle() {
    const { state, room, why, silence } = this.#call;
    // On a dead line nobody is known to talk.
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
    // Without the room's events nobody is known to talk; the list that comes with their return tells anew.
    if (state !== 'connected' || why) this.roster.hush();
    const draw = () => put(this.#words, words(state, retryAt, why, silence));
    draw();
    if (retryAt) this.#countdown = setInterval(draw, 250);
    this.#drawTitle();
    this.#sayState(state, why, silence);
  }

  /** What was measured before trouble says nothing about the line after it. */
  #forgetQuality() {
    this.#quality.textContent = '';
    this.#stats = new CallStats();
  }

  /** The words on the page count seconds; a screen reader hears each state once. */
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
    const label = this.#copy.querySelector('.label');
    label.textContent = done ? 'Copied' : 'Copy failed';
    say(done ? 'Link copied' : `Copying failed. The link is ${link}`);
    clearTimeout(this.#copied);
    this.#copied = setTimeout(() => (label.textContent = 'Copy link'), COPIED_MS);
  }

  /**
   * Shows, and reads out, a notice that must not be missed.
   *
   * - `sentence`: '' takes the notice away if it is about the same thing; `about`: 'mode', 'microphone', or 'refusal', which
   *   goes away by itself.
   */
  alarm(sentence, about = '') {
    if (!sentence && about && about !== this.#alarmAbout) return;
    this.#alarmAbout = about;
    clearTimeout(this.#alarmTimer);
    document.getElementById('alarm').hidden = !sentence;
    put(document.getElementById('alarm-text'), sentence);
    if (about === 'refusal') this.#alarmTimer = setTimeout(() => this.alarm('', 'refusal'), NOTICE_MS);
  }

  #dismiss() {
    this.alarm('');
    // The focus was on the button that is gone now.
    this.#heading.focus({ preventScroll: true });
  }
}

function words(state, retryAt, why, silence) {
  const seconds = Math.ceil((retryAt - performance.now()) / 1000);
  // Nobody answers and the path has not been given up yet: sound may still pass, or not.
  if (state === 'connected' && why) return 'Checking the connection…';
  if (state === 'connected') return silence ? `No sound for ${silence}\u00a0s…` : 'Connected';
  const left = `${seconds}\u00a0s`;
  if (retryAt && seconds > 0) return state === 'connecting' ? `Trying again in ${left}` : `Reconnecting in ${left}`;
  return state === 'connecting' ? 'Connecting…' : 'Reconnecting…';
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http has no clipboard interface; the old way needs selected text.
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
