#!/usr/bin/env python3
"""Runs the cases of resp-compatibility (MIT; https://github.com/tair-opensource/resp-compatibility) against a server.

    tests/redis/resp_compatibility.py HOST:PORT FOLDER [LEFT-OUT]

FOLDER has the suite's cts.json. A case is a name, commands and their expected replies in RESP2. LEFT-OUT is a file
with lines `name of a case, TAB, reason` or `uses:COMMAND, TAB, reason`, which stands for all cases with that command.
Cases that are left out run as well, and those that pass all the same are named, so that the list stays true.
"""

import json
import sys
from pathlib import Path

import wire
from results import Results, left_out_lines

ESCAPES = {"\\\\": b"\\", '\\"': b'"', "\\n": b"\n", "\\r": b"\r", "\\t": b"\t", "\\a": b"\a", "\\b": b"\b"}


def words(line, binary):
    """A command's words: separated by single spaces, but for those in double quotes."""
    parts, quoted, word, at = [], False, b"", 0
    while at < len(line):
        pair = line[at : at + 2]
        if binary and pair == "\\x":
            word += bytes([int(line[at + 2 : at + 4], 16)])
            at += 4
            continue
        if binary and pair in ESCAPES:
            word += ESCAPES[pair]
            at += 2
            continue
        if line[at] == '"':
            quoted = not quoted
        elif line[at] == " " and not quoted:
            parts.append(word)
            word = b""
        else:
            word += line[at].encode()
        at += 1
    return [*parts, word]


def plain(reply):
    """A reply as JSON would have it. An error is an exception."""
    kind, content = reply
    if kind in (b"-", b"!"):
        raise ValueError(content.decode(errors="replace"))
    if kind == b":":
        return int(content)
    if isinstance(content, tuple):
        return [plain(element) for element in content]
    return None if content is None else content.decode(errors="surrogateescape")


def in_any_order(value):
    if not isinstance(value, list):
        return value
    nested = any(isinstance(element, list) for element in value)
    return [in_any_order(element) for element in value] if nested else sorted(value, key=repr)


def nearly(expected, got):
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        return all(nearly(*pair) for pair in zip(expected, got))
    try:
        return abs(float(expected) - float(got)) < 0.01
    except (TypeError, ValueError):
        return expected == got


def run(case, address):
    """None, or what is wrong."""
    connection = wire.Connection(address)
    try:
        connection.command("FLUSHALL")
        for line, expected in zip(case["command"], case["result"]):
            got = plain(connection.command(*words(line, "command_binary" in case)))
            if "sort_result" in case and isinstance(expected, list):
                expected, got = in_any_order(expected), in_any_order(got)
            same = nearly(expected, got) if "float_result" in case else expected == got
            if not same:
                return f"{line}: expected {expected!r}, got {got!r}"
    except (ValueError, OSError, wire.Closed, wire.Malformed) as error:
        return f"{line}: {type(error).__name__} {error}"
    finally:
        connection.close()
    return None


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    cases = json.loads((Path(sys.argv[2]) / "cts.json").read_text())
    left_out = left_out_lines(sys.argv[3]) if len(sys.argv) > 3 else {}
    results = Results("resp-compatibility")
    for case in cases:
        # A cluster's cases are the others' once more, with keys of one slot.
        if case.get("tags") == "cluster" or "skipped" in case:
            continue
        used = {words(line, False)[0].decode().upper() for line in case["command"]}
        reasons = [left_out[name] for name in (case["name"], *(f"uses:{command}" for command in used)) if name in left_out]
        wrong = run(case, (host, int(port)))
        if reasons:
            results.left_out(case["name"], reasons[0], passes=wrong is None)
        elif wrong is None:
            results.passed(case["name"])
        else:
            results.failed(case["name"], wrong)
    return results.end()


if __name__ == "__main__":
    sys.exit(main())
