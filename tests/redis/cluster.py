#!/usr/bin/env python3
"""Runs three Lockstep nodes that listen for Redis clients until standard input ends.

Prints one line when all are ready: their addresses, separated by commas. `LOCKSTEP_BIN` names the program.
"""

import signal
import sys

import servers


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    cluster = servers.Lockstep(options=sys.argv[1:])
    try:
        print(",".join(f"{host}:{port}" for host, port in cluster.addresses), flush=True)
        sys.stdin.read()
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
