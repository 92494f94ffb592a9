#!/usr/bin/env bash
# docs/deploy.md, for real: runs its commands on machines that are made of Linux namespaces, each with a network,
# processes and files of its own, and fails at the first thing that is not as the page says. It needs root, changes
# nothing outside of its namespaces and a temporary folder, and takes about three minutes.
#
#   tests/deploy.sh     LOCKSTEP_BIN names the program; without it the program is built
#
# The page's commands for the package and for systemd are left out: these machines run no systemd.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "deploy.sh: skipped: $*"; exit 0; }
if [[ -z ${DEPLOY_NAMESPACES:-} ]]; then
  [[ $(id -u) == 0 ]] || skip "only root can make machines of namespaces"
  for tool in ip unshare nsenter setsid runuser useradd pkill curl jq; do
    command -v "$tool" >/dev/null || skip "there is no \`$tool\`"
  done
  unshare --net --mount --pid --fork --mount-proc ip link add bridge0 type bridge 2>/dev/null ||
    skip "this system lets nobody make namespaces and bridges"
  if [[ -z ${LOCKSTEP_BIN:-} ]]; then
    cargo build --locked
    LOCKSTEP_BIN=${CARGO_TARGET_DIR:-target}/debug/lockstep
  fi
  work=$(mktemp -d)
  export work DEPLOY_NAMESPACES=1 LOCKSTEP_BIN
  # Everything below runs in namespaces of its own, so all processes, networks and mounts end with this one, even if it
  # is killed.
  unshare --net --mount --pid --fork --kill-child --mount-proc tests/deploy.sh && status=0 || status=$?
  rmdir "$work"
  exit "$status"
fi

page=$PWD/docs/deploy.md
program=$(realpath "$LOCKSTEP_BIN")
# Settings of whoever runs this are not those of the page.
for name in "${!LOCKSTEP_@}"; do unset "$name"; done
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy

say() { printf '  %s\n' "$*"; }
fail() {
  echo "deploy.sh: $*" >&2
  for log in "$work"/machines/*/root/var/log/lockstep.log; do
    [[ ! -s $log ]] || { echo "--- ${log#"$work/machines/"}" >&2; tail -n 15 "$log" >&2; }
  done
  exit 1
}
trap 'fail "line $LINENO: a command failed"' ERR
set -E
expect() { # WHAT WANTED GOT
  [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"
  say "$1"
}
until_true() { # SECONDS WHAT COMMAND...
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < limit)) || fail "$what: not in time"
    sleep 0.2
  done
}

# --- Machines --------------------------------------------------------------------------------------------------------

# In memory, and gone with the namespace.
mount -t tmpfs tmpfs "$work"
mkdir "$work"/{bin,operator,machines}
# Debug information would only be copied to every machine.
strip -o "$work/bin/lockstep" "$program" 2>/dev/null || cp "$program" "$work/bin/lockstep"
export PATH=$work/bin:$PATH
ip link set lo up
ip link add bridge0 type bridge
ip addr add 10.77.0.254/24 dev bridge0
ip link set bridge0 up

# A machine with nothing but the system: what it changes in its files is its own.
boot() { # ADDRESS
  local machine=$work/machines/$1 link=m${1##*.} unshare
  mkdir -p "$machine"/{upper,work,root}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$machine/upper,workdir=$machine/work" "$machine/root"
  mount --rbind /dev "$machine/root/dev"
  # Its first process waits for all that have lost their parents.
  unshare --net --mount --pid --fork --kill-child bash -c \
    'mount -t proc proc "$1/proc" && exec chroot "$1" bash -c "while :; do sleep 1; done"' init "$machine/root" &
  unshare=$!
  until_true 10 "the machine $1" chroot "$machine/root" test -e /proc/1 -o "$(pgrep -P $unshare)"
  pgrep -P $unshare >"$machine/init"
}
