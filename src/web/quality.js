// The state of the line in three numbers, from the peer connection's own statistics.

export class Quality {
  #before = null;

  /**
   * What happened since the last call: `{ roundTripMs, bufferMs, lossPercent }`, each null while unknown.
   * The buffer is what the browser holds back to ride out jitter.
   */
  async measure(pc) {
    const now = readings(await pc.getStats());
    const before = this.#before ?? now;
    this.#before = now;
    // A new connection counts from zero again.
    if (now.emitted < before.emitted || now.received < before.received) return this.#nothing(now);
    const emitted = now.emitted - before.emitted;
    const lost = now.lost - before.lost;
    const expected = now.received - before.received + lost;
    return {
      roundTripMs: now.roundTrip === undefined ? null : now.roundTrip * 1000,
      bufferMs: emitted > 0 ? ((now.buffered - before.buffered) / emitted) * 1000 : null,
      lossPercent: expected > 0 ? Math.max(0, (100 * lost) / expected) : null,
    };
  }

  #nothing(now) {
    this.#before = now;
    return { roundTripMs: null, bufferMs: null, lossPercent: null };
  }
}

function readings(report) {
  const found = { emitted: 0, buffered: 0, received: 0, lost: 0, roundTrip: undefined };
  for (const entry of report.values()) {
    if (entry.type === 'inbound-rtp' && entry.kind === 'audio') {
      found.emitted = entry.jitterBufferEmittedCount ?? 0;
      found.buffered = entry.jitterBufferDelay ?? 0;
      found.received = entry.packetsReceived ?? 0;
      found.lost = entry.packetsLost ?? 0;
    }
    if (entry.type === 'candidate-pair' && entry.nominated) {
      found.roundTrip = entry.currentRoundTripTime ?? found.roundTrip;
    }
  }
  return found;
}
