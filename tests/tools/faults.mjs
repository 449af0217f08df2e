// A server that dies, returns and freezes while Ann and Ben are on a radio channel, for browser.mjs
// --script. Begins with empty pages; waits for what the pages show. The call's state is still
// "connected", which proves that the page notices the failure before the browser does.
//
// Writes server-away.png and server-silent.png, returns what the pages showed.

import path from 'node:path';

import { Server } from './server.mjs';

const PATIENCE_MS = 60_000;

export default async function faults({ Ann, Ben }, out) {
  const [ann, ben] = [Ann.page, Ben.page];
  const server = new Server();
  await server.start();
  try {
    for (const page of [ann, ben]) await page.addInitScript(watch);
    const born = await found(ann, ben, server);
    const killed = await kill(ann, ben, server, out);
    const back = await comeBack(ann, ben, server);
    const frozen = await freeze(ann, ben, server, out);
    return { born, killed, back, frozen };
  } finally {
    server.thaw();
    await server.kill();
  }
}

/** Ann creates a radio channel in the lobby; it has floor control from the first moment on. */
async function found(ann, ben, server) {
  let first = null;
  ann.on('response', async (response) => {
    if (!first && response.url().includes('/participants?')) first = fetch(`${server.base}v1/rooms/pier`).then((answer) => answer.json());
  });
  await ann.goto(`${server.base}?name=Ann#room=pier`);
  await ann.locator('#kind input[value=ptt]').check({ timeout: PATIENCE_MS });
  await ann.locator('#join-button').click();
  await connected(ann);
  await ben.goto(`${server.base}?name=Ben#room=pier`);
  await ben.locator('#join-button').click();
  await connected(ben);
  await shows(ben, 'free');
  return (await first).mode;
}

/** The server dies while Ann talks. */
async function kill(ann, ben, server, out) {
  await talk(ann, ben);
  await server.kill();
  const noticed = await Promise.all([ann, ben].map((page) => page.waitForFunction(offline, null, { timeout: PATIENCE_MS, polling: 20 })));
  const states = await Promise.all(noticed.map((handle) => handle.jsonValue()));
  await ann.screenshot({ path: path.join(out, 'server-away.png') });
  const words = await ann.locator('#floor-words').innerText();
  const hint = await ann.locator('#mute-hint').innerText();
  const microphone = await ann.evaluate('mixminus.pc.getSenders()[0].track.enabled');
  const tones = await ann.evaluate('tones');
  // An icon whose symbol is missing draws nothing.
  const blank = await ann.locator('.icon:visible use').evaluateAll((uses) => uses.filter((use) => use.getBBox().width === 0).length);
  await ann.keyboard.up(' ');
  const released = await ann.locator('#floor-words').innerText();
  return { states, words, hint, microphone, tones, blank, released };
}

/** After the server's return both pages join again, and the channel is still a radio channel. */
async function comeBack(ann, ben, server) {
  await server.start();
  await Promise.all([ann, ben].map((page) => page.evaluate('window.dispatchEvent(new Event("online"))')));
  await Promise.all([connected(ann), connected(ben)]);
  await Promise.all([shows(ann, 'free'), shows(ben, 'free')]);
  return Promise.all([ann, ben].map((page) => page.evaluate('mixminus.floor.mode')));
}

/**
 * The server stops answering, as behind a dead network, while Ann talks; then the server continues.
 */
async function freeze(ann, ben, server, out) {
  await talk(ann, ben);
  server.freeze();
  const silent = await Promise.all([ann, ben].map(async (page) => {
    const noticed = await page.waitForFunction(silence, null, { timeout: PATIENCE_MS, polling: 20 });
    return noticed.jsonValue();
  }));
  await ben.screenshot({ path: path.join(out, 'server-silent.png') });
  const title = await ben.title();
  await Promise.all([shows(ann, 'offline'), shows(ben, 'offline')]);
  const words = await ann.locator('#floor-words').innerText();
  server.thaw();
  await ann.keyboard.up(' ');
  await Promise.all([connected(ann), connected(ben)]);
  await Promise.all([shows(ann, 'free'), shows(ben, 'free')]);
  await talk(ann, ben);
  // The quality that is shown was measured after the connection recovered.
  await ben.locator('#quality', { hasText: 'Delay' }).waitFor({ timeout: PATIENCE_MS });
  const delay = Number((await ben.locator('#quality').innerText()).match(/Delay (\d+)/)[1]);
  await ann.keyboard.up(' ');
  return { silent, title, words, delayUnderASecond: delay < 1_000 };
}

async function talk(ann, ben) {
  await ann.keyboard.down(' ');
  await shows(ann, 'held');
  await ben.locator('#floor-words', { hasText: 'Ann is talking' }).waitFor({ timeout: PATIENCE_MS });
  await ben.locator('.person[data-doing=talking]', { hasText: 'Ann' }).waitFor({ timeout: PATIENCE_MS });
}

/** In the page: returns the call's state when the display says that the connection is dead. */
function offline() {
  return document.getElementById('floor').dataset.floor === 'offline' && window.mixminus.state;
}

/** In the page: returns the call's state when the status says that nothing is heard. */
function silence() {
  return document.getElementById('status-words').textContent.startsWith('No sound for') && window.mixminus.state;
}

/** In the page: collects the frequencies of the played tones in `tones`. */
function watch() {
  window.tones = [];
  window.OscillatorNode = class extends window.OscillatorNode {
    constructor(context, options) {
      super(context, options);
      window.tones.push(options.frequency);
    }
  };
}

async function shows(page, state) {
  await page.locator(`#floor[data-floor=${state}]`).waitFor({ timeout: PATIENCE_MS });
}

function connected(page) {
  return page.waitForFunction('mixminus.state === "connected"', null, { timeout: PATIENCE_MS, polling: 50 });
}
