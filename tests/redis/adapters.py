#!/usr/bin/env python3
"""Adapters of the caching world do their ordinary work on three nodes, while the leader is killed and started again.

    tests/redis/adapters.py [--python PYTHON] [--node-modules FOLDER] [NAME...]

Each adapter (adapters/, rounds.py tells what they print) works on all nodes in turn. Once it has done some rounds, the
leader is killed (SIGKILL), and started again some rounds later. An operation may fail with one of the announced
errors, or because the killed node cannot be reached; at the end all acknowledged values must be there.

PYTHON has redis, django, django-redis, cachelib, flask and flask-caching; FOLDER has a package.json with ioredis, redis,
keyv, @keyv/redis, cache-manager, connect-redis, rate-limit-redis and redlock; php and ruby have their redis modules.
"""

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import servers
from results import Results

HERE = Path(__file__).parent / "adapters"
ROUNDS = 30
# Rounds may take long while a node is down, for some clients wait for it.
DOWN_S = 8
STALLED_S = 90
# redis-py has a name of its own for LOADING.
ANNOUNCED = re.compile(r"OUTCOMEUNKNOWN|UNAVAILABLE|LOADING|BusyLoadingError")
CONNECTION = re.compile(
    r"Connection|ECONN|EPIPE|ETIMEDOUT|Socket closed|[Cc]losed|offline|MaxRetries|went away|read error|"
    r"TimeoutError|Broken pipe|Errno|disconnect|reconnect",
)

# Name, program, file and further arguments.
ADAPTERS = [
    ("redis-py", "python", "redis_py.py"),
    ("redis-py-sentinel", "python", "redis_py_sentinel.py"),
    ("django", "python", "django_cache.py", "django"),
    ("django-redis", "python", "django_cache.py", "django-redis"),
    ("cachelib", "python", "cachelib_cache.py", "cachelib"),
    ("flask-caching", "python", "cachelib_cache.py", "flask-caching"),
    ("ioredis", "node", "ioredis.mjs"),
    ("ioredis-sentinel", "node", "ioredis-sentinel.mjs"),
    ("node-redis", "node", "node-redis.mjs"),
    ("keyv", "node", "keyv.mjs", "keyv"),
    ("cache-manager", "node", "keyv.mjs", "cache-manager"),
    ("connect-redis", "node", "connect-redis.mjs"),
    ("rate-limit-redis", "node", "rate-limit-redis.mjs"),
    ("redlock", "node", "redlock.mjs"),
    ("php-redis", "php", "php-redis.php"),
    ("ruby-redis", "ruby", "ruby-redis.rb"),
]


class Run:
    """One adapter at work."""

    def __init__(self, command, cluster, folder):
        nodes, sentinels = (
            ",".join(f"{host}:{port}" for host, port in addresses)
            for addresses in (cluster.addresses, cluster.sentinels)
        )
        command = [*command[:2], nodes, *command[2:]]
        environment = {**os.environ, "SENTINELS": sentinels}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.lines, self.rounds, self.down = queue.Queue(), 0, None
        self.errors, self.wrong, self.done = {}, [], None
        self.stderr = []
        threading.Thread(target=self.read, daemon=True).start()
        threading.Thread(target=lambda: self.stderr.extend(self.process.stderr), daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def until_rounds(self, more, limit_s, must=True):
        """Until so many more rounds are over. Without `must` it is no fault if they are not within the limit."""
        goal, end = self.rounds + more, time.monotonic() + limit_s
        while self.rounds < goal:
            try:
                line = self.lines.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                if must:
                    raise RuntimeError(f"stalled in round {self.rounds}") from None
                return
            if line is None:
                raise RuntimeError(f"ended in round {self.rounds}: {' '.join(self.stderr[-4:])}")
            self.take(line)

    def until_end(self):
        self.process.stdin.close()
        end = time.monotonic() + STALLED_S
        while self.done is None:
            try:
                line = self.lines.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                raise RuntimeError("stalled at the end") from None
            if line is None:
                raise RuntimeError(f"ended without its figures: {' '.join(self.stderr[-4:])}")
            self.take(line)

    def take(self, line):
        kind, _, rest = line.partition(" ")
        if kind == "round":
            self.rounds += 1
        elif kind == "done":
            self.done = rest
        elif kind == "error":
            nodes, _, text = rest.partition(" ")
            announced = ANNOUNCED.search(text)
            lost = str(self.down) in nodes.split(",") and CONNECTION.search(text)
            if announced or lost:
                what = announced[0] if announced else "connection"
                self.errors[what] = self.errors.get(what, 0) + 1
            else:
                self.wrong.append(line)
        else:
            self.wrong.append(line)


def exercise(cluster, command, folder):
    """What is wrong, or None, and figures."""
    run = Run(command, cluster, folder)
    killed = None
    try:
        run.until_rounds(ROUNDS, STALLED_S)
        killed = run.down = cluster.leader()
        cluster.kill(killed)
        run.until_rounds(3 * ROUNDS, DOWN_S, must=False)
        cluster.start(killed)
        killed = None
        run.until_rounds(ROUNDS, STALLED_S)
        run.until_end()
    except RuntimeError as error:
        run.wrong.append(str(error))
    finally:
        run.process.kill()
        run.process.wait()
        if killed is not None:
            cluster.start(killed)
    rounds, _, acknowledged = (run.done or "0 0").partition(" ")
    allowed = ", ".join(f"{count} {what}" for what, count in sorted(run.errors.items())) or "none"
    figures = f"{rounds} rounds, {acknowledged} values acknowledged and read again, allowed errors: {allowed}"
    return (f"{len(run.wrong)}, first: {' | '.join(run.wrong[:3])}" if run.wrong else None), figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--node-modules", default=".", help="a folder with node_modules")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    programs = {"python": options.python, "node": "node", "php": "php", "ruby": "ruby"}
    unknown = set(options.names) - {name for name, *_ in ADAPTERS}
    if unknown:
        parser.error(f"no such adapter: {', '.join(sorted(unknown))}")
    results, cluster = Results("adapters"), servers.Lockstep()
    try:
        for name, program, file, *more in ADAPTERS:
            if options.names and name not in options.names:
                continue
            if shutil.which(programs[program]) is None:
                print(f"  {name}: left out: there is no {program}")
                results.left_out(name, f"there is no {program}")
                continue
            wrong, figures = exercise(cluster, [programs[program], str(HERE / file), *more], options.node_modules)
            if wrong is None:
                results.passed(name)
            else:
                results.failed(name, wrong)
            print(f"  {name}: {figures}", flush=True)
    finally:
        cluster.stop()
    return results.end()


if __name__ == "__main__":
    sys.exit(main())
