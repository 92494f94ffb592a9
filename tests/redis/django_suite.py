#!/usr/bin/env python3
"""Runs Django's own cache tests (BSD-3-Clause; its source package has them) with its RedisCache on several nodes.

    tests/redis/django_suite.py HOST:PORT,... FOLDER

FOLDER is the unpacked source package; this Python must have that release of Django, and redis. Django writes to the
first address and reads from any of the others.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from results import Results

SETTINGS = """
SECRET_KEY = "tests"
USE_TZ = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {name: {"ENGINE": "django.db.backends.sqlite3"} for name in ("default", "other")}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": LOCATION}}
"""


def main():
    location = [f"redis://{address}" for address in sys.argv[1].split(",")]
    folder = (Path(sys.argv[2]) / "tests").resolve()
    results = Results("django")
    with tempfile.TemporaryDirectory() as settings:
        (Path(settings) / "redis_settings.py").write_text(f"LOCATION = {location!r}\n{SETTINGS}")
        environment = {**os.environ, "PYTHONPATH": f"{settings}:{folder.parent}"}
        command = [sys.executable, "runtests.py", "cache.tests.RedisCacheTests", "--settings=redis_settings", "-v2"]
        run = subprocess.run([*command, "--parallel=1"], cwd=folder, env=environment, capture_output=True, text=True)
    for name, outcome in re.findall(r"^(test_\w+) .*?\.\.\. (ok|FAIL|ERROR|skipped|expected failure)", run.stderr, re.M | re.S):
        if outcome == "ok":
            results.passed(name)
        elif outcome in ("FAIL", "ERROR"):
            results.failed(name, outcome)
        else:
            results.left_out(name, outcome)
    for trace in re.findall(r"^(?:FAIL|ERROR): .*?(?=^={20}|^-{20}\nRan|\Z)", run.stderr, re.M | re.S):
        print("  " + " ".join(trace.split())[-300:])
    if run.returncode not in (0, 1) or "Ran " not in run.stderr:
        results.failed("runtests.py", f"ended with {run.returncode}: {run.stderr[-400:]}")
    return results.end()


if __name__ == "__main__":
    sys.exit(main())
