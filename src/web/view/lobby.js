// The first page: one's name, a room, and which rooms are open.

import { listRooms } from '../net/api.js';
import { recall, remember } from '../model/settings.js';
import { compareNames, put } from './dom.js';
import { full, noSuchRoom } from '../model/refusals.js';

const REFRESH_MS = 3_000;
const ROOM_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

export class Lobby {
  #section = document.getElementById('lobby');
  #form = document.getElementById('join');
  #name = document.getElementById('name');
  #room = document.getElementById('room-name');
  #list = document.getElementById('rooms');
  #remark = document.getElementById('rooms-remark');
  #lead = document.getElementById('lobby-lead');
  #template = document.getElementById('room-card');
  #notice = document.getElementById('notice');
  #kind = document.getElementById('kind');
  #cards = new Map();
  /** The rooms that there are, by name; null while that is not known. */
  #open = null;
  /** Whether the server lets a join make a room. */
  #mayMake = true;
  #timer = 0;
  #enter;

  /**
   * - `enter({ room, name, listen, mode })`: called when the person wants to join; `mode` is that of the room, chosen if the
   *   room is new, null if unknown; `cancel()`: the person gives up while the browser asks for the microphone.
   */
  constructor({ enter, cancel }) {
    this.#enter = enter;
    document.getElementById('cancel').addEventListener('click', cancel);
    this.#name.value = recall('name');
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit(false);
    });
    document.getElementById('listen-only').addEventListener('click', () => this.#submit(true));
    for (const field of [this.#name, this.#room]) field.addEventListener('input', () => this.#fault(field, ''));
    this.#room.addEventListener('input', () => this.#offerKind());
    document.addEventListener('visibilitychange', () => this.#refresh());
  }

  /** - `sentence`: a notice; `listen`: offer to join without a microphone; `cancel`: offer to give up. */
  show({ room = '', sentence = '', listen = false, cancel = false } = {}) {
    this.#section.hidden = false;
    document.title = room ? `Join ${room} · mixminus` : 'mixminus';
    if (room) this.#room.value = room;
    this.#notice.hidden = !sentence;
    document.getElementById('notice-text').textContent = sentence;
    document.getElementById('listen-only').hidden = !listen;
    document.getElementById('cancel').hidden = !cancel;
    this.#refresh();
  }

  /** Puts the cursor where the next thing is to be typed or pressed. */
  focus() {
    const next = [this.#name, this.#room].find((field) => !field.value);
    (next ?? document.getElementById('join-button')).focus();
  }

  hide() {
    this.#section.hidden = true;
    clearTimeout(this.#timer);
  }

  prefill({ room, name }) {
    if (room) this.#room.value = room;
    if (name) this.#name.value = name;
  }

  #submit(listen) {
    const name = this.#name.value.trim();
    const room = spelled(this.#room.value);
    this.#room.value = room;
    this.#fault(this.#name, name ? '' : 'Enter your name.');
    this.#fault(this.#room, roomFault(room) || this.#missing(room));
    const wrong = this.#form.querySelector('[aria-invalid=true]');
    if (wrong) return wrong.focus();
    remember('name', name);
    const known = this.#open?.get(room)?.mode ?? null;
    const mode = this.#kind.hidden ? known : new FormData(this.#form).get('mode');
    this.#enter({ room, name, listen, mode });
  }

  /** A new room gets its kind from the person who makes it. */
  #offerKind() {
    const room = spelled(this.#room.value);
    this.#kind.hidden = !this.#mayMake || !this.#open || !room || Boolean(roomFault(room)) || this.#open.has(room);
  }

  #missing(room) {
    return this.#open && !this.#mayMake && !this.#open.has(room) ? noSuchRoom(room) : '';
  }

  #fault(field, sentence) {
    field.setAttribute('aria-invalid', String(Boolean(sentence)));
    document.getElementById(`${field.id}-fault`).textContent = sentence;
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
      this.#remark.textContent = `${error.message} Trying again.`;
    }
    if (this.#section.hidden) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refresh(), REFRESH_MS);
  }

  /** Changes cards in place, so that neither the focus nor a finger about to press loses its card. */
  #draw(rooms) {
    const open = new Map(rooms.map((room) => [room.name, room]));
    for (const [name, card] of this.#cards) {
      if (open.has(name)) continue;
      card.remove();
      this.#cards.delete(name);
    }
    const names = [...open.keys()].sort(compareNames);
    names.forEach((name, index) => {
      const card = this.#cards.get(name) ?? this.#card(name);
      if (this.#list.children[index] !== card) this.#list.insertBefore(card, this.#list.children[index] ?? null);
      describe(card, open.get(name));
    });
  }

  #card(name) {
    const card = this.#template.content.firstElementChild.cloneNode(true);
    card.querySelector('.card-name').textContent = name;
    const button = card.querySelector('button');
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

function describe(card, room) {
  const { participants, talking, mode, max_participants: limit } = room;
  const noPlace = limit > 0 && participants >= limit;
  card.dataset.doing = talking > 0 ? 'talking' : 'quiet';
  let people = participants === 1 ? '1 person' : `${participants} people`;
  if (participants === 0) people = 'empty';
  if (noPlace) people += ', full';
  const button = card.querySelector('button');
  // Not `disabled`: that would take the focus away from a person who is on it.
  button.setAttribute('aria-disabled', String(noPlace));
  button.title = noPlace ? full(limit) : '';
  put(card.querySelector('.card-people'), people);
  put(card.querySelector('.card-kind'), mode === 'open' ? '' : 'radio');
  put(card.querySelector('.card-talk-words'), talking > 1 ? `${talking} talking` : talking === 1 ? 'talking now' : '');
}

/** Turns a room's name as people write it into one that the server takes. */
export function spelled(name) {
  return name.trim().replace(/\s+/g, '-');
}

/** Says what is wrong with a room's name; '' when nothing is. */
export function roomFault(room) {
  if (!room) return 'Enter a room name or choose one below.';
  if (room.length > 64) return 'A room name has at most 64 characters.';
  if (!ROOM_NAME.test(room)) return 'Use only letters (A–Z), numbers, and . - _ (not starting with a dot).';
  return '';
}
