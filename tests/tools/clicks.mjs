// Hurried clicks, for browser.mjs --script: Ann, who joined as a listener, clicks "Turn on
// microphone" twice; mutes herself and leaves at once; creates a radio channel at the same moment
// as Ben. Waits for what the pages show.

const PATIENCE_MS = 30_000;
// Time in which every timer of the page expires.
const AFTERMATH_MS = 3_500;

export default async function clicks({ Ann, Ben }) {
  await Ann.page.evaluate(() => {
    const button = document.getElementById('talk');
    button.click();
    button.click();
  });
  await Ann.page.locator('#mute:visible').waitFor({ timeout: PATIENCE_MS });
  await inRoom(Ann.page);
  // Time for the second click to take effect.
  await pause(1_000);
  const track = await Ann.page.evaluate('mixminus.pc.getSenders()[0].track.readyState');

  await Ann.page.evaluate(() => {
    window.ticks = 0;
    const native = window.setTimeout;
    window.setTimeout = (then, ms, ...rest) => {
      if (ms === 1_000) window.ticks += 1;
      return native(then, ms, ...rest);
    };
    document.getElementById('mute').click();
    document.getElementById('leave').click();
  });
  await pause(AFTERMATH_MS);
  // The mute starts a timer of one second, which must not start again after Ann has left.
  const ticks = await Ann.page.evaluate('ticks');

  // The response to Ann's join is held back until Ben has joined: both must enter the room and see
  // each other.
  await Ben.page.locator('#leave').click();
  let bensJoin = () => {};
  const joined = new Promise((resolve) => (bensJoin = resolve));
  await Ann.page.route(/participants\?/, async (route) => {
    const response = await route.fetch();
    Ben.page.locator('#join-button').click();
    await joined;
    await route.fulfill({ response });
  });
  Ben.page.on('response', (response) => response.url().includes('participants?') && bensJoin());
  for (const { page } of [Ann, Ben]) {
    await page.locator('#room-name').fill('fresh');
    await page.locator('#kind input[value=ptt]').check({ timeout: PATIENCE_MS });
  }
  await Ann.page.locator('#join-button').click();
  for (const { page } of [Ann, Ben]) await inRoom(page);
  for (const { page } of [Ann, Ben]) await page.locator('#floor[data-floor=free]:visible').waitFor({ timeout: PATIENCE_MS });
  const mode = await Ben.page.evaluate('mixminus.floor.mode');
  return { track, ticks, mode };
}

function inRoom(page) {
  return page.waitForFunction('__tap.connected()', null, { timeout: PATIENCE_MS, polling: 50 });
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
