// A round on a radio channel, for browser.mjs --script: Ann talks with the space bar, Ben queues behind her, Cem behind
// him with a finger; each is promoted when the one before lets go. Waits for what the pages show, never for a time.
//
// Writes PHASE-NAME.wav and STATE-WINDOW.png, returns what the pages showed.

import path from 'node:path';

const PATIENCE_MS = 30_000;
const RECORD_MS = 3_000;
// What was on its way when the floor changed hands has been heard by then.
const DRAIN_MS = 1_500;

export default async function radio({ Ann, Ben, Cem }, out) {
  const all = { Ann, Ben, Cem };
  const shown = {};
  /** Waits for what the page's display says, and notes it. */
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
    await pause(RECORD_MS);
    await Promise.all(Object.entries(all).map(([name, { end }]) => end(path.join(out, `${phase}-${name}.wav`))));
  };

  for (const name of Object.keys(all)) await shows(name, 'free', 'Free');
  await record('nobody');
  await screenshot('Ann', 'free-desktop');
  await screenshot('Cem', 'free-phone');

  await Ann.page.keyboard.down(' ');
  await shows('Ann', 'held', 'You talk');
  await shows('Ben', 'taken', 'Ann talks');
  await shows('Cem', 'taken', 'Ann talks');
  await record('ann');
  await screenshot('Ann', 'held-desktop');
  await screenshot('Cem', 'taken-phone');

  await Ben.page.keyboard.down(' ');
  await shows('Ben', 'queued', '1 of 1');
  const finger = await touch(Cem.page);
  await shows('Cem', 'queued', '2 of 2');
  await screenshot('Ben', 'queued-desktop');
  await screenshot('Cem', 'queued-phone');

  await Ann.page.keyboard.up(' ');
  await shows('Ben', 'held', 'You talk');
  await shows('Ann', 'taken', 'Ben talks');
  await shows('Cem', 'queued', '1 of 1');
  await record('ben');

  // Another window in front of Ben's: his key-up will never be seen.
  await hide(Ben.page);
  await shows('Cem', 'held', 'You talk');
  await shows('Ann', 'taken', 'Cem talks');
  await shows('Ben', 'taken', 'Cem talks');
  await record('cem');
  await screenshot('Cem', 'held-phone');

  // The system takes the touch: a call comes in, say.
  await finger.send('Input.dispatchTouchEvent', { type: 'touchCancel', touchPoints: [] });
  await shows('Cem', 'free', 'Free');
  await shows('Ann', 'free', 'Free');

  // Without a pointer and without holding: Enter latches.
  await Ann.page.locator('#ptt').focus();
  await Ann.page.keyboard.press('Enter');
  await shows('Ann', 'held', 'You talk');
  await shows('Cem', 'taken', 'Ann talks');
  await Ann.page.keyboard.press('Enter');
  await shows('Ann', 'free', 'Free');
  await shows('Cem', 'free', 'Free');
  const aloud = await Ann.page.locator('#floor-aloud').textContent();
  return { shown, aloud, floors: await Promise.all(Object.values(all).map(({ page }) => page.evaluate('mixminus.floor'))) };
}

/** Puts a finger on the button and leaves it there. */
async function touch(page) {
  const { x, y, width, height } = await page.locator('#ptt').boundingBox();
  const session = await page.context().newCDPSession(page);
  await session.send('Input.dispatchTouchEvent', {
    type: 'touchStart',
    touchPoints: [{ x: x + width / 2, y: y + height / 2 }],
  });
  return session;
}

/** Opens another page before this one. Playwright has pages believe that they have the focus, which ends here. */
async function hide(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('Emulation.setFocusEmulationEnabled', { enabled: false });
  const other = await page.context().newPage();
  await other.bringToFront();
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
