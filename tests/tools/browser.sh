#!/bin/sh
# Runs browser.mjs, and first fetches the packages it needs if package-lock.json has changed. Needs
# Node 18 or newer, npm, Chromium and Firefox: on a bare Debian 12, apt-get install nodejs npm
# chromium firefox-esr.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/modules.sh"
exec node "$here/browser.mjs" "$@"
