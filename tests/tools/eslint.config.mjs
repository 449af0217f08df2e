// Rules for the page and for the tests written in JavaScript; run from the root of the repository:
// `tests/tools/node_modules/.bin/eslint --config tests/tools/eslint.config.mjs src/web tests/web
// tests/tools`

import js from '@eslint/js';
import globals from 'globals';

// Globals that src/web/model must not use: its state machines take time, timers and storage as
// arguments, so that tests control these.
const IMPURE = [
  'document', 'window', 'navigator', 'location', 'localStorage', 'sessionStorage', 'performance', 'Date', 'fetch',
  'WebSocket', 'RTCPeerConnection', 'AudioContext', 'setTimeout', 'setInterval', 'requestAnimationFrame', 'addEventListener',
];

export default [
  { ignores: ['**/node_modules/', '**/*.d.ts'] },
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'no-unused-vars': 'error',
    },
  },
  { files: ['src/web/**/*.js'], languageOptions: { globals: globals.browser } },
  {
    files: ['src/web/model/**/*.js'],
    rules: {
      'no-restricted-globals': ['error', ...IMPURE],
      'no-restricted-properties': ['error', { object: 'Math', property: 'random' }],
      'no-restricted-imports': ['error', { patterns: ['**/net/*', '**/view/*', '**/clock.js', '**/app.js'] }],
    },
  },
  // net/ may use model/, but not the page.
  { files: ['src/web/net/**/*.js'], rules: { 'no-restricted-imports': ['error', { patterns: ['**/view/*', '**/app.js'] }] } },
  { files: ['src/web/view/**/*.js'], rules: { 'no-restricted-imports': ['error', { patterns: ['**/app.js'] }] } },
  { files: ['tests/web/**/*.mjs'], languageOptions: { globals: globals.node } },
  // These scripts also contain code that runs inside the page.
  { files: ['tests/tools/**/*.{mjs,js}'], languageOptions: { globals: { ...globals.node, ...globals.browser, mixminus: 'readonly' } } },
];
