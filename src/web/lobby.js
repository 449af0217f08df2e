// The first page: one's name, a room, and which rooms are open.

import { listRooms } from './api.js';
import { recall, remember } from './settings.js';
import { put } from './text.js';

const REFRESH_MS = 3_000;
const ROOM_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

export class Lobby {
  #section = document.getElementById('lobby');
  #form = document.getElementById('join');
  #name = document.getElementById('name');
  #room = document.getElementById('room-name');
  #list = document.getElementById('rooms');
  #remark = document.getElementById('rooms-remark');
  #template = document.getElementById('room-card');
  #notice = document.getElementById('notice');
  #kind = document.getElementById('kind');
  #cards = new Map();
  /** Names of the rooms that there are, null while that is not known. */
  #open = null;
  #timer = 0;
  #enter;

  /** - `enter({ room, name, listen, mode })`: called when the person wants to go in; `mode` is for a room that is new. */
  constructor(enter) {
    this.#enter = enter;
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

  /** - `sentence`: why one is here again; `listen`: offer to come in without a microphone. */
  show({ room = '', sentence = '', listen = false } = {}) {
    this.#section.hidden = false;
    document.title = room ? `Join ${room} · mixminus` : 'mixminus';
    if (room) this.#room.value = room;
    this.#notice.hidden = !sentence;
    document.getElementById('notice-text').textContent = sentence;
    document.getElementById('listen-only').hidden = !listen;
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
    this.#fault(this.#name, name ? '' : 'Tell the others who you are.');
    this.#fault(this.#room, roomFault(room));
    const wrong = this.#form.querySelector('[aria-invalid=true]');
    if (wrong) return wrong.focus();
    remember('name', name);
    const mode = this.#kind.hidden ? null : new FormData(this.#form).get('mode');
    this.#enter({ room, name, listen, mode });
  }

  /** What kind of room it is to be can be said of one that is not there yet. */
  #offerKind() {
    const room = spelled(this.#room.value);
    this.#kind.hidden = !this.#open || !room || Boolean(roomFault(room)) || this.#open.has(room);
  }

  #fault(field, sentence) {
    field.setAttribute('aria-invalid', String(Boolean(sentence)));
    document.getElementById(`${field.id}-fault`).textContent = sentence;
  }

  async #refresh() {
    clearTimeout(this.#timer);
    if (this.#section.hidden || document.hidden) return;
    try {
      const { rooms } = await listRooms();
      this.#draw(rooms);
      this.#open = new Set(rooms.map(({ name }) => name));
      this.#offerKind();
      this.#remark.textContent = rooms.length ? '' : 'No room is open yet. Name one above and be the first.';
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
    const names = [...open.keys()].sort((a, b) => a.localeCompare(b));
    names.forEach((name, index) => {
      const card = this.#cards.get(name) ?? this.#card(name);
      if (this.#list.children[index] !== card) this.#list.insertBefore(card, this.#list.children[index] ?? null);
      describe(card, open.get(name));
    });
  }

  #card(name) {
    const card = this.#template.content.firstElementChild.cloneNode(true);
    card.querySelector('.card-name').textContent = name;
    card.querySelector('button').addEventListener('click', () => {
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
  const full = limit > 0 && participants >= limit;
  card.dataset.doing = talking > 0 ? 'talking' : 'quiet';
  let people = participants === 1 ? '1 person' : `${participants} people`;
  if (participants === 0) people = 'empty';
  if (full) people += ', full';
  put(card.querySelector('.card-people'), people);
  put(card.querySelector('.card-kind'), mode === 'open' ? '' : 'radio');
  put(card.querySelector('.card-talk-words'), talking > 1 ? `${talking} talking` : talking === 1 ? 'talking now' : '');
}

/** A room's name as people write it, as it can be one. */
function spelled(name) {
  return name.trim().replace(/\s+/g, '-');
}

/** What is wrong with a room's name, as a sentence; '' when nothing is. */
export function roomFault(room) {
  if (!room) return 'Name a room, or pick one below.';
  if (room.length > 64) return 'A room name has at most 64 characters.';
  if (!ROOM_NAME.test(room)) return 'Use letters A to Z, digits, dots, hyphens and underscores, with no dot in front.';
  return '';
}
