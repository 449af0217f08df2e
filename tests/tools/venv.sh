#!/bin/sh
# Creates the Python environment of the test tools in target/venv and prints the path of its python.
# Quick if requirements.txt has not changed. The interpreter is $PYTHON, or else python3. On a bare
# Debian 12: apt-get install python3-venv python3-dev gcc (pesq is compiled).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
venv=$target/venv

# Locked, because tests that run in parallel all call this script first.
exec 9>"$target/venv.lock"
flock 9

wanted=$(sha256sum <"$here/requirements.txt")
if [ "$(cat "$venv/made-from" 2>/dev/null || true)" != "$wanted" ]; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >&2
    printf '%s\n' "$wanted" >"$venv/made-from"
fi
printf '%s\n' "$venv/bin/python"
