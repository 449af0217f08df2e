// Unit tests of the page's modules that need no page, for `node --test`.

import assert from 'node:assert/strict';
import test from 'node:test';

import { CallStats } from '../../src/web/model/call-stats.js';
import { Floor } from '../../src/web/model/floor.js';
import { floorText } from '../../src/web/model/floor-text.js';
import { kindOf, refusal } from '../../src/web/model/refusals.js';
import { Silence } from '../../src/web/model/silence.js';
import { connected } from '../../src/web/net/peer-connection.js';
import { compareNames } from '../../src/web/view/dom.js';

/** Looks at a line every 500 ms; `step` gives what has arrived by then. */
function looks(silence, count, step) {
  return Array.from({ length: count }, (_, number) => silence.look({ now: 500 * number, ...step(number) }));
}

test('a line without packets and events is silent while somebody talks', () => {
  const seconds = looks(new Silence(), 8, (number) => ({ packets: Math.min(number, 2), events: 0, expected: true }));
  assert.deepEqual(seconds, [0, 0, 0, 0, 0, 2, 2, 3]);
});

test('a line is not silent while packets or events arrive, or while nobody talks', () => {
  for (const step of [
    (number) => ({ packets: number, events: 0, expected: true }),
    (number) => ({ packets: 0, events: number, expected: true }),
    () => ({ packets: 7, events: 7, expected: false }),
  ]) assert.deepEqual(looks(new Silence(), 8, step), Array(8).fill(0));
});

test('a silent line stays silent until something arrives, although nobody is known to talk any more', () => {
  const silence = new Silence();
  const seconds = looks(silence, 8, (number) => ({ packets: 1, events: number === 7 ? 1 : 0, expected: number < 5 }));
  assert.deepEqual(seconds, [0, 0, 0, 2, 2, 3, 3, 0]);
});

test('a page that was frozen does not blame the line', () => {
  const silence = new Silence();
  const now = { packets: 1, events: 1, expected: true };
  assert.equal(silence.look({ now: 0, ...now }), 0);
  assert.equal(silence.look({ now: 60_000, ...now }), 0);
  assert.equal(silence.look({ now: 60_500, ...now }), 0);
});

/** A peer connection that reports the round trips of its pairs, `selected` being in use. */
function line({ selected, pairs }) {
  const entries = pairs.map(([id, seconds, answers]) => [id, {
    type: 'candidate-pair', id, nominated: true, currentRoundTripTime: seconds, responsesReceived: answers,
  }]);
  return { getStats: async () => new Map([...entries, ['T', { type: 'transport', id: 'T', selectedCandidatePairId: selected }]]) };
}

test('the round trip is that of the path in use, not of one before a restart', async () => {
  const pc = line({ selected: 'new', pairs: [['new', 0.01, 3], ['old', 6.143, 9]] });
  assert.equal((await new CallStats().measure(pc)).roundTripMs, 10);
});

test('a round trip that is not measured any more is not shown any more', async () => {
  const quality = new CallStats();
  const pairs = [['one', 6.143, 9]];
  const shown = [];
  for (let look = 0; look < 5; look += 1) shown.push((await quality.measure(line({ selected: 'one', pairs }))).roundTripMs !== null);
  assert.deepEqual(shown, [true, true, false, false, false]);
  assert.equal((await quality.measure(line({ selected: 'one', pairs: [['one', 0.02, 10]] }))).roundTripMs, 20);
});

test('a first connection that fails was not lost', async () => {
  const pc = Object.assign(new EventTarget(), { connectionState: 'connecting' });
  const failed = (before) => connected(pc, 1_000, Promise.resolve('interrupted'), before);
  await assert.rejects(failed(false), { message: 'No connection yet.' });
  await assert.rejects(failed(true), { message: 'The connection was lost.' });
});

test('refusals are worded by their type and numbers', () => {
  assert.equal(kindOf('urn:mixminus:problem:room-full'), 'room-full');
  assert.equal(refusal({ type: 'urn:mixminus:problem:room-full', limit: 3, detail: 'x' }, 'a'), 'This room is full (3 of 3).');
  assert.equal(refusal({ type: 'no-such-room' }, 'a'), 'There is no room called “a”. Choose one below.');
  assert.equal(refusal({ type: 'monitoring-refused', room: 'b' }, 'a'), 'The room “b” does not let other rooms listen in.');
  assert.equal(refusal({ type: 'too-many-messages', detail: 'Send less.' }, ''), 'Too fast. Wait a moment.');
  assert.equal(refusal({ type: 'new-to-this-page', detail: 'The server says so.' }, ''), 'The server says so.');
});

test('names sort as people count', () => {
  assert.deepEqual(['10', '2', '1', '3'].map((name) => `channel-${name}`).sort(compareNames), ['1', '2', '3', '10'].map((name) => `channel-${name}`));
});

/** A call whose server can be taken away. */
class Call extends EventTarget {
  id = 'me';
  online = true;
  said = [];

  say({ command }) {
    this.said.push(command);
    return true;
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** What the display says. */
function words(floor, call, latch = false) {
  return floorText(floor, { online: call.online, latch, latched: false, touch: false, talks: true, alone: false });
}

test('the floor is lost as soon as the server does not answer', () => {
  const call = new Call();
  const floor = new Floor(call);
  call.tell('floor', { event: 'room', room: { mode: 'ptt', participants: [{ id: 'me', name: 'Ann' }] } });
  floor.press();
  call.tell('floor', { event: 'floor_granted', id: 'floor-1', burst: 1, duration_ms: 30_000 });
  assert.equal(words(floor, call).state, 'held');
  call.online = false;
  call.tell('state');
  assert.deepEqual([floor.own.state, floor.own.why, floor.live], ['refused', 'lost', false]);
  assert.equal(words(floor, call).words, 'Not connected');
  // The release is owed until the server can be told.
  assert.deepEqual(call.said, ['floor_request']);
  floor.release();
  call.online = true;
  call.tell('state');
  assert.deepEqual(call.said, ['floor_request', 'floor_release']);
  floor.close();
});

test('the display agrees with the latch', () => {
  const call = new Call();
  const floor = new Floor(call);
  call.tell('floor', { event: 'room', room: { mode: 'ptt', participants: [] } });
  assert.equal(words(floor, call).more, 'Hold the button or space bar to talk.');
  assert.equal(words(floor, call, true).more, 'Press the button or space bar to talk.');
});
