#!/usr/bin/env python3
"""Runs Keyv's test suite (the package @keyv/test-suite, MIT) with @keyv/redis against nodes, each store at the next one.

    tests/redis/keyv_suite.py HOST:PORT[,HOST:PORT...] FOLDER

FOLDER has node_modules with keyv, @keyv/redis, @keyv/test-suite and vitest. No test is left out.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from results import Results

SUITE_S = 300


def main():
    nodes, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    results = Results("keyv")
    # Node looks for packages in the folders above a file.
    with tempfile.TemporaryDirectory(dir=folder) as root:
        shutil.copy(Path(__file__).with_suffix(".mjs"), Path(root) / "keyv.test.mjs")
        told = Path(root) / "told.json"
        command = [folder / "node_modules/.bin/vitest", "run", "--root", root, "--reporter=json", f"--outputFile={told}"]
        run = subprocess.run(
            command, cwd=root, env={**os.environ, "NODES": nodes}, capture_output=True, text=True, timeout=SUITE_S
        )
        if not told.exists():
            results.failed("the suite", f"it did not end: {run.stderr[-400:]}")
            return results.end()
        for file in json.loads(told.read_text())["testResults"]:
            if file["status"] != "passed" and not file["assertionResults"]:
                results.failed(file["name"], file["message"])
            for test in file["assertionResults"]:
                if test["status"] == "passed":
                    results.passed(test["fullName"])
                else:
                    results.failed(test["fullName"], f"{test['status']} {' '.join(test['failureMessages'])}")
    return results.end()


if __name__ == "__main__":
    sys.exit(main())
