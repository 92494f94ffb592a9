"""redis-py that asks the nodes' Sentinel ports where to go, beginning with another node for each of its connections."""

import os

from redis.sentinel import Sentinel
from rounds import Rounds, nodes, text

SENTINELS = [address.rsplit(":", 1) for address in os.environ["SENTINELS"].split(",")]


def open_node(host, port):
    at = nodes().index((host, port))
    sentinel = Sentinel(SENTINELS[at:] + SENTINELS[:at], socket_timeout=2)
    found = sentinel.discover_master("mymaster")
    assert found == (host, port), f"the Sentinel of {host}:{port} names {found}"
    return sentinel.master_for("mymaster", socket_timeout=5)


rounds = Rounds(
    "redis-py-sentinel",
    open_node,
    put=lambda client, key, value: client.set(key, value, ex=3600),
    get=lambda client, key: text(client.get(key)),
    count=lambda client, key: client.incr(key),
)
rounds.run()
