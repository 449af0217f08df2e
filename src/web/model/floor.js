// The floor as this page knows it: the holders, the queue, and the state of the person's own
// request to talk.
//
//   idle --press--> asking --granted--> held --revoked--> ending --grace over--> refused
//                     |  \---queued---> queued --granted--> held                    |
//                     \------denied-----------------------------------> refused ----+--> idle
//
// Releasing the key leads back to idle from every state. Only the server decides who has the floor;
// this state machine keeps the state that the server has sent. It knows neither the page nor the
// microphone: `live` tells whether the microphone is to be open.
//
// Dispatches `change` after any change of its state.

/** @import { CallHandle, Clock, EventOf, FloorView, OwnFloor, RefusedWhy, RoomState, ServerEvent, Talker } from '../types' */

// Delay before the floor is released, because the last syllable is still in the browser's encoder
// when the key is released.
const HANG_MS = 80;
// When a floor request without a response is repeated, and how often it is sent: timer T101 and
// counter C101 of TS 24.380.
const ASK_AGAIN_MS = 1_000;
const MOST_ASKS = 3;
// How long the page shows a refusal after the key was released.
const LINGER_MS = 2_500;

// Reasons to end a request that the server does not know about, so that the page must release the
// floor.
const UNTOLD = new Set(['lost', 'unanswered']);

/** @type {OwnFloor} */
const IDLE = Object.freeze({ state: 'idle' });
const LIVE = new Set(['asking', 'held', 'ending']);
const NOTHING = () => {};

/** @implements {FloorView} */
export class Floor extends EventTarget {
  /**
   * The room's mode, null until the server has sent it.
   *
   * @type {string | null}
   */
  mode = null;
  /**
   * The floor's holders by id; `until` in the clock's time, or null without a limit.
   *
   * @type {Map<string, Talker>}
   */
  talkers = new Map();
  /**
   * Ids of the waiting participants, the next one first.
   *
   * @type {string[]}
   */
  queue = [];
  /**
   * Whether participants may request the floor; false while a talker has the floor of a `broadcast`
   * room.
   */
  mayRequest = true;
  /** Whether the server plays tones to the participant who requests the floor. */
  tones = false;
  /**
   * The person's own request.
   *
   * @type {OwnFloor}
   */
  own = IDLE;

  #call;
  #clock;
  /**
   * The id of the participant that this state belongs to. A new join makes a new participant, who
   * has requested nothing.
   *
   * @type {string | null}
   */
  #participant = null;
  #down = false;
  /**
   * Whether a release could not be sent yet, so that the server may still count this participant as
   * holding the floor or waiting for it.
   */
  #owes = false;
  /** Counts the requests, to recognise late responses to earlier requests. */
  #asked = 0;
  /**
   * Cancels the delayed release that waits for the last syllable; null if there is none.
   *
   * @type {(() => void) | null}
   */
  #hang = null;
  /** Cancels the timer of the current state. */
  #timer = NOTHING;

  /**
   * @param {CallHandle} call
   * @param {Clock} clock
   */
  constructor(call, clock) {
    super();
    this.#call = call;
    this.#clock = clock;
    call.addEventListener('floor', ({ detail }) => this.#hear(detail));
    call.addEventListener('state', () => this.#follow());
    call.addEventListener('sync', () => this.#settle());
  }

  /** Whether a participant must request the floor before being heard. */
  get guarded() {
    return this.mode !== null && this.mode !== 'open';
  }

  /** How many participants may talk at a time: 1 except for `multi:n`. */
  get places() {
    return Number(this.mode?.match(/^multi:(\d+)$/)?.[1] ?? 1);
  }

  /**
   * Whether the microphone is to be open. It opens when the key is pressed, because the server
   * keeps the speech that arrives before the grant.
   */
  get live() {
    return this.mode === 'open' || LIVE.has(this.own.state);
  }

  /** The key is pressed. */
  press() {
    if (this.#down || !this.guarded) return;
    this.#down = true;
    if (this.#hang) {
      // Pressed again before the release was sent: the talk-spurt continues.
      this.#stopHang();
      return;
    }
    this.#asked += 1;
    this.#owes = false;
    this.#become({ state: 'asking' });
    this.#ask(1);
  }

  /** The key is released, or something else ends the press. */
  release() {
    if (!this.#down) return;
    this.#down = false;
    if (LIVE.has(this.own.state)) this.#hang = this.#clock.after(HANG_MS, () => this.#giveBack());
    else if (this.own.state === 'queued') this.#giveBack();
    else this.#linger();
  }

  /**
   * Refuses a press without asking the server.
   *
   * @param {RefusedWhy} why
   */
  refuse(why) {
    this.#become({ state: 'refused', why });
    this.#linger();
  }

  /**
   * Gives the floor to a waiting participant, in a moderated room.
   *
   * @param {string} participant
   */
  grant(participant) {
    this.#call.say({ command: 'floor_grant', participant });
  }

  close() {
    this.#stopHang();
    this.#timer();
  }

  /** @param {number} times */
  #ask(times) {
    const sent = this.#call.online && this.#call.say({ command: 'floor_request', id: this.#id });
    if (!sent) return this.#lose('lost');
    this.#after(ASK_AGAIN_MS, () => {
      if (times < MOST_ASKS) return this.#ask(times + 1);
      this.#lose('unanswered');
    });
  }

  #giveBack() {
    this.#hang = null;
    // The page does not wait for the response to the release, or it would show its own participant
    // as another talker.
    this.#forgetOwnTalk();
    this.#become(IDLE);
    this.#owes = true;
    this.#settle();
  }

  /** Releases the floor as soon as the release can be sent. */
  #settle() {
    if (this.#owes && this.#call.online) this.#owes = !this.#call.say({ command: 'floor_release' });
  }

  /**
   * @param {RefusedWhy} why
   * @param {{ cause?: number, reason?: string, holder?: string }} more
   */
  #lose(why, more = {}) {
    this.#stopHang();
    this.#forgetOwnTalk();
    if (UNTOLD.has(why)) {
      this.#owes = true;
      this.#settle();
    }
    this.#become({ state: 'refused', why, ...more });
    if (!this.#down) this.#linger();
  }

  /** Handles the loss of the floor; the cause is known if the server has announced it. */
  #loseRevoked() {
    this.#lose('revoked', { cause: this.own.state === 'ending' ? this.own.cause : undefined });
  }

  /** Ends a refusal after LINGER_MS. While the key is pressed, a refusal does not end. */
  #linger() {
    if (this.own.state === 'refused') this.#after(LINGER_MS, () => this.#become(IDLE));
  }

  #follow() {
    this.#meet();
    if (this.#call.online) return this.#settle();
    if (this.#wants) this.#lose('lost');
    this.#changed();
  }

  /**
   * Forgets all participants when the session changes. If the session survives a broken path, its
   * state is kept.
   */
  #meet() {
    if (this.#participant === this.#call.id) return;
    this.#participant = this.#call.id;
    this.#owes = false;
    this.talkers.clear();
    this.queue = [];
  }

  /** @param {ServerEvent} event */
  #hear(event) {
    this.#meet();
    if (event.id !== undefined && event.id !== this.#id) return;
    switch (event.event) {
      case 'room':
        return this.#read(event.room);
      case 'floor_granted':
        return this.#granted(event);
      case 'floor_queued':
        return this.#enqueued(event);
      case 'floor_denied':
        if (this.#waits) this.#lose('denied', { cause: event.cause, reason: event.reason, holder: event.holder });
        return;
      case 'error':
        if (event.id !== undefined && this.#waits) this.#lose('denied', { reason: event.detail });
        return;
      case 'floor_taken':
        return this.#taken(event);
      case 'floor_idle':
        this.talkers.clear();
        this.mayRequest = true;
        if (this.#talks) return this.#loseRevoked();
        return this.#changed();
      case 'floor_released':
      case 'left':
        return this.#stopped(event);
      case 'floor_revoked':
        return this.#revoked(event);
      case 'floor_queue':
        return this.#queued(event.queue);
    }
  }

  /** @param {RoomState} room */
  #read(room) {
    this.mode = room.mode;
    this.tones = room.floor_tones === true;
    /** @param {string} id */
    const name = (id) => room.participants.find((participant) => participant.id === id)?.name ?? '';
    this.talkers.clear();
    for (const { participant, burst, left_ms: left } of room.floor?.holders ?? []) {
      this.#put(participant, { name: name(participant), burst, until: this.#later(left) });
    }
    this.mayRequest = true;
    if (!this.guarded) {
      this.#down = false;
      this.#stopHang();
      this.#become(IDLE);
    } else if (this.#talks && !this.talkers.has(this.#call.id ?? '')) {
      this.#loseRevoked();
    }
    this.#queued(room.floor?.queue ?? []);
  }

  /** @param {EventOf<'floor_granted'>} event */
  #granted({ burst, duration_ms: total }) {
    if ((!this.#down && !this.#hang) || this.own.state === 'refused') {
      // The server sent the grant before it received the release, or before the connection was
      // lost.
      this.#owes = true;
      return this.#settle();
    }
    if (this.own.state === 'ending') return;
    this.#become({ state: 'held', burst, until: this.#later(total), total: total ?? null });
  }

  /** @param {EventOf<'floor_queued'>} event */
  #enqueued({ id, position, size }) {
    // The grant of an earlier request, which carries no id, was taken for the grant of this
    // request, and ended before this response arrived.
    const late = id !== undefined && this.own.state === 'refused' && this.own.why === 'revoked';
    if (this.#waits || (late && this.#down)) return this.#become({ state: 'queued', position, size });
    if (!late) return;
    this.#owes = true;
    this.#settle();
  }

  /** @param {EventOf<'floor_taken'>} event */
  #taken({ participant, name, burst, duration_ms: total, may_request: mayRequest }) {
    // If only one participant may talk, the next talker replaces the last one.
    if (this.places === 1) {
      if (this.#talks && participant !== this.#call.id) this.#loseRevoked();
      this.talkers.clear();
    }
    this.#put(participant, { name, burst, until: this.#later(total) });
    this.mayRequest = mayRequest !== false;
    this.#changed();
  }

  /**
   * Stores a talker, except the page's own participant if they have released the key: a grant that
   * arrives after that is released at once.
   *
   * @param {string} id
   * @param {Talker} talker
   */
  #put(id, talker) {
    if (id !== this.#call.id || this.#wants) this.talkers.set(id, talker);
  }

  /** @param {EventOf<'floor_released'> | EventOf<'left'>} event */
  #stopped({ participant, burst }) {
    const talker = this.talkers.get(participant);
    if (talker && (burst === undefined || talker.burst === undefined || talker.burst === burst)) this.talkers.delete(participant);
    this.queue = this.queue.filter((id) => id !== participant || burst !== undefined);
    if (participant === this.#call.id && this.#burst !== null && burst === this.#burst) this.#loseRevoked();
    else this.#changed();
  }

  /** @param {EventOf<'floor_revoked'>} event */
  #revoked({ participant, burst, cause, grace_ms: grace }) {
    const { own } = this;
    if (participant !== this.#call.id || own.state !== 'held' || burst !== own.burst) return;
    if (!(grace > 0)) return this.#lose('revoked', { cause });
    this.#become({ state: 'ending', burst, cause, until: this.#later(grace), total: grace });
    this.#after(grace, () => this.#lose('revoked', { cause }));
  }

  /** @param {string[]} queue */
  #queued(queue) {
    this.queue = queue;
    if (this.own.state !== 'queued') return this.#changed();
    const position = queue.indexOf(this.#call.id ?? '') + 1;
    if (position) return this.#become({ state: 'queued', position, size: queue.length });
    // Leaving the queue means a grant, which arrives in a moment. If the grant was lost, another
    // request repairs that: the server repeats the grant to a participant who holds the floor.
    this.#after(ASK_AGAIN_MS, () => this.#ask(1));
    this.#changed();
  }

  get #id() {
    return `floor-${this.#asked}`;
  }

  get #waits() {
    return this.own.state === 'asking' || this.own.state === 'queued';
  }

  /** Whether the participant holds the floor or waits for it. */
  get #wants() {
    return this.#waits || this.#talks;
  }

  get #talks() {
    return this.own.state === 'held' || this.own.state === 'ending';
  }

  /** The burst number of the participant's own floor, or null if they have none. */
  get #burst() {
    return this.own.state === 'held' || this.own.state === 'ending' ? this.own.burst : null;
  }

  #forgetOwnTalk() {
    this.talkers.delete(this.#call.id ?? '');
  }

  #stopHang() {
    this.#hang?.();
    this.#hang = null;
  }

  /**
   * Starts the timer of the current state, and cancels the previous timer: each state needs at most
   * one.
   *
   * @param {number} ms
   * @param {() => void} then
   */
  #after(ms, then) {
    this.#timer();
    this.#timer = this.#clock.after(ms, then);
  }

  /** @param {OwnFloor} own */
  #become(own) {
    this.#timer();
    this.#timer = NOTHING;
    this.own = Object.freeze(own);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }

  /**
   * @param {number | null | undefined} ms
   * @returns {number | null}
   */
  #later(ms) {
    return typeof ms === 'number' ? this.#clock.now() + ms : null;
  }
}
