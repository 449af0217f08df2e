// Which rooms are monitored, how loud, and what the page tells the server about it.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Monitors } from '../../src/web/model/monitors.js';
import { Settings } from '../../src/web/model/settings.js';
import { FakeCall, VirtualClock } from './fakes.mjs';

const TELL_MS = 150;

/** Returns a browser's storage that has `stored` under the key of the monitored rooms. */
function storage(stored) {
  const values = new Map(stored === undefined ? [] : [['mixminus.listen', stored]]);
  return { getItem: (key) => values.get(key) ?? null, setItem: (key, value) => values.set(key, value), values };
}

function monitoring({ stored, active = true, rooms = ['harbour', 'anchorage', 'pier'] } = {}) {
  const call = new FakeCall();
  const clock = new VirtualClock();
  const store = storage(stored);
  const monitors = new Monitors(call, { clock, settings: new Settings(() => store) });
  monitors.active = active;
  monitors.know(rooms);
  return { call, clock, monitors, store };
}

const lists = (call) => call.said.splice(0).map(({ command, rooms }) => {
  assert.equal(command, 'monitor');
  return rooms.map(({ room, gain_db: gain }) => `${room} ${gain}`);
});

test('monitors: the server is told only the last of many quick changes', () => {
  const { call, clock, monitors } = monitoring();
  for (const percent of [100, 80, 60, 50]) {
    monitors.set('anchorage', percent);
    clock.pass(TELL_MS - 1);
  }
  assert.deepEqual(lists(call), []);
  clock.pass(1);
  assert.deepEqual(lists(call), [['anchorage -6']]);
});

test('monitors: full volume is 0 dB, and a room that is not monitored has no volume', () => {
  const { call, clock, monitors } = monitoring();
  monitors.set('anchorage', 100);
  clock.pass(TELL_MS);
  assert.deepEqual(lists(call), [['anchorage 0']]);
  assert.equal(monitors.volume('pier'), undefined);
  monitors.set('anchorage', undefined);
  clock.pass(TELL_MS);
  assert.deepEqual(lists(call), [[]]);
  assert.equal(monitors.volume('anchorage'), undefined);
});

test('monitors: the own room and rooms that do not exist are not requested', () => {
  const { call, clock, monitors } = monitoring();
  monitors.set('harbour', 100);
  monitors.set('nowhere', 100);
  monitors.set('pier', 100);
  clock.pass(TELL_MS);
  assert.deepEqual(lists(call), [['pier 0']]);
  monitors.know(['nowhere']);
  assert.deepEqual(lists(call), [['nowhere 0']]);
});

test('monitors: the same list is not sent twice', () => {
  const { call, clock, monitors } = monitoring();
  monitors.set('pier', 100);
  clock.pass(TELL_MS);
  monitors.know(['pier', 'other']);
  monitors.set('pier', 100);
  clock.pass(TELL_MS);
  assert.deepEqual(lists(call), [['pier 0']]);
});

test('monitors: a list that could not be sent is sent with the next connection', () => {
  const { call, clock, monitors } = monitoring();
  call.online = false;
  monitors.set('pier', 100);
  clock.pass(TELL_MS);
  call.online = true;
  monitors.know(['pier']);
  assert.deepEqual(lists(call), [['pier 0']], 'by the next occasion at the latest');
  call.tell('sync');
  assert.deepEqual(lists(call), [['pier 0']]);
  call.tell('sync');
  assert.deepEqual(lists(call), [['pier 0']], 'a new participant monitors nothing yet');
});

test('monitors: a refused room is omitted, and the others are requested again', () => {
  const { call, clock, monitors } = monitoring();
  monitors.set('pier', 100);
  monitors.set('anchorage', 100);
  clock.pass(TELL_MS);
  call.said.length = 0;
  monitors.refused('pier');
  assert.deepEqual(lists(call), [['anchorage 0']]);
  monitors.refused('pier');
  assert.deepEqual(lists(call), [['anchorage 0']], 'of two lists under way both were refused as a whole');
  monitors.know(['anchorage', 'pier']);
  assert.deepEqual(lists(call), [['pier 0', 'anchorage 0']]);
});

test('monitors: monitored rooms are heard only from a radio channel', () => {
  const { call, clock, monitors } = monitoring({ active: false });
  monitors.set('pier', 100);
  clock.pass(TELL_MS);
  assert.deepEqual(lists(call), []);
  monitors.active = true;
  monitors.active = false;
  assert.deepEqual(lists(call), [['pier 0'], []]);
});

test('monitors: at most 16 rooms are monitored', () => {
  const { monitors } = monitoring();
  for (let room = 0; room < 15; room += 1) monitors.set(`room-${room}`, 100);
  assert.equal(monitors.full, false);
  monitors.set('room-15', 100);
  assert.equal(monitors.full, true);
});

test('monitors: a change is dispatched and remembered', () => {
  const { monitors, store } = monitoring();
  let changes = 0;
  monitors.addEventListener('change', () => (changes += 1));
  monitors.set('pier', 50);
  assert.equal(changes, 1);
  assert.equal(store.values.get('mixminus.listen'), '[["pier",50]]');
});

test('monitors: remembered rooms are restored, invalid ones are ignored', () => {
  assert.equal(monitoring({ stored: '[["pier",50]]' }).monitors.volume('pier'), 50);
  const { monitors } = monitoring({ stored: '[["a",4],["b",5],["c",100],["d",101],[7,50],["e","x"]]' });
  assert.deepEqual(['a', 'b', 'c', 'd', 'e'].map((room) => monitors.volume(room)), [undefined, 5, 100, undefined, undefined]);
  for (const stored of ['', 'null', '{"pier":50}', '[1]']) assert.equal(monitoring({ stored }).monitors.full, false, stored);
  const many = JSON.stringify(Array.from({ length: 40 }, (_, room) => [`room-${room}`, 50]));
  const { call } = monitoring({ stored: many, rooms: Array.from({ length: 40 }, (_, room) => `room-${room}`) });
  assert.equal(lists(call)[0].length, 16);
});

test('monitors: nothing is sent after close', () => {
  const { call, clock, monitors } = monitoring();
  monitors.set('pier', 50);
  monitors.close();
  clock.pass(10 * TELL_MS);
  assert.deepEqual(lists(call), []);
});

test('settings: a refused storage remembers nothing and causes no error', () => {
  const settings = new Settings(() => {
    throw new Error('refused');
  });
  settings.remember('name', 'Ann');
  assert.equal(settings.recall('name'), '');
  assert.equal(settings.recall('volume', '1'), '1');
});

test('settings: a value is remembered and recalled under its own key', () => {
  const store = storage();
  const settings = new Settings(() => store);
  settings.remember('name', 'Ann');
  assert.equal(settings.recall('name', 'x'), 'Ann');
  assert.deepEqual([...store.values], [['mixminus.name', 'Ann']]);
});
