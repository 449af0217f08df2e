// Chromium and Firefox in one room, for browser.mjs --script: Ann's page is Chromium, Fox's is
// Firefox. Both talk in a conference, before and after Fox changes the network and reloads the
// page; then Fox talks on a radio channel. Waits for what the pages show.
//
// Writes PHASE-NAME.wav, firefox-desktop.png and firefox-phone.png.

import path from 'node:path';

const PATIENCE_MS = 30_000;
const RECORD_S = 2.5;
// Time in which sound that was on its way at a change is played.
const DRAIN_MS = 1_000;

export default async function twoMakes({ Ann, Fox }, out, base) {
  const all = { Ann, Fox };
  const [ann, fox] = [Ann.page, Fox.page];
  const record = async (phase) => {
    await pause(DRAIN_MS);
    await Promise.all(Object.values(all).map(({ begin }) => begin()));
    await Promise.all(Object.values(all).map(({ recorded }) => recorded(RECORD_S)));
    await Promise.all(Object.entries(all).map(([name, { end }]) => end(path.join(out, `${phase}-${name}.wav`))));
  };

  await both(ann);
  await both(fox);
  await record('conference');

  const roamed = await fox.evaluate(roam);
  await record('roamed');

  await fox.reload();
  await fox.waitForSelector('#join-button');
  await fox.click('#join-button');
  await both(fox);
  await both(ann);
  await record('reloaded');

  await configure(base, 'mixed', { mode: 'ptt' });
  for (const page of [ann, fox]) await shows(page, 'free');
  await fox.screenshot({ path: path.join(out, 'firefox-desktop.png') });
  await fox.keyboard.down(' ');
  await shows(fox, 'held');
  await shows(ann, 'taken');
  await record('fox');
  await ann.keyboard.down(' ');
  await shows(ann, 'queued');
  await fox.keyboard.up(' ');
  await shows(ann, 'held');
  await shows(fox, 'taken');
  await fox.setViewport({ width: 360, height: 740 });
  await fox.screenshot({ path: path.join(out, 'firefox-phone.png') });
  await record('ann');
  await ann.keyboard.up(' ');
  await shows(fox, 'free');
  return { roamed };
}

/** Waits until the page is connected and shows both participants. */
function both(page) {
  return page.waitForFunction(
    '__tap.connected() && mixminus.participants.length === 2 && mixminus.participants.every(({ connected }) => connected)',
    null,
    { timeout: PATIENCE_MS, polling: 50 },
  );
}

function shows(page, state) {
  return page.waitForSelector(`#floor[data-floor=${state}]`, { timeout: PATIENCE_MS });
}

/**
 * In the page: simulates a change of the network; returns whether the participant is still the
 * same.
 */
async function roam() {
  const path = () => window.mixminus.pc?.localDescription?.sdp.match(/ice-ufrag:(\S+)/)?.[1];
  const { id } = window.mixminus;
  const before = path();
  window.dispatchEvent(new Event('online'));
  while (path() === before || window.mixminus.state !== 'connected') await new Promise((resolve) => setTimeout(resolve, 50));
  return window.mixminus.id === id;
}

async function configure(base, name, settings) {
  const response = await fetch(new URL(`v1/rooms/${name}`, base), {
    method: 'PATCH',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(settings),
  });
  if (!response.ok) throw new Error(await response.text());
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
