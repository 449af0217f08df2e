// The page's list of participants, drawn from the roster.

/** @import { Doing, Participant, Talker } from '../types' */
/** @import { Roster, RosterEvent } from '../model/roster.js' */

import { FLOOR_DB } from './microphone.js';
import { copyOf, find, put, putIcon } from './dom.js';

/**
 * Each state's word and icon.
 *
 * @type {Record<Doing, [string, string]>}
 */
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

export class RosterList {
  #roster;
  #list;
  #template;
  /** @type {Map<string, HTMLElement>} */
  #tiles = new Map();
  /** @type {ReadonlyMap<string, Talker>} */
  #holders = new Map();
  /** @type {string[]} */
  #queue = [];
  #grants = false;

  /**
   * @param {Roster} roster
   * @param {object} parts
   * @param {HTMLElement} parts.list
   * @param {HTMLTemplateElement} parts.template the template of one participant's tile
   * @param {(id: string) => void} parts.grant called to give the floor to a waiting participant
   */
  constructor(roster, { list, template, grant }) {
    this.#roster = roster;
    this.#list = list;
    this.#template = template;
    list.replaceChildren();
    list.onclick = ({ target }) => {
      const tile = target instanceof Element && target.closest('.grant')?.closest('.person');
      for (const [id, other] of this.#tiles) if (other === tile) grant(id);
    };
    roster.addEventListener('put', (event) => {
      const participant = roster.participant(/** @type {RosterEvent} */ (event).participant);
      if (participant) this.#draw(participant);
    });
    roster.addEventListener('removed', (event) => this.#remove(/** @type {RosterEvent} */ (event).participant));
  }

  /**
   * Marks the tiles of the participants who hold the floor or wait for it.
   *
   * @param {ReadonlyMap<string, Talker>} holders by id
   * @param {string[]} queue ids of the waiting participants
   * @param {boolean} grants whether to offer to give the floor to waiting participants
   */
  mark(holders, queue, grants) {
    this.#holders = new Map(holders);
    this.#queue = queue;
    this.#grants = grants;
    for (const participant of this.#roster.participants) this.#draw(participant);
  }

  /**
   * Shows how loud the participants are.
   *
   * @param {Record<string, number>} levels dBFS by id
   */
  showLevels(levels) {
    for (const [id, level] of Object.entries(levels)) {
      const loudness = Math.min(1, Math.max(0, 1 - level / FLOOR_DB));
      this.#tiles.get(id)?.style.setProperty('--level', loudness.toFixed(2));
    }
  }

  /** @param {string} id */
  #remove(id) {
    this.#tiles.get(id)?.remove();
    this.#tiles.delete(id);
  }

  /** @param {Participant} participant */
  #draw(participant) {
    const { id, name } = participant;
    const own = id === this.#roster.own;
    const tile = this.#tile(id);
    /** @param {string} part */
    const part = (part) => find(tile, `.${part}`);
    const waiting = this.#queue.indexOf(id) + 1;
    const doing = this.#roster.doing(participant, { holds: this.#holders.has(id), waits: waiting > 0 });
    const [word, icon] = DOING[doing];
    tile.dataset.doing = doing;
    tile.style.setProperty('--hue', String(hue(name)));
    if (doing !== 'talking') tile.style.removeProperty('--level');
    put(part('initials'), initials(name));
    put(part('name'), name);
    part('name').title = name;
    part('you').hidden = !own;
    put(part('word'), doing === 'waiting' ? `${word} (${waiting} of ${this.#queue.length})` : word);
    part('grant').hidden = !(this.#grants && waiting) || own;
    part('grant').setAttribute('aria-label', `Give the floor to ${name}`);
    find(tile, '.icon', SVGElement).toggleAttribute('hidden', !icon);
    if (icon) putIcon(tile, icon);
  }

  /** @param {string} id */
  #tile(id) {
    let tile = this.#tiles.get(id);
    if (!tile) {
      tile = copyOf(this.#template);
      this.#tiles.set(id, tile);
      if (id === this.#roster.own) this.#list.prepend(tile);
      else this.#list.append(tile);
    }
    return tile;
  }
}

/** @param {string} name */
function initials(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1) ?? ''] : words;
  // A zero-width non-joiner keeps Arabic initials two letters instead of one.
  return letters.map((word) => [...word][0]).join('\u200c').toLocaleUpperCase();
}

/**
 * Returns a colour for a name, always the same one.
 *
 * @param {string} name
 */
function hue(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  return hash % 360;
}
