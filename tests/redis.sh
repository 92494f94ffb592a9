#!/usr/bin/env bash
# Suites and client libraries from outside, against three nodes that speak the Redis protocol.
#
#     tests/redis.sh [SUITE...]       differential, resp-compatibility, valkey, redis-py, django,
#                                     adapters, keyv; default: all
#
# Needs python3; redis-server for `differential`, tclsh for `valkey`, npm for `keyv`, npm, php and ruby with their Redis modules
# for `adapters`. LOCKSTEP_BIN names the program (default: target/release/lockstep). RESP_COMPATIBILITY, VALKEY, REDIS_PY
# and DJANGO name folders with the suites; without them they are downloaded at the releases below. A suite that cannot be had is
# reported and left out; with REQUIRE_SUITES=1 that is a failure. MINUTES and SEED are for `differential`.
#
# Prints for each suite how many tests passed, failed and were left out (tests/redis/*.left-out tells why). Ends with 1
# if a test failed that is not in these files.
set -euo pipefail
cd "$(dirname "$0")/.."

resp_compatibility=ed92742275c71141e554230e68b108ea4a91b805
valkey=8.0.1
redis_py=8.1.0
django=5.2.19
python_packages=("redis==$redis_py" pytest==9.2.0 pytest-timeout pytest-asyncio==1.5.0 "django==$django"
  django-redis==7.0.0 cachelib==0.17.0 flask==3.1.3 flask-caching==2.5.1)
node_packages=(ioredis@6.0.0 redis@6.3.1 keyv@5.6.0 @keyv/redis@5.1.6 cache-manager@7.2.9 connect-redis@9.0.0
  express-session@1.19.0 rate-limit-redis@6.0.1 express-rate-limit@8.7.5 redlock@4.2.0
  @keyv/test-suite@2.1.2 vitest@4.1.12)

here=$PWD/tests/redis
export LOCKSTEP_BIN=${LOCKSTEP_BIN:-target/release/lockstep}
[[ -x $LOCKSTEP_BIN ]] || { echo "redis.sh: $LOCKSTEP_BIN is no program; set LOCKSTEP_BIN" >&2; exit 2; }
LOCKSTEP_BIN=$(realpath "$LOCKSTEP_BIN")
work=$(mktemp -d)
cluster=
# shellcheck disable=SC2317 # it is called by the trap
finish() {
  if [[ -n $cluster ]]; then
    kill "$cluster" 2>/dev/null || true
    wait "$cluster" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap finish EXIT

status=0
say() { printf '\n== %s (%s)\n' "$1" "$(date +%T)"; }
failed() { status=1; }
left_out() { # SUITE WHY
  echo "$1: left out: $2"
  [[ -z ${REQUIRE_SUITES:-} ]] || failed
}
has() { command -v "$1" >/dev/null; }
# Starts three nodes; their addresses are in $nodes, the first one's in $node.
nodes=
start_cluster() {
  [[ -z $nodes ]] || return 0
  mkfifo "$work/nodes" "$work/end"
  # They run until their standard input ends.
  python3 "$here/cluster.py" <"$work/end" >"$work/nodes" &
  cluster=$!
  exec 8>"$work/end"
  read -r nodes <"$work/nodes" || { echo "redis.sh: no cluster" >&2; exit 1; }
  node=${nodes%%,*}
}
clone() { # NAME REPOSITORY COMMIT
  git init -q "$work/$1" && git -C "$work/$1" fetch -q --depth 1 "$2" "$3" 2>"$work/$1.log" &&
    git -C "$work/$1" checkout -q FETCH_HEAD
}
python=
find_python() {
  [[ -z $python ]] || return 0
  python3 -m venv "$work/python" >"$work/python.log" 2>&1 &&
    "$work/python/bin/pip" install -q "${python_packages[@]}" >>"$work/python.log" 2>&1 &&
    python=$work/python/bin/python
}

differential() {
  has redis-server || { left_out differential "there is no redis-server"; return 0; }
  start_cluster
  "$here/differential.py" --right "$nodes" --minutes "${MINUTES:-2}" ${SEED:+--seed "$SEED"} || failed
}
resp_compatibility() {
  local folder=${RESP_COMPATIBILITY:-$work/resp-compatibility}
  [[ -n ${RESP_COMPATIBILITY:-} ]] ||
    clone resp-compatibility https://github.com/tair-opensource/resp-compatibility "$resp_compatibility" ||
    { left_out resp-compatibility "it cannot be downloaded; set RESP_COMPATIBILITY"; return 0; }
  start_cluster
  "$here/resp_compatibility.py" "$node" "$folder" "$here/resp-compatibility.left-out" || failed
}
valkey() {
  local folder=${VALKEY:-$work/valkey}
  has tclsh || { left_out valkey "there is no tclsh"; return 0; }
  [[ -n ${VALKEY:-} ]] || clone valkey https://github.com/valkey-io/valkey "$valkey" ||
    { left_out valkey "it cannot be downloaded; set VALKEY"; return 0; }
  start_cluster
  "$here/valkey_suite.py" "$node" "$folder" "$here/valkey.left-out" || failed
}
# Unpacks the source package of a Python package; it is in $source_package afterwards.
source_package=
find_source_package() { # NAME RELEASE
  source_package=$work/$1-$2
  "$work/python/bin/pip" download -q --no-deps --no-binary :all: "$1==$2" -d "$work" >"$work/$1.log" 2>&1 || return 1
  tar -xzf "$source_package.tar.gz" -C "$work"
}
redis_py() {
  find_python || { left_out redis-py "Python's packages cannot be installed"; return 0; }
  if [[ -n ${REDIS_PY:-} ]]; then
    source_package=$REDIS_PY
  else
    find_source_package redis "$redis_py" ||
      { left_out redis-py "its source package cannot be downloaded; set REDIS_PY"; return 0; }
  fi
  start_cluster
  "$python" "$here/redis_py_suite.py" "$node" "$source_package" "$here/redis-py.left-out" || failed
}
django() {
  find_python || { left_out django "Python's packages cannot be installed"; return 0; }
  if [[ -n ${DJANGO:-} ]]; then
    source_package=$DJANGO
  else
    find_source_package django "$django" ||
      { left_out django "its source package cannot be downloaded; set DJANGO"; return 0; }
  fi
  start_cluster
  "$python" "$here/django_suite.py" "$nodes" "$source_package" || failed
}
node_modules=
find_node_modules() {
  [[ -z $node_modules ]] || return 0
  mkdir -p "$work/node"
  # Without scripts: Keyv's suite brings a database that would be built, and is not used here.
  has npm && npm install --prefix "$work/node" --silent --no-audit --no-fund --ignore-scripts "${node_packages[@]}" \
    >"$work/npm.log" 2>&1 && node_modules=$work/node
}
adapters() {
  find_python || { left_out adapters "Python's packages cannot be installed"; return 0; }
  find_node_modules || { left_out adapters "Node's packages cannot be installed"; return 0; }
  "$here/adapters.py" --python "$python" --node-modules "$node_modules" || failed
}
keyv() {
  find_node_modules || { left_out keyv "Node's packages cannot be installed"; return 0; }
  start_cluster
  "$here/keyv_suite.py" "$nodes" "$node_modules" || failed
}

(($# > 0)) || set -- differential resp-compatibility valkey redis-py django adapters keyv
for suite in "$@"; do
  say "$suite"
  case $suite in
  differential) differential ;;
  resp-compatibility) resp_compatibility ;;
  valkey) valkey ;;
  redis-py) redis_py ;;
  django) django ;;
  adapters) adapters ;;
  keyv) keyv ;;
  *) echo "redis.sh: no such suite: $suite" >&2; exit 2 ;;
  esac
done
exit "$status"
