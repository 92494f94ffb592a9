#!/usr/bin/env python3
"""Random commands and pipelines to a Redis server and to Lockstep, the same bytes to both, every reply compared.

    tests/redis/differential.py --minutes 5                 redis-server against three nodes of LOCKSTEP_BIN
    tests/redis/differential.py --right 127.0.0.1:6379      against servers that run already (comma: nodes of one cluster)
    tests/redis/differential.py --replay FILE               once more, what a run has written
    tests/redis/differential.py --self-test                 two Redis servers: no difference; a planted one is found

Both servers are emptied before each sequence. A difference is made as short as it gets and printed with the random
seed that leads to it. Ends with 1 if there was a difference that known.py does not list.
"""

import argparse
import random
import sys
import time
from pathlib import Path

import known
import servers
import wire
from compare import Comparison
from grammar import COMMANDS, Grammar
from sequences import Sequence
from shrink import shrink


def main():
    options = arguments()
    started = []
    try:
        if options.self_test:
            return self_test(options, started)
        left = options.left or start(started, servers.Redis()).addresses
        right = options.right or start(started, servers.Lockstep()).addresses
        if options.replay:
            return replay(options.replay, Comparison(left, right))
        return report(run(options, left, right))
    finally:
        for server in started:
            server.stop()


def arguments():
    def addresses(text):
        pairs = [address.rsplit(":", 1) for address in text.split(",")]
        return [(host, int(port)) for host, port in pairs]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--left", type=addresses, help="the server that is right; default: a redis-server of its own")
    parser.add_argument("--right", type=addresses, help="the server to test; default: three nodes of LOCKSTEP_BIN")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, which is printed")
    parser.add_argument("--only", default="", help="names of commands, separated by commas; default: all")
    parser.add_argument("--without", default="", help="names of commands that are not used")
    parser.add_argument("--most", type=int, default=50, help="end after so many different differences")
    parser.add_argument("--replay", type=Path, help="a file with a sequence (sequences.py)")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    return options


def start(started, server):
    started.append(server)
    return server


class Result:
    def __init__(self):
        self.sequences = self.commands = 0
        self.found, self.excused, self.unsteady = [], {}, 0


def unknown_commands(addresses):
    """The grammar's commands that a server does not have."""
    connection = wire.Connection(addresses[0])
    try:
        names = [name for name, _, _ in COMMANDS]
        replies = {name: connection.command(name, *["x"] * 40) for name in names if name not in ("QUIT", "RESET")}
        return {name for name, (kind, content) in replies.items() if kind == b"-" and b"unknown command" in content}
    finally:
        connection.close()


def run(options, left, right, quiet=False):
    """Runs sequences until the time is over."""
    comparison, result = Comparison(left, right), Result()
    only = {name.upper() for name in options.only.split(",") if name}
    missing = unknown_commands(right)
    left_out = missing | set(options.without.upper().split(","))
    allowed = {name for name, _, _ in COMMANDS if name not in left_out and (not only or name in only)}
    if not quiet:
        print(f"seed {options.seed}; {len(allowed)} commands" + f", without {' '.join(sorted(missing))}" * bool(missing))
    end, number = time.monotonic() + options.minutes * 60, 0
    signatures = set()
    while time.monotonic() < end and len(result.found) < options.most:
        sequence = Grammar(random.Random(options.seed + number), allowed).sequence()
        number += 1
        result.sequences += 1
        result.commands += len(sequence.commands())
        difference = comparison.difference(sequence)
        if difference is None or difference.signature() in signatures:
            continue
        signature = difference.signature()

        def shows(candidate, signature=signature):
            found = comparison.difference(candidate)
            return found is not None and found.signature() == signature

        if not shows(sequence) or not shows(sequence):
            result.unsteady += 1
            print_difference(f"seed {options.seed + number - 1}: shows only sometimes", sequence, difference)
            continue
        shortest = shrink(sequence, shows)
        difference = comparison.difference(shortest) or difference
        reason = known.documented(shortest, difference)
        if reason is not None:
            result.excused[reason] = result.excused.get(reason, 0) + 1
            continue
        signatures.add(signature)
        result.found.append((shortest, difference))
        if not quiet:
            print_difference(f"{len(result.found)}. seed {options.seed + number - 1}", shortest, difference)
    return result


def print_difference(title, sequence, difference):
    command = b" ".join(difference.command or [b"(end)"])
    print(f"\n{title}\n  {command[:200]!r}\n    left:  {wire.show(difference.left)}\n    right: {wire.show(difference.right)}")
    for line in sequence.lines():
        print("  " + line)
    sys.stdout.flush()


def report(result):
    print()
    for reason, times in result.excused.items():
        print(f"{times} times, as documented: {reason}")
    print(
        f"{result.sequences} sequences, {result.commands} commands: {len(result.found)} differences, "
        f"{result.unsteady} that show only sometimes"
    )
    return 1 if result.found or result.unsteady else 0


def replay(path, comparison):
    sequence = Sequence.of_lines(path.read_text().splitlines())
    difference = comparison.difference(sequence)
    if difference is None:
        print("no difference")
        return 0
    print_difference(str(path), sequence, difference)
    return 1


def self_test(options, started):
    """Two servers alike, and one in which INCR counts down."""
    left = start(started, servers.Redis()).addresses
    alike = start(started, servers.Redis()).addresses
    renames = ["--rename-command", "INCR", "OLDINCR", "--rename-command", "DECR", "INCR"]
    planted = start(started, servers.Redis(*renames)).addresses
    print("two servers that are alike:")
    result = run(options, left, alike)
    status = report(result)
    if result.commands < 1000:
        print("differential.py: too few commands to show anything", file=sys.stderr)
        status = 1
    print("a server whose INCR counts down:")
    result = run(options, left, planted, quiet=True)
    shortest = [sequence.commands() for sequence, _ in result.found]
    caught = any(len(commands) == 1 and commands[0][0].upper() == b"INCR" for commands in shortest)
    print("it was caught, by one command" if caught else f"it was not caught: {shortest[:3]}")
    return status if caught else 1


if __name__ == "__main__":
    sys.exit(main())
