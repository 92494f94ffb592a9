"""Makes a sequence that shows a difference shorter, as long as the same difference shows."""

import time


def shrink(sequence, shows, limit_s=60.0):
    """The shortest sequence found within the limit (seconds) for which `shows` is true."""
    end = time.monotonic() + limit_s
    size = None
    while size != measure(sequence) and time.monotonic() < end:
        size = measure(sequence)
        sequence = fewer_steps(sequence, shows, end)
        sequence = fewer_commands(sequence, shows, end)
        sequence = simpler(sequence, shows, end)
    return sequence


def measure(sequence):
    words = [word for command in sequence.commands() for word in command]
    return len(sequence.steps), len(sequence.commands()), len(words), sum(map(len, words))


def parts(items, shows_with, end):
    """Leaves out runs of items: halves first, then ever shorter ones."""
    length = len(items) // 2
    while length > 0:
        at = 0
        while at < len(items) and time.monotonic() < end:
            without = items[:at] + items[at + length :]
            if without and shows_with(without):
                items = without
            else:
                at += length
        length //= 2
    return items


def fewer_steps(sequence, shows, end):
    return sequence.with_steps(parts(sequence.steps, lambda steps: shows(sequence.with_steps(steps)), end))


def fewer_commands(sequence, shows, end):
    for at, step in enumerate(sequence.steps):
        if step.send is None or len(step.send) < 2:
            continue

        def with_commands(send, at=at, step=step):
            return sequence.with_steps([*sequence.steps[:at], step.with_send(send), *sequence.steps[at + 1 :]])

        send = parts(step.send, lambda send: shows(with_commands(send)), end)
        sequence = with_commands(send)
    return sequence


def simpler(sequence, shows, end):
    """One command a step, on one connection, with RESP2, in one piece, without options and with short words."""
    steps = []
    for step in sequence.steps:
        apart = step.send is not None and not step.wait
        steps += [step.with_send([command]) for command in step.send] if apart else [step]
    sequence = better(sequence, sequence.with_steps(steps), shows, end)
    sequence = better(sequence, type(sequence)([2] * len(sequence.protocols), sequence.steps), shows, end)
    for at, step in enumerate(sequence.steps):
        record = step.record()
        for simpler_record in [{**record, "on": 0}, {name: record[name] for name in record if name != "cut"}]:
            sequence = replaced(sequence, at, type(step).of_record(simpler_record), shows, end)
        step = sequence.steps[at]
        for number in range(len(step.send or ())):
            sequence = shorter_command(sequence, at, number, shows, end)
    return sequence


def shorter_command(sequence, at, number, shows, end):
    word = len(sequence.steps[at].send[number]) - 1
    while word > 0:
        step = sequence.steps[at]
        command = step.send[number]
        candidates = [command[:word] + command[word + 1 :]]
        if len(command[word]) > 1:
            candidates.append([*command[:word], b"k", *command[word + 1 :]])
        for candidate in candidates:
            send = [*step.send[:number], candidate, *step.send[number + 1 :]]
            shorter = replaced(sequence, at, step.with_send(send), shows, end)
            if shorter is not sequence:
                sequence = shorter
                break
        word -= 1
    return sequence


def replaced(sequence, at, step, shows, end):
    if step.record() == sequence.steps[at].record():
        return sequence
    return better(sequence, sequence.with_steps([*sequence.steps[:at], step, *sequence.steps[at + 1 :]]), shows, end)


def better(sequence, candidate, shows, end):
    if time.monotonic() < end and candidate.lines() != sequence.lines() and shows(candidate):
        return candidate
    return sequence
