// The texts for the state of the floor.

import assert from 'node:assert/strict';
import test from 'node:test';

import { floorText, names } from '../../src/web/model/floor-text.js';

const PAGE = { online: true, latch: false, latched: false, touch: false, talks: true, alone: false };

function floor({ own = { state: 'idle' }, talkers = [], mode = 'ptt', mayRequest = true, places = 1 } = {}) {
  return { own, mode, mayRequest, places, talkers: new Map(talkers.map((name, at) => [`id-${at}`, { name, until: null }])) };
}

/** Returns the state, the short text and the second line of the display. */
function text(parts, page = {}) {
  const { state, words, more } = floorText(floor(parts), { ...PAGE, ...page });
  return [state, words, more];
}

test('floor text: without a server the floor is offline, whatever its state was', () => {
  const own = { state: 'held', burst: 1, until: 5, total: 5 };
  assert.deepEqual(text({ own }, { online: false }), ['offline', 'Not connected', 'Waiting for the server.']);
});

test('floor text: every state of a request has its own text', () => {
  const states = [
    { state: 'idle' }, { state: 'asking' }, { state: 'queued', position: 2, size: 3 }, { state: 'held', burst: 1, until: 9, total: 9 },
    { state: 'ending', burst: 1, until: 9, total: 9, cause: 2 },
    ...['denied', 'revoked', 'lost', 'muted', 'unanswered'].map((why) => ({ state: 'refused', why })),
  ];
  const words = states.map((own) => text({ own })[1] + text({ own })[2]);
  assert.equal(new Set(words).size, states.length);
  for (const sentence of words) assert.doesNotMatch(sentence, /undefined|null|NaN/);
});

test('floor text: the time limit of the talk-spurt is passed on', () => {
  const own = { state: 'held', burst: 1, until: 9, total: 10 };
  const { until, total } = floorText(floor({ own }), PAGE);
  assert.deepEqual([until, total], [9, 10]);
});

test('floor text: the instruction depends on the latch and on the available keys', () => {
  assert.equal(text({})[2], 'Hold the button or space bar to talk.');
  assert.equal(text({}, { latch: true })[2], 'Press the button or space bar to talk.');
  assert.equal(text({}, { touch: true })[2], 'Hold the button to talk.');
});

test('floor text: a denied request names the holder', () => {
  const own = { state: 'refused', why: 'denied', cause: 1, holder: 'id-0' };
  assert.equal(text({ own, talkers: ['Ann'] })[2], 'Ann is on air.');
  assert.equal(text({ own: { state: 'refused', why: 'denied', cause: 99, reason: 'No.' } })[2], 'No.');
});

test('floor text: up to two talkers are named, further ones are counted', () => {
  assert.equal(names(floor({ talkers: [] })), '');
  assert.equal(names(floor({ talkers: ['Ann'] })), 'Ann');
  assert.equal(names(floor({ talkers: ['Ann', ''] })), 'Ann and Somebody');
  assert.equal(names(floor({ talkers: ['Ann', 'Ben', 'Cem'] })), 'Ann, Ben and 1 other');
  assert.equal(names(floor({ talkers: ['Ann', 'Ben', 'Cem', 'Dan'] })), 'Ann, Ben and 2 others');
});

test('floor text: a press is offered only if it has an effect', () => {
  assert.match(text({ talkers: ['Ann'] })[2], /join the queue/);
  assert.match(text({ talkers: ['Ann'], mode: 'multi:2', places: 2 })[2], /join in/);
  assert.match(text({ talkers: ['Ann'], mode: 'broadcast', mayRequest: false })[2], /only the presenter/);
  assert.match(text({ mode: 'moderated' })[2], /raise your hand/);
  assert.match(text({}, { talks: false })[2], /Nobody is talking/);
  assert.match(text({}, { alone: true })[2], /Nobody else/);
});
