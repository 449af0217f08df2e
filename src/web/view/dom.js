// The page's elements, their text and icons, and text read aloud.

/**
 * @template {Element} Kind
 * @typedef {new (...parameters: any[]) => Kind} Type
 */

/**
 * Returns the element of index.html with this id; throws if it is missing or of another type.
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
 * Returns the first element in `root` that matches; throws if there is none or it is of another
 * type.
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
 * Sets an element's text, unless it is unchanged: setting it again would end a selection, and
 * screen readers would read it again.
 *
 * @param {Element} element
 * @param {string} text
 */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Shows one of the symbols of index.html in the first icon of `element`, unless the icon shows it
 * already.
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
 * Has screen readers read a sentence, without interrupting what they are reading.
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
