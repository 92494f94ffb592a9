"""cachelib's RedisCache, and Flask-Caching with `flask-caching` as the second argument."""

import sys

from rounds import Rounds

NAME = sys.argv[2]


def open_node(host, port):
    if NAME == "cachelib":
        from cachelib.redis import RedisCache

        return RedisCache(host=host, port=port, key_prefix="cachelib:")
    from flask import Flask
    from flask_caching import Cache

    app = Flask("app")
    cache = Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": f"redis://{host}:{port}/2"})
    app.app_context().push()
    return cache.cache


def more(cache, number):
    key = f"{NAME}:more:{number}"
    assert cache.add(key, "first", timeout=600), "a new key is added"
    assert not cache.add(key, "second", timeout=600), "an old key was added"
    cache.set_many({f"{key}:a": 1, f"{key}:b": "two"}, timeout=600)
    got = cache.get_many(f"{key}:a", f"{key}:b", f"{key}:c")
    assert got == [1, "two", None], f"get_many answers {got}"
    assert cache.has(key), "a key is there"
    cache.delete_many(key, f"{key}:a", f"{key}:b")
    assert cache.get(key) is None, "a deleted key is there"


Rounds(
    NAME,
    open_node,
    put=lambda cache, key, value: cache.set(key, value, timeout=3600),
    get=lambda cache, key: cache.get(key),
    count=lambda cache, key: cache.inc(key),
    more=more,
).run()
