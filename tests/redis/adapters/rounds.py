"""The rounds of work that an adapter written in Python does, and what it says of them to adapters.py.

An adapter is started with the nodes' addresses, separated by commas, and works until standard input ends. It prints
lines of words separated by spaces:

    round NUMBER                a round is over
    error NODE[,NODE] TEXT      an operation at that node (from 0), or at one of these, failed
    wrong TEXT                  an answer that must not be
    done ROUNDS ACKNOWLEDGED    at the end, once every acknowledged value was read again
"""

import sys
import threading
import time

END_S = 60


def nodes():
    """The nodes' addresses, as pairs of host and port."""
    pairs = [address.rsplit(":", 1) for address in sys.argv[1].split(",")]
    return [(host, int(port)) for host, port in pairs]


def say(*words):
    print(*(" ".join(str(word).split()) for word in words), flush=True)


class Rounds:
    """`put(store, key, value)`, `get(store, key)`: as text. `count(store, key)`: adds 1 and returns the sum."""

    def __init__(self, name, open_node, put, get, count=None, more=None):
        self.name, self.put, self.get, self.count, self.more = name, put, get, count, more
        self.stores = [open_node(host, port) for host, port in nodes()]
        self.acknowledged = {}
        self.counted = 0
        self.ended = threading.Event()

    def attempt(self, node, work, *arguments, named=None):
        """Whether it went well, and what it returned. `named`: the nodes it needs, if they are several."""
        try:
            return True, work(self.stores[node], *arguments)
        except AssertionError as error:
            say("wrong", self.name, error)
        except Exception as error:  # Whatever the adapter passes on is judged by adapters.py.
            say("error", named or node, type(error).__name__, error)
        return False, None

    def key(self, number):
        return f"{self.name}:{number}"

    def round(self, number):
        here, there = number % len(self.stores), (number + 1) % len(self.stores)
        value = f"value {number}"
        written, _ = self.attempt(here, self.put, self.key(number), value)
        if written:
            self.acknowledged[number] = value
            read, got = self.attempt(there, self.get, self.key(number))
            if read and got != value:
                say("wrong", f"{self.key(number)} was written at node {here}, and node {there} answers {got!r}")
        if self.count is not None:
            counted, total = self.attempt(here, self.count, f"{self.name}:total")
            self.counted += counted
            if counted and total < self.counted:
                say("wrong", f"{self.counted} additions were acknowledged, and the sum is {total}")
        if self.more is not None:
            self.attempt(here, self.more, number, named=f"{here},{there}")

    def run(self):
        threading.Thread(target=lambda: (sys.stdin.read(), self.ended.set()), daemon=True).start()
        number = 0
        while not self.ended.is_set():
            self.round(number)
            say("round", number)
            number += 1
        end = time.monotonic() + END_S
        for at, value in self.acknowledged.items():
            read, got = self.attempt(at % len(self.stores), self.get, self.key(at))
            while not read and time.monotonic() < end:
                read, got = self.attempt(at % len(self.stores), self.get, self.key(at))
            if got != value:
                say("wrong", f"{self.key(at)} was acknowledged, and is {got!r} at the end")
        say("done", number, len(self.acknowledged))


def text(value):
    return value.decode() if isinstance(value, bytes) else value
