// The room on the page: its people, the state of the connection in words, and one's own controls.

import { Dock } from './dock.js';
import { Floor } from './floor.js';
import { Quality } from './quality.js';
import { Radio } from './radio.js';
import { Roster } from './roster.js';
import { say } from './text.js';

const QUALITY_MS = 2_000;
const COPIED_MS = 2_000;

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
  #dock;
  #radio;
  #line = new Quality();
  #over = new AbortController();
  #timers = [];
  #countdown = 0;
  #copied = 0;
  #said = '';

  /**
   * - `leave()`: the person pressed Leave; `talk()`: a listener wants a microphone after all; `go(room)`: wants to be
   *   in another room.
   */
  constructor({ call, mute, microphone, speaker, leave, talk, go }) {
    const { signal } = this.#over;
    this.#call = call;
    const alarm = (sentence) => this.alarm(sentence);
    this.floor = new Floor(call);
    this.roster = new Roster(document.getElementById('people'), document.getElementById('person'), (id) => this.floor.grant(id));
    this.#dock = new Dock({ call, floor: this.floor, mute, microphone, speaker, alarm });
    this.#radio = new Radio({ call, floor: this.floor, mute, talks: Boolean(microphone.track), go, alarm });
    this.#heading.textContent = call.room;
    document.getElementById('alarm').hidden = true;
    call.addEventListener('state', () => this.#drawState(), { signal });
    call.addEventListener('event', ({ detail }) => this.#hear(detail), { signal });
    this.floor.addEventListener('change', () => this.#drawFloor(), { signal });
    call.addEventListener('stream', ({ detail }) => speaker.play(detail), { signal });
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
    this.#radio.close();
    this.floor.close();
    this.#dock.close();
    this.#section.hidden = true;
  }

  #hear(event) {
    const sentence = this.roster.apply(event, this.#call.id);
    if (event.event === 'error') this.alarm(event.detail);
    if (event.event === 'levels') return;
    if (sentence) say(sentence);
    this.#drawPeople();
  }

  #drawPeople() {
    const { participants } = this.roster;
    const { length } = participants;
    const alone = length === 1 && participants[0].id === this.#call.id;
    this.#count.textContent = length === 0 ? '' : alone ? 'Only you so far' : length === 1 ? '1 person' : `${length} people`;
    this.#drawTitle();
  }

  #drawFloor() {
    const { talkers, queue, mode } = this.floor;
    this.roster.mark(talkers, queue, mode === 'moderated');
  }

  #drawTitle() {
    const { state, room } = this.#call;
    const { talkers } = this.roster;
    let now = '';
    if (state !== 'connected') now = `${state === 'connecting' ? 'Connecting' : 'Reconnecting'} · `;
    else if (talkers.length > 2) now = `${talkers.length} people are talking · `;
    else if (talkers.length === 2) now = `${talkers.join(' and ')} are talking · `;
    else if (talkers.length === 1) now = `${talkers[0]} is talking · `;
    document.title = `${now}${room} · mixminus`;
  }

  #drawState() {
    const { state, why, retryAt } = this.#call;
    clearInterval(this.#countdown);
    this.#status.dataset.state = state;
    this.#section.dataset.state = state;
    this.#status.classList.toggle('alert', Boolean(why) || state === 'reconnecting');
    this.#why.textContent = why;
    this.#retry.hidden = !retryAt;
    if (state !== 'connected' || why) this.#quality.textContent = '';
    // Without the room's events nobody is known to talk; the list that comes with their return tells anew.
    if (state !== 'connected' || why) this.roster.hush();
    const draw = () => {
      this.#words.textContent = words(state, retryAt, why);
    };
    draw();
    if (retryAt) this.#countdown = setInterval(draw, 250);
    this.#drawTitle();
    this.#sayState(state, why);
  }

  /** The words on the page count seconds; a screen reader hears each state once. */
  #sayState(state, why) {
    const sentence = `${words(state, 0, why)} ${why}`.trim();
    if (sentence === this.#said || state === 'idle') return;
    this.#said = sentence;
    say(sentence);
  }

  async #drawQuality() {
    const { pc, state, why } = this.#call;
    if (!pc || state !== 'connected' || why || document.hidden) return;
    const { roundTripMs, bufferMs, lossPercent } = await this.#line.measure(pc);
    if (this.#call.state !== 'connected' || this.#call.why) return;
    const parts = [];
    if (roundTripMs !== null) parts.push(`round trip ${Math.round(roundTripMs)} ms`);
    if (bufferMs !== null) parts.push(`buffer ${Math.round(bufferMs)} ms`);
    if (lossPercent !== null) parts.push(`loss ${lossPercent.toFixed(lossPercent < 10 ? 1 : 0)} %`);
    this.#quality.textContent = parts.join(' · ');
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

  /** Shows, and says, what must not be missed: something asked for did not work, say; '' takes it away. */
  alarm(sentence) {
    const element = document.getElementById('alarm');
    element.hidden = !sentence;
    element.textContent = sentence;
  }
}

function words(state, retryAt, why) {
  const seconds = Math.ceil((retryAt - performance.now()) / 1000);
  // Nobody answers and the path has not been given up yet: sound may still pass, or not.
  if (state === 'connected') return why ? 'Checking the connection…' : 'Connected';
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
