#!/usr/bin/env bash
# Request smuggling through real proxies: HAProxy and nginx, each as strict as by default and as lenient as it can be set.
# They forbid one key and share one connection to the node between two clients. What tests/smuggling/corpus.json sends
# must neither write that key nor give one client an answer for the other.
#
#   tests/proxies.sh [PORT]     uses PORT to PORT + 3 (22900)
#
# LOCKSTEP_BIN names the program; without it the program is built. A proxy that is missing is left out, and this is said;
# with REQUIRE_PROXIES=1 it is a failure. Everything runs as the user who calls this, in a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${1:-22900}
# Debian keeps them where only root looks.
PATH=$PATH:/usr/sbin
if [[ -z ${LOCKSTEP_BIN:-} ]]; then
  cargo build --locked
  LOCKSTEP_BIN=${CARGO_TARGET_DIR:-target}/debug/lockstep
fi
# Settings of whoever runs this are not the node's.
program=$(realpath "$LOCKSTEP_BIN")
for name in "${!LOCKSTEP_@}"; do unset "$name"; done
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy

work=$(mktemp -d)
started=()
finish() {
  ((!${#started[@]})) || kill "${started[@]}" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap finish EXIT

say() { printf '  %s\n' "$*"; }
skip() {
  printf '  SKIPPED: %s\n' "$*"
  [[ ${REQUIRE_PROXIES:-0} != 1 ]] || exit 1
}
fail() {
  echo "proxies.sh: $*" >&2
  exit 1
}
start() { # PORT LOG COMMAND...
  local at=$1 log=$2
  shift 2
  "$@" >"$log" 2>"$log.err" &
  started+=($!)
  for _ in {1..200}; do
    kill -0 $! 2>/dev/null || { cat "$log" "$log.err" >&2; fail "$1 ended"; }
    if (: <"/dev/tcp/127.0.0.1/$at") 2>/dev/null; then return; fi
    sleep 0.05
  done
  fail "$1 does not listen on port $at"
}

# --- What is behind them ----------------------------------------------------------------------------------------------

node=$port misreads=$((port + 2))
start "$node" "$work/node" "$program" serve --data-dir "$work/data" --http "127.0.0.1:$node" --peer "127.0.0.1:$((port + 1))"
for _ in {1..200}; do
  ! curl -sf "http://127.0.0.1:$node/readyz" >/dev/null || break
  sleep 0.05
done
start "$misreads" "$work/misreads" python3 tests/smuggling/misreads.py "$misreads"

# --- The proxies ------------------------------------------------------------------------------------------------------

# A client that is slow is cut off after a second: some cases announce more than they send.
haproxy_settings() { # PORT BACKEND MORE
  cat <<END
global
  maxconn 100
  log stdout format raw local0
defaults
  mode http
  log global
  log-format "%hs %ST %{+Q}r"
  timeout connect 5s
  timeout client 1s
  timeout server 5s
  timeout tunnel 1s
  http-reuse always
frontend clients
  bind 127.0.0.1:$1
  $3
  capture response header Lockstep-History len 36
  http-request deny if { path /v1/kv/smuggled }
  default_backend node
backend node
  server node 127.0.0.1:$2 maxconn 1
END
}
nginx_settings() { # PORT BACKEND MORE
  cat <<END
daemon off;
worker_processes 1;
pid $work/nginx-$1.pid;
events { worker_connections 64; }
http {
  log_format forwarded '\$upstream_http_lockstep_history \$status "\$request"';
  access_log $work/proxy-$1 forwarded;
  client_body_temp_path $work/body;
  proxy_temp_path $work/proxied;
  fastcgi_temp_path $work/fastcgi;
  uwsgi_temp_path $work/uwsgi;
  scgi_temp_path $work/scgi;
  client_header_timeout 1s;
  client_body_timeout 1s;
  keepalive_timeout 1s;
  map \$http_upgrade \$connection_upgrade { default upgrade; '' ''; }
  upstream node { server 127.0.0.1:$2; keepalive 1; }
  server {
    listen 127.0.0.1:$1;
    $3
    location = /v1/kv/smuggled { return 403; }
    location / {
      proxy_pass http://node;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_read_timeout 1s;
      proxy_set_header Host \$http_host;
      proxy_set_header Upgrade \$http_upgrade;
      proxy_set_header Connection \$connection_upgrade;
    }
  }
}
END
}
start_proxy() { # PROXY PORT BACKEND MORE
  "$1_settings" "$2" "$3" "$4" >"$work/$1-$2.conf"
  : >"$work/proxy-$2"
  case $1 in
    haproxy) start "$2" "$work/proxy-$2" haproxy -db -f "$work/haproxy-$2.conf" ;;
    nginx) start "$2" "$work/nginx-$2" nginx -e stderr -p "$work" -c "$work/nginx-$2.conf" ;;
  esac
}
stop_proxy() {
  kill "${started[-1]}"
  wait "${started[-1]}" 2>/dev/null || true
  unset 'started[-1]'
}

proxy=$((port + 3))
# A server that misreads requests must be noticed, or the rest shows nothing.
control() { # NAME PROXY
  start_proxy "$2" "$proxy" "$misreads" ''
  ! python3 tests/smuggling/through_proxy.py "$proxy" "$misreads" "$work/proxy-$proxy" "GET with a body" >"$work/out" 2>&1 ||
    fail "$1: a server that misreads requests is not noticed"
  grep -q 'the forbidden key was written' "$work/out" || { cat "$work/out" >&2; fail "$1: with a server that misreads"; }
  say "$1 with a server that misreads requests: $(head -n 1 "$work/out")"
  stop_proxy
}
try() { # NAME PROXY MORE
  start_proxy "$2" "$proxy" "$node" "$3"
  python3 tests/smuggling/through_proxy.py "$proxy" "$node" "$work/proxy-$proxy" >"$work/out" 2>&1 ||
    { cat "$work/out" >&2; fail "$1"; }
  say "$1: $(tail -n 1 "$work/out")"
  stop_proxy
}

if command -v haproxy >/dev/null; then
  control HAProxy haproxy
  try HAProxy haproxy ''
  try 'lenient HAProxy' haproxy 'option accept-invalid-http-request'
else
  skip "there is no haproxy"
fi
if command -v nginx >/dev/null; then
  control nginx nginx
  try nginx nginx ''
  try 'lenient nginx' nginx 'ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;'
else
  skip "there is no nginx"
fi
