"""Sequences of commands, as they are generated, sent, written to files and read from them.

A sequence is a list of steps. Each is sent in one piece on one of a few connections, unless `cut` says where it is
split, and its replies are read before the next step:

    {"on": 0, "send": [["SET", "k", "v"], ["GET", "k"]]}       a pipeline
    {"on": 1, "send": [["SET", "k", "v", "PX", "1"]], "wait": 40}  with milliseconds to wait afterwards
    {"on": 0, "raw": "PING\r\n"}                               bytes as they are; how many replies they have is free
    {"on": 0, "walk": ["SCAN", "MATCH", "a*"]}                 a whole walk: cursors are the server's own

Text is one character a byte (Latin-1); {"repeat": "z", "times": 5000} is a long word. A sequence may begin with {"protocols": [2, 3]}, one for each connection.
"""

import json


def text(word):
    if len(word) > 20 and word == word[:1] * len(word):
        return {"repeat": word[:1].decode("latin-1"), "times": len(word)}
    return word.decode("latin-1")


def word_of(text):
    if isinstance(text, dict):
        return text["repeat"].encode("latin-1") * text["times"]
    return text.encode("latin-1")


class Step:
    def __init__(self, on, send=None, raw=None, walk=None, wait=0, cut=()):
        self.on, self.send, self.raw, self.walk, self.wait, self.cut = on, send, raw, walk, wait, tuple(cut)

    def commands(self):
        """Its commands, for those who only look at names."""
        if self.send is not None:
            return self.send
        return [self.walk] if self.walk is not None else []

    def with_send(self, send):
        return Step(self.on, send=send, wait=self.wait)

    def record(self):
        record = {"on": self.on}
        if self.send is not None:
            record["send"] = [[text(word) for word in words] for words in self.send]
        if self.raw is not None:
            record["raw"] = self.raw.decode("latin-1")
        if self.walk is not None:
            record["walk"] = [text(word) for word in self.walk]
        if self.wait:
            record["wait"] = self.wait
        if self.cut:
            record["cut"] = list(self.cut)
        return record

    @classmethod
    def of_record(cls, record):
        send, raw, walk = record.get("send"), record.get("raw"), record.get("walk")
        return cls(
            record["on"],
            send=None if send is None else [[word_of(word) for word in words] for words in send],
            raw=None if raw is None else raw.encode("latin-1"),
            walk=None if walk is None else [word_of(word) for word in walk],
            wait=record.get("wait", 0),
            cut=record.get("cut", ()),
        )


class Sequence:
    def __init__(self, protocols, steps):
        self.protocols, self.steps = protocols, steps

    def with_steps(self, steps):
        return Sequence(self.protocols, steps)

    def commands(self):
        return [words for step in self.steps for words in step.commands()]

    def lines(self):
        """One line of JSON a step."""
        return [json.dumps({"protocols": self.protocols}), *(json.dumps(step.record()) for step in self.steps)]

    @classmethod
    def of_lines(cls, lines):
        records = [json.loads(line) for line in lines if line.strip()]
        protocols = records.pop(0)["protocols"] if records and "protocols" in records[0] else [2, 2, 2]
        return cls(protocols, [Step.of_record(record) for record in records])
