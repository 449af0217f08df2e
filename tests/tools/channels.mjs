// Channels besides one's own, for browser.mjs --script: Ann, in another channel than Ben and Cem, listens to theirs, turns
// it down, drops it and goes there. Waits for what the pages show.
//
// Writes PHASE.wav, what Ann hears, and channels-desktop.png.

import path from 'node:path';

const PATIENCE_MS = 30_000;
const RECORD_MS = 3_000;
// Volumes are told after a moment, and ramped; packets that are on their way play out.
const SETTLE_MS = 2_000;

export default async function channels({ Ann, Ben }, out) {
  const item = Ann.page.locator('.channel', { hasText: 'night-watch' });
  const seen = (selector, page = Ann.page) => page.locator(selector).waitFor({ timeout: PATIENCE_MS });
  const record = async (phase) => {
    await pause(SETTLE_MS);
    await Ann.begin();
    await pause(RECORD_MS);
    await Ann.end(path.join(out, `${phase}.wav`));
  };

  await item.waitFor({ timeout: PATIENCE_MS });
  await Ben.page.keyboard.down(' ');
  await seen('#floor[data-floor=held]', Ben.page);
  await record('other');

  await Ann.page.getByLabel('Listen to night-watch').check();
  await item.locator('.channel-words', { hasText: 'Ben talks' }).waitFor({ timeout: PATIENCE_MS });
  await record('full');
  await item.locator('summary').click();
  await item.locator('.channel-people', { hasText: 'Ben, Cem' }).waitFor({ timeout: PATIENCE_MS });
  await Ann.page.screenshot({ path: path.join(out, 'channels-desktop.png') });

  await Ann.page.getByLabel('Volume of night-watch').fill('50');
  await record('half');

  // Her own channel is as free as it was.
  const own = await Ann.page.locator('#floor').getAttribute('data-floor');
  await Ann.page.getByLabel('Listen to night-watch').uncheck();
  await record('dropped');

  await Ann.page.getByRole('button', { name: 'Talk in night-watch' }).click();
  await seen('#floor[data-floor=taken]');
  await Ann.page.locator('#floor-words', { hasText: 'Ben talks' }).waitFor({ timeout: PATIENCE_MS });
  await record('there');
  const room = await Ann.page.evaluate('mixminus.room');
  await Ben.page.keyboard.up(' ');
  await seen('#floor[data-floor=free]');
  return { own, room };
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
