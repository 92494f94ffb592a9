#!/usr/bin/env bash
# The files in packaging/, checked as far as the tools at hand allow; what is skipped is said, with what is missing.
#
#   tests/packaging.sh [PORT]     the node that it starts uses PORT, PORT + 1 and PORT + 2 (21900)
#
# LOCKSTEP_BIN names the program; without it the program is built. DEB_CHROOT names a folder with a Debian system, in
# which the package is installed, upgraded, removed and purged. PYTHON names an interpreter whose modules can include
# `yaml`, `helm_python` (helm-python-sdk) and `kubernetes_validate`; tools beside it are found, too. With
# REQUIRE_PACKAGING=1, anything skipped is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${1:-21900}
python=${PYTHON:-python3}
# In a virtual environment, hadolint and check-jsonschema are beside the interpreter.
PATH=$PATH:$(dirname "$(command -v "$python")")
if [[ -z ${LOCKSTEP_BIN:-} ]]; then
  cargo build --locked
  LOCKSTEP_BIN=${CARGO_TARGET_DIR:-target}/debug/lockstep
fi
LOCKSTEP_BIN=$(realpath "$LOCKSTEP_BIN")
export LOCKSTEP_BIN
work=$(mktemp -d)
export work
node=
finish() {
  [[ -z $node ]] || kill "$node" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

passed=0 skipped=0
say() { printf '  %s\n' "$*"; passed=$((passed + 1)); }
skip() { printf '  SKIPPED: %s\n' "$*"; skipped=$((skipped + 1)); }
fail() { echo "packaging.sh: $*" >&2; exit 1; }
# Runs a command that prints only where it fails.
quietly() { # WHAT COMMAND...
  local what=$1
  shift
  "$@" >"$work/out" 2>&1 || { cat "$work/out" >&2; fail "$what"; }
  say "$what"
}
has() { command -v "$1" >/dev/null; }
has_module() { "$python" -c "import $1" 2>/dev/null; }

# --- Files ------------------------------------------------------------------------------------------------------------

for script in packaging/deb/build tests/packaging.sh; do bash -n "$script" || fail "$script"; done
for script in postinst prerm postrm; do sh -n "packaging/deb/$script" || fail "packaging/deb/$script"; done
say "scripts parse"
if has shellcheck; then
  quietly "shellcheck finds nothing" shellcheck packaging/deb/build packaging/deb/{postinst,prerm,postrm} tests/packaging.sh
else
  skip "shellcheck is missing"
fi

quietly "JSON parses" "$python" - <<'END'
import glob, json
for name in glob.glob("packaging/**/*.json", recursive=True):
    json.load(open(name))
END
if has_module yaml; then
  quietly "YAML parses" "$python" - <<'END'
import glob, yaml
for name in glob.glob("packaging/**/*.yaml", recursive=True):
    if "/templates/" not in name:
        list(yaml.safe_load_all(open(name)))
END
else
  skip "YAML: $python has no module yaml"
fi

"$LOCKSTEP_BIN" serve --help >"$work/help"
{ cat "$work/help"; "$LOCKSTEP_BIN" status --help; } | grep -oE 'LOCKSTEP_[A-Z_]+' | sort -u >"$work/variables"
"$python" - <<'END' >"$work/keys" || fail "packaging/lockstep.toml does not parse"
import re, tomllib
text = open("packaging/lockstep.toml").read()
tomllib.loads(text)
# The examples, too: each would be a setting if its line did not begin with #.
print(*tomllib.loads(re.sub(r"^# ([a-z_]+ = )", r"\1", text, flags=re.M)), sep="\n")
END
say "lockstep.toml parses, with its examples"
# Every variable in the files for containers is one that the program reads.
{ grep -rhoE 'LOCKSTEP_[A-Z_]+' packaging/container packaging/helm packaging/systemd || true; } | sort -u |
  comm -23 - "$work/variables" | { grep -vxE 'LOCKSTEP_|LOCKSTEP_LOG(_FORMAT)?|LOCKSTEP_CONFIG' || true; } >"$work/unknown"
[[ ! -s $work/unknown ]] || fail "variables that the program does not read: $(tr '\n' ' ' <"$work/unknown")"
say "each variable is one that the program reads"

# --- Settings ---------------------------------------------------------------------------------------------------------

"$LOCKSTEP_BIN" cert ca --dir "$work/certs" >/dev/null
"$LOCKSTEP_BIN" cert node n1 --dir "$work/certs" >/dev/null
"$LOCKSTEP_BIN" token generate --out "$work/root-token"
printf '{"keys": [{"kty": "oct", "k": "%s"}]}' "$(printf 'A%.0s' {1..43})" >"$work/jwks.json"
chmod 600 "$work/jwks.json"
echo '[{"subject": "*", "grants": [{"role": "observe"}]}]' >"$work/jwt-grants.json"
mkdir "$work/backups"
# All examples, with files that are there. A node founds a cluster or joins one, so they are read as each of the two.
# The program says where each value comes from.
sed -E -e 's/^# ([a-z_]+ = )/\1/' -e "s|/etc/lockstep/tls/[a-z]*-?ca.crt|$work/certs/ca.crt|" \
  -e "s|/etc/lockstep/tls/(node\|peer)|$work/certs/n1|" -e "s|/run/credentials/.*root-token|$work/root-token|" \
  -e "s|/etc/lockstep/(jwks\|jwt-grants).json|$work/\1.json|" \
  -e "s|/var/lib/lockstep|$work/none|" -e "s|/var/backups/lockstep|$work/backups|" packaging/lockstep.toml >"$work/examples.toml"
for without in 'join|learner' initial_cluster; do
  grep -vE "^($without) = " "$work/examples.toml" >"$work/lockstep.toml"
  "$LOCKSTEP_BIN" serve --config "$work/lockstep.toml" --check-config >"$work/settings" 2>&1 ||
    { cat "$work/settings" >&2; fail "the program refuses the examples of lockstep.toml"; }
  while read -r key; do
    grep -qE "^$key = .* \($work/lockstep.toml\)\$" "$work/settings" ||
      fail "lockstep.toml sets $key, but: $(grep "^$key = " "$work/settings" || echo 'the program does not know it')"
  done < <(grep -vxE "$without" "$work/keys")
done
say "each key of lockstep.toml is a setting that the program takes from the file"

# --- A live node ------------------------------------------------------------------------------------------------------

export LOCKSTEP_URL=https://127.0.0.1:$port LOCKSTEP_CA_FILE=$work/certs/ca.crt LOCKSTEP_TOKEN_FILE=$work/root-token
"$LOCKSTEP_BIN" serve --data-dir "$work/node" --http "127.0.0.1:$port" --peer "127.0.0.1:$((port + 1))" \
  --probe "127.0.0.1:$((port + 2))" --probe-metrics --backup-dir "$work/backups" --root-token-file "$work/root-token" --name n1 \
  --tls-cert "$work/certs/n1.crt" --tls-key "$work/certs/n1.key" --tls-ca "$work/certs/ca.crt" 2>"$work/log" &
node=$!
metrics() { curl -sf --noproxy '*' "http://127.0.0.1:$((port + 2))/metrics" >"$work/metrics"; }
# Log time and the estimate of other policies are known a moment after the node leads.
for _ in {1..100}; do
  kill -0 "$node" || { cat "$work/log" >&2; fail "the node does not start"; }
  if "$LOCKSTEP_BIN" put k v >/dev/null 2>&1 && metrics && grep -q "^lockstep_log_time_ahead_seconds" "$work/metrics" &&
    grep -q "^lockstep_shadow_reads" "$work/metrics"; then break; fi
  sleep 0.1
done
"$LOCKSTEP_BIN" get k >/dev/null
metrics || fail "the node has no /metrics"
# A histogram and a summary have names of their own for each part.
awk '$2 == "TYPE" {
  print $3
  if ($4 == "histogram") { print $3 "_bucket"; print $3 "_sum"; print $3 "_count" }
  if ($4 == "summary") { print $3 "_sum"; print $3 "_count" }
}' "$work/metrics" | sort -u >"$work/live"
say "a node with TLS and tokens reports $(awk '$2 == "TYPE"' "$work/metrics" | wc -l) metrics"
kill "$node"
wait "$node" || fail "the node did not stop cleanly"
node=
if has promtool; then
  # It also prints advice that is no error, with exit code 3.
  promtool check metrics <"$work/metrics" >"$work/out" 2>&1 || [[ $? == 3 ]] || { cat "$work/out" >&2; fail "promtool check metrics"; }
  say "promtool reads the metrics"
fi

# --- Alerts and dashboard ---------------------------------------------------------------------------------------------

if has promtool; then
  quietly "promtool: the alerts parse" promtool check rules packaging/prometheus/alerts.yaml
  quietly "promtool: each alert fires on bad series, and is silent on good ones" \
    promtool test rules packaging/prometheus/alerts_test.yaml
else
  skip "rules and their tests: promtool is missing"
fi

if has_module yaml; then
  "$python" - <<'END' || fail "alerts or dashboard"
import json, os, re, sys, yaml

work = os.environ["work"]
wrong = []

def anchors(page):
    found = set()
    for line in open(page):
        if line.startswith("#"):
            title = line.lstrip("#").strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found

rules = [rule for group in yaml.safe_load(open("packaging/prometheus/alerts.yaml"))["groups"] for rule in group["rules"]]
tests = open("packaging/prometheus/alerts_test.yaml").read()
for rule in rules:
    name, notes = rule["alert"], rule["annotations"]
    if rule["labels"].get("severity") not in ("critical", "warning"):
        wrong.append(f"{name}: no severity")
    wrong += [f"{name}: no {note}" for note in ("summary", "description", "runbook_url") if not notes.get(note)]
    page, _, anchor = notes.get("runbook_url", "").partition("#")
    if not os.path.exists(page) or anchor not in anchors(page):
        wrong.append(f"{name}: there is no {page}#{anchor}")
    if f'alertname="{name}", alertstate="firing"' not in tests:
        wrong.append(f"{name}: no test in which it fires")

dashboard = json.load(open("packaging/grafana/lockstep.json"))
panels = dashboard["panels"]
# Those that are part of Grafana.
core = {"row", "stat", "timeseries", "state-timeline", "table", "text", "bargauge", "gauge"}
if len({panel["id"] for panel in panels}) != len(panels):
    wrong.append("dashboard: two panels have the same id")
cells = {}
expressions = []
for panel in panels:
    if panel["type"] not in core:
        wrong.append(f"dashboard: {panel['type']} is a plugin")
    at = panel["gridPos"]
    for x in range(at["x"], at["x"] + at["w"]):
        for y in range(at["y"], at["y"] + at["h"]):
            if x > 23 or cells.setdefault((x, y), panel["title"]) != panel["title"]:
                wrong.append(f"dashboard: {panel['title']} lies over {cells.get((x, y), 'the edge')}")
    for target in panel.get("targets", []):
        expressions.append(target["expr"])
        if target["datasource"]["uid"] != "${datasource}":
            wrong.append(f"dashboard: {panel['title']} names a data source")

def metric_names(expression):
    # Without what is quoted: a label's value can look like a metric.
    return set(re.findall(r"\b(?:lockstep|process)_[a-z_]+", re.sub(r'"[^"]*"', "", expression)))

live = set(open(f"{work}/live").read().split())
used = set()
for where, expression in [(rule["alert"], rule["expr"]) for rule in rules] + [("dashboard", e) for e in expressions]:
    used |= metric_names(expression)
    wrong += [f"{where}: no node has {name}" for name in metric_names(expression) - live]

# The dashboard's expressions as rules, with values in place of its variables.
replaced = {"$__rate_interval": "5m", "$job": "lockstep", "$instance": ".*"}
def plain(expression):
    for variable, value in replaced.items():
        expression = expression.replace(variable, value)
    return expression
as_rules = [{"record": f"panel:{number}", "expr": plain(e)} for number, e in enumerate(expressions)]
yaml.safe_dump({"groups": [{"name": "dashboard", "rules": as_rules}]}, open(f"{work}/dashboard.yaml", "w"))

for line in wrong:
    print(f"packaging.sh: {line}", file=sys.stderr)
if wrong:
    sys.exit(1)
shown = {re.sub("_(bucket|sum|count)$", "", name) for name in used} | used
whole = {line.split()[2] for line in open(f"{work}/metrics") if line.startswith("# TYPE")}
print(f"  {len(rules)} alerts have a severity, texts, a test, and a page that exists")
print(f"  each metric of the alerts and of {len(expressions)} expressions in {len(panels)} panels is one that a node reports")
print("  no alert and no panel uses: " + (", ".join(sorted(whole - shown)) or "none"))
END
  passed=$((passed + 2))
  if has promtool; then quietly "promtool: each expression of the dashboard parses" promtool check rules "$work/dashboard.yaml"; fi
else
  skip "alerts and dashboard against the live metrics: $python has no module yaml"
fi

# --- systemd ----------------------------------------------------------------------------------------------------------

if has systemd-analyze; then
  # The program need not be installed here.
  sed "s|/usr/bin/lockstep|$LOCKSTEP_BIN|" packaging/systemd/lockstep.service >"$work/lockstep.service"
  systemd-analyze verify --man=no "$work/lockstep.service" >"$work/out" 2>&1 || { cat "$work/out" >&2; fail "systemd-analyze verify"; }
  # A key that it does not know is a warning, and no failure.
  ! grep -F lockstep.service "$work/out" >&2 || fail "systemd-analyze verify warns"
  say "systemd-analyze: the unit is right"
  systemd-analyze security --offline=true --threshold=20 --no-pager "$work/lockstep.service" >"$work/out" 2>&1 ||
    { cat "$work/out" >&2; fail "the unit is exposed more than 2.0"; }
  say "systemd-analyze: exposure $(grep -oE 'lockstep.service: [0-9.]+' "$work/out" | tail -n 1 | cut -d ' ' -f 2), at most 2.0"
else
  skip "the unit: systemd-analyze is missing"
fi
if has systemd-sysusers && [[ $(id -u) == 0 ]]; then
  mkdir -p "$work/system/etc"
  quietly "systemd-sysusers makes the user" systemd-sysusers --root="$work/system" "$PWD/packaging/systemd/lockstep.sysusers"
  grep -q '^lockstep:' "$work/system/etc/passwd" || fail "there is no user lockstep"
else
  skip "the user: systemd-sysusers is missing, or this is not root"
fi

# --- The Debian package -----------------------------------------------------------------------------------------------

if has dpkg-deb; then
  export SOURCE_DATE_EPOCH=1790000000
  package=$(packaging/deb/build "$LOCKSTEP_BIN" 0.1.0 "$work/deb")
  newer=$(packaging/deb/build "$LOCKSTEP_BIN" 0.1.1-rc.1 "$work/deb")
  [[ $newer == *_0.1.1~rc.1_* ]] || fail "a release candidate must sort before its release: $newer"
  cmp "$package" "$(packaging/deb/build "$LOCKSTEP_BIN" 0.1.0 "$work/again")" || fail "two builds of the package differ"
  say "the package builds, twice the same"
  dpkg-deb --fsys-tarfile "$package" | tar -tv >"$work/content"
  for file in usr/bin/lockstep etc/lockstep/lockstep.toml usr/lib/systemd/system/lockstep.service usr/lib/sysusers.d/lockstep.conf \
    usr/share/lockstep/prometheus/alerts.yaml usr/share/lockstep/grafana/lockstep.json usr/share/doc/lockstep/copyright \
    usr/share/doc/lockstep/README.Debian usr/share/doc/lockstep/operations.md usr/share/doc/lockstep/changelog.gz; do
    grep -qE " \./$file\$" "$work/content" || fail "the package has no $file"
  done
  if "$LOCKSTEP_BIN" generate --help >/dev/null 2>&1; then
    for file in usr/share/man/man1/lockstep.1.gz usr/share/bash-completion/completions/lockstep \
      usr/share/zsh/vendor-completions/_lockstep usr/share/fish/vendor_completions.d/lockstep.fish; do
      grep -qE " \./$file\$" "$work/content" || fail "the package has no $file"
    done
  else
    skip "man pages and completions: this program has no \`generate\`"
  fi
  ! grep -v ' root/root ' "$work/content" || fail "a file of the package does not belong to root"
  ! grep -E '^.(...s|......s|.......w)' "$work/content" || fail "a file of the package has rights that it should not have"
  [[ $(dpkg-deb --info "$package" conffiles) == /etc/lockstep/lockstep.toml ]] || fail "lockstep.toml is no conffile"
  ! dpkg-deb --info "$package" postinst | grep -E 'systemctl.* (start|restart|enable)|deb-systemd' || fail "postinst starts a node"
  say "the package holds what it should, and starts nothing"
  if has lintian; then
    quietly "lintian: no error" lintian --allow-root --fail-on error "$package"
  else
    skip "lintian is missing"
  fi
else
  skip "the package: dpkg-deb is missing"
fi

if [[ -n ${DEB_CHROOT:-} && -n ${package:-} ]]; then
  in_chroot() { dpkg --root="$DEB_CHROOT" "$@" >"$work/out" 2>&1 || { cat "$work/out" >&2; fail "dpkg $*"; }; }
  exists() { [[ -e $DEB_CHROOT$1 ]] || fail "$1 is not there after $2"; }
  is_gone() { [[ ! -e $DEB_CHROOT$1 ]] || fail "$1 is there after $2"; }
  in_chroot --install "$package"
  exists /usr/bin/lockstep "an installation"
  [[ $(stat -c %a:%g "$DEB_CHROOT/etc/lockstep/tls") == 750:$(chroot "$DEB_CHROOT" id -g lockstep) ]] ||
    fail "/etc/lockstep/tls is not for root and the group lockstep alone"
  is_gone /etc/systemd/system/multi-user.target.wants/lockstep.service "an installation"
  echo '# changed' >>"$DEB_CHROOT/etc/lockstep/lockstep.toml"
  mkdir -p "$DEB_CHROOT/var/lib/lockstep/sled"
  touch "$DEB_CHROOT/etc/lockstep/tls/node.key"
  in_chroot --install "$newer"
  grep -q '^# changed' "$DEB_CHROOT/etc/lockstep/lockstep.toml" || fail "an upgrade replaces lockstep.toml"
  in_chroot --remove lockstep
  is_gone /usr/bin/lockstep "a removal"
  exists /var/lib/lockstep/sled "a removal"
  exists /etc/lockstep/lockstep.toml "a removal"
  in_chroot --purge lockstep
  is_gone /var/lib/lockstep "a purge"
  is_gone /etc/lockstep/lockstep.toml "a purge"
  exists /etc/lockstep/tls/node.key "a purge"
  rm -rf "$DEB_CHROOT/etc/lockstep"
  say "install, upgrade, remove and purge keep and delete what README.Debian says"
else
  skip "install, remove and purge: DEB_CHROOT names no system"
fi

# --- Containers -------------------------------------------------------------------------------------------------------

if has hadolint; then
  quietly "hadolint finds nothing" hadolint packaging/container/Containerfile
else
  skip "hadolint is missing"
fi
for line in 'USER 65532:65532' 'STOPSIGNAL SIGTERM' 'ENTRYPOINT \["/usr/bin/lockstep"\]'; do
  grep -qE "^$line" packaging/container/Containerfile || fail "the Containerfile has no line $line"
done
if has check-jsonschema; then
  quietly "compose.yaml fits its schema" check-jsonschema --builtin-schema vendor.compose-spec packaging/container/compose.yaml
else
  skip "the schema of compose.yaml: check-jsonschema is missing"
fi
# The image's files, as far as they can be had here: the program and the C library, and nothing else, no shell either.
can_mount='mount -t tmpfs none /tmp && mount --bind /usr /usr && mount -o remount,bind,ro /usr'
if [[ $(id -u) == 0 ]] && has unshare && unshare --mount sh -c "$can_mount" 2>/dev/null; then
  tree=$work/tree
  install -D -m 0755 "$LOCKSTEP_BIN" "$tree/usr/bin/lockstep"
  ldd "$LOCKSTEP_BIN" | grep -oE '/[^ ]+' | while read -r library; do install -D "$library" "$tree$library"; done
  install -d -m 0755 "$tree/dev" "$tree/proc" "$tree/tmp" "$tree/var/lib/lockstep"
  chmod 0755 "$work"
  chmod 1777 "$tree/tmp"
  cat >"$work/container" <<'END'
set -euo pipefail
tree=$1 port=$2 log=$3
mount --bind "$tree" "$tree"
mount -o remount,bind,ro "$tree"
mount -t tmpfs -o mode=0700,uid=70000,gid=70000 none "$tree/var/lib/lockstep"
lockstep=(env -i LOCKSTEP_DATA_DIR=/var/lib/lockstep LOCKSTEP_URL="http://127.0.0.1:$port"
  "$(command -v chroot)" --userspec=70000:70000 "$tree" /usr/bin/lockstep)
if "${lockstep[@]}" generate man /tmp 2>/dev/null; then echo "the root can be written"; exit 1; fi
"${lockstep[@]}" serve --http "127.0.0.1:$port" --peer "127.0.0.1:$((port + 1))" 2>"$log" &
node=$!
for _ in {1..100}; do "${lockstep[@]}" put k v >/dev/null 2>&1 && break; sleep 0.1; done
[[ $("${lockstep[@]}" get k) == v ]] || { cat "$log"; exit 1; }
grep -qE '^Uid:\s+70000\s' "/proc/$node/status" && grep -qE '^CapEff:\s+0+$' "/proc/$node/status"
kill "$node"
wait "$node"
END
  quietly "the image's tree runs read-only, as another user, without capabilities and without a shell" \
    unshare --mount bash "$work/container" "$tree" "$((port + 10))" "$work/log"
else
  skip "the image's tree: this is not root, or there are no namespaces for mounts"
fi
if has_module yaml; then
  "$python" - <<'END' || fail "compose.yaml"
import yaml
services = yaml.safe_load(open("packaging/container/compose.yaml"))["services"]
nodes = {name: service for name, service in services.items() if "profiles" not in service}
assert len(nodes) == 3, "three nodes"
for name, service in services.items():
    assert service["read_only"] and service["cap_drop"] == ["ALL"], name
    assert service["security_opt"] == ["no-new-privileges:true"], name
    # A secret in the environment would be a default one.
    assert not any(word in key for key in service.get("environment", {}) for word in ("PASSWORD", "SECRET")), name
for name, node in nodes.items():
    assert node["environment"]["LOCKSTEP_NAME"] == name
    for published in node["ports"]:
        assert published.startswith("127.0.0.1:") and published.endswith(":5000"), f"{name} publishes {published}"
    assert "secrets:/etc/lockstep:ro" in node["volumes"], name
END
  say "compose.yaml: no published peer port, no privileges, no default secret"
fi

# --- Helm -------------------------------------------------------------------------------------------------------------

chart=packaging/helm/lockstep
mkdir -p "$work/rendered"
given=(--set tls.existingSecret=certificates --set rootToken.existingSecret=token)
everything=(--set founded=true --set networkPolicy.enabled=true --set podMonitor.enabled=true)
rendered=
if has helm; then
  quietly "helm lint" helm lint --quiet "$chart"
  helm template lockstep "$chart" --namespace cache "${given[@]}" >"$work/rendered/first.yaml"
  helm template lockstep "$chart" --namespace cache "${given[@]}" "${everything[@]}" >"$work/rendered/all.yaml"
  for wrong in replicas=2 policy=random unknown=1 tls.existingSecret=; do
    ! helm template lockstep "$chart" "${given[@]}" --set "$wrong" >/dev/null 2>&1 || fail "the chart accepts $wrong"
  done
  rendered=yes
elif has_module helm_python && has_module yaml; then
  "$python" - "$chart" <<'END' >"$work/out" 2>&1 || { cat "$work/out" >&2; fail "the chart does not render"; }
import os, sys
import helm_python as helm
chart, work = sys.argv[1], os.environ["work"]
given = {"tls": {"existingSecret": "certificates"}, "rootToken": {"existingSecret": "token"}}
everything = {"founded": True, "networkPolicy": {"enabled": True}, "podMonitor": {"enabled": True}}
found = helm.lint(chart)
assert not found["errors"], found
with helm.Chart.load(chart) as loaded:
    for name, more in [("first", {}), ("all", everything)]:
        files = loaded.render({**given, **more}, name="lockstep", namespace="cache")
        texts = [text for file, text in files.items() if file.endswith(".yaml")]
        open(f"{work}/rendered/{name}.yaml", "w").write("\n---\n".join(texts))
    for wrong in ({"replicas": 2}, {"policy": "random"}, {"unknown": 1}, {"tls": {"existingSecret": ""}}):
        try:
            loaded.render({**given, **wrong}, name="lockstep", namespace="cache")
        except helm.HelmError:
            continue
        sys.exit(f"the chart accepts {wrong}")
END
  rendered=yes
else
  skip "the chart: helm is missing, and $python has no module helm_python"
fi
if [[ $rendered ]]; then
  say "the chart renders, and its schema refuses wrong values"
  if has_module yaml; then
    "$python" - <<'END' || fail "the rendered chart"
import os, yaml
work = os.environ["work"]
def load(name):
    return [document for document in yaml.safe_load_all(open(f"{work}/rendered/{name}.yaml")) if document]
def one(documents, kind, name="lockstep"):
    [found] = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found
first, everything = load("first"), load("all")
stateful = one(first, "StatefulSet")["spec"]
pod = stateful["template"]["spec"]
[container] = pod["containers"]
assert stateful["podManagementPolicy"] == "Parallel"
assert one(first, "Service", "lockstep-peers")["spec"]["publishNotReadyAddresses"] is True
assert one(first, "Service", "lockstep-peers")["spec"]["clusterIP"] == "None"
assert "publishNotReadyAddresses" not in one(first, "Service")["spec"]
assert one(first, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
assert container["startupProbe"]["httpGet"]["path"] == "/livez"
assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] >= 600
assert pod["terminationGracePeriodSeconds"] == 60
assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
assert container["securityContext"] == {
    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
# Nobody else can read keys and tokens, or the node refuses them.
assert all(volume["secret"]["defaultMode"] & 0o007 == 0 for volume in pod["volumes"])
assert {c["topologyKey"] for c in pod["topologySpreadConstraints"]} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
def variables(documents):
    [container] = one(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value") for variable in container["env"]}
urls = variables(first)["LOCKSTEP_INITIAL_CLUSTER"].split(",")
assert urls == [f"https://lockstep-{i}.lockstep-peers.cache.svc.cluster.local:5000" for i in range(3)], urls
assert variables(first)["LOCKSTEP_REPLACE_LOST"] == variables(everything)["LOCKSTEP_REPLACE_LOST"] == "by-hand"
# A node of a founded cluster joins, whatever became of its volume.
assert "LOCKSTEP_JOIN" not in variables(first)
assert "LOCKSTEP_INITIAL_CLUSTER" not in variables(everything) and "LOCKSTEP_JOIN" in variables(everything)
END
    say "the rendered chart has its probes, budgets, rights and names"
  fi
  if has_module kubernetes_validate; then
    quietly "kubernetes-validate: the rendered chart fits Kubernetes 1.30 and the newest" "$python" - <<'END'
import os, yaml
import kubernetes_validate as kubernetes
for name in ("first", "all"):
    for document in yaml.safe_load_all(open(f"{os.environ['work']}/rendered/{name}.yaml")):
        # Of an operator, not of Kubernetes.
        if document and document["kind"] != "PodMonitor":
            for version in ("1.30", kubernetes.latest_version()):
                kubernetes.validate(document, version, strict=True)
END
  else
    skip "the schemas of Kubernetes: $python has no module kubernetes_validate"
  fi
fi

[[ $skipped == 0 || ${REQUIRE_PACKAGING:-0} != 1 ]] || fail "$skipped checks were skipped"
echo "$passed passed, 0 failed, $skipped skipped"
