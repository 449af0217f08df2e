// The rooms that the participant monitors, and their volumes: remembered between visits, and sent
// to the server.
//
// Dispatches `change` when a room is added or removed, or its volume changes.

/** @import { CallHandle, Clock } from '../types' */
/** @import { Settings } from './settings.js' */

// Delay before a changed volume is sent, because a moving slider gives dozens of values per second.
const TELL_MS = 150;
// The server's limit of rooms in one monitor list.
const MOST = 16;
const QUIETEST_PERCENT = 5;
const NOTHING = () => {};

export class Monitors extends EventTarget {
  #call;
  #clock;
  #settings;
  /**
   * Room -> volume in percent.
   *
   * @type {Map<string, number>}
   */
  #volumes;
  /**
   * The rooms that exist and may be monitored now.
   *
   * @type {Set<string>}
   */
  #open = new Set();
  #active = false;
  #told = '[]';
  #cancel = NOTHING;

  /**
   * @param {CallHandle} call
   * @param {{ clock: Clock, settings: Settings }} parts
   */
  constructor(call, { clock, settings }) {
    super();
    this.#call = call;
    this.#clock = clock;
    this.#settings = settings;
    this.#volumes = new Map(recalled(settings));
    // A new participant monitors nothing yet.
    call.addEventListener('sync', () => {
      this.#told = '[]';
      this.#tell();
    });
  }

  /**
   * The volume in percent, 5..=100; undefined for a room that is not monitored.
   *
   * @param {string} room
   */
  volume(room) {
    return this.#volumes.get(room);
  }

  /** Whether no further room can be added. */
  get full() {
    return this.#volumes.size >= MOST;
  }

  /**
   * Sets the volume of a room.
   *
   * @param {string} room
   * @param {number | undefined} percent undefined to stop monitoring the room
   */
  set(room, percent) {
    if (percent === undefined) this.#volumes.delete(room);
    else this.#volumes.set(room, percent);
    this.#settings.remember('listen', JSON.stringify([...this.#volumes]));
    this.#cancel();
    this.#cancel = this.#clock.after(TELL_MS, () => this.#tell());
    this.dispatchEvent(new Event('change'));
  }

  /**
   * Updates the rooms that exist and allow monitoring; a chosen room that appears again is
   * monitored again.
   *
   * @param {string[]} rooms
   */
  know(rooms) {
    this.#open = new Set(rooms);
    this.#tell();
  }

  /**
   * Notes that the server has refused a room; the room is requested again once `know` names it.
   *
   * @param {string} room
   */
  refused(room) {
    this.#open.delete(room);
    // The server has refused the whole list, so the other rooms must be sent again.
    this.#told = '';
    this.#tell();
  }

  /** Whether the monitored rooms are heard: only while the person's own room is a radio channel. */
  set active(/** @type {boolean} */ active) {
    this.#active = active;
    this.#tell();
  }

  close() {
    this.#cancel();
  }

  #tell() {
    /** @type {{ room: string, gain_db: number }[]} */
    const rooms = [];
    for (const [room, percent] of this.#active ? this.#volumes : []) {
      if (room !== this.#call.room && this.#open.has(room)) rooms.push({ room, gain_db: decibels(percent) });
    }
    const list = JSON.stringify(rooms);
    if (list !== this.#told && this.#call.say({ command: 'monitor', rooms })) this.#told = list;
  }
}

/** @param {number} percent */
function decibels(percent) {
  return Math.round(200 * Math.log10(percent / 100)) / 10;
}

/**
 * Returns the remembered rooms; ignores values that are not valid.
 *
 * @param {Settings} settings
 * @returns {[string, number][]}
 */
function recalled(settings) {
  try {
    /** @type {[string, number][]} */
    const pairs = JSON.parse(settings.recall('listen', '[]'));
    const valid = pairs.filter(([room, percent]) => typeof room === 'string' && percent >= QUIETEST_PERCENT && percent <= 100);
    return valid.slice(0, MOST);
  } catch {
    return [];
  }
}
