// How long to wait before the next attempt to connect: doubling from 0.5 s to 10 s, with the last
// third at random, so that the clients of a restarted server do not all reconnect at the same
// moment.

/** @import { Clock } from '../types' */

const FIRST_MS = 500;
const LONGEST_MS = 10_000;

/**
 * Returns the milliseconds before attempt number `failures + 1`; the first attempt after a loss is
 * immediate.
 *
 * @param {number} failures
 * @param {() => number} random between 0 and 1
 */
export function pauseMs(failures, random = Math.random) {
  if (failures === 0) return 0;
  const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1));
  return full * (2 / 3 + random() / 3);
}

/** A sleep that `wake()` ends early, for instance when the network is back. */
export class Pause {
  #clock;
  #wake = () => {};

  /** @param {Clock} clock */
  constructor(clock) {
    this.#clock = clock;
  }

  /**
   * @param {number} ms
   * @returns {Promise<void>}
   */
  sleep(ms) {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(ms, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }

  wake() {
    this.#wake();
  }
}
