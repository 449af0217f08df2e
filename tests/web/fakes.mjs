// Replacements for the browser in tests: virtual time, and a call without a server.

/** Time that advances only when a test says so; a Clock of src/web/types.d.ts. */
export class VirtualClock {
  #now = 1_000;
  #timers = [];

  now() {
    return this.#now;
  }

  after(ms, then) {
    const timer = { due: this.#now + ms, then };
    this.#timers.push(timer);
    return () => (this.#timers = this.#timers.filter((other) => other !== timer));
  }

  /** Advances by `ms` and calls everything that is due, in the order of the due times. */
  pass(ms) {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.filter(({ due }) => due <= end).sort((a, b) => a.due - b.due)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.due);
      next.then();
    }
    this.#now = end;
  }

  /** The number of running timers. */
  get pending() {
    return this.#timers.length;
  }
}

/** A call whose connection and events the test controls; keeps the commands that were sent. */
export class FakeCall extends EventTarget {
  id = 'me';
  room = 'harbour';
  state = 'connected';
  online = true;
  said = [];

  /** Keeps a command; returns false if there is no connection, like `Call.say`. */
  say(command) {
    if (!this.online) return false;
    this.said.push(command);
    return true;
  }

  /** Returns the names of the commands since the last call. */
  get words() {
    return this.said.splice(0).map(({ command }) => command);
  }

  /** Dispatches an event; Node 18 has no CustomEvent. */
  tell(type, detail) {
    this.dispatchEvent(Object.assign(new Event(type), { detail }));
  }

  /** Connects to the server or loses it. */
  connect(online) {
    this.online = online;
    this.tell('state');
  }
}

/** Returns a pseudo-random generator with a seed, for numbers in 0..1 (1 excluded). */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    // Mulberry32.
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Returns a participant as the server describes it. */
export function participant(id, more = {}) {
  return { id, name: id, muted: false, talking: false, connected: true, talks: true, ...more };
}
