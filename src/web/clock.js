// The browser's time and timers, for the modules that take a clock as an argument.

/** @type {import('./types').Clock} */
export const clock = Object.freeze({
  now: () => performance.now(),
  /**
   * @param {number} ms
   * @param {() => void} then
   */
  after(ms, then) {
    const timer = setTimeout(then, ms);
    return () => clearTimeout(timer);
  },
});
