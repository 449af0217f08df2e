// Random walks of the floor against a stub of the server: keys, other talkers, outages, lost
// requests, new joins.
//
// Whatever happens, the microphone is open only while the key is pressed and a moment longer, and
// whenever no message is under way the page and the server agree.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Floor } from '../../src/web/model/floor.js';
import { FakeCall, VirtualClock, participant, seeded } from './fakes.mjs';

const WALKS = 200;
const STEPS = 150;
const HANG_MS = 80;
const GRACE_MS = 700;
const LIMIT_MS = 6_000;
const MOST_WAITING = 1;
const OTHERS = ['ann', 'ben', 'cem'];
const MOST_DELAY_MS = 120;
// The last syllable, a release and its responses. Shorter than a talk-spurt, whose end would repair
// a forgotten release.
const SETTLE_MS = HANG_MS + 4 * MOST_DELAY_MS;
const EVERYTHING = ['asking', 'denied', 'ending', 'held', 'idle', 'lost', 'queued', 'revoked', 'unanswered'];

/**
 * The server's floor of one room, for the page and three other participants, who need no messages.
 */
class Server {
  /** The talk-spurt number of each holder, by participant. */
  holders = new Map();
  queue = [];
  #bursts = 0;
  #limits = new Map();
  #clock;
  #places;
  #tell;

  /** - `tell(event, to)`: sends an event to one participant, or to all. */
  constructor({ clock, places, tell }) {
    this.#clock = clock;
    this.#places = places;
    this.#tell = tell;
  }

  /** The state that a new connection receives. */
  get floor() {
    const holders = [...this.holders].map(([id, burst]) => ({ participant: id, burst, left_ms: LIMIT_MS }));
    return { holders, queue: [...this.queue] };
  }

  request(who, id) {
    if (this.holders.has(who)) return this.#grantAgain(who, id);
    const at = this.queue.indexOf(who);
    if (at >= 0) return this.#tell({ event: 'floor_queued', id, position: at + 1, size: this.queue.length }, who);
    if (this.holders.size < this.#places) return this.#grant(who, id);
    if (this.queue.length === MOST_WAITING) return this.#tell({ event: 'floor_denied', id, cause: 7, reason: 'queue full' }, who);
    this.queue.push(who);
    this.#tell({ event: 'floor_queued', id, position: this.queue.length, size: this.queue.length }, who);
    this.#tell({ event: 'floor_queue', queue: [...this.queue] });
  }

  release(who) {
    if (this.queue.includes(who)) {
      this.queue = this.queue.filter((other) => other !== who);
      this.#tell({ event: 'floor_queue', queue: [...this.queue] });
    }
    this.#end(who);
  }

  revoke(who) {
    const burst = this.holders.get(who);
    if (burst === undefined) return;
    this.#limits.get(who)?.();
    this.#tell({ event: 'floor_revoked', participant: who, burst, cause: 2, grace_ms: GRACE_MS });
    this.#limits.set(who, this.#clock.after(GRACE_MS, () => this.holders.get(who) === burst && this.#end(who)));
  }

  leave(who) {
    this.release(who);
    this.#tell({ event: 'left', participant: who, reason: 'left' });
  }

  #grant(who, id) {
    this.#bursts += 1;
    this.holders.set(who, this.#bursts);
    this.#limits.set(who, this.#clock.after(LIMIT_MS, () => this.revoke(who)));
    this.#grantAgain(who, id);
    const burst = this.#bursts;
    this.#tell({ event: 'floor_taken', participant: who, name: who, burst, duration_ms: LIMIT_MS, may_request: true });
  }

  #grantAgain(who, id) {
    const echo = id === undefined ? {} : { id };
    this.#tell({ event: 'floor_granted', burst: this.holders.get(who), duration_ms: LIMIT_MS, ...echo }, who);
  }

  #end(who) {
    const burst = this.holders.get(who);
    if (burst === undefined) return;
    this.#limits.get(who)?.();
    this.holders.delete(who);
    if (this.queue.length) {
      if (this.#places > 1) this.#tell({ event: 'floor_released', participant: who, burst });
      const next = this.queue.shift();
      this.#grant(next);
      this.#tell({ event: 'floor_queue', queue: [...this.queue] });
    } else if (this.holders.size) this.#tell({ event: 'floor_released', participant: who, burst });
    else this.#tell({ event: 'floor_idle', n: this.#bursts });
  }
}

/** A page and its server, with messages that are delayed but keep their order. */
class World {
  clock = new VirtualClock();
  call = new FakeCall();
  keyDown = false;
  /** The states that the floor has been in, and the reasons of its refusals. */
  reached = new Set();
  /** When the microphone must be closed at the latest. */
  #closedBy = -Infinity;
  #random;
  #places;
  #joins = 0;
  /** Messages that wait while the path is down. */
  #up = [];
  #down = [];
  #path = true;
  #lossy = false;

  constructor(random, places) {
    this.#random = random;
    this.#places = places;
    this.server = new Server({ clock: this.clock, places, tell: (event, to) => this.#toPage(event, to) });
    this.floor = new Floor(this.call, this.clock);
    this.floor.addEventListener('change', () => {
      this.reached.add(this.floor.own.why ?? this.floor.own.state);
    });
    const said = this.call.say.bind(this.call);
    this.call.say = (command) => said(command) && this.#toServer(command, this.call.id);
    this.#snapshot();
  }

  /** Makes one random thing happen, then lets some time pass. */
  step() {
    const happens = Math.floor(this.#random() * 14);
    const other = OTHERS[Math.floor(this.#random() * OTHERS.length)];
    if (happens < 4) this.press();
    else if (happens < 8) this.release();
    else if (happens < 10) this.server.request(other);
    else if (happens === 10) this.server.release(other);
    else if (happens === 11) this.cut(!this.#path);
    else if (happens === 12) this.#lossy = !this.#lossy;
    else if (this.#random() < 0.3) this.rejoin();
    this.check();
    // Often shorter than the delay of a message, sometimes as long as a talk-spurt.
    this.pass(this.#random() < 0.9 ? this.#random() * 200 : this.#random() * LIMIT_MS);
  }

  press() {
    this.keyDown = true;
    this.floor.press();
  }

  release() {
    if (this.keyDown) this.#closedBy = this.clock.now() + HANG_MS;
    this.keyDown = false;
    this.floor.release();
  }

  /** Takes the path down or up; the session outlives that. */
  cut(path) {
    this.#path = path;
    if (path) this.#deliver();
    this.call.connect(path);
    if (path) this.call.tell('sync');
  }

  /** Joins again as another participant without a request. The former participant leaves. */
  rejoin() {
    const former = this.call.id;
    this.#up = [];
    this.#down = [];
    this.#path = true;
    this.#joins += 1;
    this.call.online = false;
    this.call.tell('state');
    this.call.id = `me-${this.#joins}`;
    this.server.leave(former);
    this.#down = [];
    this.call.online = true;
    this.#snapshot();
    this.call.tell('state');
    this.call.tell('sync');
  }

  /** Ends all trouble, and lets everything arrive that is under way. */
  settle() {
    this.#lossy = false;
    if (!this.#path) this.cut(true);
    this.pass(SETTLE_MS);
    while (!this.#quiet) this.pass(10);
  }

  pass(ms) {
    // In small steps, so that `check` sees the states in between.
    for (let left = ms; left > 0; left -= 10) {
      this.clock.pass(Math.min(10, left));
      this.check();
    }
  }

  check() {
    const { own, live } = this.floor;
    if (live) assert.ok(this.keyDown || this.clock.now() <= this.#closedBy, 'the microphone is open although the key is up');
    if (own.state === 'queued') assert.ok(!live, 'the microphone is open in the queue');
    if (this.#quiet) this.#agree();
  }

  /** Whether no message is under way between the page and the server. */
  get #quiet() {
    return this.call.online && this.#up.length === 0 && this.#down.length === 0;
  }

  #agree() {
    const { call, floor, server } = this;
    const { own } = floor;
    const talks = own.state === 'held' || own.state === 'ending';
    assert.equal(talks ? own.burst : undefined, server.holders.get(call.id), `the burst while ${own.state}`);
    assert.equal(own.state === 'queued', server.queue.includes(call.id), `in the queue while ${own.state}`);
    assert.deepEqual([...floor.talkers.keys()].sort(), [...server.holders.keys()].sort(), 'who talks');
    assert.deepEqual(floor.queue, server.queue, 'who waits');
  }

  #snapshot() {
    const people = [this.call.id, ...OTHERS].map((id) => participant(id));
    const mode = this.#places === 1 ? 'ptt' : `multi:${this.#places}`;
    this.#toPage({ event: 'room', room: { mode, participants: people, floor: this.server.floor } }, this.call.id);
  }

  #toPage(event, to = this.call.id) {
    if (to !== this.call.id) return;
    this.#down.push({ due: this.#due(this.#down), run: () => this.call.tell('floor', event) });
    this.#wake(this.#down);
  }

  #toServer(command, who) {
    if (this.#lossy && command.command === 'floor_request') return true;
    const run = () => (command.command === 'floor_request' ? this.server.request(who, command.id) : this.server.release(who));
    this.#up.push({ due: this.#due(this.#up), run });
    this.#wake(this.#up);
    return true;
  }

  /** Returns when a new message is due, but not before the one in front of it. */
  #due(queue) {
    return Math.max(queue.at(-1)?.due ?? 0, this.clock.now() + this.#random() * MOST_DELAY_MS);
  }

  #wake(queue) {
    this.clock.after(queue.at(-1).due - this.clock.now(), () => this.#deliver());
  }

  #deliver() {
    for (const queue of [this.#up, this.#down]) {
      while (this.#path && queue.length && queue[0].due <= this.clock.now()) queue.shift().run();
    }
  }
}

/**
 * Walks at random, then comes to rest in one of two ways, and compares the page with the server.
 */
function walk(seed, places) {
  const world = new World(seeded(seed), places);
  for (let step = 0; step < STEPS; step += 1) world.step();
  const { call, floor, server } = world;

  world.release();
  world.settle();
  assert.ok(['idle', 'refused'].includes(floor.own.state), 'the key is up');
  assert.equal(server.holders.has(call.id) || server.queue.includes(call.id), false, 'the floor was not given back');

  for (const other of OTHERS) server.release(other);
  world.settle();
  world.press();
  world.pass(3 * MOST_DELAY_MS);
  assert.equal(floor.own.state, 'held', 'a free floor is given to the one who presses');
  assert.equal(floor.own.burst, server.holders.get(call.id));
  world.release();
  world.settle();
  assert.equal(floor.own.state, 'idle');
  assert.equal(server.holders.size, 0);
  return world.reached;
}

for (const places of [1, 2]) {
  test(`floor: ${WALKS} random walks with ${places} places never leave a microphone open, and end with page and server in agreement`, () => {
    const reached = new Set();
    for (let seed = 1; seed <= WALKS; seed += 1) {
      try {
        for (const state of walk(seed, places)) reached.add(state);
      } catch (error) {
        error.message = `seed ${seed}: ${error.message}`;
        throw error;
      }
    }
    // A walk that misses a state proves nothing about it.
    assert.deepEqual([...reached].sort(), EVERYTHING);
  });
}
