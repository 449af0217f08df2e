#!/bin/sh
# Runs wrtc.mjs, and first fetches the packages it needs if package-lock.json has changed. Needs
# Node 18 or newer and npm: on a bare Debian 12, apt-get install nodejs npm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/modules.sh"
exec node "$here/wrtc.mjs" "$@"
