// The list of participants who monitor this room from other rooms: shows their number, and their
// names on a tap.

/** @import { CallHandle, Monitor } from '../types' */

import { byId, put } from './dom.js';

export class MonitorList {
  /** How many participants monitor this room. */
  total = 0;

  #element = byId('monitors');
  #count = byId('monitors-count');
  #names = byId('monitors-names');

  /**
   * @param {CallHandle} call
   * @param {AbortSignal} signal ends the list's listeners
   */
  constructor(call, signal) {
    this.#draw([], 0);
    call.addEventListener('event', ({ detail }) => {
      if (detail.event === 'room') this.#draw(detail.room.monitors, detail.room.monitors_total);
      if (detail.event === 'monitors') this.#draw(detail.monitors, detail.monitors_total);
    }, { signal });
  }

  /**
   * @param {Monitor[]} monitors the monitors that the server names, up to its limit
   * @param {number} total number of all monitors
   */
  #draw(monitors = [], total = monitors.length) {
    this.total = total;
    const names = monitors.map(({ name, room }) => `${name} (${room})`);
    if (total > names.length) names.push(`${total - names.length} more`);
    const list = names.join(', ');
    this.#element.hidden = total === 0;
    put(this.#count, total === 1 ? '1 person in another room monitors this room' : `${total} people in other rooms monitor this room`);
    put(this.#names, list);
    this.#element.title = list;
  }
}
