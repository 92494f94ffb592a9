"""redis-py with RESP3 and its client-side cache; a pipeline, a transaction with WATCH, and its lock."""

import time

import redis
from redis.cache import CacheConfig
from rounds import Rounds, text

# How long a local copy may be older than the newest value.
INVALIDATED_S = 5


def open_node(host, port):
    return redis.Redis(host=host, port=port, protocol=3, cache_config=CacheConfig())


def more(client, number):
    with client.pipeline() as pipe:
        pipe.watch("redis-py:watched")
        before = int(pipe.get("redis-py:watched") or 0)
        pipe.multi()
        pipe.set("redis-py:watched", before + 1)
        pipe.get("redis-py:watched")
        replies = pipe.execute()
    assert int(replies[1]) == before + 1, f"a transaction answers {replies}"
    lock = client.lock(f"redis-py:lock:{number}", timeout=30)
    assert lock.acquire(blocking=False), "a new lock is taken"
    assert not client.lock(f"redis-py:lock:{number}", timeout=30).acquire(blocking=False), "a lock was taken twice"
    lock.release()
    # Every client reads one key over and over, from its cache, and hears of each change.
    end = time.monotonic() + INVALIDATED_S
    client.set("redis-py:hot", number)
    while text(rounds.stores[(number + 1) % 3].get("redis-py:hot")) != str(number):
        assert time.monotonic() < end, "a local copy is not invalidated"


rounds = Rounds(
    "redis-py",
    open_node,
    put=lambda client, key, value: client.set(key, value, ex=3600),
    get=lambda client, key: text(client.get(key)),
    count=lambda client, key: client.incr(key),
    more=more,
)
rounds.run()
