// How long to wait before the next attempt.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Pause, pauseMs } from '../../src/web/net/backoff.js';
import { VirtualClock } from './fakes.mjs';

const longest = () => 1;
const shortest = () => 0;

test('backoff: the first attempt after a loss is immediate, the pauses double up to ten seconds', () => {
  const pauses = Array.from({ length: 8 }, (_, failures) => pauseMs(failures, longest));
  assert.deepEqual(pauses, [0, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
});

test('backoff: the last third is random', () => {
  assert.ok(Math.abs(pauseMs(1, shortest) - 1_000 / 3) < 1e-9);
  for (let failures = 1; failures < 20; failures += 1) {
    const pause = pauseMs(failures);
    assert.ok(pause >= pauseMs(failures, shortest) && pause <= pauseMs(failures, longest));
  }
});

test('backoff: a pause ends by itself or when it is woken', async () => {
  const clock = new VirtualClock();
  const pause = new Pause(clock);
  const ended = [];
  const first = pause.sleep(500).then(() => ended.push('first'));
  clock.pass(499);
  await Promise.resolve();
  assert.deepEqual(ended, []);
  clock.pass(1);
  await first;
  const second = pause.sleep(500).then(() => ended.push('second'));
  pause.wake();
  await second;
  assert.deepEqual(ended, ['first', 'second']);
  assert.equal(clock.pending, 0);
});

test('backoff: waking without a pause does nothing', () => {
  new Pause(new VirtualClock()).wake();
});
