"""Servers to test against: one `redis-server`, and a cluster of three Lockstep nodes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

import wire

READY_S = 60


def free_ports(count):
    """Ports of 127.0.0.1 that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def until(what, ready, process=None, limit_s=READY_S):
    """Waits until `ready` is true. A process that ends before that is an error."""
    end = time.monotonic() + limit_s
    while not ready():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {limit_s} s")
        time.sleep(0.02)


def answers_ping(address):
    try:
        connection = wire.Connection(address)
        try:
            return connection.command("PING") == (b"+", b"PONG")
        finally:
            connection.close()
    except (OSError, wire.Closed, wire.Malformed):
        return False


class Redis:
    """A `redis-server` that keeps nothing on disk."""

    def __init__(self, *options):
        program = os.environ.get("REDIS_SERVER", "redis-server")
        self.folder = tempfile.mkdtemp()
        self.addresses = [("127.0.0.1", free_ports(1)[0])]
        # Keys that are due are counted until they are removed, which happens so many times a second.
        arguments = ["--hz", "500", "--port", str(self.addresses[0][1]), "--save", "", "--dir", self.folder, *options]
        self.process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(program, lambda: answers_ping(self.addresses[0]), self.process)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Lockstep:
    """A cluster of nodes that listen for Redis clients. `LOCKSTEP_BIN` names the program."""

    def __init__(self, nodes=3, options=()):
        self.program = os.path.abspath(os.environ.get("LOCKSTEP_BIN", "target/release/lockstep"))
        self.folder = tempfile.mkdtemp()
        ports = free_ports(4 * nodes)
        self.http, self.peer, redis, sentinels = (ports[at * nodes : (at + 1) * nodes] for at in range(4))
        self.addresses = [("127.0.0.1", port) for port in redis]
        self.sentinels = [("127.0.0.1", port) for port in sentinels]
        self.options = list(options)
        self.processes = [None] * nodes
        try:
            for node in range(nodes):
                self.launch(node)
            for node in range(nodes):
                self.wait_for(node)
        except BaseException:
            self.stop()
            raise

    def launch(self, node):
        arguments = ["--name", f"n{node + 1}", "--data-dir", f"{self.folder}/n{node + 1}"]
        arguments += ["--http", f"127.0.0.1:{self.http[node]}", "--peer", f"127.0.0.1:{self.peer[node]}"]
        arguments += ["--redis", f"127.0.0.1:{self.addresses[node][1]}"]
        arguments += ["--redis-sentinel", f"127.0.0.1:{self.sentinels[node][1]}"]
        arguments += ["--initial-cluster", ",".join(f"http://127.0.0.1:{port}" for port in self.http)]
        with open(f"{self.folder}/n{node + 1}.log", "ab") as log:
            self.processes[node] = subprocess.Popen(
                [self.program, "serve", *arguments, *self.options], stdout=log, stderr=log, cwd=self.folder
            )

    def wait_for(self, node):
        name = f"node {node + 1} ({self.folder}/n{node + 1}.log)"
        until(name, lambda: answers_ping(self.addresses[node]), self.processes[node])

    def leader(self):
        """The number of the node that leads, from 0."""
        found = []

        def look():
            for node, port in enumerate(self.http):
                try:
                    url = f"http://127.0.0.1:{port}/v1/status"
                    with urllib.request.urlopen(url, timeout=2) as answer:
                        if json.load(answer)["role"] == "leader":
                            found.append(node)
                except (OSError, ValueError, KeyError):
                    continue
            return found

        until("a leader", look)
        return found[0]

    def kill(self, node):
        """Ends the process at once, as a crash does."""
        self.processes[node].kill()
        self.processes[node].wait()

    def start(self, node):
        self.launch(node)
        self.wait_for(node)

    def stop(self):
        for process in self.processes:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        if "LOCKSTEP_KEEP_LOGS" not in os.environ:
            shutil.rmtree(self.folder, ignore_errors=True)
