#!/usr/bin/env bash
# The README's first page and every cluster script, for real: builds the program in release mode (or with another PROFILE),
# runs clusters on ports of their own in a temporary folder, and fails at the first thing that is not as told.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${1:-17400}
work=$(mktemp -d)
export LOCKSTEP_DATA_DIR=$work/cluster
scripts=$PWD/cluster-scripts
finish() {
  "$scripts/down" >/dev/null 2>&1 || true
  LOCKSTEP_DATA_DIR=$work/encrypted "$scripts/down" >/dev/null 2>&1 || true
  LOCKSTEP_DATA_DIR=$work/restored "$scripts/down" >/dev/null 2>&1 || true
  [[ -z ${first:-} ]] || kill "$first" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

say() { printf '  %s\n' "$*"; }
expect() { # WHAT WANTED GOT
  [[ $2 == "$3" ]] || { echo "scripts.sh: $1: expected '$2', got '$3'" >&2; exit 1; }
  say "$1"
}
# A read or write that is tried again while a new leader is found, as clients do.
try() { curl -sf --retry 20 --retry-all-errors --retry-delay 1 --max-time 10 "$@"; }
url() { echo "http://127.0.0.1:$((port + $1 - 1))/v1/kv/$2"; }

profile=${PROFILE:-release}
cargo build --profile "$profile" --locked
say "README: cargo run --profile $profile -- up"
cargo run -q --profile "$profile" -- up --port "$port" --data-dir "$work/first" >"$work/out" 2>"$work/log" &
first=$!
until grep -q '^cluster ready' "$work/out"; do
  kill -0 "$first" || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
curl -sf -X PUT "$(url 1 greeting)" --data-binary hello
expect "put on one node, get from another" hello "$(curl -sf "$(url 3 greeting)")"
kill -INT "$first"
wait "$first"
first=

"$scripts/up" --port "$port" >/dev/null
try -X PUT "$(url 1 k)" --data-binary v0 -o /dev/null
"$scripts/kill" n1 >/dev/null
try -X PUT "$(url 2 k)" --data-binary v1 -o /dev/null
expect "kill: the others go on" v1 "$(try "$(url 3 k)")"
"$scripts/up" >/dev/null
expect "up: starts the dead node again" v1 "$(try "$(url 1 k)")"
"$scripts/pause" n2 >/dev/null
try -X PUT "$(url 3 k)" --data-binary v2 -o /dev/null
"$scripts/resume" n2 >/dev/null
expect "pause, resume: no old value" v2 "$(try "$(url 2 k)")"
"$scripts/partition" n3 >/dev/null
try -X PUT "$(url 1 k)" --data-binary v3 -o /dev/null
refused=$(curl -s -o /dev/null -w '%{http_code}' --max-time 10 "$(url 3 k)")
expect "partition: the node that is cut off answers no reads" 503 "$refused"
"$scripts/heal" >/dev/null
expect "heal: it catches up" v3 "$(try "$(url 3 k)")"
"$scripts/backup" "$work/backup" >/dev/null
"$scripts/join" n4 >/dev/null
expect "join: four members" 4 "$(curl -sf "http://127.0.0.1:$port/v1/members" | grep -o '"voter":true' | wc -l)"
"$scripts/leave" n4 >/dev/null
expect "leave: three again" 3 "$(curl -sf "http://127.0.0.1:$port/v1/members" | grep -o '"voter":true' | wc -l)"
"$scripts/rolling-restart" >/dev/null
expect "rolling-restart: nothing is lost" v3 "$(try "$(url 2 k)")"
"$scripts/status" >/dev/null
if "$scripts/restore" "$work/backup" "$work/restored" --port "$port" 2>/dev/null; then
  echo "scripts.sh: restore took ports that are taken" >&2
  exit 1
fi
"$scripts/restore" "$work/backup" "$work/restored" --port $((port + 100)) >/dev/null
expect "restore: a new cluster from the backup" v3 "$(try "http://127.0.0.1:$((port + 102))/v1/kv/k")"
LOCKSTEP_DATA_DIR=$work/restored "$scripts/down" >/dev/null
"$scripts/down" >/dev/null
export LOCKSTEP_DATA_DIR=$work/encrypted
"$scripts/up" --port $((port + 300)) --tls --tokens >/dev/null
url=https://127.0.0.1:$((port + 300)) ca=$LOCKSTEP_DATA_DIR/certs/ca.crt
expect "up --tls --tokens: nothing without a token" 401 \
  "$(curl -s --cacert "$ca" -o /dev/null -w '%{http_code}' "$url/v1/keys")"
printf 'Authorization: Bearer %s\n' "$(<"$LOCKSTEP_DATA_DIR/root-token")" >"$work/header"
try --cacert "$ca" -H "@$work/header" -X PUT "$url/v1/kv/k" --data-binary v0 -o /dev/null
"$scripts/kill" n1 >/dev/null
"$scripts/up" >/dev/null
"$scripts/join" n4 >/dev/null
expect "a killed node and a new one show certificates" v0 \
  "$(try --cacert "$ca" -H "@$work/header" "https://127.0.0.1:$((port + 303))/v1/kv/k")"
"$scripts/down" >/dev/null
"$scripts/disaster" --port $((port + 200)) >"$work/disaster" || { cat "$work/disaster" >&2; exit 1; }
say "disaster: $(tail -n 1 "$work/disaster")"
for script in up down status kill pause resume partition heal join leave rolling-restart backup restore jepsen compare profile disaster; do
  # Not through `grep -q`: it leaves at the first match, and a script still printing would die of its broken pipe.
  [[ $("$scripts/$script" --help) == 'usage: '* ]] || { echo "scripts.sh: $script has no usage line" >&2; exit 1; }
done
echo "all scripts work"
