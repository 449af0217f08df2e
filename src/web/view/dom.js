// The page's elements, their text and icons, and text read aloud.

/**
 * @template {Element} Kind
 * @typedef {new (...parameters: any[]) => Kind} Type
 */

/**
 * The element of index.html with this id.
 *
 * @overload
 * @param {string} id
 * @returns {HTMLElement}
 */
/**
 * @template {Element} Kind
 * @overload
 * @param {string} id
 * @param {Type<Kind>} type
 * @returns {Kind}
 */
/**
 * @param {string} id
 * @param {Type<Element>} type
 */
export function byId(id, type = HTMLElement) {
  return checked(document.getElementById(id), type, `#${id}`);
}

/**
 * The first element in `root` that matches.
 *
 * @overload
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {HTMLElement}
 */
/**
 * @template {Element} Kind
 * @overload
 * @param {ParentNode} root
 * @param {string} selector
 * @param {Type<Kind>} type
 * @returns {Kind}
 */
/**
 * @param {ParentNode} root
 * @param {string} selector
 * @param {Type<Element>} type
 */
export function find(root, selector, type = HTMLElement) {
  return checked(root.querySelector(selector), type, selector);
}

/**
 * Returns a new copy of a template's only element.
 *
 * @param {HTMLTemplateElement} template
 */
export function copyOf(template) {
  const element = checked(template.content.firstElementChild, HTMLElement, `in #${template.id}`);
  return /** @type {HTMLElement} */ (element.cloneNode(true));
}

/**
 * Sets a text unless it is unchanged, for the sake of selections and screen readers.
 *
 * @param {Element} element
 * @param {string} text
 */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Shows one of the symbols of index.html in the first icon of `element`, unless it is unchanged.
 *
 * @param {Element} element
 * @param {string} name
 */
export function putIcon(element, name) {
  const use = find(element, '.icon use', SVGUseElement);
  const reference = `#icon-${name}`;
  if (use.getAttribute('href') !== reference) use.setAttribute('href', reference);
}

/**
 * Reads a sentence to screen readers, politely.
 *
 * @param {string} sentence
 */
export function say(sentence) {
  byId('aloud').textContent = sentence;
}

/**
 * @template {Element} Kind
 * @param {Element | null} element
 * @param {Type<Kind>} type
 * @param {string} name
 */
function checked(element, type, name) {
  if (!(element instanceof type)) throw new Error(`index.html has no ${type.name} ${name}`);
  return element;
}
