// What the browser remembers between visits: the name, the microphone, the volume.
// Storage may be refused (private windows, strict settings); then nothing is remembered and nothing breaks.

const PREFIX = 'mixminus.';

/** The remembered string, or `otherwise`. */
export function recall(key, otherwise = '') {
  try {
    return localStorage.getItem(PREFIX + key) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(PREFIX + key, value);
  } catch {
    // Refused: see the head of this file.
  }
}
