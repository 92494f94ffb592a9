# Functions shared by the cluster scripts. Sourced, never run.
#
# The cluster is the one that `lockstep up` runs in $LOCKSTEP_DATA_DIR (default: .lockstep). Its `up.json` has one line
# per node. Each node that `join` started has a line of the same shape in `joined/NAME.json`.

set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data_dir=${LOCKSTEP_DATA_DIR:-.lockstep}
# Settings for one node or one command must not affect all of them.
unset LOCKSTEP_JSON LOCKSTEP_URL LOCKSTEP_DATA_DIR LOCKSTEP_NAME LOCKSTEP_HTTP LOCKSTEP_PEER LOCKSTEP_JOIN \
  LOCKSTEP_LEARNER LOCKSTEP_INITIAL_CLUSTER LOCKSTEP_ADVERTISE_HTTP LOCKSTEP_ADVERTISE_PEER PORT PEER_NODES

# Sets what curl and the program need for a cluster of `up --tls` and `up --tokens`, as far as `up` has made it.
find_secrets() {
  curl_options=(--silent --noproxy '*')
  if [[ -e $data_dir/certs/ca.crt ]]; then
    export LOCKSTEP_CA_FILE=$data_dir/certs/ca.crt
    curl_options+=(--cacert "$LOCKSTEP_CA_FILE")
  fi
  if [[ -z ${LOCKSTEP_TOKEN_FILE:-} && -e $data_dir/root-token ]]; then
    export LOCKSTEP_TOKEN_FILE=$data_dir/root-token
  fi
}
find_secrets

# Prints the header with the token, if there is one: arguments of a command can be seen by everybody, a file cannot.
token_header() {
  [[ -z ${LOCKSTEP_TOKEN_FILE:-} ]] || printf 'Authorization: Bearer %s\n' "$(<"$LOCKSTEP_TOKEN_FILE")"
}

# How long a node may take to become ready and to stop, in seconds.
ready_limit=60
stop_limit=20

die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# Prints the usage and exits with 2.
wrong_usage() {
  echo "$usage" >&2
  exit 2
}

help_if_asked() {
  case "${1:-}" in
  -h | --help)
    echo "$usage"
    exit 0
    ;;
  esac
}

# Exits unless there are between MIN and MAX arguments, none of which is an option.
expect_arguments() { # MIN MAX ARGUMENT...
  local min=$1 max=$2 argument
  shift 2
  help_if_asked "${1:-}"
  (($# >= min && $# <= max)) || wrong_usage
  for argument in "$@"; do
    [[ -n $argument && $argument != -* ]] || wrong_usage
  done
}

# Sets $lockstep to the program, and builds it if there is none.
find_lockstep() {
  local built=${CARGO_TARGET_DIR:-$scripts/../target}/release/lockstep
  if [[ -n ${LOCKSTEP_BIN:-} ]]; then
    lockstep=$LOCKSTEP_BIN
  elif ! lockstep=$(command -v lockstep); then
    lockstep=$built
    if [[ ! -x $lockstep ]]; then
      cargo build --release --manifest-path "$scripts/../Cargo.toml" >&2
    fi
  fi
  command -v "$lockstep" >/dev/null || die "program $lockstep not found"
}

# Prints the value of the first KEY in a JSON text.
field() { # JSON KEY
  local pattern="\"$2\": *(\"([^\"]*)\"|[^],}]*)"
  if [[ $1 =~ $pattern ]]; then
    echo "${BASH_REMATCH[2]:-${BASH_REMATCH[1]}}"
  fi
}

# --- processes ---

# Prints the state of a process: running, paused or down. Its id may have been reused by another process, so ours is
# recognised by WORD among its arguments.
process_state() { # PID WORD
  local stat
  if [[ ! $1 =~ ^[1-9][0-9]*$ ]] || ! stat=$(cat "/proc/$1/stat" 2>/dev/null); then
    echo down
    return
  fi
  stat=${stat##*) }
  if [[ ${stat:0:1} == [ZX] ]] || ! grep -qzxF -- "$2" "/proc/$1/cmdline" 2>/dev/null; then
    echo down
  elif [[ ${stat:0:1} == [Tt] ]]; then
    echo paused
  else
    echo running
  fi
}

wait_for_end() { # PID WORD
  local until=$((SECONDS + stop_limit))
  while [[ $(process_state "$1" "$2") != down ]]; do
    ((SECONDS < until)) || return 1
    sleep 0.05
  done
}

# Prints the process id of the running `lockstep up`, or nothing if there is none.
up_pid() {
  local first pid
  { read -r first <"$data_dir/up.json"; } 2>/dev/null || return 0
  pid=$(field "$first" pid)
  if [[ $(process_state "$pid" up) != down ]]; then
    echo "$pid"
  fi
}

# --- nodes ---

# Prints one line of JSON per node.
node_lines() {
  local line dir
  { cat "$data_dir/up.json" "$data_dir"/joined/*.json 2>/dev/null || true; } | while read -r line; do
    dir=$(field "$line" data_dir)
    # Skip nodes that have left.
    [[ -n $dir && ! -e $dir.left ]] || continue
    echo "$line"
  done
}

node_names() {
  local line
  node_lines | while read -r line; do field "$line" name; done
}

has_node() { # NAME
  local line
  while read -r line; do
    [[ $(field "$line" name) != "$1" ]] || return 0
  done < <(node_lines)
  return 1
}

has_nodes() {
  [[ -n $(node_lines) ]]
}

# Sets name, http, peer, pid, dir from a line.
read_node() { # LINE
  name=$(field "$1" name) http=$(field "$1" http) peer=$(field "$1" peer)
  pid=$(field "$1" pid) dir=$(field "$1" data_dir)
}

# Sets name, http, peer, pid, dir of a node, or exits.
find_node() { # NAME
  local line
  has_nodes || die "there is no cluster in $data_dir; start one with \`up\`"
  while read -r line; do
    if [[ $(field "$line" name) == "$1" ]]; then
      read_node "$line"
      return
    fi
  done < <(node_lines)
  die "there is no node $1; the nodes are: $(node_names | paste -sd' ')"
}

is_joined() { # NAME
  [[ -e $data_dir/joined/$1.json ]]
}

node_state() { # after find_node or read_node
  process_state "$pid" "$dir"
}

# Sends a signal to a running node.
signal_node() { # SIGNAL NAME
  find_node "$2"
  [[ $(node_state) != down ]] || die "$2 is not running"
  kill -"$1" "$pid"
}

# --- HTTP ---

request() { # METHOD URL [BODY]; prints the answer
  curl "${curl_options[@]}" --show-error --max-time 20 --header @<(token_header) --request "$1" ${3:+--data "$3"} "$2"
}

is_ready() { # URL
  curl "${curl_options[@]}" --fail --max-time 3 --output /dev/null "$1/readyz"
}

# Prints the URLs of the ready nodes, separated by commas.
ready_urls() { # [NAME TO LEAVE OUT]
  local line urls=()
  while read -r line; do
    read_node "$line"
    if [[ $name != "${1:-}" && $(node_state) == running ]] && is_ready "$http"; then
      urls+=("$http")
    fi
  done < <(node_lines)
  (IFS=,; echo "${urls[*]}")
}

# Waits until a node is ready; exits if it has died or takes too long.
wait_until_ready() { # NAME
  local until=$((SECONDS + ready_limit))
  find_node "$1"
  until is_ready "$http"; do
    # It may have been restarted with another process id.
    find_node "$1"
    case $(node_state) in
    down) die "$1 is not running; see $dir.log" ;;
    paused) die "$1 is paused; \`resume $1\` first" ;;
    esac
    ((SECONDS < until)) || die "$1 was not ready after $ready_limit seconds; see $dir.log"
    sleep 0.1
  done
}

# Prints what the cluster reports about a member, as a line of JSON, or nothing if there is no such member.
member() { # URL NAME
  request GET "$1/v1/members" | tr '{' '\n' | grep -F "\"name\":\"$2\"" || true
}

# Cuts a node's links to its peers, or heals them.
set_links() { # NAME true|false
  local answer
  find_node "$1"
  [[ $(node_state) == running ]] || die "$1 is $(node_state)"
  answer=$(request PUT "$http/v1/debug/links" "{\"cut\":$2}") || die "$1 did not answer"
  [[ $(field "$answer" cut) == "$2" ]] || die "$1: $(field "$answer" detail)"
}

# --- nodes that joined ---

# Starts a node that joins or has joined, in the background, and records where it is.
start_joined() { # NAME HTTP PEER LEARNER URL
  local dir=$data_dir/joined/$1 record=$data_dir/joined/$1.json options=(--fault-injection)
  [[ $4 == false ]] || options+=(--learner)
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd -P)
  if [[ -e $data_dir/certs/ca.crt ]]; then
    [[ -e $data_dir/certs/$1.crt ]] || "$lockstep" cert node "$1" --dir "$data_dir/certs" >/dev/null
    options+=(--tls-cert "$data_dir/certs/$1.crt" --tls-key "$data_dir/certs/$1.key" --tls-ca "$data_dir/certs/ca.crt")
  fi
  [[ ! -e $data_dir/root-token ]] || options+=(--root-token-file "$data_dir/root-token")
  setsid nohup "$lockstep" serve --name "$1" --http "${2#*://}" --peer "$3" --data-dir "$dir" --join "$5" \
    "${options[@]}" </dev/null >/dev/null 2>>"$dir.log" &
  printf '{"data_dir":"%s","http":"%s","join":"%s","learner":%s,"name":"%s","peer":"%s","pid":%s}\n' \
    "$dir" "$2" "$5" "$4" "$1" "$3" "$!" >"$record.new"
  mv "$record.new" "$record"
}

# Restarts a node that joined earlier.
restart_joined() { # NAME
  local line
  line=$(<"$data_dir/joined/$1.json")
  start_joined "$1" "$(field "$line" http)" "$(field "$line" peer)" "$(field "$line" learner)" \
    "$(field "$line" join)"
}

# Restarts every node that joined earlier and is not running.
restart_all_joined() {
  local record
  for record in "$data_dir"/joined/*.json; do
    [[ -e $record ]] || continue
    read_node "$(<"$record")"
    if [[ $(node_state) == down ]]; then
      restart_joined "$name"
    fi
  done
}
