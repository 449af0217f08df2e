// Text on the page, and aloud.

/** Leaves unchanged text alone, for the sake of selections and screen readers. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Says a sentence to screen readers, politely. */
export function say(sentence) {
  document.getElementById('aloud').textContent = sentence;
}
