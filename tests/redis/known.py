"""What may differ between two servers that are both right, and Lockstep's documented differences from Redis."""

import re
from decimal import Decimal

# How far the servers' clocks and the moments of arrival may be apart, in milliseconds.
CLOCKS_MS = 2_000


def near(distance):
    def same(left, right):
        if left[0] != b":" or right[0] != b":":
            return False
        left, right = int(left[1]), int(right[1])
        return left > 0 and right > 0 and abs(left - right) <= distance

    return same


def any_order(left, right):
    both = isinstance(left[1], tuple) and isinstance(right[1], tuple)
    return both and left[0] == right[0] and sorted(left[1]) == sorted(right[1])


def any_order_of_pairs(left, right):
    def pairs(reply):
        return sorted(zip(reply[1][::2], reply[1][1::2]))

    both = isinstance(left[1], tuple) and isinstance(right[1], tuple)
    return both and left[0] == right[0] and pairs(left) == pairs(right)


def shape(left, right):
    """Both are of one type, and both or neither is there."""
    return left[0] == right[0] and left[0] != b"-" and (left[1] is None) == (right[1] is None)


def same_length(left, right):
    """Any fields, but as many."""
    if not (isinstance(left[1], tuple) and isinstance(right[1], tuple)):
        return shape(left, right)
    return left[0] == right[0] and [kind for kind, _ in left[1]] == [kind for kind, _ in right[1]]


def same_page(left, right):
    """All fields of a small hash; of a large one each server tells as many as it likes."""
    if not (isinstance(left[1], tuple) and isinstance(right[1], tuple) and len(left[1]) == len(right[1]) == 2):
        return False
    is_whole = left[1][0] == right[1][0] == (b"$", b"0")
    return any_order_of_pairs(left[1][1], right[1][1]) if is_whole else right[1][1][0] == b"*"


# What may differ in a reply, by command: the servers' clocks, and what no server promises.
FREE = {
    b"TTL": near(CLOCKS_MS // 1000),
    b"EXPIRETIME": near(CLOCKS_MS // 1000),
    b"PTTL": near(CLOCKS_MS),
    b"PEXPIRETIME": near(CLOCKS_MS),
    b"KEYS": any_order,
    b"HKEYS": any_order,
    b"HVALS": any_order,
    b"HGETALL": any_order_of_pairs,
    # Which key it is, and how far one step of a walk goes, is for each server to choose.
    b"RANDOMKEY": shape,
    b"SCAN": shape,
    b"HSCAN": same_page,
    b"HRANDFIELD": same_length,
    b"TIME": shape,
    b"HELLO": shape,
}


def same(command, left, right):
    """Whether two replies to a command are the same."""
    if left == right:
        return True
    if left is None or right is None or not command:
        return False
    free = FREE.get(command[0].upper())
    return free is not None and free(left, right)


class Difference:
    """Where a sequence was answered differently. `command` is None if the difference is not in a reply to a command."""

    def __init__(self, step, command, left, right):
        self.step, self.command, self.left, self.right = step, command, left, right

    def signature(self):
        """Equal for differences that are probably the same one."""
        name = self.command[0].upper() if self.command else b""
        left, right = masked(self.left, name), masked(self.right, name)
        # The same words about two commands are one difference.
        return (b"" if b"-" in (left[0], right[0]) else name), left, right


def masked(reply, name):
    """A reply without what is accidental in it."""
    if reply is None:
        return None, None
    kind, content = reply
    if kind == b"-":
        # What follows tells the command's own words.
        content = re.sub(rb"(unknown command).*", rb"\1", content, flags=re.DOTALL)
        content = re.sub(rb"script: [0-9a-f]{40}", b"script: #", content)
        words = re.sub(rb"'[^']*'|`[^`]*`|\d+", b"#", content)
        return kind, words.replace(name, b"#") if name else words
    if kind in (b"_", b"$") and content is None:
        return b"nil", None
    if isinstance(content, tuple):
        return kind, len(content)
    return kind, content is None or re.sub(rb"\d", b"0", content[:20]) if kind in (b"$", b":") else content


def names(sequence):
    return [command[0].upper() for command in sequence.commands() if command]


def is_error(reply, words):
    return reply is not None and reply[0] == b"-" and words in reply[1]


def cursor_is_no_number(sequence, difference):
    walks = ([b"SCAN"], [b"HSCAN"])
    return names(sequence)[-1:] in walks and is_error(difference.right, b"invalid cursor")


def more_words_than_allowed(sequence, difference):
    return sequence.steps[-1].raw is not None and is_error(difference.right, b"invalid multibulk length")


def decimal_sum(sequence, difference):
    """Both are the same number to the 17 digits that a double of 64 bits of mantissa keeps."""
    # In a transaction after the name EXEC.
    name = next(iter(word.upper() for word in difference.command or [] if word.upper() != b"EXEC"), b"")
    if name not in (b"INCRBYFLOAT", b"HINCRBYFLOAT") or None in (difference.left, difference.right):
        return False
    if not difference.left[0] == difference.right[0] == b"$":
        return False
    left, right = Decimal(difference.left[1].decode()), Decimal(difference.right[1].decode())
    return left != right and abs(left - right) <= abs(left) * Decimal("1e-17")


def hexadecimal(sequence, difference):
    words = [word for command in sequence.commands() for word in command]
    return is_error(difference.right, b"not a valid float") and any(word[:2].lower() == b"0x" for word in words)


def flush_in_transaction(sequence, difference):
    return (
        b"MULTI" in names(sequence)
        and (b"FLUSHDB" in names(sequence) or b"FLUSHALL" in names(sequence))
        and is_error(difference.right, b"EXECABORT")
    )


def not_in_scripts(sequence, difference):
    words = [word.lower() for command in sequence.commands() for word in command]
    walks = (b"dbsize", b"scan", b"randomkey", b"flushdb", b"flushall")
    return is_error(difference.right, b"not allowed from script") and any(
        walk in word for word in words for walk in walks
    )


def infinity_is_refused_first(sequence, difference):
    return is_error(difference.left, b"not a valid float") and is_error(difference.right, b"NaN or Infinity")


def decimal_bound(sequence, difference):
    left = difference.left
    return is_error(difference.right, b"NaN or Infinity") and left is not None and left[0] == b"$" and (
        abs(Decimal(left[1].decode())) > Decimal("1.7e21")
    )


def long_key(sequence, difference):
    return is_error(difference.right, b"a key has at most")


def nearest_integer(sequence, difference):
    """A script's numbers are doubles: the largest integer is 2^63 there, which no integer of 64 bits is."""
    integers = (b":", b"-9223372036854775808"), (b":", b"9223372036854775807")
    return names(sequence)[-1:] in ([b"EVAL"], [b"EVALSHA"]) and (difference.left, difference.right) == integers


def far_future(sequence, difference):
    """A lifetime of more than 2^47 ms is cut."""
    far = 2**47
    left, right = difference.left, difference.right
    if left is None or right is None or left[0] != b":" or right[0] != b":":
        return False
    unit = 1 if names(sequence)[-1].startswith(b"P") else 1000
    return int(left[1]) * unit > far and int(right[1]) * unit >= far - 1000


def nonsense_is_refused_first(sequence, difference):
    return is_error(difference.left, b"WRONGTYPE") and difference.right is not None and difference.right[0] == b"-"


def flushed_watched_key(sequence, difference):
    """What a flush has covered was perhaps there."""
    flushes = (b"FLUSHDB", b"FLUSHALL")
    nil_right = difference.right is not None and difference.right[1] is None
    return names(sequence)[-1:] == [b"EXEC"] and b"WATCH" in names(sequence) and nil_right and any(
        name in flushes for name in names(sequence)
    )


def absent_before_and_after(sequence, difference):
    """A value whose deadline has passed already is not stored: where no key was, none was changed."""
    nil_left = difference.left is not None and difference.left[1] is None
    deadlines = (b"EXAT", b"PXAT")
    return names(sequence)[-1:] == [b"EXEC"] and b"WATCH" in names(sequence) and nil_left and any(
        command[0].upper() == b"SET" and any(word.upper() in deadlines for word in command)
        for command in sequence.commands()
        if command
    )


def a_script_failed_after_a_write(sequence, difference):
    """Redis keeps what a script wrote before it failed."""
    evaluate = (b"EVAL", b"EVALSHA")
    scripts = [command for command in sequence.commands() if command[0].upper() in evaluate]
    # What differs is what something else finds, perhaps another script.
    others = [script for script in scripts if not difference.command or script != list(difference.command)]
    return bool(others) and any(
        b"set" in word.lower() or b"incr" in word.lower() or b"append" in word.lower() or b"del" in word.lower()
        for command in sequence.commands()
        if command[0].upper() in (b"EVAL", b"SCRIPT")
        for word in command
    )


# (the reason, a predicate of the sequence at its shortest and the difference)
DOCUMENTED = [
    ("a cursor that is no number is refused, as Valkey and newer Redis do", cursor_is_no_number),
    ("a command has at most 65,536 words", more_words_than_allowed),
    ("decimals are added exactly, without rounding to a binary number", decimal_sum),
    ("a decimal is not written in hexadecimal", hexadecimal),
    ("an infinite addend is refused before the value is looked at", infinity_is_refused_first),
    ("FLUSHDB and FLUSHALL are refused beside other commands inside MULTI", flush_in_transaction),
    ("what walks over all keys is refused in a script, but for KEYS", not_in_scripts),
    ("arguments that make no sense are refused before the kind of the key is looked at", nonsense_is_refused_first),
    ("a lifetime has at most 2^47 ms", far_future),
    ("decimals are added up to 1.7e21", decimal_bound),
    ("a key has at most 4,096 bytes, whatever else is said with it", long_key),
    ("a script's number that is no integer of 64 bits becomes the nearest one", nearest_integer),
    ("a flush ends transactions that watch a key, whether it was there or not", flushed_watched_key),
    ("a transaction runs if its watched keys were absent and are", absent_before_and_after),
    ("a script that fails changes nothing", a_script_failed_after_a_write),
]


def documented(sequence, difference):
    """The reason why a difference is right, or None."""
    for reason, explains in DOCUMENTED:
        if explains(sequence, difference):
            return reason
    return None
