#!/usr/bin/env python3
"""Runs the tests of redis-py (MIT; its source package has them) against a server.

    tests/redis/redis_py_suite.py HOST:PORT FOLDER [LEFT-OUT [FILE...]]

FOLDER is the unpacked source package. This Python must have that release of redis-py, pytest and pytest-timeout.
LEFT-OUT has lines `file.py::test, TAB, reason`; `file.py::Class::*` stands for a whole class.
"""

import os
import re
import subprocess
import sys

from results import Results, left_out_lines

FILES = [f"test_{name}.py" for name in ("commands", "pipeline", "lock", "scripting", "encoding", "cache", "pubsub")]
TEST_S = 20
# So that the reason of a failure is not cut off.
WIDE = {**os.environ, "COLUMNS": "500"}
LINE = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (?:\[\d+\] )?tests/(\S+?)(?:\[.*?\])?(?: - (.*))?$", re.M)


def main():
    address, folder = sys.argv[1], sys.argv[2]
    reasons = left_out_lines(sys.argv[3]) if len(sys.argv) > 3 else {}
    files = sys.argv[4:] or FILES
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=line", "--show-capture=no", "-p", "no:cacheprovider"]
    command += ["-W", "ignore", f"--timeout={TEST_S}", f"--redis-url=redis://{address}/9"]
    command += [f"--deselect=tests/{name.removesuffix('::*')}" for name in reasons]
    run = subprocess.run([*command, *(f"tests/{file}" for file in files)], cwd=folder, capture_output=True, text=True, env=WIDE)
    results = Results("redis-py")
    for outcome, name, why in LINE.findall(run.stdout):
        if outcome in ("PASSED", "XPASS"):
            results.passed(name)
        elif outcome in ("FAILED", "ERROR"):
            results.failed(name, why)
    # What pytest itself leaves out needs a module, a newer server, a cluster or another option of its own.
    end = run.stdout.strip().splitlines()[-1] if run.stdout.strip() else run.stderr[-300:]
    for what in ("skipped", "deselected", "xfailed"):
        for _ in range(int((re.search(rf"(\d+) {what}", end) or [0, 0])[1])):
            results.left_out(what, "")
    if run.returncode not in (0, 1):
        results.failed("pytest", f"ended with {run.returncode}: {end}")
    return results.end()


if __name__ == "__main__":
    sys.exit(main())
