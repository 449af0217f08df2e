// The connection's statistics, its first moments, and its SDP.

import assert from 'node:assert/strict';
import test from 'node:test';

import { CallStats } from '../../src/web/model/call-stats.js';
import { connected } from '../../src/web/net/peer-connection.js';
import * as sdp from '../../src/web/net/sdp.js';

/**
 * Returns a peer connection that reports the round trips of its pairs, of which `selected` is in
 * use.
 */
function line({ selected, pairs }) {
  const entries = pairs.map(([id, seconds, answers]) => [id, {
    type: 'candidate-pair', id, nominated: true, currentRoundTripTime: seconds, responsesReceived: answers,
  }]);
  return { getStats: async () => new Map([...entries, ['T', { type: 'transport', id: 'T', selectedCandidatePairId: selected }]]) };
}

test('call stats: the round trip is that of the path in use, not of one before a restart', async () => {
  const pc = line({ selected: 'new', pairs: [['new', 0.01, 3], ['old', 6.143, 9]] });
  assert.equal((await new CallStats().measure(pc)).roundTripMs, 10);
});

test('call stats: a round trip that is no longer measured is no longer shown', async () => {
  const stats = new CallStats();
  const pairs = [['one', 6.143, 9]];
  const shown = [];
  for (let look = 0; look < 5; look += 1) shown.push((await stats.measure(line({ selected: 'one', pairs }))).roundTripMs !== null);
  assert.deepEqual(shown, [true, true, false, false, false]);
  assert.equal((await stats.measure(line({ selected: 'one', pairs: [['one', 0.02, 10]] }))).roundTripMs, 20);
});

/** Returns a peer connection with these counters. */
function inbound(counters) {
  return { getStats: async () => new Map([['in', { type: 'inbound-rtp', kind: 'audio', ...counters }]]) };
}

test('call stats: loss and buffer are those since the last call', async () => {
  const stats = new CallStats();
  await stats.measure(inbound({ packetsReceived: 100, packetsLost: 50, jitterBufferEmittedCount: 1_000, jitterBufferDelay: 100 }));
  const now = await stats.measure(inbound({ packetsReceived: 190, packetsLost: 60, jitterBufferEmittedCount: 2_000, jitterBufferDelay: 140 }));
  assert.deepEqual([now.lossPercent, now.bufferMs], [10, 40]);
  const anew = await stats.measure(inbound({ packetsReceived: 5, packetsLost: 0 }));
  assert.deepEqual([anew.lossPercent, anew.bufferMs], [null, null], 'a new connection counts from zero again');
});

test('peer connection: a first connection that fails does not count as lost', async () => {
  const pc = Object.assign(new EventTarget(), { connectionState: 'connecting' });
  const failed = (before) => connected(pc, 1_000, Promise.resolve('interrupted'), before);
  await assert.rejects(failed(false), { message: 'No connection yet.' });
  await assert.rejects(failed(true), { message: 'The connection was lost.' });
});

const OFFER = [
  'v=0', 'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'a=ice-ufrag:mine', 'a=ice-pwd:secret', 'a=mid:0', 'a=candidate:1 1 udp 1 10.0.0.1 9 typ host', 'm=application 9 x', 'a=mid:1', '',
].join('\r\n');

test('sdp: a fragment names the credentials, the media section and the late candidates', () => {
  assert.equal(sdp.ufrag(OFFER), 'mine');
  assert.equal(sdp.trickle(OFFER, ['candidate:2 x']), [
    'a=ice-ufrag:mine', 'a=ice-pwd:secret', 'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'a=mid:0', 'a=candidate:2 x', '',
  ].join('\r\n'));
  assert.match(sdp.restart(OFFER), /a=candidate:1 1 udp/);
});

test('sdp: the answer to a restart has only the fragment’s credentials and candidates', () => {
  const fragment = 'a=ice-ufrag:new\r\na=ice-pwd:fresh\r\na=candidate:7 y\r\n';
  const answer = sdp.restarted(OFFER, fragment);
  assert.match(answer, /a=ice-ufrag:new\r\na=ice-pwd:fresh\r\na=mid:0\r\na=candidate:7 y\r\nm=application/);
  assert.doesNotMatch(answer, /candidate:1|mine|secret/);
});
