#!/usr/bin/env bash
# The TypeScript package: types, unit tests, Keyv's own suite for storage adapters, and tests on a real cluster of three nodes whose
# processes are killed.
#
#   tests/typescript.sh            everything
#   tests/typescript.sh --build D  only the compiled sources and tests, into D
#   tests/typescript.sh --bench    how many hits a second a near cache has, instead
#
# Without Node 20 or npm it says so and ends well; with REQUIRE_NODE=1 it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
  echo "typescript.sh: skipped, $*" >&2
  [[ ${REQUIRE_NODE:-0} != 1 ]] || exit 1
  exit 0
}
for tool in node npm; do command -v "$tool" >/dev/null || skip "there is no $tool"; done
version=$(node --version)
version=${version#v}
((${version%%.*} >= 20)) || skip "Node $version is older than 20"

if [[ -z ${LOCKSTEP_BIN:-} && ${1:-} != --build ]]; then
  cargo build --locked
  LOCKSTEP_BIN=$(realpath "${CARGO_TARGET_DIR:-target}/debug/lockstep")
fi
export LOCKSTEP_BIN NO_COLOR=1

cd src/client/typescript
# What is installed is what the lock file says, or is installed anew.
if ! cmp -s package-lock.json node_modules/.installed-lock; then
  npm ci --silent --ignore-scripts --no-audit --no-fund || skip "npm cannot fetch what the tests need"
  cp package-lock.json node_modules/.installed-lock
fi
if [[ ${1:-} == --build ]]; then exec npx --no-install tsc -p tsconfig.json --outDir "$2"; fi
if [[ ${1:-} == --bench ]]; then exec npm run --silent bench; fi

run() { # NAME COMMAND...
  local name=$1 out
  shift
  if ! out=$("$@" 2>&1); then
    printf '%s\n' "$out" | tail -100
    echo "typescript.sh: $name failed"
    exit 1
  fi
  printf '  %s\n' "$name"
}
rm -rf build dist
run "tsc --strict, sources and tests" npx --no-install tsc -p tsconfig.json
run "unit tests" node --test --test-reporter=spec build/test/unit/
run "the package is built" npm run --silent build
run "each entry point loads by its name" node --input-type=module -e '
  const [client, near, sync, file, keyv] = await Promise.all(
    ["", "/near", "/sync", "/sync/file", "/keyv"].map((path) => import(`@lockstep/client${path}`)));
  for (const one of [client.Client, near.NearCache, sync.CacheSynchronizer, file.FileStorage, keyv.KeyvLockstep]) {
    if (typeof one !== "function") throw new Error("an export is missing");
  }'
run "on a real cluster whose nodes are killed" node --test --test-reporter=spec build/test/cluster/real.test.js
run "Keyv's suite for storage adapters" npx --no-install vitest run --root build/test/keyv
