"""Random sequences over the commands that a Redis server and a Lockstep node have in common."""

from sequences import Sequence, Step

CONNECTIONS = 3
# Milliseconds until a key with one millisecond to live is gone on every server: Lockstep may show it 50 ms longer.
GONE_MS = 150
KEYS = [b"a", b"b", b"k1", b"k2", b"k3", b"n", b"user:1", b"user:2", b"", b"\x00\xff\r\n", b"x" * 600, b"h*[]?"]
INTEGERS = [b"0", b"1", b"-1", b"2", b"10", b"-7", b"100", b"4294967296", b"9223372036854775807", b"-9223372036854775808"]
NOT_INTEGERS = [b"+5", b"007", b"-0", b" 1", b"1 ", b"", b"9223372036854775808", b"1.0", b"abc", b"0x1", b"1e3", b"--1"]
DECIMALS = [b"0.1", b"-1.5", b"3", b"1e3", b"2.25", b"-0.000001", b"1234567.125", b"0", b"5.0e-1", b".5", b"5."]
NOT_DECIMALS = [b"", b"abc", b"1.2.3", b" 1", b"1 ", b"nan", b"inf", b"-inf", b"0x10", b"1e"]
VALUES = [b"", b"v", b"hello world", b"\r\n", b"\x00\x01\xff", b"z" * 200, b"y" * 5000, b"3.5", b"Hello", b"+5", b"007"]
INDEXES = [b"0", b"1", b"2", b"5", b"-1", b"-2", b"-100", b"100", b"9223372036854775807", b"-9223372036854775808"]
PATTERNS = [b"*", b"k*", b"user:*", b"?", b"k[1-2]", b"[^k]*", b"\\k1", b"", b"*[12]", b"h\\*\\[*", b"nothing", b"k[", b"**1"]
COUNTS = [b"0", b"1", b"2", b"-1", b"-3", b"100", b"9223372036854775807", b"4611686018427387904"]
NO_COUNTS = [b"-9223372036854775808", b"x", b"", b"1.5"]
# Redis refuses it with values only: without, it would answer so many fields, and take memory until it is killed.
NO_COUNT_WITH_VALUES = b"-9223372036854775807"
FAR_S = 4_102_444_800
FLUSHES = [[], [b"ASYNC"], [b"SYNC"], [b"bad"]]


class Grammar:
    """Makes sequences. `allowed`: names of the commands, in capital letters, that may be used."""

    def __init__(self, random, allowed=None):
        self.random = random
        self.in_multi = set()
        self.mortal = True
        choices = [(name, weight, make) for name, weight, make in COMMANDS if allowed is None or name in allowed]
        self.names = [name for name, _, _ in choices]
        self.weights = [weight for _, weight, _ in choices]
        self.make = {name: make for name, _, make in choices}

    def sequence(self):
        self.in_multi = set()
        # Redis counts keys that are due until it removes them, so DBSIZE is for sequences without any.
        self.mortal = self.random.random() < 0.5
        protocols = [self.random.choice([2, 3]) for _ in range(CONNECTIONS)]
        return Sequence(protocols, [self.step() for _ in range(self.random.randint(3, 25))])

    def step(self):
        random = self.random
        on, roll = random.randrange(CONNECTIONS), random.random()
        if roll < 0.05 and "SCAN" in self.make and on not in self.in_multi:
            return Step(on, walk=[b"SCAN", *self.scan_options()])
        if roll < 0.09 and self.mortal and on not in self.in_multi:
            return Step(on, send=[self.short_lived()], wait=GONE_MS)
        if roll < 0.11:
            return Step(on, raw=self.raw())
        size = 1 if random.random() < 0.6 else random.randint(2, 12)
        send = [self.command(on) for _ in range(size)]
        bytes_sent = sum(len(word) + 8 for words in send for word in words)
        cut = sorted(random.randrange(bytes_sent) for _ in range(random.randint(1, 3))) if random.random() < 0.1 else ()
        return Step(on, send=send, cut=cut)

    def command(self, on):
        random = self.random
        name = random.choices(self.names, self.weights)[0]
        if on in self.in_multi and random.random() < 0.15:
            name = "EXEC"
        if name == "DBSIZE" and self.mortal:
            name = "PING"
        if name == "MULTI":
            self.in_multi.add(on)
        elif name in ("EXEC", "DISCARD", "RESET", "QUIT"):
            self.in_multi.discard(on)
        words = [name.encode(), *self.make[name](self)]
        if random.random() < 0.06:
            words = self.spoiled(words)
        if random.random() < 0.1:
            words[0] = random.choice([words[0].lower(), words[0].capitalize()])
        return words

    def spoiled(self, words):
        """With a mistake: a word too few, too many, twice, wrong, or an unknown command."""
        random, words = self.random, list(words)
        kind = random.randrange(6)
        at = random.randrange(1, len(words)) if len(words) > 1 else None
        if kind == 0 and at:
            del words[at]
        elif kind == 1:
            words.append(random.choice([b"extra", b"1", b"NX", b"XX", b""]))
        elif kind == 2 and at:
            words.insert(at, words[at])
        elif kind == 3 and at:
            words[at] = random.choice(NOT_INTEGERS)
        elif kind == 4 and at:
            words[at] = random.choice([b"NX", b"XX", b"GET", b"KEEPTTL", b"PERSIST", b"-5", b"0"])
        elif kind == 5:
            words[0] = random.choice([b"NOSUCHCOMMAND", b"", b"GET\r\n", b"g" * 200, b"SETT"])
        return words

    def short_lived(self):
        key = self.key()
        forms = {
            "SET": [b"SET", key, self.value(), b"PX", b"1"],
            "PSETEX": [b"PSETEX", key, b"1", self.value()],
            "PEXPIRE": [b"PEXPIRE", key, b"1"],
            "GETEX": [b"GETEX", key, b"PX", b"1"],
        }
        return self.random.choice([form for name, form in forms.items() if name in self.make] or [[b"PING"]])

    def raw(self):
        random = self.random
        key = random.choice([b"a", b"b", b"k1"])
        return random.choice(
            [
                b"GET " + key + b"\r\n",
                b"  SET   " + key + b'  "a b\\x41\\n" \r\n',
                b"SET " + key + b" 'it\\'s'\n",
                b'SET a "open\r\n',
                b"SET a 'x'y\r\n",
                b"\r\n\r\nPING\r\n",
                b"*0\r\nPING\r\n",
                b"*-1\r\nPING\r\n",
                b"*1\r\n$-1\r\n",
                b"*1\r\n$abc\r\n",
                b"*abc\r\n",
                b"*1048577\r\n",
                b"*2147483648\r\n",
                b"*1\r\nPING\r\n",
                b"*2\r\n$3\r\nGET\r\n:1\r\n",
                b"*1\r\n$99999999999\r\n",
                b"*1\r\n$4\r\nPING\r\n*1\r\n$-5\r\n",
                b"get a\r\nincr n\r\n",
                b"*3\n$3\nSET\n",
                b"QUIT\r\nPING\r\n",
                b"nosuch a b\r\n",
            ]
        )

    def key(self):
        random = self.random
        return random.choice(KEYS[:6]) if random.random() < 0.75 else random.choice(KEYS)

    def keys(self, most=4):
        return [self.key() for _ in range(self.random.randint(1, most))]

    def integer(self):
        return self.random.choice(INTEGERS if self.random.random() < 0.85 else NOT_INTEGERS)

    def decimal(self):
        return self.random.choice(DECIMALS if self.random.random() < 0.85 else NOT_DECIMALS)

    def value(self):
        return self.random.choice([self.random.choice(VALUES), self.random.choice(INTEGERS), b"1", b"2.5"])

    def pairs(self, most=4):
        return [word for key in self.keys(most) for word in (key, self.value())]

    def index(self):
        return self.random.choice(INDEXES if self.random.random() < 0.95 else NOT_INTEGERS)

    def seconds(self):
        """Far enough apart that the servers' clocks do not matter, or wrong."""
        random = self.random
        if random.random() < 0.8:
            return b"%d" % random.randint(60, 1_000_000)
        return random.choice([b"0", b"-1", b"-100", b"9223372036854775807", b"9223372036854776", *NOT_INTEGERS])

    def milliseconds(self):
        random = self.random
        return b"%d" % random.randint(60_000, 1_000_000_000) if random.random() < 0.8 else self.seconds_wrong()

    def seconds_wrong(self):
        return self.random.choice([b"0", b"-1", b"-100", b"9223372036854775807", *NOT_INTEGERS])

    def moment_s(self):
        random = self.random
        if random.random() < 0.7:
            return b"%d" % (FAR_S + random.randint(0, 1_000_000))
        return random.choice([b"1", b"1000000000"]) if self.mortal else self.seconds_wrong()

    def moment_ms(self):
        moment = self.moment_s()
        return moment + b"000" if moment.isdigit() and len(moment) < 12 else moment

    def deadline(self, more=()):
        """An option of SET or GETEX that sets a deadline, or none."""
        kinds = [
            [b"EX", self.seconds()],
            [b"PX", self.milliseconds()],
            [b"EXAT", self.moment_s()],
            [b"PXAT", self.moment_ms()],
        ]
        return self.random.choice([[], [], *kinds, *more])

    def set_options(self):
        random = self.random
        options = self.deadline([[b"KEEPTTL"]])
        if random.random() < 0.4:
            options = options + [random.choice([b"NX", b"XX", b"nx"])]
        if random.random() < 0.25:
            options = [b"GET", *options] if random.random() < 0.5 else options + [b"GET"]
        if random.random() < 0.03:
            options = options + [random.choice([b"NX", b"XX", b"EX", b"KEEPTTL", b"PERSIST"])]
        return options

    def condition(self):
        if self.random.random() < 0.5:
            return []
        choices = [[b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"XX", b"GT"], [b"NX", b"XX"], [b"GT", b"LT"], [b"bad"]]
        return self.random.choice(choices)

    def scan_options(self):
        random = self.random
        options = []
        if random.random() < 0.4:
            options += [b"MATCH", random.choice(PATTERNS)]
        if random.random() < 0.4:
            options += [b"COUNT", random.choice([b"1", b"3", b"100", b"10000"])]
        if random.random() < 0.2:
            options += [b"TYPE", random.choice([b"string", b"list", b"hash"])]
        return options

    def hscan_options(self):
        random = self.random
        options = []
        if random.random() < 0.4:
            options += [b"MATCH", random.choice([b"*", b"f*", b"f[12]", b"?", b"", b"x"])]
        if random.random() < 0.4:
            options += [b"COUNT", random.choice([b"1", b"3", b"100", b"10000", b"0", b"-1", b"x"])]
        if random.random() < 0.1:
            options += random.choice([[b"TYPE", b"hash"], [b"bad"], [b"COUNT"]])
        return options

    def database(self):
        return self.random.choice([b"0", b"0", b"0", b"1", b"9", b"15", b"16", b"-1", b"x"])


def one_key(g):
    return [g.key()]


def expiry(deadline):
    return lambda g: [g.key(), deadline(g), *g.condition()]


SCRIPTS = [
    b"return redis.call('incr', KEYS[1])",
    b"redis.call('incr', KEYS[1])",
    b"if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
    b"if redis.call('exists', KEYS[1]) == 1 then return redis.call('incrby', KEYS[1], ARGV[2]) end return false",
    b"redis.call('set', KEYS[1], ARGV[1]) return {redis.call('get', KEYS[1]), #ARGV, KEYS[1]}",
    b"return {1, 'two', {3, 4.9, false, 5}, nil, 6}",
    b"return redis.pcall('incrby', KEYS[1], ARGV[1])",
    b"local r = redis.pcall('incr', KEYS[1]) if type(r) == 'table' then return r.err end return r",
    b"return redis.status_reply('FINE')",
    b"return redis.error_reply('MINE not fine')",
    b"return {err = 'MINE not fine'}",
    b"return redis.call('set', KEYS[1], ARGV[1], 'ex', '1000', 'nx')",
    b"return redis.call('mget', KEYS[1], KEYS[1], 'none')",
    b"return tostring(ARGV[2]) .. ':' .. #KEYS",
    b"return redis.sha1hex(ARGV[1])",
    b"redis.call('set', KEYS[1], 1) redis.call('nosuch', 1) return 2",
    b"redis.call('set', KEYS[1], 12345678901) return redis.call('get', KEYS[1])",
    b"redis.call('append', KEYS[1], 1.5) return redis.call('get', KEYS[1])",
    b"local t = redis.call('type', KEYS[1]) return t['ok'] or t",
    b"return tonumber(ARGV[2]) + 0.7",
    b"return redis.call('exists', KEYS[1]) == 1",
    b"if redis.call('ttl', KEYS[1]) < 0 then redis.call('expire', KEYS[1], 5000) end return redis.call('persist', KEYS[1])",
    b"for i = 1, 5 do redis.call('incrby', KEYS[1], i) end return redis.call('strlen', KEYS[1])",
    b"return string.format('%s|%d', ARGV[1], 42)",
    b"return {redis.call('rename', KEYS[1], 'k3'), redis.call('dbsize') >= 1}",
    b"syntax is wrong",
    b"return nosuch",
    b"x = 1",
    b"return 3 .. ''",
    b"return -2^31, 5",
]


def script(g):
    keys = [g.key()]
    words = [g.random.choice([b"a", b"1", b"v"]), g.random.choice([b"1", b"5", b"abc"])]
    return [g.random.choice(SCRIPTS), b"%d" % len(keys), *keys, *words]


def copy(g):
    options = [[], [b"REPLACE"], [b"DB", g.database()], [b"REPLACE", b"DB", b"9"], [b"bad"]]
    return [g.key(), g.key(), *g.random.choice(options)]


def fields(g):
    return [g.random.choice([b"f1", b"f2", b"f3", b""]) for _ in range(g.random.randint(1, 3))]


def field_pairs(g):
    # Seldom so many that a server keeps them in another way.
    named = [b"g%d" % number for number in range(600)] if g.random.random() < 0.01 else fields(g)
    return [word for field in named for word in (field, g.value())]


def hrandfield(g):
    count = g.random.choice(COUNTS if g.random.random() < 0.8 else NO_COUNTS)
    with_values = [g.random.choice([count, NO_COUNT_WITH_VALUES]), b"WITHVALUES"]
    return [g.key(), *g.random.choice([[], [count], with_values, [count, b"bad"]])]


# The name, how often it comes, and its words after the name.
COMMANDS = [
    ("GET", 12, one_key),
    ("SET", 18, lambda g: [g.key(), g.value(), *g.set_options()]),
    ("SETEX", 3, lambda g: [g.key(), g.seconds(), g.value()]),
    ("PSETEX", 2, lambda g: [g.key(), g.milliseconds(), g.value()]),
    ("SETNX", 3, lambda g: [g.key(), g.value()]),
    ("GETSET", 3, lambda g: [g.key(), g.value()]),
    ("GETEX", 4, lambda g: [g.key(), *g.deadline([[b"PERSIST"]])]),
    ("GETDEL", 3, one_key),
    ("MGET", 5, lambda g: g.keys()),
    ("MSET", 4, lambda g: g.pairs()),
    ("MSETNX", 3, lambda g: g.pairs()),
    ("INCR", 5, one_key),
    ("DECR", 3, one_key),
    ("INCRBY", 5, lambda g: [g.key(), g.integer()]),
    ("DECRBY", 4, lambda g: [g.key(), g.integer()]),
    ("INCRBYFLOAT", 4, lambda g: [g.key(), g.decimal()]),
    ("APPEND", 4, lambda g: [g.key(), g.value()]),
    ("STRLEN", 3, one_key),
    ("GETRANGE", 3, lambda g: [g.key(), g.index(), g.index()]),
    ("SUBSTR", 1, lambda g: [g.key(), g.index(), g.index()]),
    ("SETRANGE", 3, lambda g: [g.key(), g.random.choice([b"0", b"1", b"5", b"4000", b"-1", b"x"]), g.value()]),
    ("DEL", 6, lambda g: g.keys()),
    ("UNLINK", 2, lambda g: g.keys()),
    ("EXISTS", 4, lambda g: g.keys()),
    ("PUBLISH", 2, lambda g: [g.key(), g.value()]),
    ("PUBSUB", 1, lambda g: g.random.choice([[b"NUMPAT"], [b"NUMSUB", *g.keys()], [b"CHANNELS", g.key()], [b"CHANNELS"], [b"nope"]])),
    ("TOUCH", 2, lambda g: g.keys()),
    ("CLIENT", 1, lambda g: [g.random.choice([b"GETREDIR", b"TRACKINGINFO"])]),
    ("TYPE", 3, one_key),
    ("RENAME", 3, lambda g: [g.key(), g.key()]),
    ("RENAMENX", 3, lambda g: [g.key(), g.key()]),
    ("COPY", 3, copy),
    ("MOVE", 2, lambda g: [g.key(), g.database()]),
    ("EXPIRE", 5, expiry(Grammar.seconds)),
    ("PEXPIRE", 3, expiry(Grammar.milliseconds)),
    ("EXPIREAT", 3, expiry(Grammar.moment_s)),
    ("PEXPIREAT", 3, expiry(Grammar.moment_ms)),
    ("TTL", 4, one_key),
    ("PTTL", 3, one_key),
    ("EXPIRETIME", 3, one_key),
    ("PEXPIRETIME", 3, one_key),
    ("PERSIST", 3, one_key),
    ("KEYS", 2, lambda g: [g.random.choice(PATTERNS)]),
    ("RANDOMKEY", 1, lambda g: []),
    ("DBSIZE", 2, lambda g: []),
    ("SCAN", 2, lambda g: [g.random.choice([b"0", b"0", b"x", b"-1", b"", b"18446744073709551616"]), *g.scan_options()]),
    ("FLUSHDB", 1, lambda g: g.random.choice(FLUSHES)),
    ("FLUSHALL", 0.3, lambda g: g.random.choice(FLUSHES)),
    ("SELECT", 1.5, lambda g: [g.database()]),
    ("MULTI", 5, lambda g: []),
    ("EXEC", 6, lambda g: []),
    ("DISCARD", 1, lambda g: []),
    ("WATCH", 4, lambda g: g.keys(2)),
    ("UNWATCH", 1, lambda g: []),
    ("PING", 1, lambda g: g.random.choice([[], [b"hi"]])),
    ("ECHO", 1, lambda g: [g.value()]),
    ("RESET", 0.3, lambda g: []),
    ("QUIT", 0.1, lambda g: []),
    ("EVAL", 5, script),
    ("EVAL_RO", 1, script),
    ("SCRIPT", 0.5, lambda g: [b"LOAD", g.random.choice(SCRIPTS)]),
    ("HSET", 3, lambda g: [g.key(), *field_pairs(g)]),
    ("HMSET", 1, lambda g: [g.key(), *field_pairs(g)]),
    ("HSETNX", 1, lambda g: [g.key(), fields(g)[0], g.value()]),
    ("HGET", 2, lambda g: [g.key(), fields(g)[0]]),
    ("HMGET", 2, lambda g: [g.key(), *fields(g)]),
    ("HGETALL", 2, one_key),
    ("HDEL", 2, lambda g: [g.key(), *fields(g)]),
    ("HEXISTS", 1, lambda g: [g.key(), fields(g)[0]]),
    ("HLEN", 1, one_key),
    ("HSTRLEN", 1, lambda g: [g.key(), fields(g)[0]]),
    ("HKEYS", 1, one_key),
    ("HVALS", 1, one_key),
    ("HINCRBY", 2, lambda g: [g.key(), fields(g)[0], g.integer()]),
    ("HSCAN", 2, lambda g: [g.key(), g.random.choice([b"0", b"0", b"0", b"x"]), *g.hscan_options()]),
    ("HRANDFIELD", 2, hrandfield),
    ("HINCRBYFLOAT", 1, lambda g: [g.key(), fields(g)[0], g.decimal()]),
]
