// Text and icons on the page, text read aloud, and the order of names.

/** Leaves unchanged text alone, for the sake of selections and screen readers. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows one of the symbols of index.html in the first icon of `element`; leaves an unchanged one alone. */
export function putIcon(element, name) {
  const use = element.querySelector('.icon use');
  const reference = `#icon-${name}`;
  if (use.getAttribute('href') !== reference) use.setAttribute('href', reference);
}

/** Reads a sentence to screen readers, politely. */
export function say(sentence) {
  document.getElementById('aloud').textContent = sentence;
}

/** Compares two names the way people sort them: 2 comes before 10. */
export function compareNames(a, b) {
  return a.localeCompare(b, undefined, { numeric: true });
}
