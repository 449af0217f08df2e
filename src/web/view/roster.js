// Who is in the room and who talks: the model, kept by the server's events, and its list of people on the page.

import { FLOOR_DB } from './microphone.js';
import { put, putIcon } from './dom.js';

const DOING = {
  connecting: ['connecting…', 'clock'],
  lost: ['connection lost', 'clock'],
  holding: ['on air', 'on-air'],
  waiting: ['waiting', 'queue'],
  talking: ['talking', ''],
  muted: ['muted', 'mic-off'],
  listening: ['listening', 'ear'],
  quiet: ['', ''],
};

// A participant that has not connected by then is not going to.
const CONNECT_MS = 5_000;

export class Roster {
  #people = new Map();
  /** When each participant was first seen, in performance.now() time; -Infinity once it was connected. */
  #since = new Map();
  #tiles = new Map();
  #list;
  #template;
  #own = null;
  #holders = new Map();
  #queue = [];
  #grants = false;

  /** - `grant(id)`: somebody who waits is to have the floor. */
  constructor(list, template, grant) {
    this.#list = list;
    this.#template = template;
    list.replaceChildren();
    list.onclick = ({ target }) => {
      const tile = target.closest('.grant')?.closest('.person');
      for (const [id, other] of this.#tiles) if (other === tile) grant(id);
    };
  }

  /** Participants as the server describes them, in the order in which they came. */
  get participants() {
    return [...this.#people.values()];
  }

  /** Names of those who talk, oneself apart. */
  get talkers() {
    return this.participants.filter(({ id, talking }) => talking && id !== this.#own).map(({ name }) => name);
  }

  /** Whether others are in the room, but none of them is connected. */
  get deserted() {
    const others = this.participants.filter(({ id }) => id !== this.#own);
    return this.#people.size > 0 && others.every(({ connected }) => connected === false);
  }

  /** Somebody's name; '' when nobody has this id. */
  name(id) {
    return this.#people.get(id)?.name ?? '';
  }

  /** Shows the floor: its holders (a map by id) and those who wait for it (ids); `grants`: offer to let these talk. */
  mark(holders, queue, grants) {
    this.#holders = new Map(holders);
    this.#queue = queue;
    this.#grants = grants;
    for (const participant of this.participants) this.#draw(participant);
  }

  /** Takes in one event of the server; returns a sentence worth saying aloud, or ''. */
  apply(event, own) {
    this.#own = own;
    switch (event.event) {
      case 'room':
        this.#replace(event.room.participants);
        return '';
      case 'joined': {
        const known = this.#people.has(event.participant.id);
        this.#put(event.participant);
        return known || event.participant.id === own ? '' : `${event.participant.name} joined`;
      }
      case 'changed':
        this.#put(event.participant);
        return '';
      case 'left':
        return this.#remove(event.participant);
      case 'talking':
        this.#change(event.participant, { talking: true });
        return '';
      case 'stopped':
        this.#change(event.participant, { talking: false });
        return '';
      case 'muted':
        this.#change(event.participant, { muted: event.muted });
        return '';
      case 'levels':
        for (const [id, level] of Object.entries(event.levels)) this.#level(id, level);
        return '';
      default:
        return '';
    }
  }

  /** Nobody is known to talk: the connection that would tell is gone. */
  hush() {
    for (const participant of this.participants) if (participant.talking) this.#put({ ...participant, talking: false });
  }

  #replace(participants) {
    const present = new Set(participants.map(({ id }) => id));
    for (const id of [...this.#people.keys()]) if (!present.has(id)) this.#remove(id);
    for (const participant of participants) this.#put(participant);
  }

  #put(participant) {
    const { id, connected } = participant;
    this.#people.set(id, participant);
    if (connected !== false) this.#since.set(id, -Infinity);
    else if (!this.#since.has(id)) {
      this.#since.set(id, performance.now());
      setTimeout(() => this.#people.has(id) && this.#draw(this.#people.get(id)), CONNECT_MS);
    }
    this.#draw(participant);
  }

  #change(id, change) {
    const participant = this.#people.get(id);
    if (participant) this.#put({ ...participant, ...change });
  }

  #remove(id) {
    const participant = this.#people.get(id);
    this.#people.delete(id);
    this.#since.delete(id);
    this.#tiles.get(id)?.remove();
    this.#tiles.delete(id);
    return participant && id !== this.#own ? `${participant.name} left` : '';
  }

  #level(id, level) {
    const loudness = Math.min(1, Math.max(0, 1 - level / FLOOR_DB));
    this.#tiles.get(id)?.style.setProperty('--level', loudness.toFixed(2));
  }

  #draw(participant) {
    const tile = this.#tile(participant.id);
    const part = (name) => tile.querySelector(`.${name}`);
    const waiting = this.#queue.indexOf(participant.id) + 1;
    const late = performance.now() - this.#since.get(participant.id) >= CONNECT_MS;
    const doing = stateOf(participant, { holds: this.#holders.has(participant.id), waits: waiting > 0, late });
    const [word, icon] = DOING[doing];
    tile.dataset.doing = doing;
    tile.style.setProperty('--hue', hue(participant.name));
    if (doing !== 'talking') tile.style.removeProperty('--level');
    put(part('initials'), initials(participant.name));
    put(part('name'), participant.name);
    part('name').title = participant.name;
    part('you').hidden = participant.id !== this.#own;
    put(part('word'), doing === 'waiting' ? `${word} (${waiting} of ${this.#queue.length})` : word);
    part('grant').hidden = !(this.#grants && waiting) || participant.id === this.#own;
    part('grant').setAttribute('aria-label', `Give the floor to ${participant.name}`);
    part('icon').toggleAttribute('hidden', !icon);
    if (icon) putIcon(tile, icon);
  }

  #tile(id) {
    let tile = this.#tiles.get(id);
    if (!tile) {
      tile = this.#template.content.firstElementChild.cloneNode(true);
      this.#tiles.set(id, tile);
      if (id === this.#own) this.#list.prepend(tile);
      else this.#list.append(tile);
    }
    return tile;
  }
}

function stateOf({ connected, muted, talks, talking }, { holds, waits, late }) {
  if (connected === false) return late ? 'lost' : 'connecting';
  if (muted) return 'muted';
  if (talking) return 'talking';
  if (holds) return 'holding';
  if (waits) return 'waiting';
  return talks === false ? 'listening' : 'quiet';
}

function initials(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  // The joiner that does not join keeps Arabic initials two letters instead of one.
  return letters.map((word) => [...word][0]).join('\u200c').toLocaleUpperCase();
}

/** The same name has the same colour everywhere and after every return. */
function hue(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return hash % 360;
}
