// Computing the room's participants from the server's events.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Roster } from '../../src/web/model/roster.js';
import { VirtualClock, participant } from './fakes.mjs';

const CONNECT_MS = 5_000;
const NO_FLOOR = { holds: false, waits: false };

/** Returns a roster that has handled the given events, and what it has dispatched. */
function roster(...events) {
  const clock = new VirtualClock();
  const people = new Roster(clock);
  const told = [];
  for (const type of ['put', 'removed']) people.addEventListener(type, (event) => told.push(`${type} ${event.participant}`));
  const said = events.map((event) => people.apply(event, 'me'));
  return { clock, people, told, said };
}

const room = (...ids) => ({ event: 'room', room: { participants: ids.map((id) => (typeof id === 'string' ? participant(id) : id)) } });
const ids = (people) => people.participants.map(({ id }) => id);
const doing = (people, id, floor = NO_FLOOR) => people.doing(people.participant(id), floor);

test('roster: participants are listed in the order in which they joined', () => {
  const { people, told } = roster(room('me', 'ann'), { event: 'joined', participant: participant('ben') }, { event: 'left', participant: 'ann' });
  assert.deepEqual(ids(people), ['me', 'ben']);
  assert.deepEqual(told, ['put me', 'put ann', 'put ben', 'removed ann']);
});

test('roster: joins and leaves of others are announced once, those of the own participant never', () => {
  const { said } = roster(
    room('ann'),
    { event: 'joined', participant: participant('me') },
    { event: 'joined', participant: participant('ben') },
    { event: 'joined', participant: participant('ben') },
    { event: 'left', participant: 'ben' },
    { event: 'left', participant: 'ben' },
    { event: 'left', participant: 'me' },
  );
  assert.deepEqual(said, ['', '', 'ben joined', '', 'ben left', '', '']);
});

test('roster: a room state replaces all participants', () => {
  const { people, told } = roster(room('me', 'ann'), room('me', 'ben'));
  assert.deepEqual(ids(people), ['me', 'ben']);
  assert.ok(told.includes('removed ann'));
});

test('roster: each event changes only its own property', () => {
  const { people } = roster(
    room('me', 'ann', 'ben'),
    { event: 'talking', participant: 'ann' },
    { event: 'muted', participant: 'ben', muted: true },
  );
  assert.deepEqual(people.participant('ann'), participant('ann', { talking: true }));
  assert.deepEqual(people.participant('ben'), participant('ben', { muted: true }));
  people.apply({ event: 'stopped', participant: 'ann' }, 'me');
  people.apply({ event: 'changed', participant: participant('ben', { name: 'Benedict' }) }, 'me');
  assert.deepEqual(people.participants, [participant('me'), participant('ann'), participant('ben', { name: 'Benedict' })]);
});

test('roster: events about unknown participants are ignored', () => {
  const { people, said } = roster(room('me'), { event: 'talking', participant: 'who' }, { event: 'muted', participant: 'who', muted: true }, { event: 'left', participant: 'who' });
  assert.deepEqual(ids(people), ['me']);
  assert.deepEqual(said, ['', '', '', '']);
});

test('roster: the talkers are all other participants who talk', () => {
  const { people } = roster(room('me', 'ann', 'ben'), { event: 'talking', participant: 'me' }, { event: 'talking', participant: 'ben' });
  assert.deepEqual(people.talkers, ['ben']);
  people.hush();
  assert.deepEqual(people.talkers, []);
  assert.equal(people.participant('me').talking, false);
});

test('roster: a room is deserted when none of the others is connected', () => {
  const away = participant('ann', { connected: false });
  assert.equal(roster().people.deserted, false, 'nothing is known yet');
  assert.equal(roster(room('me')).people.deserted, true);
  assert.equal(roster(room('me', away)).people.deserted, true);
  assert.equal(roster(room('me', away, 'ben')).people.deserted, false);
});

test('roster: of several states of a participant the most important is shown', () => {
  const { people } = roster(room('me'));
  const floor = { holds: true, waits: true };
  const is = (more, on = NO_FLOOR) => people.doing(participant('ann', more), on);
  assert.equal(is({ connected: false, muted: true, talking: true }, floor), 'connecting');
  assert.equal(is({ muted: true, talking: true }, floor), 'muted');
  assert.equal(is({ talking: true }, floor), 'talking');
  assert.equal(is({}, floor), 'holding');
  assert.equal(is({}, { holds: false, waits: true }), 'waiting');
  assert.equal(is({ talks: false }), 'listening');
  assert.equal(is({}), 'quiet');
});

test('roster: a participant that does not connect in time is shown as lost without an event', () => {
  const { clock, people, told } = roster(room('me', participant('ann', { connected: false })));
  clock.pass(CONNECT_MS - 1);
  assert.equal(doing(people, 'ann'), 'connecting');
  told.length = 0;
  clock.pass(1);
  assert.deepEqual(told, ['put ann']);
  assert.equal(doing(people, 'ann'), 'lost');
});

test('roster: a participant that was connected before is lost at once', () => {
  const { people } = roster(room('me', 'ann'), { event: 'changed', participant: participant('ann', { connected: false }) });
  assert.equal(doing(people, 'ann'), 'lost');
});

test('roster: a participant that left before the timeout is not dispatched again', () => {
  const { clock, told } = roster(room('me', participant('ann', { connected: false })), { event: 'left', participant: 'ann' });
  told.length = 0;
  clock.pass(CONNECT_MS);
  assert.deepEqual(told, []);
});
