#!/bin/sh
# Runs browser.mjs, after fetching the packages it needs if package-lock.json has changed since.
# Needs node 18 or newer, npm, Chromium and Firefox: on a bare Debian 12, apt-get install nodejs npm chromium firefox-esr.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
modules=$here/node_modules
target=${CARGO_TARGET_DIR:-$here/../../target}

# One at a time: tests that run side by side all come through here.
mkdir -p "$target"
exec 9>"$target/browser.lock"
flock 9
if ! cmp -s "$here/package-lock.json" "$modules/.made-from"; then
    (cd "$here" && npm ci --no-audit --no-fund --ignore-scripts) >&2
    cp "$here/package-lock.json" "$modules/.made-from"
fi
exec 9>&-
exec node "$here/browser.mjs" "$@"
