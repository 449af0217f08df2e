# Sourced by browser.sh and wrtc.sh: fetches the packages of package-lock.json if it has changed.
# Needs $here (this folder), Node 18 or newer and npm.
modules=$here/node_modules
target=${CARGO_TARGET_DIR:-$here/../../target}

# Locked, because tests that run in parallel all use this script.
mkdir -p "$target"
exec 9>"$target/node-modules.lock"
flock 9
if ! cmp -s "$here/package-lock.json" "$modules/.made-from"; then
    (cd "$here" && npm ci --no-audit --no-fund --ignore-scripts) >&2
    cp "$here/package-lock.json" "$modules/.made-from"
fi
exec 9>&-
