// Sentences for refusals, and room names.

import assert from 'node:assert/strict';
import test from 'node:test';

import { full, kindOf, refusal } from '../../src/web/model/refusals.js';
import { compareNames, roomFault, spelled } from '../../src/web/model/room-names.js';

test('refusals: kindOf returns the last part of the type', () => {
  assert.equal(kindOf('urn:mixminus:problem:room-full'), 'room-full');
  assert.equal(kindOf('https://example.org/problems/room-full'), 'room-full');
  assert.equal(kindOf('room-full'), 'room-full');
  assert.equal(kindOf(undefined), '');
});

test('refusals: each type has its own sentence, with its numbers and names', () => {
  const cases = [
    [{ type: 'urn:mixminus:problem:room-full', limit: 3, detail: 'x' }, 'This room is full (3 of 3).'],
    [{ type: 'room-full' }, 'This room is full.'],
    [{ type: 'no-such-room' }, 'There is no room called “a”. Choose one below.'],
    [{ type: 'unknown-room', room: 'b' }, 'There is no room called “b”. Choose one below.'],
    [{ type: 'monitoring-refused', room: 'b' }, 'The room “b” does not allow monitoring.'],
    [{ type: 'too-many-messages', detail: 'Send less.' }, 'Too fast. Wait a moment.'],
    [{ type: 'too-many-requests' }, 'Too fast. Wait a moment.'],
    [{ type: 'new-to-this-page', detail: 'The server says so.', title: 'No' }, 'The server says so.'],
    [{ type: 'new-to-this-page', title: 'No' }, 'No'],
    [{}, ''],
  ];
  for (const [problem, sentence] of cases) assert.equal(refusal(problem, 'a'), sentence);
});

test('refusals: the sentence names no room if none is known', () => {
  assert.equal(refusal({ type: 'no-such-room' }, ''), 'There is no such room.');
  assert.equal(refusal({ type: 'monitoring-refused' }, ''), 'This room does not allow monitoring.');
  assert.equal(full(0), 'This room is full.');
});

test('room names: numbers in names are sorted by value', () => {
  const sorted = ['1', '2', '3', '10'].map((name) => `channel-${name}`);
  assert.deepEqual(['10', '2', '1', '3'].map((name) => `channel-${name}`).sort(compareNames), sorted);
});

test('room names: spaces become hyphens', () => {
  assert.equal(spelled('  team \t meeting '), 'team-meeting');
});

test('room names: a name that the server refuses is explained', () => {
  for (const name of ['a', 'A-1_x.y', '-', 'x'.repeat(64)]) assert.equal(roomFault(name), '', name);
  for (const name of ['', '.a', 'a b', 'küche', 'a/b', 'x'.repeat(65)]) assert.notEqual(roomFault(name), '', name);
});
