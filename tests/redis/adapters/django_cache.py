"""Django's own RedisCache, and django-redis with `django-redis` as the second argument."""

import sys

from django.conf import settings
from rounds import Rounds, nodes

NAME = sys.argv[2]
BACKENDS = {"django": "django.core.cache.backends.redis.RedisCache", "django-redis": "django_redis.cache.RedisCache"}
settings.configure(
    CACHES={
        name: {"BACKEND": BACKENDS[NAME], "LOCATION": f"redis://{host}:{port}/1"}
        for name, (host, port) in zip(["default", "second", "third"], nodes())
    }
)

from django.core.cache import caches  # noqa: E402

STORES = dict(zip(nodes(), ["default", "second", "third"]))


def count(cache, key):
    cache.add(key, 0, timeout=None)
    return cache.incr(key)


def more(cache, number):
    key = f"{NAME}:more:{number}"
    assert cache.add(key, "first"), "a new key is added"
    assert not cache.add(key, "second"), "an old key was added"
    cache.set_many({f"{key}:a": 1, f"{key}:b": [2, {"three": None}]}, timeout=600)
    got = cache.get_many([f"{key}:a", f"{key}:b", f"{key}:c"])
    assert got == {f"{key}:a": 1, f"{key}:b": [2, {"three": None}]}, f"get_many answers {got}"
    assert cache.touch(f"{key}:a", 1200) and cache.has_key(f"{key}:a"), "a key is touched"
    cache.delete_many([f"{key}:a", f"{key}:b"])
    assert cache.get(f"{key}:a", "gone") == "gone", "a deleted key is there"
    if NAME == "django-redis":
        assert 0 < cache.ttl(key) <= 300, "a key has the default timeout"
        with cache.lock(f"{key}:lock", timeout=30):
            cache.set(f"{key}:z", 1)
        assert cache.delete_pattern(f"{key}*") == 2, "what a pattern deletes"
    else:
        assert cache.delete(key), "a key is deleted"


Rounds(
    NAME,
    lambda host, port: caches[STORES[host, port]],
    put=lambda cache, key, value: cache.set(key, value, timeout=3600),
    get=lambda cache, key: cache.get(key),
    count=count,
    more=more,
).run()
