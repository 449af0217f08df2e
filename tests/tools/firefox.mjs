// A Firefox with one page for browser.mjs, driven over WebDriver BiDi. Its microphone is Firefox's
// own fake one, a sine.
//
// Needs neither a sound device nor a sound server: MediaRecorder, which works without them, records
// what a page hears. An AudioContext of Firefox would wait for a device for ever.

import puppeteer from 'puppeteer-core';

const PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  // The server is on loopback, and nothing on a test machine resolves mDNS names.
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  // The timers of a page run at full rate while another window covers the page.
  'dom.min_background_timeout_value': 4,
};

/** Opens a page of the given width, with `script` run before the page's own scripts. */
export async function openFirefox(wish, { executable, width, script }) {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: executable,
    headless: true,
    extraPrefsFirefox: { ...PREFERENCES, 'media.navigator.audio.fake_frequency': Number(wish.tone ?? 440) },
  });
  const page = await browser.newPage();
  await page.setViewport({ width, height: 800 });
  await page.evaluateOnNewDocument(script);
  return { browser, page: adapt(page) };
}

/** Gives the page those parts of Playwright's interface that the scripts need. */
function adapt(page) {
  const waitForFunction = page.waitForFunction.bind(page);
  const waitForSelector = page.waitForSelector.bind(page);
  page.waitForFunction = (test, argument, options) => waitForFunction(test, options, argument);
  page.waitForSelector = (selector, options) => waitForSelector(selector, { visible: true, ...options });
  return page;
}
