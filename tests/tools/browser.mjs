#!/usr/bin/env node
// Opens the web page in real Chromium and Firefox browsers, joins a room, and records what each
// page hears.

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

import { openFirefox } from './firefox.mjs';

const USAGE = `usage: browser.mjs BASE_URL --page name=NAME[,mic=WAV][,once=1][,record=WAV][,processing=on] [--page ...] [options]

Each --page is a browser of its own (a fake microphone belongs to the whole browser) that opens BASE_URL/?name=NAME#room=ROOM
and presses Join. When all are connected, recording begins; --seconds later it ends.

  name=NAME        the participant's name
  browser=firefox  instead of Chromium; its microphone hears a sine of tone=HZ
  mic=WAV          what the microphone hears, over and over (default: Chromium's beeps); once=1: only once
  listen=1         joins without a microphone, and without a click
  join=0           opens an empty page and leaves the rest to --script
  record=WAV       what the page hears, 48 kHz mono 16 bit
  processing=on    leaves echo cancellation, noise suppression and gain control as the page wishes (default: off,
                   since they treat tones as noise)
  room=ROOM        instead of --room
  width=W          of this page's window, instead of --width; touch=1: of a phone with fingers

  --room ROOM      default: lobby
  --seconds S      default: 10
  --settle S       wait between all connected and recording, default: 0
  --timeout S      how long connecting may take, default: 20
  --screenshots D  folder for NAME.png, taken at the end of the recording
  --width W        of the window, default: 1000; the height is 800
  --script FILE    a module whose default export is called, instead of the wait and the recording, with the pages
                   by name, each {page (Playwright's, or Puppeteer's for Firefox), begin(), recorded(S), end(WAV)}, with
                   --out and with BASE_URL; what it returns is "script"
  --out D          folder for what the script writes, default: .
  --query K=V      added to the page's address; may be repeated
  --chromium FILE  default: /usr/bin/chromium
  --firefox FILE   default: /usr/bin/firefox-esr

Prints JSON: {"ok", "error", "pages": [{"name", "connected", "state", "id", "participants", "connect_ms", "states",
"contributing_sources": [{"csrc", "looks", "level_max"}], "inbound", "outbound", ... (extracts of getStats),
"recorded_seconds", "console", "errors"}], "script"}. "looks" counts in how many of ten looks a second the source was named.
Exit code 0 if every page connected and no page's script failed, 1 otherwise, 2 for a wrong command line.`;

const RATE_HZ = 48_000;
const MAX_CONSOLE_LINES = 200;

// Without the switches against background traffic Chromium contacts its maker's hosts at every
// start. WebRTC must not hide loopback and local addresses behind mDNS names, which nothing on a
// test machine resolves.
const SWITCHES = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  '--allow-loopback-in-peer-connection',
  '--autoplay-policy=no-user-gesture-required',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream',
];

async function main() {
  const { base, pages, options } = commandLine();
  const opened = [];
  const result = { ok: false, error: null, pages: [] };
  try {
    for (const wish of pages) {
      const page = await open(wish, options);
      opened.push(page);
      if (page.joins) await join(page, base, options);
    }
    const deadline = Date.now() + 1000 * options.timeout;
    await Promise.all(opened.filter(({ joins }) => joins).map((page) => connected(page, deadline)));
    await pause(options.settle);
    if (options.script) result.script = await perform(opened, base, options);
    else await record(opened, options.seconds);
  } catch (error) {
    // The stack includes the line of the script that failed.
    result.error = error.stack ?? String(error);
  }
  for (const page of opened) {
    result.pages.push(await report(page, options).catch((error) => ({ name: page.wish.name, errors: [error.message] })));
  }
  await Promise.all(opened.map((page) => close(page)));
  result.ok = !result.error && result.pages.every(({ connected, errors }) => connected && errors.length === 0);
  console.log(JSON.stringify(result));
  return result.ok ? 0 : 1;
}

async function record(opened, seconds) {
  await Promise.all(opened.map(({ page }) => page.evaluate('__tap.begin()')));
  await pause(seconds);
  const recordings = await Promise.all(opened.map(({ page }) => page.evaluate('__tap.end()')));
  for (const [number, page] of opened.entries()) page.recording = Buffer.from(recordings[number], 'base64');
}

/** Runs the script of `--script`, which drives the opened pages. */
async function perform(opened, base, { script: file, out }) {
  const script = await import(pathToFileURL(path.resolve(file)).href);
  await mkdir(out, { recursive: true });
  const actors = opened.map(({ wish, page }) => [wish.name, {
    page,
    begin: () => page.evaluate('__tap.begin()'),
    // Polls by time: a hidden page draws no frames, on which Playwright polls by default.
    recorded: (seconds) => page.waitForFunction(`__tap.seconds() >= ${seconds}`, null, { polling: 50 }),
    end: async (target) => writeFile(target, wav(Buffer.from(await page.evaluate('__tap.end()'), 'base64'))),
  }]);
  return (await script.default(Object.fromEntries(actors), out, base)) ?? null;
}

function commandLine() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        page: { type: 'string', multiple: true },
        room: { type: 'string', default: 'lobby' },
        seconds: { type: 'string', default: '10' },
        settle: { type: 'string', default: '0' },
        timeout: { type: 'string', default: '20' },
        screenshots: { type: 'string' },
        width: { type: 'string', default: '1000' },
        query: { type: 'string', multiple: true, default: [] },
        script: { type: 'string' },
        out: { type: 'string', default: '.' },
        chromium: { type: 'string', default: '/usr/bin/chromium' },
        firefox: { type: 'string', default: '/usr/bin/firefox-esr' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    if (positionals.length !== 1) throw new Error('give one base URL');
    if (!values.page) throw new Error('give at least one --page');
    const options = { ...values };
    for (const name of ['seconds', 'settle', 'timeout', 'width']) {
      options[name] = Number(values[name]);
      if (!(options[name] >= 0)) throw new Error(`--${name} wants a number, not ${values[name]}`);
    }
    return { base: positionals[0], pages: values.page.map(pageWish), options };
  } catch (error) {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  }
}

/** Parses the description of one page, such as `name=Ann,mic=a.wav`. */
function pageWish(text) {
  const known = ['name', 'browser', 'tone', 'join', 'mic', 'once', 'listen', 'record', 'processing', 'room', 'width', 'touch'];
  const wish = Object.fromEntries(text.split(',').map((part) => part.split(/=(.*)/s, 2)));
  for (const key of Object.keys(wish)) {
    if (!known.includes(key)) throw new Error(`--page knows ${known.join(', ')}, not ${key}`);
  }
  if (!wish.name) throw new Error('--page needs a name');
  return wish;
}

/** Starts a browser with the page's microphone and an empty page. */
async function open(wish, options) {
  const firefox = wish.browser === 'firefox';
  const tapOptions = { processing: wish.processing === 'on', audioContext: !firefox };
  const tap = await readFile(new URL('browser-tap.js', import.meta.url), 'utf8');
  const script = `globalThis.__tapOptions = ${JSON.stringify(tapOptions)};\n${tap}`;
  const { browser, page, profile = null } = firefox
    ? await openFirefox(wish, { executable: options.firefox, width: Number(wish.width ?? options.width), script })
    : await openChromium(wish, options, script);
  const opened = { wish, profile, browser, page, joins: wish.join !== '0', console: [], errors: [] };
  page.on('console', (message) => note(opened.console, `${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => note(opened.errors, String(error.stack ?? error)));
  return opened;
}

async function openChromium(wish, options, script) {
  const profile = await mkdtemp(path.join(tmpdir(), 'mixminus-browser-'));
  const microphone = wish.mic ? [`--use-file-for-fake-audio-capture=${path.resolve(wish.mic)}${wish.once ? '%noloop' : ''}`] : [];
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: options.chromium,
    headless: true,
    args: [...SWITCHES, ...microphone],
    // Playwright's default would mute everything the page plays.
    ignoreDefaultArgs: ['--mute-audio'],
    bypassCSP: true,
    ignoreHTTPSErrors: true,
    permissions: ['microphone'],
    viewport: { width: Number(wish.width ?? options.width), height: 800 },
    hasTouch: Boolean(wish.touch),
    isMobile: Boolean(wish.touch),
  });
  // Uses a new page, because the browser's first page would keep the focus behind other pages.
  const page = await browser.newPage();
  await page.addInitScript({ content: script });
  return { browser, page, profile };
}

/** Opens the web page and presses Join; listeners join by a link with `autojoin`. */
async function join({ page, wish }, base, options) {
  const url = new URL(base);
  url.searchParams.set('name', wish.name);
  if (wish.listen) {
    url.searchParams.set('autojoin', '1');
    url.searchParams.set('listen', '1');
  }
  for (const pair of options.query) {
    const [key, value = ''] = pair.split(/=(.*)/s, 2);
    url.searchParams.set(key, value);
  }
  url.hash = new URLSearchParams({ room: wish.room ?? options.room }).toString();
  await page.goto(url.href, { timeout: 1000 * options.timeout }).catch((error) => {
    throw new Error(`${wish.name} cannot open the page: ${error.message.split('\n')[0]}`);
  });
  if (!wish.listen) await page.click('#join-button');
}

async function connected({ page, wish }, deadline) {
  try {
    await page.waitForFunction('__tap.connected()', null, { timeout: Math.max(1, deadline - Date.now()), polling: 50 });
  } catch (error) {
    throw new Error(`${wish.name} did not connect: ${error.message.split('\n')[0]}`);
  }
}

/** Returns the page's entry in the output, and writes the page's screenshot and recording. */
async function report({ wish, page, joins, recording, console, errors }, options) {
  if (!joins) return { name: wish.name, connected: true, console, errors };
  const told = await page.evaluate('__tap.report()');
  if (options.screenshots) {
    await mkdir(options.screenshots, { recursive: true });
    await page.screenshot({ path: path.join(options.screenshots, `${wish.name}.png`) });
  }
  if (wish.record && recording) await writeFile(wish.record, wav(recording));
  return {
    name: wish.name,
    connected: told.connection_state === 'connected',
    ...told,
    recorded_seconds: recording ? recording.length / 2 / RATE_HZ : 0,
    console,
    errors: [...told.errors, ...errors],
  };
}

async function close({ page, browser, profile }) {
  // Leaves the web page first, so that the page ends its session as when a person leaves it.
  await page.goto('about:blank', { timeout: 2000 }).catch(() => {});
  await browser.close().catch(() => {});
  if (profile) await rm(profile, { recursive: true, force: true, maxRetries: 5 });
}

function note(lines, line) {
  if (lines.length < MAX_CONSOLE_LINES) lines.push(line);
}

/** Returns 16-bit mono samples as a WAV file. */
function wav(pcm) {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + pcm.length, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(RATE_HZ, 24);
  header.writeUInt32LE(2 * RATE_HZ, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36);
  header.writeUInt32LE(pcm.length, 40);
  return Buffer.concat([header, pcm]);
}

function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

process.exitCode = await main();
