#!/usr/bin/env bash
# The dashboard in a real browser, on a real cluster of three nodes whose processes are killed.
#
#   tests/browser.sh                    all cases
#   tests/browser.sh conflict burst     those cases only; --list names them
#   tests/browser.sh --measured         those that say how quick the page is
#   tests/browser.sh --part 2/3         every third of the others, from the second on
#   tests/browser.sh --shots            takes the pictures in docs/dashboard instead
#   tests/browser.sh --soak [MINUTES [RATE]]   keeps the page open under so many writes a second (10 min, 5000/s); nothing may grow
#
# Without npm or a browser it says so and ends well; with REQUIRE_BROWSER=1 it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
port=${BROWSER_PORT:-17700}

skip() {
  echo "browser.sh: skipped, $*" >&2
  [[ ${REQUIRE_BROWSER:-0} != 1 ]] || exit 1
  exit 0
}
for tool in node npm curl; do command -v "$tool" >/dev/null || skip "there is no $tool"; done
[[ -x $CHROMIUM ]] || skip "there is no browser at $CHROMIUM; CHROMIUM names another"
if [[ ! -d tests/browser/node_modules ]]; then
  npm ci --silent --prefix tests/browser || skip "npm cannot fetch what drives the browser"
fi
if [[ ${1:-} == --list ]]; then exec node tests/browser/run.mjs --list; fi

if [[ -z ${LOCKSTEP_BIN:-} ]]; then
  cargo build --locked
  LOCKSTEP_BIN=$(realpath "${CARGO_TARGET_DIR:-target}/debug/lockstep")
fi
work=$(mktemp -d)
export LOCKSTEP_BIN LOCKSTEP_DATA_DIR=$work/cluster
finish() {
  cluster-scripts/down >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

cluster-scripts/up --nodes 3 --port "$port" >/dev/null
# Large enough for a hundred thousand keys and what else the cases store.
curl -sf --noproxy '*' -X PUT "http://127.0.0.1:$port/v1/config" -d '{"capacity_entries": 200000}' >/dev/null
node tests/browser/run.mjs "$port" "$@"
