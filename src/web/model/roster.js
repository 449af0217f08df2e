// The participants of the room and who talks, computed from the server's events.
//
// Dispatches the RosterEvents `put` (a participant joined or changed, or has not connected in time)
// and `removed`.

/** @import { Clock, Doing, Participant, ServerEvent } from '../types' */

// Time after which a participant that has not connected is shown as lost.
const CONNECT_MS = 5_000;

/** The event that a participant has joined, changed or gone. */
export class RosterEvent extends Event {
  /**
   * @param {'put' | 'removed'} type
   * @param {string} participant
   */
  constructor(type, participant) {
    super(type);
    this.participant = participant;
  }
}

export class Roster extends EventTarget {
  /**
   * This page's own participant, null if there is none.
   *
   * @type {string | null}
   */
  own = null;

  #clock;
  /** @type {Map<string, Participant>} */
  #people = new Map();
  /**
   * When each participant was first seen, in the clock's time; -Infinity once it was connected.
   *
   * @type {Map<string, number>}
   */
  #since = new Map();

  /** @param {Clock} clock */
  constructor(clock) {
    super();
    this.#clock = clock;
  }

  /** Participants as the server describes them, in the order in which they joined. */
  get participants() {
    return [...this.#people.values()];
  }

  /** Names of the other participants who talk. */
  get talkers() {
    return this.participants.filter(({ id, talking }) => talking && id !== this.own).map(({ name }) => name);
  }

  /** Whether other participants are in the room, but none of them is connected. */
  get deserted() {
    const others = this.participants.filter(({ id }) => id !== this.own);
    return this.#people.size > 0 && others.every(({ connected }) => connected === false);
  }

  /**
   * Returns the participant with this id, if there is one.
   *
   * @param {string} id
   */
  participant(id) {
    return this.#people.get(id);
  }

  /**
   * Returns what a participant is doing, in one word.
   *
   * @param {Participant} participant
   * @param {{ holds: boolean, waits: boolean }} floor whether the participant holds the floor, or
   * waits for it
   * @returns {Doing}
   */
  doing({ id, connected, muted, talks, talking }, { holds, waits }) {
    if (connected === false) {
      const since = this.#since.get(id) ?? this.#clock.now();
      return this.#clock.now() - since >= CONNECT_MS ? 'lost' : 'connecting';
    }
    if (muted) return 'muted';
    if (talking) return 'talking';
    if (holds) return 'holding';
    if (waits) return 'waiting';
    return talks === false ? 'listening' : 'quiet';
  }

  /**
   * Applies one event of the server; returns a sentence for screen readers, or ''.
   *
   * @param {ServerEvent} event
   * @param {string | null} own this page's participant
   */
  apply(event, own) {
    this.own = own;
    switch (event.event) {
      case 'room':
        this.#replace(event.room.participants);
        return '';
      case 'joined': {
        const { id, name } = event.participant;
        const known = this.#people.has(id);
        this.#put(event.participant);
        return known || id === own ? '' : `${name} joined`;
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
      default:
        return '';
    }
  }

  /**
   * Marks all participants as silent, because the connection that would report who talks is lost.
   */
  hush() {
    for (const participant of this.participants) if (participant.talking) this.#put({ ...participant, talking: false });
  }

  /** @param {Participant[]} participants */
  #replace(participants) {
    const present = new Set(participants.map(({ id }) => id));
    for (const id of [...this.#people.keys()]) if (!present.has(id)) this.#remove(id);
    for (const participant of participants) this.#put(participant);
  }

  /** @param {Participant} participant */
  #put(participant) {
    const { id, connected } = participant;
    this.#people.set(id, participant);
    if (connected !== false) this.#since.set(id, -Infinity);
    else if (!this.#since.has(id)) {
      this.#since.set(id, this.#clock.now());
      this.#clock.after(CONNECT_MS, () => this.#people.has(id) && this.#tell('put', id));
    }
    this.#tell('put', id);
  }

  /**
   * @param {string} id
   * @param {Partial<Participant>} change
   */
  #change(id, change) {
    const participant = this.#people.get(id);
    if (participant) this.#put({ ...participant, ...change });
  }

  /**
   * @param {string} id
   * @returns {string}
   */
  #remove(id) {
    const participant = this.#people.get(id);
    this.#people.delete(id);
    this.#since.delete(id);
    this.#tell('removed', id);
    return participant && id !== this.own ? `${participant.name} left` : '';
  }

  /**
   * @param {'put' | 'removed'} type
   * @param {string} id
   */
  #tell(type, id) {
    this.dispatchEvent(new RosterEvent(type, id));
  }
}
