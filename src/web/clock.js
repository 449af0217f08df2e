// The browser's time, for the modules that take theirs as an argument.

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
