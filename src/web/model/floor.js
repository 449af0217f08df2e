// The floor as this page knows it: who has it, who waits for it, and how far one's own wish to talk has come.
//
//   idle --press--> asking --granted--> held --revoked--> ending --grace over--> refused
//                     |  \---queued---> queued --granted--> held                    |
//                     \------denied-----------------------------------> refused ----+--> idle
//
// Letting the key go leads back to idle from everywhere. The server alone decides; this is its state and its
// answers, kept. Nothing here knows the page or the microphone: `live` says whether the microphone is to be open.
//
// Dispatches `change` whenever something of it changed.

// The last syllable is still on its way through the browser's encoder when the key comes up.
const HANG_MS = 80;
// TS 24.380: timer T101 and counter C101, for a message that a connection in trouble swallowed.
const ASK_AGAIN_MS = 1_000;
const MOST_ASKS = 3;
// How long a refusal stays to be read after the key came up.
const LINGER_MS = 2_500;

// What ends a wish without the server's word, so that it has to be told.
const UNTOLD = new Set(['lost', 'unanswered']);

const IDLE = Object.freeze({ state: 'idle' });
const LIVE = new Set(['asking', 'held', 'ending']);

export class Floor extends EventTarget {
  /** The room's mode, null until the server has told it. */
  mode = null;
  /** Who talks: id -> { name, until }, `until` in performance.now() time or null. */
  talkers = new Map();
  /** Ids of those who wait, the next one first. */
  queue = [];
  /** False while somebody broadcasts to listeners only. */
  mayRequest = true;
  /** The server itself plays tones to the one who asks. */
  tones = false;
  /**
   * One's own wish: { state } and with it, queued: position, size; held: burst, until, total; ending: burst, until,
   * cause; refused: why (denied, revoked, lost, muted, unanswered), cause, reason, holder.
   */
  own = IDLE;

  #call;
  /** The participant all this is about: after a fresh join one is somebody else, who has asked for nothing. */
  #who = null;
  #down = false;
  /** The server still takes the floor, or the wish for it, for ours: it could not be told. */
  #owes = false;
  #asked = 0;
  #hang = 0;
  #timer = 0;

  constructor(call) {
    super();
    this.#call = call;
    call.addEventListener('floor', ({ detail }) => this.#hear(detail));
    call.addEventListener('state', () => this.#follow());
    call.addEventListener('sync', () => this.#settle());
  }

  /** Whether one has to ask before one is heard. */
  get guarded() {
    return this.mode !== null && this.mode !== 'open';
  }

  /** How many may talk at a time: 1 but for `multi:n`. */
  get places() {
    return Number(this.mode?.match(/^multi:(\d+)$/)?.[1] ?? 1);
  }

  /** Whether the microphone is to be open: from the press on, since the server keeps what is said before its answer. */
  get live() {
    return this.mode === 'open' || LIVE.has(this.own.state);
  }

  /** The key goes down. */
  press() {
    if (this.#down || !this.guarded) return;
    this.#down = true;
    if (this.#hang) {
      // Down again before the release went out: the burst goes on.
      clearTimeout(this.#hang);
      this.#hang = 0;
      return;
    }
    this.#asked += 1;
    this.#owes = false;
    this.#become({ state: 'asking' });
    this.#ask(1);
  }

  /** The key comes up, or must be taken as up. */
  release() {
    if (!this.#down) return;
    this.#down = false;
    if (LIVE.has(this.own.state)) this.#hang = setTimeout(() => this.#giveBack(), HANG_MS);
    else if (this.own.state === 'queued') this.#giveBack();
    else this.#linger();
  }

  /** Turns a press down without asking anybody. */
  refuse(why) {
    this.#become({ state: 'refused', why });
    this.#linger();
  }

  /** Lets somebody who waits talk, in a moderated room. */
  grant(participant) {
    this.#call.say({ command: 'floor_grant', participant });
  }

  close() {
    clearTimeout(this.#hang);
    clearTimeout(this.#timer);
  }

  #ask(times) {
    const sent = this.#call.online && this.#call.say({ command: 'floor_request', id: this.#id });
    if (!sent) return this.#lose('lost');
    this.#after(ASK_AGAIN_MS, () => {
      if (times < MOST_ASKS) return this.#ask(times + 1);
      this.#lose('unanswered');
    });
  }

  #giveBack() {
    this.#hang = 0;
    // What comes of it is not waited for: one has ended, and is not shown as somebody else who talks.
    this.talkers.delete(this.#call.id);
    this.#become(IDLE);
    this.#owes = true;
    this.#settle();
  }

  /** Gives back what is owed as soon as that can be said. */
  #settle() {
    if (this.#owes && this.#call.online) this.#owes = !this.#call.say({ command: 'floor_release' });
  }

  #lose(why, more = {}) {
    clearTimeout(this.#hang);
    this.#hang = 0;
    this.talkers.delete(this.#call.id);
    if (UNTOLD.has(why)) {
      this.#owes = true;
      this.#settle();
    }
    this.#become({ state: 'refused', why, ...more });
    if (!this.#down) this.#linger();
  }

  /** A refusal stays while the key is down, and a moment longer. */
  #linger() {
    if (this.own.state === 'refused') this.#after(LINGER_MS, () => this.#become(IDLE));
  }

  #follow() {
    this.#meet();
    if (this.#call.online) return this.#settle();
    if (this.#wants) this.#lose('lost');
    this.#changed();
  }

  /** Forgets everybody with the session. One that outlives its path does not tell the room anew: it goes on. */
  #meet() {
    if (this.#who === this.#call.id) return;
    this.#who = this.#call.id;
    this.#owes = false;
    this.talkers.clear();
    this.queue = [];
  }

  #hear(event) {
    this.#meet();
    if (event.id !== undefined && event.id !== this.#id) return;
    switch (event.event) {
      case 'room':
        return this.#read(event.room);
      case 'floor_granted':
        return this.#granted(event);
      case 'floor_queued':
        if (this.#waits) this.#become({ state: 'queued', position: event.position, size: event.size });
        return;
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
        if (this.#talks) return this.#lose('revoked', { cause: this.own.cause });
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

  #read(room) {
    this.mode = room.mode;
    this.tones = room.floor_tones === true;
    const name = (id) => room.participants.find((participant) => participant.id === id)?.name ?? '';
    const holders = room.floor?.holders ?? [];
    this.talkers.clear();
    for (const { participant, burst, left_ms: left } of holders) this.#put(participant, { name: name(participant), burst, until: later(left) });
    this.mayRequest = true;
    if (!this.guarded) {
      this.#down = false;
      clearTimeout(this.#hang);
      this.#hang = 0;
      this.#become(IDLE);
    } else if (this.#talks && !this.talkers.has(this.#call.id)) {
      this.#lose('revoked', { cause: this.own.cause });
    }
    this.#queued(room.floor?.queue ?? []);
  }

  #granted({ burst, duration_ms: total }) {
    if ((!this.#down && !this.#hang) || this.own.state === 'refused') {
      // It crossed the release on the way, or the loss of the connection.
      this.#owes = true;
      return this.#settle();
    }
    if (this.own.state === 'ending') return;
    this.#become({ state: 'held', burst, until: later(total), total: total ?? null });
  }

  #taken({ participant, name, burst, duration_ms: total, may_request: mayRequest }) {
    // With a place for one, the next talker takes that of the last.
    if (this.places === 1) {
      if (this.#talks && participant !== this.#call.id) this.#lose('revoked', { cause: this.own.cause });
      this.talkers.clear();
    }
    this.#put(participant, { name, burst, until: later(total) });
    this.mayRequest = mayRequest !== false;
    this.#changed();
  }

  /** Keeps who talks, but for oneself who does not any more: a permission that crossed the release is given back. */
  #put(id, talker) {
    if (id !== this.#call.id || this.#wants) this.talkers.set(id, talker);
  }

  #stopped({ participant, burst }) {
    const talker = this.talkers.get(participant);
    if (talker && (burst === undefined || talker.burst === undefined || talker.burst === burst)) this.talkers.delete(participant);
    this.queue = this.queue.filter((id) => id !== participant || burst !== undefined);
    const own = participant === this.#call.id && this.#talks && burst === this.own.burst;
    if (own) this.#lose('revoked', { cause: this.own.cause });
    else this.#changed();
  }

  #revoked({ participant, burst, cause, grace_ms: grace }) {
    if (participant !== this.#call.id || this.own.state !== 'held' || burst !== this.own.burst) return;
    if (!(grace > 0)) return this.#lose('revoked', { cause });
    this.#become({ state: 'ending', burst, cause, until: later(grace), total: grace });
    this.#after(grace, () => this.#lose('revoked', { cause }));
  }

  #queued(queue) {
    this.queue = queue;
    if (this.own.state !== 'queued') return this.#changed();
    const position = queue.indexOf(this.#call.id) + 1;
    if (position) return this.#become({ state: 'queued', position, size: queue.length });
    // Out of the queue means granted, and that comes in a moment. Asking again mends what went wrong: one who has the
    // floor is told so anew.
    this.#after(ASK_AGAIN_MS, () => this.#ask(1));
    this.#changed();
  }

  get #id() {
    return `floor-${this.#asked}`;
  }

  get #waits() {
    return this.own.state === 'asking' || this.own.state === 'queued';
  }

  /** There is something to give back. */
  get #wants() {
    return this.#waits || this.#talks;
  }

  get #talks() {
    return this.own.state === 'held' || this.own.state === 'ending';
  }

  /** One timer for all states: each of them waits for one thing at most. */
  #after(ms, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, ms);
  }

  #become(own) {
    clearTimeout(this.#timer);
    this.own = Object.freeze(own);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

function later(ms) {
  return typeof ms === 'number' ? performance.now() + ms : null;
}
