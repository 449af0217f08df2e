// The SDP processing that a browser leaves to the page: ICE fragments for the server, and the
// answer to an ICE restart. Fragments are application/trickle-ice-sdpfrag (RFC 8840, section 9).
// All media is bundled, so the first media section represents all sections.

/**
 * Returns the ICE user fragment of a description.
 *
 * @param {string} sdp
 */
export function ufrag(sdp) {
  return value(sdp, 'ice-ufrag');
}

/**
 * Returns a fragment that adds late `candidates` ("candidate:...") to the session that `offer`
 * began.
 *
 * @param {string} offer
 * @param {string[]} candidates
 */
export function trickle(offer, candidates) {
  return fragment(offer, candidates.map((candidate) => `a=${candidate}`));
}

/**
 * Returns a fragment that requests an ICE restart: new credentials and every candidate of `offer`.
 *
 * @param {string} offer
 */
export function restart(offer) {
  return fragment(offer, lines(firstMedia(offer)).filter((line) => line.startsWith('a=candidate:')));
}

/**
 * Returns the answer to a restart: the last full answer with the credentials and candidates of the
 * server's fragment. A browser accepts only full descriptions.
 *
 * @param {string} answer
 * @param {string} fragment
 */
export function restarted(answer, fragment) {
  const fresh = lines(fragment).filter((line) => /^a=(candidate:|end-of-candidates)/.test(line));
  let media = 0;
  /** @type {string[]} */
  const out = [];
  for (const line of lines(answer)) {
    if (line.startsWith('m=')) {
      if (media === 1) out.push(...fresh);
      media += 1;
    }
    if (/^a=(candidate:|end-of-candidates)/.test(line)) continue;
    if (line.startsWith('a=ice-ufrag:')) out.push(`a=ice-ufrag:${value(fragment, 'ice-ufrag')}`);
    else if (line.startsWith('a=ice-pwd:')) out.push(`a=ice-pwd:${value(fragment, 'ice-pwd')}`);
    else out.push(line);
  }
  if (media === 1) out.push(...fresh);
  return join(out);
}

/**
 * @param {string} offer
 * @param {string[]} candidateLines
 */
function fragment(offer, candidateLines) {
  const media = firstMedia(offer);
  return join([
    `a=ice-ufrag:${value(offer, 'ice-ufrag')}`,
    `a=ice-pwd:${value(offer, 'ice-pwd')}`,
    lines(media)[0],
    `a=mid:${value(media, 'mid')}`,
    ...candidateLines,
  ]);
}

/** @param {string} sdp */
function firstMedia(sdp) {
  return 'm=' + (sdp.split(/^m=/m)[1] ?? '');
}

/**
 * @param {string} sdp
 * @param {string} attribute
 */
function value(sdp, attribute) {
  return sdp.match(new RegExp(`^a=${attribute}:(\\S+)`, 'm'))?.[1] ?? '';
}

/** @param {string} sdp */
function lines(sdp) {
  return sdp.split(/\r?\n/).filter((line) => line !== '');
}

/** @param {string[]} all */
function join(all) {
  return all.map((line) => `${line}\r\n`).join('');
}
