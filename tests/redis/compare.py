"""Sends a sequence to two servers, byte for byte the same, and finds the first difference between their replies."""

import time

import known
import wire

MARKER = b"end-of-raw-bytes"


class Side:
    """The connections to one server, or to the nodes of one cluster in turn."""

    def __init__(self, addresses, protocols):
        first = wire.Connection(addresses[0])
        try:
            if first.command("FLUSHALL") != (b"+", b"OK"):
                raise wire.Malformed("FLUSHALL was refused")
        finally:
            first.close()
        self.protocols = protocols
        self.addresses = [addresses[number % len(addresses)] for number in range(len(protocols))]
        self.connections = [None] * len(protocols)

    def connection(self, on):
        if self.connections[on] is None:
            self.connections[on] = wire.Connection(self.addresses[on], self.protocols[on])
        return self.connections[on]

    def forget(self, on):
        if self.connections[on] is not None:
            self.connections[on].close()
            self.connections[on] = None

    def close(self):
        for on in range(len(self.connections)):
            self.forget(on)

    def replies(self, on, count, marker=None):
        """The next replies, up to a marker if there is one, and how it ended: None, or a word."""
        replies, connection = [], self.connection(on)
        try:
            while count is None or len(replies) < count:
                reply = connection.read()
                if marker is not None and reply == (b"$", marker):
                    return replies, None
                replies.append(reply)
        except wire.Closed:
            self.forget(on)
            return replies, "closed"
        except TimeoutError:
            self.forget(on)
            return replies, "no reply"
        except (wire.Malformed, ValueError) as error:
            self.forget(on)
            return replies, f"no reply but {error}"
        return replies, None


class Comparison:
    def __init__(self, left, right):
        """Two lists of addresses. The right ones' nodes are used in turn, one a connection."""
        self.addresses = (left, right)

    def difference(self, sequence):
        """The first difference, or None."""
        sides = []
        try:
            for addresses in self.addresses:
                sides.append(Side(addresses, sequence.protocols))
            queues = [None] * len(sequence.protocols)
            for step in sequence.steps:
                found = self.step(sides, step, queues)
                if found is not None:
                    return found
                if step.wait:
                    # What has a millisecond to live is gone after this.
                    time.sleep(step.wait / 1000)
            for on in range(len(sequence.protocols)):
                found = self.left_over(sides, on, queues)
                if found is not None:
                    return found
            return None
        finally:
            for side in sides:
                side.close()

    def step(self, sides, step, queues):
        if step.walk is not None:
            return self.walk(sides, step)
        if step.raw is not None:
            return self.raw(sides, step, queues)
        data = b"".join(wire.encode(words) for words in step.send)
        for side in sides:
            side.connection(step.on).send(data, step.cut)
        answers = [side.replies(step.on, len(step.send)) for side in sides]
        for at, words in enumerate(step.send):
            left, right = (replies[at] if at < len(replies) else None for replies, _ in answers)
            if left is None and right is None:
                break
            found = compare_reply(step, words, left, right, queues)
            if found is not None:
                return found
        return ended(step, answers, sides, queues)

    def raw(self, sides, step, queues):
        for side in sides:
            side.connection(step.on).send(step.raw + wire.encode([b"ECHO", MARKER]))
        if queues[step.on] is not None:
            # The marker is queued, too: the connection is not used any more.
            for side in sides:
                side.forget(step.on)
            queues[step.on] = None
            return None
        answers = [side.replies(step.on, None, MARKER) for side in sides]
        (left, _), (right, _) = answers
        for at in range(max(len(left), len(right))):
            one, other = (replies[at] if at < len(replies) else None for replies in (left, right))
            if one != other:
                return known.Difference(step, [b"raw"], one, other)
        return ended(step, answers, sides, queues)

    def walk(self, sides, step):
        found = [walked(side, step) for side in sides]
        if found[0] == found[1]:
            return None
        return known.Difference(step, step.walk, *found)

    def left_over(self, sides, on, queues):
        """A reply too many shows when the next one is read."""
        if queues[on] is not None:
            return None
        answers = []
        for side in sides:
            side.connection(on).send(wire.encode([b"ECHO", MARKER]))
            answers.append(side.replies(on, 1))
        if answers[0] == answers[1]:
            return None
        left, right = (replies[0] if replies else (b"?", why.encode()) for replies, why in answers)
        return known.Difference(None, [b"ECHO", MARKER], left, right)


def walked(side, step):
    """The keys of a whole walk, in order, or the reply that is none."""
    keys, cursor = set(), b"0"
    for _ in range(10_000):
        side.connection(step.on).send(wire.encode([step.walk[0], cursor, *step.walk[1:]]))
        replies, why = side.replies(step.on, 1)
        if why is not None:
            return b"?", why.encode()
        kind, content = replies[0]
        if kind != b"*" or len(content) != 2:
            return replies[0]
        cursor = content[0][1]
        keys.update(key for _, key in content[1][1])
        if cursor == b"0":
            return b"*", tuple((b"$", key) for key in sorted(keys))
    return b"?", b"a walk without an end"


def compare_reply(step, words, left, right, queues):
    """Compares the replies to one command, and follows the transaction of its connection."""
    queue, name = queues[step.on], words[0].upper() if words else b""
    if queue is not None and name == b"EXEC" and left is not None and left[0] == b"*" and left[1] is not None:
        queues[step.on] = None
        if right is None or right[0] != b"*" or right[1] is None or len(right[1]) != len(left[1]):
            return known.Difference(step, words, left, right)
        for queued, one, other in zip(queue, left[1], right[1]):
            if not known.same(queued, one, other):
                return known.Difference(step, [b"EXEC", *queued], one, other)
        return None
    if not known.same(words, left, right):
        return known.Difference(step, words, left, right)
    if left == (b"+", b"QUEUED"):
        queue.append(words)
    elif name == b"MULTI" and left[0] == b"+":
        queues[step.on] = []
    elif name in (b"EXEC", b"DISCARD", b"RESET") and not refused_by_arity(left):
        queues[step.on] = None
    return None


def refused_by_arity(reply):
    return reply is not None and reply[0] == b"-" and b"wrong number" in reply[1]


def ended(step, answers, sides, queues):
    (_, left), (_, right) = answers
    if left != right:
        command = [b"raw"] if step.raw is not None else step.send[-1]
        return known.Difference(step, command, (b"?", str(left).encode()), (b"?", str(right).encode()))
    if left is not None:
        queues[step.on] = None
        for side in sides:
            side.forget(step.on)
    return None
