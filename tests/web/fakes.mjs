// What the tests put in place of the browser: virtual time, and a call without a server.

/** Time that passes only when a test says so; a Clock of src/web/types.d.ts. */
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

  /** Lets `ms` pass and calls what falls due, in the order in which it does. */
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

  /** How many timers run. */
  get pending() {
    return this.#timers.length;
  }
}

/** A call whose connection and events are the test's; keeps what was said. */
export class FakeCall extends EventTarget {
  id = 'me';
  room = 'harbour';
  state = 'connected';
  online = true;
  said = [];

  /** False when there is no way to send, as `Call.say`. */
  say(command) {
    if (!this.online) return false;
    this.said.push(command);
    return true;
  }

  /** What was said since the last call, without the commands' arguments. */
  get words() {
    return this.said.splice(0).map(({ command }) => command);
  }

  /** Dispatches an event; node 18 has no CustomEvent. */
  tell(type, detail) {
    this.dispatchEvent(Object.assign(new Event(type), { detail }));
  }

  /** Loses the server, or finds it again. */
  connect(online) {
    this.online = online;
    this.tell('state');
  }
}

/** A pseudo-random generator with a seed: numbers from 0 up to 1. */
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

/** A participant as the server describes it. */
export function participant(id, more = {}) {
  return { id, name: id, muted: false, talking: false, connected: true, talks: true, ...more };
}
