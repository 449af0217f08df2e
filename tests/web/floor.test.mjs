// The floor's state machine, transition by transition.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Floor } from '../../src/web/model/floor.js';
import { FakeCall, VirtualClock, participant } from './fakes.mjs';

const HANG_MS = 80;
const ASK_AGAIN_MS = 1_000;
const LINGER_MS = 2_500;
const LIMIT_MS = 30_000;

/** Returns a floor in a room of the given mode, and what drives it. */
function radio(mode = 'ptt', room = {}) {
  const call = new FakeCall();
  const clock = new VirtualClock();
  const floor = new Floor(call, clock);
  const hear = (event) => call.tell('floor', event);
  const enter = (more) => hear({ event: 'room', room: { mode, participants: [participant('me'), participant('ann')], ...more } });
  enter(room);
  return { call, clock, floor, hear, enter };
}

function granted(hear, { id = 'floor-1', burst = 1, duration_ms = LIMIT_MS } = {}) {
  hear({ event: 'floor_granted', id, burst, duration_ms });
  hear({ event: 'floor_taken', participant: 'me', name: 'Me', burst, duration_ms, may_request: true });
}

function taken(hear, { participant = 'ann', name = 'Ann', burst = 9 } = {}) {
  hear({ event: 'floor_taken', participant, name, burst, duration_ms: LIMIT_MS, may_request: true });
}

/** Returns a floor that the person holds. */
function talking(mode) {
  const parts = radio(mode);
  parts.floor.press();
  granted(parts.hear);
  assert.equal(parts.floor.own.state, 'held');
  parts.call.said.length = 0;
  return parts;
}

test('floor: a press requests the floor, and the microphone is open from the press on', () => {
  const { call, floor } = radio();
  assert.equal(floor.live, false);
  floor.press();
  assert.deepEqual(call.said, [{ command: 'floor_request', id: 'floor-1' }]);
  assert.equal(floor.own.state, 'asking');
  assert.equal(floor.live, true);
});

test('floor: a grant while asking holds the floor until the time limit', () => {
  const { clock, floor, hear } = radio();
  floor.press();
  granted(hear);
  assert.deepEqual(floor.own, { state: 'held', burst: 1, until: clock.now() + LIMIT_MS, total: LIMIT_MS });
  assert.equal(floor.live, true);
});

test('floor: a queued request closes the microphone, and its grant opens it', () => {
  const { floor, hear } = radio();
  floor.press();
  hear({ event: 'floor_queued', id: 'floor-1', position: 2, size: 3 });
  assert.deepEqual(floor.own, { state: 'queued', position: 2, size: 3 });
  assert.equal(floor.live, false);
  hear({ event: 'floor_queue', queue: ['me', 'ben'] });
  assert.deepEqual(floor.own, { state: 'queued', position: 1, size: 2 });
  granted(hear);
  assert.equal(floor.own.state, 'held');
  assert.equal(floor.live, true);
});

test('floor: a denied request stays refused until the key has been released for a while', () => {
  const { clock, floor, hear } = radio();
  floor.press();
  hear({ event: 'floor_denied', id: 'floor-1', cause: 1, reason: 'busy', holder: 'ann' });
  assert.deepEqual(floor.own, { state: 'refused', why: 'denied', cause: 1, reason: 'busy', holder: 'ann' });
  assert.equal(floor.live, false);
  clock.pass(60_000);
  assert.equal(floor.own.state, 'refused');
  floor.release();
  clock.pass(LINGER_MS - 1);
  assert.equal(floor.own.state, 'refused');
  clock.pass(1);
  assert.equal(floor.own.state, 'idle');
});

test('floor: an error about the request refuses it with the server’s sentence', () => {
  const { floor, hear } = radio();
  floor.press();
  hear({ event: 'error', type: 'too-many-messages', detail: 'Send less.' });
  assert.equal(floor.own.state, 'asking', 'an error about something else');
  hear({ event: 'error', id: 'floor-1', type: 'too-many-messages', detail: 'Send less.' });
  assert.deepEqual(floor.own, { state: 'refused', why: 'denied', reason: 'Send less.' });
});

test('floor: a queued request can be denied', () => {
  const { floor, hear } = radio();
  floor.press();
  hear({ event: 'floor_queued', id: 'floor-1', position: 1, size: 1 });
  hear({ event: 'floor_denied', id: 'floor-1', cause: 5, reason: 'listen only' });
  assert.equal(floor.own.state, 'refused');
});

test('floor: a revocation with a grace period leads to ending, then to refused', () => {
  const { clock, floor, hear } = talking();
  hear({ event: 'floor_revoked', participant: 'me', burst: 1, cause: 2, grace_ms: 700 });
  assert.deepEqual(floor.own, { state: 'ending', burst: 1, cause: 2, until: clock.now() + 700, total: 700 });
  assert.equal(floor.live, true);
  clock.pass(699);
  assert.equal(floor.own.state, 'ending');
  clock.pass(1);
  assert.equal(floor.own.state, 'refused');
  assert.deepEqual([floor.own.why, floor.own.cause], ['revoked', 2]);
  assert.equal(floor.live, false);
});

test('floor: a revocation without a grace period is refused at once', () => {
  const { floor, hear } = talking();
  hear({ event: 'floor_revoked', participant: 'me', burst: 1, cause: 4, grace_ms: 0 });
  assert.deepEqual(floor.own, { state: 'refused', why: 'revoked', cause: 4 });
});

test('floor: a grant repeated during the grace period does not prolong it', () => {
  const { floor, hear } = talking();
  hear({ event: 'floor_revoked', participant: 'me', burst: 1, cause: 2, grace_ms: 700 });
  granted(hear);
  assert.equal(floor.own.state, 'ending');
});

test('floor: a revocation of another participant, or of an earlier talk-spurt, changes nothing', () => {
  const { floor, hear } = talking();
  hear({ event: 'floor_revoked', participant: 'ann', burst: 1, cause: 2, grace_ms: 0 });
  hear({ event: 'floor_revoked', participant: 'me', burst: 0, cause: 2, grace_ms: 0 });
  assert.equal(floor.own.state, 'held');
});

test('floor: the end of the own talk-spurt at the server ends it on the page, with the announced cause', () => {
  for (const end of [{ event: 'floor_idle' }, { event: 'floor_released', participant: 'me', burst: 1 }]) {
    const { floor, hear } = talking();
    hear({ event: 'floor_revoked', participant: 'me', burst: 1, cause: 2, grace_ms: 700 });
    hear(end);
    assert.deepEqual([floor.own.state, floor.own.why, floor.own.cause], ['refused', 'revoked', 2], end.event);
    assert.equal(floor.live, false);
  }
});

test('floor: a room state with another holder ends the own floor', () => {
  const { floor, enter } = talking();
  enter({ floor: { holders: [{ participant: 'ann', burst: 2, left_ms: 5_000 }], queue: [] } });
  assert.deepEqual([floor.own.state, floor.own.why], ['refused', 'revoked']);
  assert.deepEqual([...floor.talkers.keys()], ['ann']);
});

test('floor: another holder takes the only place, but not one of several', () => {
  const single = talking();
  taken(single.hear);
  assert.equal(single.floor.own.state, 'refused');
  assert.deepEqual([...single.floor.talkers.keys()], ['ann']);
  const several = talking('multi:2');
  taken(several.hear);
  assert.equal(several.floor.own.state, 'held');
  assert.deepEqual([...several.floor.talkers.keys()], ['me', 'ann']);
});

test('floor: releasing the key leads back to idle from asking, held and ending, after the last syllable', () => {
  for (const reach of ['asking', 'held', 'ending']) {
    const { call, clock, floor, hear } = radio();
    floor.press();
    if (reach !== 'asking') granted(hear);
    if (reach === 'ending') hear({ event: 'floor_revoked', participant: 'me', burst: 1, cause: 2, grace_ms: 700 });
    assert.equal(floor.own.state, reach);
    call.said.length = 0;
    floor.release();
    clock.pass(HANG_MS - 1);
    assert.equal(floor.own.state, reach);
    assert.deepEqual(call.words, []);
    clock.pass(1);
    assert.equal(floor.own.state, 'idle', reach);
    assert.equal(floor.live, false);
    assert.deepEqual(call.words, ['floor_release'], reach);
    assert.equal(floor.talkers.has('me'), false);
  }
});

test('floor: releasing the key leaves the queue at once', () => {
  const { call, floor, hear } = radio();
  floor.press();
  hear({ event: 'floor_queued', id: 'floor-1', position: 1, size: 1 });
  call.said.length = 0;
  floor.release();
  assert.equal(floor.own.state, 'idle');
  assert.deepEqual(call.words, ['floor_release']);
});

test('floor: a key that is pressed again within the last syllable continues the talk-spurt', () => {
  const { call, clock, floor } = talking();
  floor.release();
  clock.pass(HANG_MS - 1);
  floor.press();
  clock.pass(LIMIT_MS / 2);
  assert.equal(floor.own.state, 'held');
  assert.deepEqual(call.words, []);
});

test('floor: a grant that crosses the release is released', () => {
  const { call, clock, floor, hear } = radio();
  floor.press();
  floor.release();
  clock.pass(HANG_MS);
  assert.deepEqual(call.words, ['floor_request', 'floor_release']);
  granted(hear);
  assert.equal(floor.own.state, 'idle');
  assert.equal(floor.live, false);
  assert.deepEqual(call.words, ['floor_release']);
  assert.equal(floor.talkers.has('me'), false, 'the person is not shown as somebody else who talks');
});

test('floor: an unanswered request is repeated twice, then refused and released', () => {
  const { call, clock, floor } = radio();
  floor.press();
  clock.pass(2 * ASK_AGAIN_MS);
  assert.deepEqual(call.words, ['floor_request', 'floor_request', 'floor_request']);
  clock.pass(ASK_AGAIN_MS);
  assert.deepEqual([floor.own.state, floor.own.why], ['refused', 'unanswered']);
  assert.deepEqual(call.words, ['floor_release']);
});

test('floor: a late response to an earlier request is ignored', () => {
  const { clock, floor, hear } = radio();
  floor.press();
  floor.release();
  clock.pass(HANG_MS);
  floor.press();
  hear({ event: 'floor_denied', id: 'floor-1', cause: 1, reason: 'busy' });
  assert.equal(floor.own.state, 'asking');
  hear({ event: 'floor_granted', id: 'floor-2', burst: 2, duration_ms: null });
  assert.deepEqual(floor.own, { state: 'held', burst: 2, until: null, total: null });
});

test('floor: a request that left the queue without a grant is repeated', () => {
  const { call, clock, floor, hear } = radio();
  floor.press();
  hear({ event: 'floor_queued', id: 'floor-1', position: 1, size: 1 });
  hear({ event: 'floor_queue', queue: [] });
  call.said.length = 0;
  clock.pass(ASK_AGAIN_MS);
  assert.deepEqual(call.words, ['floor_request']);
});

test('floor: the response to a request counts although the grant of an earlier request came and ended before it', () => {
  for (const down of [true, false]) {
    const { call, clock, floor, hear } = radio();
    floor.press();
    floor.release();
    clock.pass(HANG_MS);
    floor.press();
    // The grant of the earlier request, sent before the server received its release.
    hear({ event: 'floor_granted', burst: 1, duration_ms: LIMIT_MS });
    taken(hear);
    assert.equal(floor.own.state, 'refused');
    if (!down) floor.release();
    call.said.length = 0;
    hear({ event: 'floor_queued', id: 'floor-2', position: 1, size: 1 });
    assert.equal(floor.own.state, down ? 'queued' : 'refused');
    assert.deepEqual(call.words, down ? [] : ['floor_release']);
  }
});

test('floor: a lost connection refuses every request and grant, and the release is sent later', () => {
  for (const reach of ['asking', 'queued', 'held', 'ending']) {
    const { call, floor, hear } = radio();
    floor.press();
    if (reach === 'queued') hear({ event: 'floor_queued', id: 'floor-1', position: 1, size: 1 });
    if (reach === 'held' || reach === 'ending') granted(hear);
    if (reach === 'ending') hear({ event: 'floor_revoked', participant: 'me', burst: 1, cause: 2, grace_ms: 700 });
    assert.equal(floor.own.state, reach);
    call.said.length = 0;
    call.connect(false);
    assert.deepEqual([floor.own.state, floor.own.why, floor.live], ['refused', 'lost', false], reach);
    assert.deepEqual(call.words, []);
    floor.release();
    call.connect(true);
    assert.deepEqual(call.words, ['floor_release'], reach);
  }
});

test('floor: nothing is sent to a server that does not answer, even if the channel is still open', () => {
  const { call, floor } = talking();
  call.say = (command) => call.said.push(command) > 0;
  call.connect(false);
  assert.deepEqual(call.words, []);
  call.tell('sync');
  assert.deepEqual(call.words, []);
  call.connect(true);
  assert.deepEqual(call.words, ['floor_release']);
  assert.equal(floor.own.state, 'refused');
});

test('floor: a press without a connection is refused at once', () => {
  const { call, floor } = radio();
  call.connect(false);
  floor.press();
  assert.deepEqual([floor.own.state, floor.own.why, floor.live], ['refused', 'lost', false]);
});

test('floor: a grant that arrives after the connection was lost is released', () => {
  const { call, floor, hear } = radio();
  floor.press();
  call.connect(false);
  call.connect(true);
  assert.deepEqual(call.words, ['floor_request', 'floor_release']);
  granted(hear);
  assert.equal(floor.own.state, 'refused');
  assert.deepEqual(call.words, ['floor_release']);
});

test('floor: a new participant has nothing to release and knows no talkers', () => {
  const { call, floor, hear } = talking('multi:2');
  taken(hear);
  hear({ event: 'floor_queue', queue: ['ben'] });
  call.connect(false);
  call.id = 'me-again';
  call.connect(true);
  assert.deepEqual(call.words, []);
  assert.deepEqual([floor.talkers.size, floor.queue], [0, []]);
});

test('floor: a press while muted is refused without a request', () => {
  const { call, clock, floor } = radio();
  floor.refuse('muted');
  assert.deepEqual(floor.own, { state: 'refused', why: 'muted' });
  assert.deepEqual(call.words, []);
  clock.pass(LINGER_MS);
  assert.equal(floor.own.state, 'idle');
});

test('floor: a room without floor control keeps the microphone open without a key', () => {
  const { call, floor, enter } = talking();
  enter({ mode: 'open' });
  assert.equal(floor.guarded, false);
  assert.equal(floor.own.state, 'idle');
  assert.equal(floor.live, true);
  floor.press();
  assert.deepEqual(call.words, []);
  enter({ mode: 'ptt' });
  assert.equal(floor.live, false);
  floor.press();
  assert.deepEqual(call.words, ['floor_request'], 'the key counts as up since the room was open');
});

test('floor: the microphone is closed until the room’s mode is known', () => {
  const floor = new Floor(new FakeCall(), new VirtualClock());
  assert.equal(floor.live, false);
  assert.equal(floor.guarded, false);
});

test('floor: the holders and the queue follow the server', () => {
  const { floor, hear, clock, enter } = radio('multi:3');
  enter({ floor: { holders: [{ participant: 'ann', burst: 1, left_ms: 4_000 }], queue: ['ben'] } });
  assert.deepEqual(floor.talkers.get('ann'), { name: 'ann', burst: 1, until: clock.now() + 4_000 });
  assert.deepEqual(floor.queue, ['ben']);
  assert.equal(floor.places, 3);
  taken(hear, { participant: 'ben', name: 'Ben', burst: 2 });
  hear({ event: 'floor_released', participant: 'ann', burst: 7 });
  assert.deepEqual([...floor.talkers.keys()], ['ann', 'ben'], 'a former burst');
  hear({ event: 'floor_released', participant: 'ann', burst: 1 });
  assert.deepEqual([...floor.talkers.keys()], ['ben']);
  assert.deepEqual(floor.queue, ['ben'], 'only leaving the room leaves the queue');
  hear({ event: 'left', participant: 'ben', reason: 'left' });
  assert.deepEqual([floor.talkers.size, floor.queue], [0, []]);
  hear({ event: 'floor_taken', participant: 'cem', name: 'Cem', burst: 3, duration_ms: null, may_request: false });
  assert.equal(floor.mayRequest, false);
  hear({ event: 'floor_idle', n: 1 });
  assert.deepEqual([floor.talkers.size, floor.mayRequest], [0, true]);
});

test('floor: grant sends the moderator’s command for a waiting participant', () => {
  const { call, floor } = radio('moderated');
  floor.grant('ann');
  assert.deepEqual(call.said, [{ command: 'floor_grant', participant: 'ann' }]);
});

test('floor: close stops every timer', () => {
  const { call, clock, floor } = radio();
  floor.press();
  floor.release();
  floor.close();
  assert.equal(clock.pending, 0);
  call.said.length = 0;
  clock.pass(10_000);
  assert.deepEqual(call.words, []);
});
