// When a connection counts as silent.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Silence, SilenceWatch } from '../../src/web/model/silence.js';
import { FakeCall, VirtualClock } from './fakes.mjs';

/** Looks at a connection every 500 ms; `step` returns what has arrived by then. */
function looks(silence, count, step) {
  return Array.from({ length: count }, (_, number) => silence.look({ now: 500 * number, ...step(number) }));
}

test('silence: a connection without packets and events is silent while a participant talks', () => {
  const seconds = looks(new Silence(), 8, (number) => ({ packets: Math.min(number, 2), events: 0, expected: true }));
  assert.deepEqual(seconds, [0, 0, 0, 0, 0, 2, 2, 3]);
});

test('silence: a connection is not silent while packets or events arrive, or while nobody talks', () => {
  for (const step of [
    (number) => ({ packets: number, events: 0, expected: true }),
    (number) => ({ packets: 0, events: number, expected: true }),
    () => ({ packets: 7, events: 7, expected: false }),
  ]) assert.deepEqual(looks(new Silence(), 8, step), Array(8).fill(0));
});

test('silence: a silent connection stays silent until a packet or event arrives, even if no participant is known to talk', () => {
  const silence = new Silence();
  const seconds = looks(silence, 8, (number) => ({ packets: 1, events: number === 7 ? 1 : 0, expected: number < 5 }));
  assert.deepEqual(seconds, [0, 0, 0, 2, 2, 3, 3, 0]);
});

test('silence: a connection is not silent because the page was frozen', () => {
  const silence = new Silence();
  const now = { packets: 1, events: 1, expected: true };
  assert.equal(silence.look({ now: 0, ...now }), 0);
  assert.equal(silence.look({ now: 60_000, ...now }), 0);
  assert.equal(silence.look({ now: 60_500, ...now }), 0);
});

/** A call that counts packets and keeps what it is told. */
class WatchedCall extends FakeCall {
  silence = 0;
  packets = 0;
  doubts = [];
  pc = { getStats: async () => new Map([['in', { type: 'inbound-rtp', packetsReceived: this.packets }], ['out', { type: 'outbound-rtp' }]]) };

  doubt(seconds) {
    this.silence = seconds;
    this.doubts.push(seconds);
  }
}

function watched() {
  const clock = new VirtualClock();
  const call = new WatchedCall();
  const end = new AbortController();
  const parts = { call, clock, end, talking: true };
  new SilenceWatch({ call, talking: () => parts.talking, clock, signal: end.signal });
  /** Lets half-seconds pass and calls `each` before each of them. */
  parts.looks = async (count, each = () => {}) => {
    call.doubts = [];
    for (let look = 0; look < count; look += 1) {
      each();
      clock.pass(500);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return call.doubts;
  };
  return parts;
}

test('silence watch: a call is told how long it has been silent, and when the silence ends', async () => {
  const { call, looks } = watched();
  assert.deepEqual(await looks(3, () => (call.packets += 25)), [0, 0, 0]);
  assert.deepEqual(await looks(5), [0, 0, 2, 2, 3]);
  assert.deepEqual(await looks(1, () => (call.packets += 1)), [0]);
});

test('silence watch: events end the silence as well', async () => {
  const { call, looks } = watched();
  assert.deepEqual(await looks(6, () => call.tell('event', { event: 'levels', levels: {} })), [0, 0, 0, 0, 0, 0]);
});

test('silence watch: a call is not examined while it is not connected or after its end', async () => {
  const { call, end, clock, looks } = watched();
  call.state = 'reconnecting';
  assert.deepEqual(await looks(6), []);
  call.state = 'connected';
  end.abort();
  assert.deepEqual(await looks(6), []);
  assert.equal(clock.pending, 0);
});
