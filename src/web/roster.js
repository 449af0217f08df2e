// Who is in the room and who talks: the model, kept by the server's events, and its list of people on the page.

import { FLOOR_DB } from './microphone.js';

const DOING = {
  absent: ['connecting…', 'clock'],
  holding: ['has the floor', 'on-air'],
  waiting: ['waits', 'queue'],
  talking: ['talking', ''],
  muted: ['muted', 'mic-off'],
  listening: ['listening only', 'ear'],
  quiet: ['', ''],
};

export class Roster {
  #people = new Map();
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

  /** Somebody's name; '' when nobody has this id. */
  name(id) {
    return this.#people.get(id)?.name ?? '';
  }

  /** Shows who has the floor (a map by id) and who waits for it (ids); `grants`: offer to let those talk. */
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
    this.#people.set(participant.id, participant);
    this.#draw(participant);
  }

  #change(id, change) {
    const participant = this.#people.get(id);
    if (participant) this.#put({ ...participant, ...change });
  }

  #remove(id) {
    const participant = this.#people.get(id);
    this.#people.delete(id);
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
    const doing = stateOf(participant, this.#holders.has(participant.id), waiting);
    const [word, icon] = DOING[doing];
    tile.dataset.doing = doing;
    tile.style.setProperty('--hue', hue(participant.name));
    if (doing !== 'talking') tile.style.removeProperty('--level');
    part('initials').textContent = initials(participant.name);
    part('name').textContent = participant.name;
    part('name').title = participant.name;
    part('you').hidden = participant.id !== this.#own;
    part('word').textContent = doing === 'waiting' ? `${word}, ${waiting} of ${this.#queue.length}` : word;
    part('grant').hidden = !(this.#grants && waiting) || participant.id === this.#own;
    part('grant').setAttribute('aria-label', `Let talk: ${participant.name}`);
    part('icon').toggleAttribute('hidden', !icon);
    part('icon').firstElementChild.setAttribute('href', `icons.svg#${icon}`);
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

function stateOf({ connected, muted, talks, talking }, holds, waits) {
  if (connected === false) return 'absent';
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
