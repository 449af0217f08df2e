// The list of channels: who is online in each channel, who talks, and whether and how loud the
// channel is monitored.

/** @import { CallHandle, Mode, RoomLine, ServerEvent } from '../types' */
/** @import { Floor } from '../model/floor.js' */
/** @import { Monitors } from '../model/monitors.js' */

import { kindOf } from '../model/refusals.js';
import { compareNames } from '../model/room-names.js';
import { listRooms, readRoom } from '../net/api.js';
import { byId, copyOf, find, put } from './dom.js';

const REFRESH_MS = 3_000;
// Maximum number of listed channels: nobody reads a longer list, and each open entry costs a
// request.
const MOST_SHOWN = 50;
const FULL_VOLUME = 100;

/**
 * One channel of the list.
 *
 * @typedef {object} Channel
 * @property {RoomLine} line
 * @property {Map<string, string>} people names by id
 * @property {Map<string, string>} talkers names by id
 * @property {HTMLElement} item
 */

export class Channels {
  #call;
  #floor;
  #monitors;
  #go;
  #list = byId('channel-list');
  #remark = byId('channels-remark');
  #template = byId('channel', HTMLTemplateElement);
  /**
   * The listed channels by name.
   *
   * @type {Map<string, Channel>}
   */
  #channels = new Map();
  #active = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {object} parts
   * @param {CallHandle} parts.call
   * @param {Floor} parts.floor
   * @param {Monitors} parts.monitors
   * @param {(room: string, mode: Mode) => void} parts.go moves the person to another channel, to
   * talk there
   * @param {AbortSignal} parts.signal ends the list's timers and listeners
   */
  constructor({ call, floor, monitors, go, signal }) {
    this.#call = call;
    this.#floor = floor;
    this.#monitors = monitors;
    this.#go = go;
    this.#list.replaceChildren();
    call.addEventListener('event', ({ detail }) => this.#refused(detail), { signal });
    call.addEventListener('elsewhere', ({ detail }) => this.#hear(detail), { signal });
    floor.addEventListener('change', () => this.#draw(call.room), { signal });
    monitors.addEventListener('change', () => this.#drawAll(), { signal });
    document.addEventListener('visibilitychange', () => this.#refresh(), { signal });
    signal.addEventListener('abort', () => (this.active = false));
  }

  set active(/** @type {boolean} */ active) {
    if (active === this.#active) return;
    this.#active = active;
    this.#refresh();
  }

  async #refresh() {
    clearTimeout(this.#timer);
    if (!this.#active || document.hidden) return;
    try {
      const { rooms } = await listRooms();
      if (!this.#active) return;
      this.#monitors.know(rooms.filter(mayMonitor).map(({ name }) => name));
      this.#take(this.#order(rooms));
      this.#remark.textContent = rooms.length > MOST_SHOWN ? `and ${rooms.length - MOST_SHOWN} more` : '';
      await this.#readPeople();
    } catch (error) {
      this.#remark.textContent = `${/** @type {Error} */ (error).message} Trying again.`;
    }
    if (!this.#active) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refresh(), REFRESH_MS);
  }

  /**
   * Sorts the channels: the person's own channel first, then the monitored channels, then all
   * others, each group by name.
   *
   * @param {RoomLine[]} rooms
   */
  #order(rooms) {
    /** @param {RoomLine} room */
    const rank = ({ name }) => (name === this.#call.room ? 0 : this.#monitors.volume(name) ? 1 : 2);
    return rooms.sort((a, b) => rank(a) - rank(b) || compareNames(a.name, b.name)).slice(0, MOST_SHOWN);
  }

  /**
   * Draws the list. Existing items are changed in place, so that an item does not lose the focus or
   * move away under a finger.
   *
   * @param {RoomLine[]} lines
   */
  #take(lines) {
    const names = new Set(lines.map(({ name }) => name));
    for (const [name, { item }] of this.#channels) {
      if (names.has(name)) continue;
      item.remove();
      this.#channels.delete(name);
    }
    const items = lines.map((line) => {
      const channel = this.#channels.get(line.name) ?? this.#make(line);
      channel.line = line;
      if (line.talking === 0 && !line.floor?.holders.length) channel.talkers.clear();
      this.#draw(line.name);
      return channel.item;
    });
    this.#arrange(items);
  }

  /**
   * Orders the items without moving the item that has the focus, because a moved item would lose
   * the focus.
   *
   * @param {HTMLElement[]} items
   */
  #arrange(items) {
    const fixed = Math.max(0, items.findIndex((item) => item.contains(document.activeElement)));
    if (items.length && items[fixed].parentElement !== this.#list) this.#list.prepend(items[fixed]);
    for (let at = fixed - 1; at >= 0; at -= 1) {
      if (items[at + 1].previousElementSibling !== items[at]) items[at + 1].before(items[at]);
    }
    for (let at = fixed + 1; at < items.length; at += 1) {
      if (items[at - 1].nextElementSibling !== items[at]) items[at - 1].after(items[at]);
    }
  }

  /**
   * Requests the names of the people in each channel that shows them: monitored channels, and
   * channels that are opened in the list.
   */
  async #readPeople() {
    const wanted = [...this.#channels].filter(([name, { item }]) => this.#monitors.volume(name) || find(item, 'details', HTMLDetailsElement).open);
    await Promise.all(wanted.map(async ([name, channel]) => {
      // The request fails if the room has just ended; the next list of rooms then omits it.
      const room = await readRoom(name).catch(() => null);
      if (!room) return;
      channel.people = new Map(room.participants.map(({ id, name: person }) => [id, person]));
      const talking = room.floor?.holders.map(({ participant }) => participant) ?? room.participants.filter((one) => one.talking).map(({ id }) => id);
      channel.talkers = new Map(talking.map((id) => [id, channel.people.get(id) ?? '']));
      this.#draw(name);
    }));
  }

  /** @param {ServerEvent} event what happened in another room */
  #hear(event) {
    const room = typeof event.room === 'string' ? event.room : '';
    const channel = this.#channels.get(room);
    if (!channel) return;
    const { talkers, line, people } = channel;
    const guarded = line.mode !== 'open';
    if (event.event === 'floor_taken') {
      if (!line.mode.startsWith('multi:')) talkers.clear();
      talkers.set(event.participant, event.name);
    } else if (event.event === 'floor_idle') talkers.clear();
    else if (event.event === 'floor_released') talkers.delete(event.participant);
    else if (event.event === 'stopped' && !guarded) talkers.delete(event.participant);
    else if (event.event === 'talking' && !guarded) talkers.set(event.participant, people.get(event.participant) ?? '');
    this.#draw(room);
  }

  /** @param {ServerEvent} event */
  #refused(event) {
    if (event.event !== 'error' || kindOf(event.type) !== 'monitoring-refused' || !event.room) return;
    const { room } = event;
    this.#monitors.refused(room);
    const channel = this.#channels.get(room);
    if (channel) channel.line = { ...channel.line, allow_monitors: false };
    this.#draw(room);
  }

  /** @param {RoomLine} line */
  #make(line) {
    const { name } = line;
    const item = copyOf(this.#template);
    /** @type {Channel} */
    const channel = { line, people: new Map(), talkers: new Map(), item };
    /** @param {string} selector */
    const part = (selector) => find(item, selector);
    const monitor = find(item, '.channel-monitor input', HTMLInputElement);
    const volume = find(item, '.channel-volume input', HTMLInputElement);
    part('.channel-name').textContent = name;
    part('.channel-volume .aside').textContent = `Volume of ${name}`;
    monitor.setAttribute('aria-label', `Monitor ${name}`);
    monitor.addEventListener('change', () => this.#monitors.set(name, monitor.checked ? FULL_VOLUME : undefined));
    volume.addEventListener('input', () => this.#monitors.set(name, Number(volume.value)));
    part('.channel-go').setAttribute('aria-label', `Switch to ${name}`);
    part('.channel-go').addEventListener('click', () => this.#go(name, channel.line.mode));
    part('details').addEventListener('toggle', () => this.#refresh());
    this.#channels.set(name, channel);
    return channel;
  }

  #drawAll() {
    for (const name of this.#channels.keys()) this.#draw(name);
  }

  /** @param {string} name */
  #draw(name) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    const { line, item, people } = channel;
    /** @param {string} selector */
    const part = (selector) => find(item, selector);
    const monitor = find(item, '.channel-monitor input', HTMLInputElement);
    const slider = find(item, '.channel-volume input', HTMLInputElement);
    const own = name === this.#call.room;
    const allowed = mayMonitor(line);
    const volume = allowed ? this.#monitors.volume(name) : undefined;
    const talkers = own ? [...this.#floor.talkers.values()].map((talker) => talker.name) : [...channel.talkers.values()];
    const words = talk(talkers, own ? 0 : line.talking);
    item.dataset.doing = words ? 'talking' : 'quiet';
    item.toggleAttribute('data-own', own);
    if (own) item.setAttribute('aria-current', 'true');
    put(part('.channel-words'), words);
    put(part('.channel-kind'), own ? 'your channel' : line.mode === 'open' ? 'conference' : 'radio');
    put(part('summary'), line.participants ? `${line.participants} online` : 'empty');
    put(part('.channel-people'), [...people.values()].join(', ') || (line.participants ? '…' : 'Nobody is here.'));
    // The people of the person's own channel are shown in the list of participants instead.
    for (const element of [part('details'), part('.channel-monitor'), part('.channel-go')]) element.hidden = own;
    if (!allowed) part('.channel-monitor').hidden = true;
    part('.channel-closed').hidden = own || allowed;
    monitor.checked = volume !== undefined;
    monitor.disabled = volume === undefined && this.#monitors.full;
    part('.channel-volume').hidden = own || volume === undefined;
    if (volume !== undefined) slider.value = String(volume);
    slider.style.setProperty('--filled', `${((Number(slider.value) - Number(slider.min)) / (Number(slider.max) - Number(slider.min))) * 100}%`);
    slider.setAttribute('aria-valuetext', `${slider.value} percent`);
  }
}

/**
 * Returns who talks, in words.
 *
 * @param {string[]} names of the talkers, '' for an unknown name
 * @param {number} count number of talkers in a channel whose names were not requested
 */
function talk(names, count) {
  const known = names.filter(Boolean);
  if (known.length > 2) return `${known.length} talking`;
  if (known.length === 2) return `${known[0]} and ${known[1]} are talking`;
  if (known.length === 1) return `${known[0]} is talking`;
  return names.length || count ? 'talking now' : '';
}

/**
 * Whether participants of other rooms may monitor this room.
 *
 * @param {RoomLine} line
 */
function mayMonitor({ allow_monitors: allowed }) {
  return allowed !== false;
}
