// The quality of the connection as three numbers, from the statistics of the peer connection.

/** @import { StatsSource } from '../types' */

// Number of calls of `measure` for which a measured round trip stays valid without a new
// measurement. Browsers measure it about every 2.5 s, and after an outage the last value is as long
// as the outage.
const MOST_STALE = 2;

export class CallStats {
  /** @type {Readings | null} */
  #before = null;
  /** Calls of `measure` since the browser last measured the round trip. */
  #stale = 0;

  /**
   * Returns the values since the last call, each null if unknown; `bufferMs` is the delay in the
   * browser's jitter buffer.
   *
   * @param {StatsSource} pc
   * @returns {Promise<{ roundTripMs: number | null, bufferMs: number | null, lossPercent: number | null }>}
   */
  async measure(pc) {
    const now = readings(await pc.getStats());
    const before = this.#before ?? now;
    this.#before = now;
    // A new connection starts its counters at zero.
    if (now.emitted < before.emitted || now.received < before.received) return this.#nothing(now);
    const emitted = now.emitted - before.emitted;
    const lost = now.lost - before.lost;
    this.#stale = now.answers === before.answers ? this.#stale + 1 : 0;
    const roundTrip = this.#stale <= MOST_STALE ? now.roundTrip : undefined;
    const expected = now.received - before.received + lost;
    return {
      roundTripMs: roundTrip === undefined ? null : roundTrip * 1000,
      bufferMs: emitted > 0 ? ((now.buffered - before.buffered) / emitted) * 1000 : null,
      lossPercent: expected > 0 ? Math.max(0, (100 * lost) / expected) : null,
    };
  }

  /** @param {Readings} now */
  #nothing(now) {
    this.#before = now;
    return { roundTripMs: null, bufferMs: null, lossPercent: null };
  }
}

/**
 * @typedef {object} Readings
 * @property {number} emitted samples played
 * @property {number} buffered sum of the seconds that each of these samples has waited
 * @property {number} received packets
 * @property {number} lost packets
 * @property {number | undefined} roundTrip seconds
 * @property {number} answers how often the round trip was measured
 */

/**
 * @param {{ values(): Iterable<any> }} report
 * @returns {Readings}
 */
function readings(report) {
  /** @type {Readings} */
  const found = { emitted: 0, buffered: 0, received: 0, lost: 0, roundTrip: undefined, answers: 0 };
  for (const entry of report.values()) {
    if (entry.type === 'inbound-rtp' && entry.kind === 'audio') {
      found.emitted = entry.jitterBufferEmittedCount ?? 0;
      found.buffered = entry.jitterBufferDelay ?? 0;
      found.received = entry.packetsReceived ?? 0;
      found.lost = entry.packetsLost ?? 0;
    }
  }
  const pair = selectedPair(report);
  if (pair?.currentRoundTripTime !== undefined) {
    const { currentRoundTripTime: last, totalRoundTripTime: total, responsesReceived: answers } = pair;
    found.roundTrip = last;
    found.answers = answers ?? total ?? last;
  }
  return found;
}

/**
 * Returns the candidate pair that carries the media. After an ICE restart, pairs of the former path
 * may still be listed as nominated.
 *
 * @param {{ values(): Iterable<any> }} report
 */
function selectedPair(report) {
  const entries = [...report.values()];
  const transport = entries.find(({ type, selectedCandidatePairId: id }) => type === 'transport' && id);
  if (transport) return entries.find(({ id }) => id === transport.selectedCandidatePairId);
  const pairs = entries.filter(({ type, nominated }) => type === 'candidate-pair' && nominated);
  return pairs.find(({ selected }) => selected) ?? pairs.at(-1);
}
