// The mute's state machine: the person's wish, the server's state, and the microphone.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Mute } from '../../src/web/model/mute.js';
import { FakeCall, VirtualClock, participant } from './fakes.mjs';

const SETTLE_MS = 1_000;

function microphone({ open = true } = {}) {
  const call = new FakeCall();
  const clock = new VirtualClock();
  const track = { enabled: true };
  const mute = new Mute(call, track, clock);
  if (open) mute.gate(true);
  let changes = 0;
  mute.addEventListener('change', () => (changes += 1));
  const hear = (event) => call.tell('event', event);
  return { call, clock, track, mute, hear, changes: () => changes };
}

const muted = (id, value) => ({ event: 'muted', participant: id, muted: value });

test('mute: the microphone is closed until the room’s mode is known', () => {
  const { track, mute } = microphone({ open: false });
  assert.equal(track.enabled, false);
  mute.gate(true);
  assert.equal(track.enabled, true);
});

test('mute: the microphone is open only if the gate is open and the person is not muted', () => {
  const { track, mute, changes } = microphone();
  mute.set(true);
  assert.equal(track.enabled, false);
  mute.gate(false);
  mute.set(false);
  assert.equal(track.enabled, false);
  mute.gate(true);
  assert.equal(track.enabled, true);
  assert.equal(changes(), 2);
});

test('mute: a new microphone takes over the mute', () => {
  const { mute } = microphone();
  mute.set(true);
  const other = { enabled: true };
  mute.attach(other);
  assert.equal(other.enabled, false);
});

test('mute: the server is told of each change by the person', () => {
  const { call, mute } = microphone();
  mute.set(true);
  mute.set(false);
  assert.deepEqual(call.words, ['mute', 'unmute']);
});

test('mute: a moderator may mute, and the person sees it', () => {
  const { call, track, mute, hear, changes } = microphone();
  hear(muted('me', true));
  assert.deepEqual([mute.muted, track.enabled, changes()], [true, false, 1]);
  assert.deepEqual(call.words, []);
});

test('mute: a person cannot be unmuted remotely', () => {
  const { call, clock, track, mute, hear } = microphone();
  mute.set(true);
  hear(muted('me', true));
  clock.pass(SETTLE_MS);
  call.said.length = 0;
  hear(muted('me', false));
  assert.deepEqual([mute.muted, track.enabled], [true, false]);
  assert.deepEqual(call.words, ['mute'], 'the server is told again');
});

test('mute: the state of other participants changes nothing', () => {
  const { mute, hear } = microphone();
  hear(muted('ann', true));
  hear({ event: 'changed', participant: participant('ann', { muted: true }) });
  assert.equal(mute.muted, false);
});

test('mute: every event that carries the participant’s own state counts', () => {
  for (const event of [
    muted('me', true),
    { event: 'changed', participant: participant('me', { muted: true }) },
    { event: 'room', room: { participants: [participant('me', { muted: true })] } },
  ]) {
    const { mute, hear } = microphone();
    hear(event);
    assert.equal(mute.muted, true, event.event);
  }
});

test('mute: late confirmations of quick changes do not change the mute', () => {
  const { call, clock, mute, hear } = microphone();
  mute.set(true);
  mute.set(false);
  hear(muted('me', true));
  assert.equal(mute.muted, false);
  hear(muted('me', false));
  clock.pass(SETTLE_MS);
  assert.equal(mute.muted, false);
  assert.deepEqual(call.words, ['mute', 'unmute']);
});

test('mute: each change waits for its own confirmation', () => {
  const { clock, mute, hear } = microphone();
  mute.set(true);
  clock.pass(SETTLE_MS - 100);
  mute.set(false);
  hear(muted('me', true));
  clock.pass(SETTLE_MS - 100);
  assert.equal(mute.muted, false);
  clock.pass(100);
  assert.equal(mute.muted, true, 'the server says otherwise, and a moderator may have meant it');
});

test('mute: a mute that the server has not confirmed is sent again', () => {
  const { call, clock, mute } = microphone();
  call.online = false;
  mute.set(true);
  call.online = true;
  clock.pass(SETTLE_MS);
  assert.deepEqual(call.words, ['mute']);
});

test('mute: a new connection is told the mute only if the person is muted', () => {
  const { call, mute } = microphone();
  call.tell('sync');
  assert.deepEqual(call.words, []);
  mute.set(true);
  call.said.length = 0;
  call.tell('sync');
  assert.deepEqual(call.words, ['mute']);
});

test('mute: nothing is sent after the call has ended', () => {
  const { call, clock, mute } = microphone();
  mute.set(true);
  call.said.length = 0;
  call.state = 'idle';
  call.tell('state');
  clock.pass(10 * SETTLE_MS);
  assert.deepEqual(call.words, []);
});

test('mute: a listener without a microphone can be muted', () => {
  const mute = new Mute(new FakeCall(), null, new VirtualClock());
  mute.gate(true);
  mute.set(true);
  assert.equal(mute.muted, true);
});
