// The page as a whole: what index.html preloads, and the wire types compared with the OpenAPI
// document.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';

const SRC = new URL('../../src/', import.meta.url);
const WEB = new URL('web/', SRC);

const read = (url) => readFileSync(url, 'utf8');

/** Returns the page's modules, relative to its folder. */
function modules(folder = '') {
  return readdirSync(new URL(folder, WEB), { withFileTypes: true }).flatMap((entry) => {
    if (entry.isDirectory()) return modules(`${folder}${entry.name}/`);
    return entry.name.endsWith('.js') ? [`${folder}${entry.name}`] : [];
  });
}

test('index.html preloads every module but the one that it runs', () => {
  const preloaded = [...read(new URL('index.html', WEB)).matchAll(/rel="modulepreload" href="([^"]+)"/g)].map(([, href]) => href);
  assert.deepEqual(preloaded.sort(), modules().filter((path) => path !== 'app.js').sort());
});

/** Returns the OpenAPI document; its folder may be renamed without a change here. */
function openapi() {
  const folders = readdirSync(SRC, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const found = folders.filter(({ name }) => readdirSync(new URL(`${name}/`, SRC)).includes('openapi.json'));
  assert.equal(found.length, 1);
  return JSON.parse(read(new URL(`${found[0].name}/openapi.json`, SRC)));
}

/** Returns every value that a property called `name` may have anywhere in the document. */
function values(name, node) {
  if (node === null || typeof node !== 'object') return [];
  const own = node.properties?.[name];
  const here = own ? [...(own.enum ?? []), ...(own.const === undefined ? [] : [own.const])] : [];
  return [...here, ...Object.values(node).flatMap((child) => values(name, child))];
}

test('types.d.ts has exactly the events that the API describes', () => {
  const types = read(new URL('types.d.ts', WEB));
  const tags = [...types.matchAll(/Tagged<((?:'\w+'(?: \| )?)+)/g)].flatMap(([, list]) => list.match(/\w+/g));
  assert.deepEqual(tags.sort(), [...new Set(values('event', openapi().components.schemas))].sort());
});

test('types.d.ts has only commands that the API describes', () => {
  const types = read(new URL('types.d.ts', WEB));
  const commands = [...types.matchAll(/command: ((?:'\w+'(?: \| )?)+)/g)].flatMap(([, list]) => list.match(/\w+/g));
  const described = values('command', openapi().components.schemas);
  assert.ok(commands.length >= 5);
  assert.deepEqual(commands.filter((command) => !described.includes(command)), []);
});
