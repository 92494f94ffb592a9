#!/usr/bin/env python3
"""Runs files of Valkey's test suite (BSD-3-Clause; https://github.com/valkey-io/valkey) against a server.

    tests/redis/valkey_suite.py HOST:PORT FOLDER [LEFT-OUT [FILE...]]

FOLDER is Valkey's repository; nothing of it needs to be built. LEFT-OUT has lines `file: name of a test, TAB, reason`.
Tests that start servers of their own are left out by the suite itself (its tag external:skip).
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from results import Results, left_out_lines

FILES = [
    "unit/type/string",
    "unit/type/incr",
    "unit/type/hash",
    "unit/expire",
    "unit/scan",
    "unit/keyspace",
    "unit/protocol",
    "unit/multi",
    "unit/quit",
    "unit/tracking",
    "unit/pubsub",
    "unit/scripting",
]
OPTIONS = ["--ignore-encoding", "--ignore-digest", "--durable"]
TAGS = "-needs:debug -needs:repl -needs:save -needs:config-maxmemory"
# What runs between the tests of a file and would end it: the file, what it has, what it gets, and why.
NO_SETTING = "from which size on a hash is a table is no setting"
NO_TABLE = "how many keys are remembered for a client is no setting"
COLLIDES = "catch {$r CLIENT TRACKING ON BCAST PREFIX FOOBAR"
LEFT_OUT = "a test that is left out before it did that"
VERSION_2 = "a client of version 2 that names no other connection is refused, because it could not be told"
EDITS = [
    ("unit/type/hash", "[lindex [r config get hash-max-ziplist-value] 1]", "64", NO_SETTING),
    ("unit/type/hash", "r config set hash-max-ziplist-value 10", "", NO_SETTING),
    ("unit/type/hash", "r config set hash-max-ziplist-value $original_max_value", "", NO_SETTING),
    ("unit/type/hash", "r config set hash-max-listpack-value 8", "", NO_SETTING),
    ("unit/type/hash", "r config set hash-max-listpack-value $original_max_value", "", NO_SETTING),
    ("unit/type/hash", "r config set hash-max-ziplist-entries 32", "", NO_SETTING),
    ("unit/type/hash", "assert_encoding $type myhash", "", NO_SETTING),
    ("unit/tracking", "r config set tracking-table-max-keys 1000000", "", NO_TABLE),
    ("unit/tracking", "$rd_sg CLIENT TRACKING on NOLOOP\n", "$rd_sg HELLO 3\n$rd_sg CLIENT TRACKING on NOLOOP\n", VERSION_2),
    ("unit/tracking", "catch {$r CLIENT TRACKING ON BCAST PREFIX FOOBAR", "$r HELLO 3\n" + COLLIDES, VERSION_2),
    ("unit/tracking", "r CLIENT TRACKING on\n        set res", "r HELLO 3\n        r CLIENT TRACKING on\n        set res", VERSION_2),
    ("unit/tracking", "correct client id} {", "correct client id} {\nclean_all\nr CLIENT TRACKING on REDIRECT $redir_id", LEFT_OUT),
    ("unit/tracking", "$reply proto] 3\n        $rd_redirection", "$res proto] 3\n        $rd_redirection", LEFT_OUT),
    ("unit/scripting", "foreach is_eval {0 1} {", "foreach is_eval {1} {", "functions are refused; scripts are not"),
    ("unit/scripting", "{server redis} {", "{redis} {", "`server.call` is Valkey's own name of `redis.call`"),
    ("unit/keyspace", "foreach {type large} [array get largevalue] {", "foreach {type large} {} {", "lists are refused"),
    ("unit/keyspace", "test {MOVE basic usage}", "r flushdb\n    test {MOVE basic usage}", "a refused test before it did that"),
]
# A file of the suite takes up to a minute against Redis.
FILE_S = 300
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def edited_copy(folder, to):
    """Copies what the suite needs of Valkey's repository, with the edits."""
    shutil.copytree(Path(folder) / "tests", Path(to) / "tests")
    shutil.copy(Path(folder) / "runtest", to)
    for file, old, new, _reason in EDITS:
        path = Path(to) / "tests" / f"{file}.tcl"
        text = path.read_text(errors="surrogateescape")
        if old not in text:
            raise SystemExit(f"{path}: {old!r} is not in it: another release of Valkey?")
        path.write_text(text.replace(old, new), errors="surrogateescape")


def run(folder, host, port, file, skipped):
    """What a file's run prints, without colours, and whether it came to its end."""
    with tempfile.NamedTemporaryFile("w", suffix=".skip") as skip, tempfile.TemporaryFile() as output:
        skip.write("\n".join(skipped))
        skip.flush()
        command = ["./runtest", "--host", host, "--port", port, *OPTIONS, "--tags", TAGS, "--single", file]
        process = subprocess.Popen(
            [*command, "--skipfile", skip.name], cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
        try:
            process.wait(FILE_S)
        except subprocess.TimeoutExpired:
            print(f"  {file}: not within {FILE_S} s", flush=True)
        finally:
            # Its workers are in the same group.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        output.seek(0)
        text = COLOURS.sub("", output.read().decode(errors="replace"))
        return text, f"[1/1 done]: {file}" in text


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    folder = sys.argv[2]
    reasons = left_out_lines(sys.argv[3]) if len(sys.argv) > 3 else {}
    files = sys.argv[4:] or FILES
    results = Results("valkey")
    with tempfile.TemporaryDirectory() as copy:
        edited_copy(folder, copy)
        run_files(copy, host, port, reasons, files, results)
    return results.end()


def run_files(folder, host, port, reasons, files, results):
    for file in files:
        skipped = [name.partition(": ")[2] for name in reasons if name.startswith(f"{file}: ")]
        if any(name == f"{file}: *" for name in reasons):
            results.left_out(file, reasons[f"{file}: *"])
            continue
        before = dict(results.counts)
        text, whole = run(folder, host, port, file, skipped)
        last = "its beginning"
        # The details of a failure are repeated at the end.
        body = text.split("\n!!! WARNING")[0]
        for found in re.finditer(r"^\[(ok|err|exception|skip|ignore)\]: (.*)((?:\n(?!\[|Testing).*){0,4})", body, re.M):
            kind, name, more = found.groups()
            last = name
            if kind == "ok":
                results.passed(name)
            elif kind in ("skip", "ignore"):
                results.left_out(name, "")
            else:
                results.failed(f"{file}: {name}", " ".join(more.split()))
        if not whole:
            tail = " ".join(text.strip().splitlines()[-6:])
            results.failed(file, f"ended early, after {last}: {tail[-300:]}")
        counts = {what: count - before[what] for what, count in results.counts.items()}
        print(f"  {file}: " + ", ".join(f"{count} {what}" for what, count in counts.items()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
