#!/usr/bin/env bash
# Drives the /api routes as clients of a well-known Node.js cache server do: plain curl, one call after another, each
# on each node of a cluster of three, and compares statuses and bodies with what those clients expect
# (docs/compat.md). Builds the program in release mode unless LOCKSTEP_BIN names one.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${1:-17700}
program=${LOCKSTEP_BIN:-}
if [[ -z $program ]]; then
  cargo build --release --locked
  program=${CARGO_TARGET_DIR:-target}/release/lockstep
fi
work=$(mktemp -d)
finish() {
  [[ -z ${cluster:-} ]] || { kill -INT "$cluster" 2>/dev/null && wait "$cluster" || true; }
  rm -rf "$work"
}
trap finish EXIT

fail() { echo "compat.sh: $*" >&2; exit 1; }
# field JSON PATH: the value at a path like `value.value` or `items.0.key`, as compact JSON.
if command -v jq >/dev/null; then
  field() { jq -c --arg path "$2" 'getpath($path | split(".") | map(tonumber? // .))' <<<"$1"; }
elif command -v node >/dev/null; then
  field() { node -e 'const [json, path] = process.argv.slice(1);
    const value = path.split(".").reduce((v, k) => v?.[k], JSON.parse(json));
    console.log(JSON.stringify(value ?? null))' "$1" "$2"; }
elif command -v python3 >/dev/null; then
  field() { python3 -c 'import json, sys
value = json.loads(sys.argv[1])
for part in sys.argv[2].split("."):
    if isinstance(value, list): value = value[int(part)] if int(part) < len(value) else None
    else: value = (value or {}).get(part)
print(json.dumps(value, separators=(",", ":"), ensure_ascii=False))' "$1" "$2"; }
else
  fail "needs jq, node or python3 to read JSON"
fi

# call METHOD PATH [JSON]: leaves $status and $body.
call() {
  local with=()
  [[ $# -lt 3 ]] || with=(-H 'Content-Type: application/json' --data-binary "$3")
  body=$(curl -s --max-time 20 -X "$1" -w '\n%{http_code}' "${with[@]}" "$base$2")
  status=${body##*$'\n'} body=${body%$'\n'*}
  what="$1 $2 on $base"
}
is() { # STATUS BODY, to the letter
  [[ $status == "$1" ]] || fail "$what: expected $1, got $status: $body"
  [[ $body == "$2" ]] || fail "$what: expected $2, got $body"
}
has() { # STATUS PATH JSON [PATH JSON …]
  [[ $status == "$1" ]] || fail "$what: expected $1, got $status: $body"
  shift
  while (($#)); do
    local got
    got=$(field "$body" "$1")
    [[ $got == "$2" ]] || fail "$what: expected $1 to be $2, got $got in $body"
    shift 2
  done
}
like() { # PATH PATTERN …
  while (($#)); do
    local got
    got=$(field "$body" "$1")
    [[ $got =~ ^$2$ ]] || fail "$what: expected $1 to be like $2, got $got in $body"
    shift 2
  done
}
header() { # NAME PATTERN CURL-ARGUMENT…
  local name=$1 pattern=$2 got
  shift 2
  got=$(curl -s --max-time 20 -o /dev/null -D - "$@" | tr -d '\r' | sed -n "s/^$name: //Ip")
  [[ $got =~ ^$pattern$ ]] || fail "$*: expected $name to be like $pattern, got '$got'"
}
iso='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z'
number='[0-9]+(\.[0-9]+)?'

export FRONTEND_URL=https://frontend.example CACHE_CAPACITY=1000
unset NODE_ENV
"$program" up --port "$port" --data-dir "$work/cluster" >"$work/out" 2>"$work/log" &
cluster=$!
until grep -q '^cluster ready' "$work/out"; do
  kill -0 "$cluster" || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done

for node in 1 2 3; do
  base=http://127.0.0.1:$((port + node - 1))
  call GET /ping
  [[ $status == 200 && $body =~ ^pong\ -\ $iso$ ]] || fail "$what: $status $body"
  call GET /health
  has 200 status '"healthy"' nodeId "\"n$node\""
  like timestamp "\"$iso\""

  # One item.
  call GET "/api/cache/key$node"
  is 404 '{"success":false,"message":"Key not found"}'
  call POST /api/cache "{\"key\":\"key$node\",\"value\":\"value $node\"}"
  is 200 '{"success":true,"message":"Item cached successfully"}'
  call POST /api/cache "{\"key\":\"object$node\",\"value\":{\"b\":[1,null],\"a\":true},\"ttl\":3600}"
  is 200 '{"success":true,"message":"Item cached successfully"}'
  for wrong in '{}' '{"key":"k"}' '{"value":1}' '{"key":"","value":1}'; do
    call POST /api/cache "$wrong"
    is 400 '{"success":false,"message":"Key and value are required"}'
  done
  # Whatever is acknowledged on one node is read on all.
  for reader in 1 2 3; do
    here=$base base=http://127.0.0.1:$((port + reader - 1))
    call GET "/api/cache/key$node"
    has 200 success true key "\"key$node\"" value.value "\"value $node\""
    like value.timestamp "\"$iso\"" value.accessCount '[0-9]+'
    call GET "/api/cache/object$node"
    has 200 value.value '{"b":[1,null],"a":true}'
    base=$here
  done
  call DELETE "/api/cache/key$node"
  has 200 success true
  call DELETE "/api/cache/key$node"
  is 404 '{"success":false,"message":"Key not found"}'

  # Many items, strategies, numbers.
  call POST /api/cache/bulk '{"items":[{"key":"k1","value":"v1"},{"key":"k2","value":"v2"}]}'
  has 200 successCount 2 totalCount 2 success true
  call POST /api/cache/bulk '{"items":[{"key":"k1","value":"v1"},{"value":"no key"}]}'
  has 200 successCount 1 totalCount 2 success false errors.0.index 1
  call POST /api/cache/bulk '{}'
  has 400 success false
  call GET '/api/cache?after=k&limit=1'
  has 200 success true count 1 next '"k1"' items.0.key '"k1"' items.0.value.value '"v1"'
  for strategy in LFU lru; do
    call POST /api/strategy "{\"strategy\":\"$strategy\"}"
    has 200 success true strategy "\"${strategy^^}\""
    call GET /api/cache/k1
    has 200 value.value '"v1"'
  done
  call POST /api/strategy '{"strategy":"newest first"}'
  has 400 success false
  call GET /api/metrics
  has 200 cache.capacity 1000 cache.strategy '"LRU"' sync.syncEnabled true sync.nodeId "\"n$node\""
  like cache.hits '[1-9][0-9]*' cache.misses '[1-9][0-9]*' cache.size '[1-9][0-9]*' \
    cache.hitRate "$number" cache.missRate "$number" cache.usage "$number" cache.evictions 0 \
    server.uptime "$number" server.memory.rss '[1-9][0-9]*' server.memory.heapTotal '[1-9][0-9]*' \
    server.memory.heapUsed '[1-9][0-9]*' server.memory.external '[0-9]+' server.timestamp '[0-9]{13}'

  # How the nodes keep together.
  call GET /api/sync/status
  has 200 nodeId "\"n$node\"" connectedNodes 2 syncEnabled true nodeList.0.connected true nodeList.1.connected true
  like totalSyncOperations '[1-9][0-9]*' lastSyncTime '[0-9]{13}' nodeList.0.nodeId '"n[123]"' \
    nodeList.0.lastSync '[0-9]{13}' index '[0-9]+' term '[0-9]+' role '"(leader|follower)"' leader '"n[123]"'
  call POST /api/cache '{"key":"last","value":7}'
  call GET '/api/sync/history?limit=3'
  has 200 success true history.0.type '"set"' history.0.key '"last"' history.0.value 7 \
    history.0.nodeId "\"n$node\"" history.0.source '"local"' history.3 null
  like history.0.id '"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"' history.0.timestamp '[0-9]{13}' history.0.index '[0-9]+'
  call POST /api/sync/force
  has 200 success true message '"Force sync initiated"' peers.0.equal true peers.1.equal true
  # The node leaves, changes something alone, and comes back with it.
  call POST /api/sync/toggle
  has 200 success true syncEnabled false
  call GET /api/sync/status
  has 200 syncEnabled false nodeId "\"n$node\""
  like detached.forkIndex '[0-9]+' detached.since '[0-9]{13}'
  call POST /api/cache "{\"key\":\"alone-$node\",\"value\":$node}"
  call POST /api/sync/toggle
  has 200 success true syncEnabled true
  until curl -sf "$base/readyz" >/dev/null; do sleep 0.1; done
  call GET "/api/cache/alone-$node"
  has 200 value.value "$node"

  # What is wrong, and what stands around.
  call GET /api/nothing
  is 404 '{"success":false,"message":"Cannot GET /api/nothing"}'
  call POST /api/cache '{"key":'
  has 400 success false
  { printf '{"key":"k","value":"'; head -c 10485760 /dev/zero | tr '\0' x; printf '"}'; } >"$work/large"
  call POST /api/cache "@$work/large"
  has 413 success false
  code=$(curl -s -o /dev/null -w '%{http_code}' "$base/api/cache" --data-urlencode key=form --data-urlencode 'value=a b')
  [[ $code == 200 ]] || fail "a form on $base: $code"
  call GET /api/cache/form
  has 200 value.value '"a b"'
  header access-control-allow-origin https://frontend.example "$base/api/metrics" -H 'Origin: https://frontend.example'
  header access-control-allow-credentials true "$base/api/metrics" -H 'Origin: https://frontend.example'
  header access-control-allow-methods '.*DELETE.*' -X OPTIONS "$base/api/cache/k" \
    -H 'Origin: https://frontend.example' -H 'Access-Control-Request-Method: DELETE'
  code=$(curl -s -o /dev/null -w '%{http_code}' "$base/api/cache" -H 'Origin: https://evil.example' -d key=x -d value=y)
  [[ $code == 403 ]] || fail "a page of another site on $base: $code"
  header content-security-policy "default-src 'self';.*" "$base/api/metrics"
  header x-frame-options SAMEORIGIN "$base/api/metrics"
  call POST /api/cache "{\"key\":\"long\",\"value\":\"$(printf 'x%.0s' {1..2000})\"}"
  has 200 success true
  header content-encoding gzip -H 'Accept-Encoding: gzip' "$base/api/cache/long"
  grep -qE "$iso - GET /api/cache/k1" "$work/cluster/n$node.log" || fail "n$node.log: no line for the request"
  echo "  node n$node: all as told"
done
call DELETE /api/cache
has 200 success true
base=http://127.0.0.1:$port
call GET /api/cache
has 200 success true items '[]' count 0
echo "the /api routes work on all nodes"

# The same server's Socket.IO events, with the real client.
if command -v npm >/dev/null; then
  npm ci --silent --no-audit --no-fund --prefix tests/socket_io
  call PUT /v1/config '{"capacity_entries":100000}'
  has 200 capacity_entries 100000
  last=$(field "$(cat "$work/cluster/up.json")" nodes.2.pid)
  node tests/socket_io/events.mjs "http://127.0.0.1:"{$port,$((port + 1)),$((port + 2))} "$last"
  echo "the Socket.IO events come on all nodes"
  # A node of that server, both ways, with a cluster of its own that is killed. OLD_NODE_OPERATIONS=10000 is the large run.
  node tests/socket_io/old_nodes.mjs "$(realpath "$program")" $((port + 20))
elif [[ -n ${REQUIRE_BROWSER:-}${REQUIRE_NODE:-} ]]; then
  fail "npm is not installed, and REQUIRE_BROWSER or REQUIRE_NODE is set"
else
  echo "skipped: the Socket.IO events and old nodes, because npm is not installed"
fi
