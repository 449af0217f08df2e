// Other channels, for browser.mjs --script: Ann, who is in another channel than Ben and Cem,
// monitors their channel, lowers its volume, stops monitoring it and switches to it, with the
// keyboard where possible. Waits for what the pages show.
//
// Writes what Ann hears to PHASE.wav, and channels-desktop.png.

import path from 'node:path';

const PATIENCE_MS = 30_000;
const RECORD_S = 3;
// Time until a new volume is heard: the page sends volumes after a delay, the server changes them
// gradually, and packets on their way are still played.
const SETTLE_MS = 2_000;
// Number of key presses from full volume to half volume.
const STEPS = 10;

export default async function channels({ Ann, Ben }, out) {
  const item = Ann.page.locator('.channel', { hasText: 'night-watch' });
  const seen = (selector, page = Ann.page) => page.locator(selector).waitFor({ timeout: PATIENCE_MS });
  const record = async (phase) => {
    await pause(SETTLE_MS);
    await Ann.begin();
    await Ann.recorded(RECORD_S);
    await Ann.end(path.join(out, `${phase}.wav`));
  };

  await item.waitFor({ timeout: PATIENCE_MS });
  await Ben.page.keyboard.down(' ');
  await seen('#floor[data-floor=held]', Ben.page);
  await record('other');

  const second = Ann.page.locator('.channel:nth-child(2) .channel-name');
  const places = [await second.innerText()];
  await Ann.page.getByLabel('Monitor night-watch').focus();
  await Ann.page.keyboard.press(' ');
  await item.locator('.channel-words', { hasText: 'Ben is talking' }).waitFor({ timeout: PATIENCE_MS });
  await record('full');
  await item.locator('summary').click();
  await item.locator('.channel-people', { hasText: 'Ben, Cem' }).waitFor({ timeout: PATIENCE_MS });
  await Ann.page.screenshot({ path: path.join(out, 'channels-desktop.png') });

  // The monitored channel has moved up in the list, and its control has kept the focus.
  await second.filter({ hasText: 'night-watch' }).waitFor({ timeout: PATIENCE_MS });
  places.push(await second.innerText());
  await Ann.page.getByLabel('Monitor night-watch').focus();
  await Ann.page.keyboard.press(' ');
  await second.filter({ hasText: 'anchorage' }).waitFor({ timeout: PATIENCE_MS });
  await Ann.page.keyboard.press(' ');
  await second.filter({ hasText: 'night-watch' }).waitFor({ timeout: PATIENCE_MS });
  const focus = await Ann.page.evaluate('document.activeElement.getAttribute("aria-label")');

  await Ann.page.getByLabel('Volume of night-watch').focus();
  let requests = 0;
  const count = (request) => (requests += new URL(request.url()).pathname.startsWith('/v1/rooms'));
  Ann.page.on('request', count);
  for (let step = 0; step < STEPS; step += 1) await Ann.page.keyboard.press('ArrowLeft');
  Ann.page.off('request', count);
  const volume = await Ann.page.getByLabel('Volume of night-watch').inputValue();
  await record('half');

  // Ann's own channel is still free.
  const own = await Ann.page.locator('#floor').getAttribute('data-floor');
  await Ann.page.getByLabel('Monitor night-watch').uncheck();
  await record('dropped');

  await Ann.page.getByRole('button', { name: 'Switch to night-watch' }).click();
  await seen('#floor[data-floor=taken]');
  await Ann.page.locator('#floor-words', { hasText: 'Ben is talking' }).waitFor({ timeout: PATIENCE_MS });
  await record('there');
  const room = await Ann.page.evaluate('mixminus.room');
  await Ben.page.keyboard.up(' ');
  await seen('#floor[data-floor=free]');
  // Some requests are expected, because the page refreshes the list of channels at intervals.
  return { own, room, places, focus, volume, asksAtEachStep: requests >= STEPS };
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
