// A round on a radio channel, for browser.mjs --script: Ann talks with the space bar, Ben requests
// the floor next, and then Cem with a finger; each gets the floor when the talker before releases
// it. Then follow the refusals of the server. Waits for what the pages show, never for a time.
//
// Writes PHASE-NAME.wav and STATE-WINDOW.png, returns what the pages showed.

import path from 'node:path';

const PATIENCE_MS = 30_000;
const RECORD_S = 3;
// Time in which sound that was on its way when the floor changed is played.
const DRAIN_MS = 1_500;

export default async function radio({ Ann, Ben, Cem }, out) {
  const all = { Ann, Ben, Cem };
  const shown = {};
  /** Waits until the page's display shows a text, and records it. */
  const shows = async (name, state, words) => {
    const { page } = all[name];
    const locator = page.locator(`#floor[data-floor=${state}] #floor-words`, { hasText: words });
    await locator.waitFor({ timeout: PATIENCE_MS }).catch(async () => {
      throw new Error(`${name} was to show ${state} "${words}" but shows "${await page.locator('#floor').innerText()}"`);
    });
    (shown[name] ??= []).push(await page.locator('#floor').innerText());
  };
  const screenshot = async (name, label) => all[name].page.screenshot({ path: path.join(out, `${label}.png`) });
  const record = async (phase) => {
    await pause(DRAIN_MS);
    await Promise.all(Object.values(all).map(({ begin }) => begin()));
    await Promise.all(Object.values(all).map(({ recorded }) => recorded(RECORD_S)));
    await Promise.all(Object.entries(all).map(([name, { end }]) => end(path.join(out, `${phase}-${name}.wav`))));
  };

  for (const name of Object.keys(all)) await shows(name, 'free', 'Channel free');
  await Ann.page.evaluate(watch);
  await record('nobody');
  await screenshot('Ann', 'free-desktop');
  await screenshot('Cem', 'free-phone');

  await Ann.page.keyboard.down(' ');
  await shows('Ann', 'held', 'On air');
  await shows('Ben', 'taken', 'Ann is talking');
  await shows('Cem', 'taken', 'Ann is talking');
  await record('ann');
  await screenshot('Ann', 'held-desktop');
  await screenshot('Cem', 'taken-phone');

  await Ben.page.keyboard.down(' ');
  await shows('Ben', 'queued', 'You’re next');
  const finger = await touch(Cem.page);
  await shows('Cem', 'queued', '2 of 2');
  await screenshot('Ben', 'queued-desktop');
  await screenshot('Cem', 'queued-phone');

  await Ann.page.keyboard.up(' ');
  await shows('Ben', 'held', 'On air');
  await shows('Ann', 'taken', 'Ben is talking');
  await shows('Cem', 'queued', 'You’re next');
  await record('ben');

  // Another window covers Ben's window, so that Ben's page never sees the key-up.
  await hide(Ben.page);
  await shows('Cem', 'held', 'On air');
  await shows('Ann', 'taken', 'Cem is talking');
  await shows('Ben', 'taken', 'Cem is talking');
  await record('cem');
  await screenshot('Cem', 'held-phone');

  // The system takes over the touch, for instance for an incoming call.
  await finger.send('Input.dispatchTouchEvent', { type: 'touchCancel', touchPoints: [] });
  await shows('Cem', 'free', 'Channel free');
  await shows('Ann', 'free', 'Channel free');

  // Enter latches the key: no pointer is needed, and no key is held down.
  await Ann.page.locator('#ptt').focus();
  await Ann.page.keyboard.press('Enter');
  await shows('Ann', 'held', 'On air');
  await shows('Cem', 'taken', 'Ann is talking');
  await Ann.page.keyboard.press('Enter');
  await shows('Ann', 'free', 'Channel free');
  await shows('Cem', 'free', 'Channel free');

  // First a listener changes the network, then the talker. The listener still knows who talks; the
  // talker has lost the floor.
  await Ann.page.keyboard.down(' ');
  await shows('Ann', 'held', 'On air');
  await shows('Cem', 'taken', 'Ann is talking');
  const roamed = [await Cem.page.evaluate(roam)];
  await shows('Cem', 'taken', 'Ann is talking');
  roamed.push(await Ann.page.evaluate(roam));
  await shows('Cem', 'free', 'Channel free');
  await shows('Ann', 'denied', 'Not sent');
  await Ann.page.keyboard.up(' ');
  await shows('Ann', 'free', 'Channel free');

  await configure(Ann.page, { talk_limit_s: 1, grace_ms: 30_000 });
  await Ann.page.keyboard.down(' ');
  await shows('Ann', 'ending', 'Finish now');
  await screenshot('Ann', 'ending-desktop');
  await Ann.page.keyboard.up(' ');
  await shows('Ann', 'free', 'Channel free');

  await configure(Ann.page, { grace_ms: 0 });
  await Ann.page.keyboard.down(' ');
  await shows('Ann', 'revoked', 'Time’s up');
  await screenshot('Ann', 'revoked-desktop');
  const afterRevoke = await microphone(Ann.page);
  await Ann.page.keyboard.up(' ');
  await shows('Ann', 'free', 'Channel free');

  await configure(Ann.page, { talk_limit_s: 300, queue_limit: 0 });
  await Ann.page.keyboard.down(' ');
  await shows('Cem', 'taken', 'Ann is talking');
  const other = await touch(Cem.page);
  await shows('Cem', 'denied', 'Can’t talk now');
  const afterDeny = await microphone(Cem.page);
  await screenshot('Cem', 'denied-phone');
  await other.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
  const whileHeld = await microphone(Ann.page);
  await Ann.page.keyboard.up(' ');
  await shows('Ann', 'free', 'Channel free');
  const afterRelease = await microphone(Ann.page);

  await configure(Ann.page, { mode: 'open' });
  for (const { page } of [Ann, Cem]) await page.locator('#room[data-mode=open] #mute[data-muted=true]').waitFor({ timeout: PATIENCE_MS });
  const inConference = await microphone(Ann.page);
  await screenshot('Ann', 'conference-desktop');
  await configure(Ann.page, { mode: 'ptt' });
  await shows('Ann', 'free', 'Channel free');
  // The page of a participant who releases the floor must not show that participant as the talker.
  const ownName = (await Ann.page.evaluate('seen')).filter((words) => words.includes('Ann'));
  return { shown, roamed, ownName, microphone: { whileHeld, afterRelease, afterRevoke, afterDeny, inConference } };
}

/** In the page: collects in `seen` every text that the display shows. */
function watch() {
  window.seen = [];
  const words = document.getElementById('floor-words');
  new MutationObserver(() => window.seen.push(words.textContent)).observe(words, { childList: true, characterData: true, subtree: true });
}

/**
 * In the page: simulates a change of the network; returns whether the participant is still the
 * same.
 */
async function roam() {
  const path = () => mixminus.pc?.localDescription?.sdp.match(/ice-ufrag:(\S+)/)?.[1];
  const { id } = mixminus;
  const before = path();
  dispatchEvent(new Event('online'));
  while (path() === before || mixminus.state !== 'connected') await new Promise((resolve) => setTimeout(resolve, 50));
  return mixminus.id === id;
}

/** Returns whether the microphone is open. */
function microphone(page) {
  return page.evaluate('mixminus.pc.getSenders()[0].track.enabled');
}

function configure(page, settings) {
  return page.evaluate(async (body) => {
    const response = await fetch(`v1/rooms/${mixminus.room}`, {
      method: 'PATCH',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(await response.text());
  }, settings);
}

/**
 * Puts a finger on the push-to-talk button and leaves it there; returns the session that moves the
 * finger.
 */
async function touch(page) {
  const { x, y, width, height } = await page.locator('#ptt').boundingBox();
  const session = await page.context().newCDPSession(page);
  await session.send('Input.dispatchTouchEvent', {
    type: 'touchStart',
    touchPoints: [{ x: x + width / 2, y: y + height / 2 }],
  });
  return session;
}

/**
 * Opens another page in front of this page, which then loses the focus. Playwright's emulation of
 * the focus is turned off for this.
 */
async function hide(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('Emulation.setFocusEmulationEnabled', { enabled: false });
  const other = await page.context().newPage();
  await other.bringToFront();
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
