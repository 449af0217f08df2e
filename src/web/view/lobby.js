// The first page: the person's name, a room, and the list of rooms.

/** @import { JoinWish, RoomLine } from '../types' */
/** @import { Settings } from '../model/settings.js' */

import { full, noSuchRoom } from '../model/refusals.js';
import { compareNames, roomFault, spelled } from '../model/room-names.js';
import { listRooms } from '../net/api.js';
import { byId, copyOf, find, put } from './dom.js';

const REFRESH_MS = 3_000;

export class Lobby {
  #section = byId('lobby');
  #form = byId('join', HTMLFormElement);
  #name = byId('name', HTMLInputElement);
  #room = byId('room-name', HTMLInputElement);
  #list = byId('rooms');
  #remark = byId('rooms-remark');
  #lead = byId('lobby-lead');
  #template = byId('room-card', HTMLTemplateElement);
  #notice = byId('notice');
  #kind = byId('kind');
  /** @type {Map<string, HTMLElement>} */
  #cards = new Map();
  /**
   * The existing rooms by name; null before the server has sent the list.
   *
   * @type {Map<string, RoomLine> | null}
   */
  #open = null;
  /** Whether the server lets a join create a room. */
  #mayMake = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #enter;
  #settings;

  /**
   * @param {object} parts
   * @param {(wish: JoinWish) => void} parts.enter called when the person joins a room
   * @param {() => void} parts.cancel called when the person cancels the join while the browser asks
   * for the microphone
   * @param {Settings} parts.settings
   */
  constructor({ enter, cancel, settings }) {
    this.#enter = enter;
    this.#settings = settings;
    byId('cancel').addEventListener('click', cancel);
    this.#name.value = settings.recall('name');
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit(false);
    });
    byId('listen-only').addEventListener('click', () => this.#submit(true));
    for (const field of [this.#name, this.#room]) field.addEventListener('input', () => this.#fault(field, ''));
    this.#room.addEventListener('input', () => this.#offerKind());
    document.addEventListener('visibilitychange', () => this.#refresh());
  }

  /**
   * @param {object} shown
   * @param {string} [shown.room]
   * @param {string} [shown.sentence] a notice
   * @param {boolean} [shown.listen] whether to offer a join without a microphone
   * @param {boolean} [shown.cancel] whether to offer to cancel the join
   */
  show({ room = '', sentence = '', listen = false, cancel = false } = {}) {
    this.#section.hidden = false;
    document.title = room ? `Join ${room} · mixminus` : 'mixminus';
    if (room) this.#room.value = room;
    this.#notice.hidden = !sentence;
    byId('notice-text').textContent = sentence;
    byId('listen-only').hidden = !listen;
    byId('cancel').hidden = !cancel;
    this.#refresh();
  }

  /** Moves the focus to the first empty field, or to the Join button. */
  focus() {
    const next = [this.#name, this.#room].find((field) => !field.value);
    (next ?? byId('join-button')).focus();
  }

  hide() {
    this.#section.hidden = true;
    clearTimeout(this.#timer);
  }

  /** @param {{ room: string, name: string | null }} fields */
  prefill({ room, name }) {
    if (room) this.#room.value = room;
    if (name) this.#name.value = name;
  }

  /** @param {boolean} listen */
  #submit(listen) {
    const name = this.#name.value.trim();
    const room = spelled(this.#room.value);
    this.#room.value = room;
    this.#fault(this.#name, name ? '' : 'Enter your name.');
    this.#fault(this.#room, roomFault(room) || this.#missing(room));
    const wrong = [this.#name, this.#room].find((field) => field.getAttribute('aria-invalid') === 'true');
    if (wrong) return wrong.focus();
    this.#settings.remember('name', name);
    const known = this.#open?.get(room)?.mode ?? null;
    const mode = this.#kind.hidden ? known : String(new FormData(this.#form).get('mode'));
    this.#enter({ room, name, listen, mode });
  }

  /** Shows the choice of the room's type if the join would create the room. */
  #offerKind() {
    const room = spelled(this.#room.value);
    this.#kind.hidden = !this.#mayMake || !this.#open || !room || Boolean(roomFault(room)) || this.#open.has(room);
  }

  /** @param {string} room */
  #missing(room) {
    return this.#open && !this.#mayMake && !this.#open.has(room) ? noSuchRoom(room) : '';
  }

  /**
   * @param {HTMLInputElement} field
   * @param {string} sentence
   */
  #fault(field, sentence) {
    field.setAttribute('aria-invalid', String(Boolean(sentence)));
    byId(`${field.id}-fault`).textContent = sentence;
  }

  async #refresh() {
    clearTimeout(this.#timer);
    if (this.#section.hidden || document.hidden) return;
    try {
      const { rooms, open_rooms: mayMake = true } = await listRooms();
      this.#draw(rooms);
      this.#open = new Map(rooms.map((room) => [room.name, room]));
      this.#mayMake = mayMake;
      put(this.#lead, mayMake ? 'Join a room or name a new one.' : 'Join a room.');
      this.#offerKind();
      const none = mayMake ? 'No rooms yet. Enter a name above to start one.' : 'No rooms yet.';
      put(this.#remark, rooms.length ? '' : none);
    } catch (error) {
      this.#draw([]);
      this.#remark.textContent = `${/** @type {Error} */ (error).message} Trying again.`;
    }
    if (this.#section.hidden) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refresh(), REFRESH_MS);
  }

  /**
   * Draws the list of rooms. Existing cards are changed in place, so that a card does not lose the
   * focus or move away under a finger.
   *
   * @param {RoomLine[]} rooms
   */
  #draw(rooms) {
    const names = new Set(rooms.map(({ name }) => name));
    for (const [name, card] of this.#cards) {
      if (names.has(name)) continue;
      card.remove();
      this.#cards.delete(name);
    }
    const sorted = [...rooms].sort((a, b) => compareNames(a.name, b.name));
    sorted.forEach((room, index) => {
      const card = this.#cards.get(room.name) ?? this.#card(room.name);
      if (this.#list.children[index] !== card) this.#list.insertBefore(card, this.#list.children[index] ?? null);
      describe(card, room);
    });
  }

  /** @param {string} name */
  #card(name) {
    const card = copyOf(this.#template);
    find(card, '.card-name').textContent = name;
    const button = find(card, 'button', HTMLButtonElement);
    button.addEventListener('click', () => {
      if (button.getAttribute('aria-disabled') === 'true') return;
      this.#room.value = name;
      this.#offerKind();
      this.#submit(false);
    });
    this.#cards.set(name, card);
    return card;
  }
}

/**
 * @param {HTMLElement} card
 * @param {RoomLine} room
 */
function describe(card, room) {
  const { participants, talking, mode, max_participants: limit } = room;
  const noPlace = limit > 0 && participants >= limit;
  card.dataset.doing = talking > 0 ? 'talking' : 'quiet';
  let people = participants === 1 ? '1 person' : `${participants} people`;
  if (participants === 0) people = 'empty';
  if (noPlace) people += ', full';
  const button = find(card, 'button', HTMLButtonElement);
  // Not `disabled`: that would take the focus away from a person who is on the card.
  button.setAttribute('aria-disabled', String(noPlace));
  button.title = noPlace ? full(limit) : '';
  put(find(card, '.card-people'), people);
  put(find(card, '.card-kind'), mode === 'open' ? '' : 'radio');
  put(find(card, '.card-talk-words'), talking > 1 ? `${talking} talking` : talking === 1 ? 'talking now' : '');
}
