// How long to wait before the next try: doubling from 0.5 s to 10 s, the last third at random, so that the
// clients of a restarted server do not all knock at the same moment.

const FIRST_MS = 500;
const LONGEST_MS = 10_000;

/** Milliseconds before try number `failures + 1`; the first try after a loss is immediate. */
export function pauseMs(failures) {
  if (failures === 0) return 0;
  const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1));
  return full * (2 / 3 + Math.random() / 3);
}

/** A sleep that `wake()` cuts short, for when the network is known to be back. */
export class Pause {
  #wake = () => {};

  sleep(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  wake() {
    this.#wake();
  }
}
