// A room on the page, for browser.mjs --script: Ann and Ben on the radio channel harbour, Cem on
// night-watch; Dan's page joins in this script and crashes. Checks the order of the channels,
// monitors, icons, the latch, the list of microphones, low windows, notices and crashes. Waits for
// what the pages show.
//
// Writes monitors-desktop.png, monitors-phone.png and one picture of each low window; returns what
// the pages showed.

import path from 'node:path';

const PATIENCE_MS = 30_000;
// Sizes of windows in CSS pixels: 1280x800 at 200 % zoom, a phone held sideways, 1280x800 at 400 %
// zoom, a phone.
const WINDOWS = [[640, 400], [740, 360], [320, 200], [360, 740]];
const MOST_TABS = 60;

export default async function room({ Ann, Ben, Cem, Dan }, out, base) {
  const ann = Ann.page;
  const fetched = [];
  ann.on('request', (request) => {
    const { pathname } = new URL(request.url());
    // The icon of the window is fetched by the browser, not by the page.
    if (!pathname.startsWith('/v1/') && pathname !== '/icon.svg') fetched.push(pathname);
  });

  const order = await channelOrder(ann);
  const monitors = await monitoring(ann, Cem.page, base, out);
  const icons = await iconsWhileTalking(ann, Ben.page, fetched);
  const latch = await latchWords(ann);
  const spaceAfterChoice = await chooseMicrophone(ann);
  const covered = await lowWindows(ann, out);
  const crash = await crashed(ann, Ben.page, Dan.page, base);
  const notices = await noticesGo(ann, base);
  return { order, monitors, icons, latch, spaceAfterChoice, covered, crash, notices };
}

async function channelOrder(ann) {
  await ann.locator('.channel', { hasText: 'night-watch' }).waitFor({ timeout: PATIENCE_MS });
  return ann.locator('.channel-name').allInnerTexts();
}

/**
 * Checks that Cem's channel shows that Ann monitors it, and that the channel can refuse monitors.
 */
async function monitoring(ann, cem, base, out) {
  const conference = await ann.locator('.channel', { hasText: 'desk-1' }).first().locator('.channel-closed').innerText();
  const offered = await ann.getByLabel('Monitor desk-10').isVisible();
  const before = await cem.locator('#monitors').isVisible();
  await ann.getByLabel('Monitor night-watch').check();
  await cem.locator('#monitors-count', { hasText: '1 person in another room monitors this room' }).waitFor({ timeout: PATIENCE_MS });
  await cem.locator('#monitors summary').click();
  const names = await cem.locator('#monitors-names').innerText();
  await cem.screenshot({ path: path.join(out, 'monitors-desktop.png') });
  await cem.setViewportSize({ width: 360, height: 740 });
  await cem.screenshot({ path: path.join(out, 'monitors-phone.png') });
  const notice = nextNotice(ann);
  await configure(base, 'night-watch', { allow_monitors: false });
  const told = await notice;
  await cem.locator('#monitors').waitFor({ state: 'hidden', timeout: PATIENCE_MS });
  await ann.getByLabel('Monitor night-watch').waitFor({ state: 'hidden', timeout: PATIENCE_MS });
  // When the channel allows monitors again, Ann's page monitors it again.
  await configure(base, 'night-watch', { allow_monitors: true });
  await cem.locator('#monitors-count', { hasText: '1 person in another room monitors this room' }).waitFor({ timeout: PATIENCE_MS });
  await ann.getByLabel('Monitor night-watch').uncheck();
  await cem.locator('#monitors').waitFor({ state: 'hidden', timeout: PATIENCE_MS });
  return { conference, offered, before, names, told };
}

/**
 * Returns what the page fetched besides the API while tiles changed, and which icons have no
 * symbol.
 */
async function iconsWhileTalking(ann, ben, fetched) {
  fetched.splice(0);
  for (let turn = 0; turn < 3; turn += 1) {
    await ben.keyboard.down(' ');
    await ann.locator('#floor[data-floor=taken]').waitFor({ timeout: PATIENCE_MS });
    await ben.keyboard.up(' ');
    await ann.locator('#floor[data-floor=free]').waitFor({ timeout: PATIENCE_MS });
  }
  const empty = await ann.locator('use').evaluateAll((uses) => uses
    .map((use) => use.getAttribute('href'))
    .filter((href) => href !== null && !(href.startsWith('#') && document.querySelector(href))));
  return { fetched, empty };
}

async function latchWords(ann) {
  await ann.locator('#latch').check();
  const words = [await ann.locator('#floor-more').innerText(), await ann.locator('#ptt-words').innerText()];
  await ann.locator('#latch').uncheck();
  words.push(await ann.locator('#floor-more').innerText(), await ann.locator('#ptt-words').innerText());
  return words;
}

/** Checks that the space bar talks after a microphone was chosen with the mouse. */
async function chooseMicrophone(ann) {
  const list = ann.locator('#microphone');
  const other = await list.locator('option:not(:checked)').first().getAttribute('value');
  await list.dispatchEvent('pointerdown', { pointerType: 'mouse' });
  await list.focus();
  await list.selectOption(other);
  await ann.keyboard.down(' ');
  await ann.locator('#floor[data-floor=held]').waitFor({ timeout: PATIENCE_MS });
  await ann.keyboard.up(' ');
  await ann.locator('#floor[data-floor=free]').waitFor({ timeout: PATIENCE_MS });
  return true;
}

/**
 * Returns controls that are covered while they have the focus, and windows in which the dock does
 * not fit.
 */
async function lowWindows(ann, out) {
  const covered = [];
  for (const [width, height] of WINDOWS) {
    await ann.setViewportSize({ width, height });
    await ann.screenshot({ path: path.join(out, `radio-${width}x${height}.png`) });
    await ann.locator('#room-title').focus();
    let controls = 0;
    for (let tab = 0; tab < MOST_TABS; tab += 1) {
      await ann.keyboard.press('Tab');
      const seen = await ann.evaluate(lookAtFocus);
      if (!seen) break;
      controls += 1;
      if (seen.covered) covered.push(`${width}x${height}: ${seen.name} is under ${seen.covered}`);
    }
    if (controls < 10) covered.push(`${width}x${height}: only ${controls} controls`);
    const overhang = await ann.evaluate('Math.max(document.documentElement.scrollWidth, document.querySelector(".dock").getBoundingClientRect().right) - innerWidth');
    if (overhang > 0) covered.push(`${width}x${height}: ${overhang} px stick out`);
  }
  await ann.setViewportSize({ width: 1280, height: 800 });
  return covered;
}

/**
 * In the page: returns the control with the focus, and what covers it; null when the focus has left
 * the page.
 */
function lookAtFocus() {
  const focused = document.activeElement;
  if (!focused || focused === document.body) return null;
  const { left, top, width, height } = focused.getBoundingClientRect();
  const over = document.elementFromPoint(left + width / 2, top + height / 2);
  const name = focused.id || focused.getAttribute('aria-label') || focused.textContent.trim();
  const clear = over && (focused.contains(over) || focused.closest('label')?.contains(over));
  return { name, covered: clear ? '' : over?.id || over?.className || 'the edge of the window' };
}

/**
 * Dan's page crashes. Checks that the other pages show the lost connection, and that Dan's former
 * participant has gone when Dan returns.
 */
async function crashed(ann, ben, dan, base) {
  await ben.locator('#leave').click();
  await dan.goto(`${base}?name=Dan#room=harbour`);
  await dan.locator('#join-button').click();
  await dan.waitForFunction('mixminus.state === "connected"', null, { timeout: PATIENCE_MS, polling: 50 });
  const dans = ann.locator('.person', { hasText: 'Dan' });
  await dans.waitFor({ timeout: PATIENCE_MS });
  const gone = dan.waitForEvent('crash');
  const session = await dan.context().newCDPSession(dan);
  // The request never gets a response, because the page ends.
  session.send('Page.crash').catch(() => {});
  await gone;
  await dans.locator('.word', { hasText: 'connection lost' }).waitFor({ timeout: PATIENCE_MS });
  await ann.locator('#floor-more', { hasText: 'Nobody else is connected.' }).waitFor({ timeout: PATIENCE_MS });
  const again = await dan.context().newPage();
  await again.goto(`${base}?name=Dan#room=harbour`);
  await dans.waitFor({ state: 'detached', timeout: PATIENCE_MS });
  await again.locator('#join-button').click();
  await again.waitForFunction('mixminus.participants.length === 2', null, { timeout: PATIENCE_MS, polling: 50 });
  const names = await again.evaluate('mixminus.participants.map(({ name }) => name).sort()');
  await again.locator('#leave').click();
  await ben.locator('#join-button').click();
  await ben.waitForFunction('__tap.connected()', null, { timeout: PATIENCE_MS, polling: 50 });
  return names;
}

/**
 * Checks that notices disappear when they are dismissed, when they are no longer true, and by
 * themselves.
 */
async function noticesGo(ann, base) {
  const alarm = ann.locator('#alarm');
  const becomeConference = async () => {
    await configure(base, 'harbour', { mode: 'open' });
    await ann.locator('#alarm-text', { hasText: 'conference now' }).waitFor({ timeout: PATIENCE_MS });
  };
  await becomeConference();
  await ann.locator('#alarm-close').click();
  const dismissed = await alarm.isHidden();
  await configure(base, 'harbour', { mode: 'ptt' });
  await ann.locator('#floor:visible').waitFor({ timeout: PATIENCE_MS });
  await becomeConference();
  await ann.locator('#mute').click();
  await alarm.waitFor({ state: 'hidden', timeout: PATIENCE_MS });
  const notice = nextNotice(ann);
  await ann.evaluate('for (let press = 0; press < 50; press += 1) document.getElementById("mute").click()');
  const told = await notice;
  await alarm.waitFor({ state: 'hidden', timeout: PATIENCE_MS });
  return { told, dismissed };
}

/**
 * Returns the next notice as soon as the page shows it, because the notice disappears by itself.
 */
async function nextNotice(page) {
  const shown = await page.waitForFunction(
    '!document.getElementById("alarm").hidden && document.getElementById("alarm-text").textContent',
    null,
    { timeout: PATIENCE_MS, polling: 50 },
  );
  return shown.jsonValue();
}

async function configure(base, name, settings) {
  const response = await fetch(new URL(`v1/rooms/${name}`, base), {
    method: 'PATCH',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(settings),
  });
  if (!response.ok) throw new Error(await response.text());
}
