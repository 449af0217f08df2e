// The lobby, for browser.mjs --script, with Ann's empty page: links, names, full rooms, an
// unanswered prompt for the microphone, and a server on which visitors cannot create rooms. Waits
// for what the page shows.
//
// Writes lobby-phone.png and lobby-asking.png, returns what the page showed.

import path from 'node:path';

import { Server } from './server.mjs';

const PATIENCE_MS = 30_000;
const LONG = 'a-room-with-a-name-of-sixty-three-characters-as-people-do-write';

export default async function lobby({ Ann }, out) {
  const { page } = Ann;
  const open = new Server();
  const closed = new Server(['--open-rooms=false']);
  const asked = { open: [], closed: [] };
  await page.addInitScript(watchMicrophone);
  try {
    await Promise.all([open.start(), closed.start()]);
    await open.ask('PUT', '/v1/rooms/standup-berlin', {});
    await open.ask('PUT', `/v1/rooms/${LONG}`, {});
    await open.ask('PUT', '/v1/rooms/booth', { max_participants: 1 });
    for (const number of [1, 10, 2]) await open.ask('PUT', `/v1/rooms/desk-${number}`, {});
    page.on('request', (request) => {
      if (request.url().includes('/participants?')) asked[request.url().startsWith(open.base) ? 'open' : 'closed'].push(request.url());
    });

    const autojoin = await joinByLink(page, open);
    const listened = await listenByLink(page, open);
    const cards = await phone(page, open, out);
    const full = await fullRoom(page, open, asked);
    const unanswered = await unansweredQuestion(page, open, out);
    const spelled = await spelledLink(page, open);
    const noNewRooms = await withoutNewRooms(page, closed, asked);
    return { autojoin, listened, cards, full, unanswered, spelled, noNewRooms };
  } finally {
    await Promise.all([open.kill(), closed.kill()]);
  }
}

/** Checks that a link cannot open the microphone, and that a click can. */
async function joinByLink(page, { base }) {
  await page.goto(`${base}?autojoin=1&name=Ann#room=desk-1`);
  await page.locator('.room-card').first().waitFor({ timeout: PATIENCE_MS });
  const { opened } = await page.evaluate('microphone');
  const state = await page.evaluate('mixminus.state');
  const focus = await page.evaluate('document.activeElement.id');
  await page.keyboard.press('Enter');
  await connected(page);
  const afterClick = await page.evaluate('microphone.opened');
  await page.locator('#leave').click();
  return { opened, state, focus, afterClick };
}

async function listenByLink(page, { base }) {
  await page.goto(`${base}?autojoin=1&listen=1&name=Ann#room=desk-1`);
  await connected(page);
  const { opened } = await page.evaluate('microphone');
  await page.locator('#leave').click();
  return opened;
}

/**
 * Checks the room cards on a phone: their order, and the number of lines of each name while
 * somebody talks.
 */
async function phone(page, { base }, out) {
  await page.setViewportSize({ width: 360, height: 740 });
  // Replaces the list of rooms by that of a busy server.
  await page.route('**/v1/rooms', async (route) => {
    const response = await route.fetch();
    const list = await response.json();
    for (const room of list.rooms) Object.assign(room, { participants: room.max_participants === 1 ? 1 : 12, talking: 2, mode: 'ptt' });
    await route.fulfill({ response, json: list });
  });
  await page.goto(base);
  await page.locator('.card-talk-words', { hasText: '2 talking' }).first().waitFor({ timeout: PATIENCE_MS });
  await page.screenshot({ path: path.join(out, 'lobby-phone.png'), fullPage: true });
  const cards = await page.locator('.room-card').evaluateAll((items) => items.map((item) => {
    const name = item.querySelector('.card-name');
    const lines = Math.round(name.offsetHeight / parseFloat(getComputedStyle(name).lineHeight));
    return { name: name.textContent, lines };
  }));
  const overflow = await page.evaluate('document.documentElement.scrollWidth > innerWidth');
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await page.setViewportSize({ width: 1000, height: 800 });
  return { names: cards.map(({ name }) => name), mostLines: Math.max(...cards.map(({ lines }) => lines)), overflow };
}

/**
 * Checks that the card of a full room does nothing, and that a link to the room leads to a plain
 * sentence.
 */
async function fullRoom(page, { base }, asked) {
  const other = await page.context().newPage();
  await other.goto(`${base}?autojoin=1&listen=1&name=Ben#room=booth`);
  await connected(other);
  await page.goto(base);
  const card = page.locator('.room-card', { hasText: 'booth' });
  await card.locator('.card-people', { hasText: '1 person, full' }).waitFor({ timeout: PATIENCE_MS });
  const before = asked.open.length;
  await card.locator('button').evaluate((button) => button.click());
  const pressed = asked.open.length - before;
  await page.locator('#room-name').fill('booth');
  await page.locator('#join-button').click();
  await page.locator('#notice').waitFor({ timeout: PATIENCE_MS });
  const sentence = await page.locator('#notice-text').innerText();
  await other.close();
  return { pressed, sentence };
}

/**
 * Checks every way to cancel a join while the browser's prompt for the microphone is unanswered.
 */
async function unansweredQuestion(page, { base }, out) {
  await page.goto(`${base}?name=Ann#room=desk-1`);
  await page.evaluate('microphone.answer = false');
  const ask = async () => {
    await page.locator('#join-button').click();
    await page.locator('#cancel:visible').waitFor({ timeout: PATIENCE_MS });
  };
  await ask();
  await page.screenshot({ path: path.join(out, 'lobby-asking.png') });
  await page.locator('#cancel').click();
  const cancelled = await page.evaluate('mixminus.state');
  await ask();
  await page.locator('.room-card', { hasText: 'desk-2' }).locator('button').click();
  await page.locator('#cancel:visible').waitFor({ timeout: PATIENCE_MS });
  await page.locator('#listen-only').click();
  await connected(page);
  const room = await page.evaluate('mixminus.room');
  await page.locator('#leave').click();
  await page.evaluate('microphone.answer = true');
  await page.locator('#join-button').click();
  await connected(page);
  const late = await page.evaluate('mixminus.pc.getSenders()[0].track.readyState');
  await page.locator('#leave').click();
  return { cancelled, room, late };
}

async function spelledLink(page, { base }) {
  await page.goto('about:blank');
  await page.goto(`${base}?name=Ann#team meeting`);
  const room = await page.locator('#room-name').inputValue();
  const notice = await page.locator('#notice').isVisible();
  return { room, notice };
}

async function withoutNewRooms(page, { base }, asked) {
  await page.goto(`${base}?name=Ann`);
  await page.locator('#rooms-remark', { hasText: 'No rooms yet.' }).waitFor({ timeout: PATIENCE_MS });
  await page.locator('#room-name').fill('fresh');
  const kind = await page.locator('#kind').isVisible();
  await page.locator('#join-button').click();
  const fault = await page.locator('#room-name-fault').innerText();
  return { remark: await page.locator('#rooms-remark').innerText(), kind, fault, asked: asked.closed.length };
}

/**
 * In the page: counts in `microphone` how often a microphone is opened; while `answer` is false,
 * the browser's prompt stays open.
 */
function watchMicrophone() {
  window.microphone = { opened: 0, answer: true };
  // The empty page before the web page has no media devices.
  if (!navigator.mediaDevices) return;
  const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = (wishes) => {
    if (!window.microphone.answer) return new Promise(() => {});
    window.microphone.opened += 1;
    return native(wishes);
  };
}

function connected(page) {
  return page.waitForFunction('mixminus.state === "connected"', null, { timeout: PATIENCE_MS, polling: 50 });
}
