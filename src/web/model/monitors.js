// The channels one listens to besides one's own, and how loud: remembered between visits, told to the server.
//
// Dispatches `change` whenever a channel is added, dropped or its volume moved.

import { recall, remember } from './settings.js';

// A slider on the move makes dozens of values a second.
const TELL_MS = 150;
// The server takes no more.
const MOST = 16;

export class Monitors extends EventTarget {
  #call;
  /** Room -> volume in percent. */
  #volumes = new Map(recalled());
  /** The rooms that may be listened to now. */
  #open = new Set();
  #active = false;
  #told = '[]';
  #timer = 0;

  constructor(call) {
    super();
    this.#call = call;
    // A new participant listens to nothing else yet.
    call.addEventListener('sync', () => {
      this.#told = '[]';
      this.#tell();
    });
  }

  /** Percent, 5..=100; undefined where one does not listen. */
  volume(room) {
    return this.#volumes.get(room);
  }

  /** As many as can be. */
  get full() {
    return this.#volumes.size >= MOST;
  }

  /** - `percent`: undefined to stop listening. */
  set(room, percent) {
    if (percent === undefined) this.#volumes.delete(room);
    else this.#volumes.set(room, percent);
    remember('listen', JSON.stringify([...this.#volumes]));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tell(), TELL_MS);
    this.dispatchEvent(new Event('change'));
  }

  /** - `rooms`: the names of those that there are and that let others listen; one that comes back is listened to again. */
  know(rooms) {
    this.#open = new Set(rooms);
    this.#tell();
  }

  /** The server refused this room: it is asked for again once `know` names it. */
  refused(room) {
    this.#open.delete(room);
    // The server took none of the list that named it.
    this.#told = '';
    this.#tell();
  }

  /** Only in a room that is a radio channel are others heard besides it. */
  set active(active) {
    this.#active = active;
    this.#tell();
  }

  close() {
    clearTimeout(this.#timer);
  }

  #tell() {
    const rooms = [];
    for (const [room, percent] of this.#active ? this.#volumes : []) {
      if (room !== this.#call.room && this.#open.has(room)) rooms.push({ room, gain_db: decibels(percent) });
    }
    const list = JSON.stringify(rooms);
    if (list !== this.#told && this.#call.say({ command: 'listen', rooms })) this.#told = list;
  }
}

function decibels(percent) {
  return Math.round(200 * Math.log10(percent / 100)) / 10;
}

/** What was remembered, unless somebody wrote something else there. */
function recalled() {
  try {
    const pairs = JSON.parse(recall('listen', '[]'));
    return pairs.filter(([room, percent]) => typeof room === 'string' && percent >= 5 && percent <= 100).slice(0, MOST);
  } catch {
    return [];
  }
}
