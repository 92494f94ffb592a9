#!/usr/bin/env bash
# docs/deploy.md, for real: runs its commands on machines that are made of Linux namespaces, each with a network,
# processes and files of its own, and fails at the first thing that is not as the page says. It needs root, changes
# nothing outside of its namespaces and a temporary folder, and takes about half a minute.
#
#   tests/deploy.sh     LOCKSTEP_BIN names the program; without it the program is built
#
# The page's commands for the package and for systemd are left out: these machines run no systemd.
# The commands of the page are named by texts in single quotes, which must not be expanded.
# shellcheck disable=SC2016
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "deploy.sh: skipped: $*"; exit 0; }
if [[ -z ${DEPLOY_NAMESPACES:-} ]]; then
  [[ $(id -u) == 0 ]] || skip "only root can make machines of namespaces"
  for tool in ip unshare nsenter setsid runuser useradd pkill curl jq; do
    command -v "$tool" >/dev/null || skip "there is no \`$tool\`"
  done
  unshare --net --mount --pid --fork --mount-proc ip link add bridge0 type bridge 2>/dev/null ||
    skip "namespaces or bridges cannot be made here"
  if [[ -z ${LOCKSTEP_BIN:-} ]]; then
    cargo build --locked
    LOCKSTEP_BIN=${CARGO_TARGET_DIR:-target}/debug/lockstep
  fi
  work=$(mktemp -d)
  export work DEPLOY_NAMESPACES=1 LOCKSTEP_BIN
  # Everything below runs in namespaces of its own. Processes, networks and mounts end with it, even if it is killed.
  unshare --net --mount --pid --fork --kill-child --mount-proc tests/deploy.sh &
  inner=$!
  trap 'kill -KILL $inner 2>/dev/null || true; rmdir "$work"' EXIT
  trap 'exit 130' INT TERM
  wait $inner
  exit
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

# --- Machines ---------------------------------------------------------------------------------------------------------

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

# A machine with nothing but the system. What it changes in its files is its own.
boot() { # ADDRESS
  local machine=$work/machines/$1 link=machine${1##*.} parent init=
  mkdir -p "$machine"/{upper,work,root}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$machine/upper,workdir=$machine/work" "$machine/root" ||
    skip "overlay file systems cannot be mounted here"
  mount --rbind /dev "$machine/root/dev"
  # A node may be installed on the host.
  chroot "$machine/root" userdel lockstep 2>/dev/null || true
  rm -rf "$machine"/root/{etc,var/lib}/lockstep
  # Its first process takes the exit codes of those that have lost their parents.
  unshare --net --mount --pid --fork --kill-child bash -c \
    'mount -t proc proc "$1/proc"; exec chroot "$1" bash -c "while :; do sleep 1; done"' \
    init "$machine/root" 2>"$machine/errors" &
  parent=$!
  is_up() { init=$(pgrep -P "$parent") && [[ $(readlink "/proc/$init/root") == "$machine/root" ]]; }
  until_true 10 "the machine $1" is_up
  echo "$init" >"$machine/init"
  ip link add "$link" type veth peer name eth0 netns "$init"
  ip link set "$link" master bridge0 up
  inside "$1" ip link set lo up
  inside "$1" ip addr add "$1/24" dev eth0
  inside "$1" ip link set eth0 up
}
# As a power cut: nothing of it is left.
destroy() { # ADDRESS
  kill -KILL "$(<"$work/machines/$1/init")"
  umount --lazy "$work/machines/$1/root"
  rm -rf "${work:?}/machines/$1"
}
# Runs a program in the network of a machine, with this script's files.
inside() { # ADDRESS COMMAND...
  nsenter --target "$(<"$work/machines/$1/init")" --net "${@:2}"
}
cat >"$work/bin/ssh" <<'END'
#!/usr/bin/env bash
# Stands for ssh: runs a command on a machine, which sees none of this environment.
address=${1#root@}
shift
exec nsenter --target "$(<"$work/machines/$address/init")" --mount --net --pid --root --wd \
  env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "cd; $*"
END
cat >"$work/bin/scp" <<'END'
#!/usr/bin/env bash
# Stands for scp: copies a file into the home folder of root on a machine.
exec "$(dirname "$0")/ssh" "${2%:}" "cat >${1##*/}" <"$1"
END
chmod +x "$work"/bin/{ssh,scp}

# --- The page ---------------------------------------------------------------------------------------------------------

# The block of commands with this text, without its indentation. `1 2 3` becomes other machines where they are given.
block() { # TEXT [MACHINES]
  local found
  found=$(awk -v text="$1" '
    /^    / { block = block substr($0, 5) "\n"; next }
    index(block, text) { exit }
    { block = "" }
    END { if (index(block, text)) printf "%s", block }' "$page")
  [[ $found ]] || fail "docs/deploy.md has no command with '$1'"
  [[ -z ${2:-} ]] || found=${found//in 1 2 3;/in $2;}
  printf '%s\n' "$found"
}
# Runs that block, on the operator's machine.
run() { # TEXT [MACHINES]
  timeout 120 bash -euo pipefail -c "$(block "$@")" >"$work/output" 2>&1 ||
    { cat "$work/output" >&2; fail "the commands with '$1'"; }
}
# Commands 5 to 7 by hand.
set_up() { # MACHINES
  run 'useradd --system' "$1"
  run '/etc/lockstep/lockstep.toml <n$i.toml' "$1"
  run 'setsid --fork' "$1"
}
members() { lockstep member --json | jq -r ".members[] | $1"; }
is_ready() { curl -sf "http://10.77.0.$1:5080/readyz"; }
has_voters() { [[ $(members 'select(.voter).name' | sort | xargs) == "$1" ]]; }

# --- An application's machine -----------------------------------------------------------------------------------------

# One request on a connection of its own: prints the body, a space, and curl's exit code with the status.
ask() { # NODE KEY [CURL-ARGUMENT...]
  curl -s --max-time 10 --cacert certs/ca.crt -H @"$work/header" -w ' %{exitcode}:%{http_code}' \
    "https://10.77.0.$1:5000/v1/kv/$2" "${@:3}" || true
}
# Puts and gets through all nodes until $work/stop is there, and notes what did not succeed at once.
load() { # NAME
  local n=0 i answer
  while [[ ! -e $work/stop ]]; do
    for i in 1 2 3; do
      n=$((n + 1))
      answer=$(ask $i "cart:$1" -o /dev/null -X PUT --data-binary "$n")
      [[ $answer == ' 0:20'[14] ]] || echo "put through node $i:$answer" >>"$work/failures"
      answer=$(ask $i "cart:$1")
      [[ $answer == "$n 0:200" ]] || echo "get through node $i: wanted $n, got $answer" >>"$work/failures"
    done
    echo $((2 * n)) >"$work/requests.$1"
  done
}
# Puts by a client that does what the page says: where nothing was done (503, or curl's 7 for a refused connection), it
# tries the next node. Where the outcome is unknown (504, or curl's codes for a timeout and for connections that break),
# it does so with the same idempotency key. Anything else is a failure.
load_with_retries() { # NAME
  local n=0 i=1 answer tries
  while [[ ! -e $work/stop ]]; do
    n=$((n + 1))
    for ((tries = 0; ; tries++)); do
      i=$((i % 3 + 1))
      answer=$(ask $i "cart:$1" -o /dev/null -X PUT --data-binary "$n" -H "Idempotency-Key: $1-$begun-$n")
      [[ $answer != ' 0:20'[14] ]] || break
      if [[ $answer =~ ^\ (0:50[34]|(7|28|35|52|55|56):000)$ ]] && ((tries < 200)); then
        echo "$answer" >>"$work/retries"
      else
        echo "put through node $i:$answer" >>"$work/failures"
        break
      fi
      sleep 0.05
    done
    echo $n >"$work/requests.$1"
  done
}
export -f ask load load_with_retries
as_application() { inside 10.77.0.100 bash -c '"$@"' application "$@"; }
begin() { # LOAD: four at once
  local name
  rm -f "$work"/{stop,failures,retries} "$work"/requests.*
  # Each load counts from 1, and the cluster would answer the keys of an earlier one with its answers.
  export begun=$((${begun:-0} + 1))
  touch "$work"/{failures,retries}
  loads=()
  for name in a b c d; do
    as_application "$1" "$name" &
    loads+=($!)
  done
  sleep 1
}
end() { # WHAT: says how many requests there were, and that none failed
  touch "$work/stop"
  wait "${loads[@]}"
  local requests why
  [[ ! -s $work/failures ]] || fail "$1: failed: $(sort "$work/failures" | uniq -c | head -n 5)"
  requests=$(cat "$work"/requests.* | awk '{ n += $1 } END { print n }')
  why=$(sort "$work/retries" | uniq -c | awk '{ printf "%s%d with %s", separator, $1, $2; separator = ", " }')
  say "$1: $requests requests, 0 failed, tried again: ${why:-0}"
}

# The last value of each key was acknowledged, so every node has it.
has_last_values() { # NODE
  local name answer
  for name in a b c d; do
    answer=$(as_application ask "$1" "cart:$name")
    [[ $answer == "$(<"$work/requests.$name") 0:200" ]] ||
      fail "cart:$name through node $1: $answer, not $(<"$work/requests.$name")"
  done
}

# --- What the page says -----------------------------------------------------------------------------------------------

cd "$work/operator"
for i in 1 2 3 100; do boot 10.77.0.$i; done

run 'lockstep cert ca'
run 'lockstep cert node n$i --host 10.77.0.$i; done'
run 'lockstep token generate'
run 'cat >n$i.toml'
expect "the settings of two nodes differ in three lines" "http name probe" \
  "$(comm -23 <(sort n1.toml) <(sort n2.toml) | cut -d ' ' -f 1 | xargs)"
set_up "1 2 3"
eval "$(block 'export LOCKSTEP_URL')"
run 'until lockstep member'
ssh root@10.77.0.1 lockstep serve --config /etc/lockstep/lockstep.toml --check-config >"$work/output" ||
  fail "the settings of n1 are wrong: $(<"$work/output")"
run 'lockstep put greeting'
expect "ten commands: a key is written and read" hello "$(tail -n 1 "$work/output")"
until_true 10 "three voters" has_voters "n1 n2 n3"
say "three nodes have a vote"
run 'sed -i /token_file/d'

run 'lockstep token create shop'
run 'curl --cacert certs/ca.crt -H @- -X PUT'
printf 'Authorization: Bearer %s\n' "$(<shop)" >"$work/header"
expect "an application on another machine reads by TLS and with its token" "apples 0:200" \
  "$(as_application ask 3 cart:1)"
expect "its token is for its keys only" " 0:403" "$(as_application ask 3 greeting -o /dev/null)"
run 'lockstep token create alice'

expiry() { curl -s "http://10.77.0.1:5080/metrics" | grep ^lockstep_certificate_expiry | sort; }
is_renewed() { [[ $(expiry | grep -cvxFf "$work/expiry") == 2 ]]; }
expiry >"$work/expiry"
begin load
run 'lockstep cert renew certs/n$i.crt'
until_true 15 "both ports of n1 have the new certificate" is_renewed
expiry >"$work/expiry"
# Certificates of the same second expire in the same second, and could not be told apart.
sleep 1
run 'lockstep cert renew certs/n$i.crt'
ssh root@10.77.0.1 pkill -HUP -x lockstep
until_true 3 "both ports of n1 have the next certificate at once" is_renewed
sleep 1
end "a certificate is renewed twice under load, and found without a restart"

# --- A fourth node, and a machine that is lost ------------------------------------------------------------------------

boot 10.77.0.4
run 'lockstep cert node n$i --host 10.77.0.$i; done' 4
run 'cat >n$i.toml' 4
run 'n4.toml'
set_up 4
until_true 30 "four voters" has_voters "n1 n2 n3 n4"
expect "a fourth node joins and has all keys" "apples 0:200" "$(as_application ask 4 cart:1)"
lockstep member remove "$(members 'select(.name == "n4").id')" >"$work/output"
destroy 10.77.0.4

lockstep member transfer "$(members 'select(.name == "n3").id')" >"$work/output"
until_true 10 "n3 leads" eval '[[ $(members "select(.role == \"leader\").name") == n3 ]]'
begin load_with_retries
destroy 10.77.0.3
until_true 30 "the others elect a leader" eval '[[ $(members "select(.role == \"leader\").name") =~ n[12] ]]'
boot 10.77.0.3
run 'lockstep cert node n3 --host 10.77.0.3 --force'
set_up 3
until_true 30 "n3 waits" ssh root@10.77.0.3 grep -q member.replace.n3 /var/log/lockstep.log
until_true 30 "n3 is replaced" eval "$(block 'lockstep member replace n3')"
until_true 30 "three voters again" has_voters "n1 n2 n3"
end "the leader's machine is lost for good and replaced under load"
run 'sed -i /token_file/d' 3
has_last_values 3
say "the new node $(members 'select(.name == "n3").id') has every acknowledged write"

# --- An upgrade -------------------------------------------------------------------------------------------------------

mkdir new
cp "$work/bin/lockstep" new/lockstep
begin load_with_retries
run 'lockstep member transfer 1'
run '<new/lockstep'
end "all nodes are restarted one after another, as an upgrade does"
expect "each node was restarted once" "2 2 2" \
  "$(grep -ch 'listening http' "$work"/machines/10.77.0.[123]/root/var/log/lockstep.log | xargs)"
has_last_values 1
say "no acknowledged write is lost"
run 'lockstep upgrade status'

# --- A backup ---------------------------------------------------------------------------------------------------------

run 'lockstep snapshot save monday'
lockstep put greeting "after the backup" >"$work/output"
boot 10.77.0.5
run 'lockstep cert node n$i --host 10.77.0.$i; done' 5
run 'cat >n$i.toml' 5
run 'n5.toml'
run 'useradd --system' 5
run '/etc/lockstep/lockstep.toml <n$i.toml' 5
run 'lockstep snapshot restore monday'
run 'setsid --fork' 5
until_true 20 "the restored node is ready" is_ready 5
run 'restored-token'
expect "a backup becomes a cluster of one" hello "$(tail -n 1 "$work/output")"
run 'lockstep audit'
expect "the audit names the token and the address of each change" "root at 10.77.0.254, node" \
  "$(grep -m 1 -o 'root at 10.77.0.254, node' "$work/output")"
run 'lockstep token revoke'
expect "a token that was revoked is refused" " 0:401" "$(as_application ask 2 cart:1 -o /dev/null)"
echo "docs/deploy.md works"
