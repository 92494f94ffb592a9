"""What every suite here prints at its end, and the files with the tests that are left out."""


def left_out_lines(path):
    """The reasons by the names of tests: lines of `name, TAB, reason`; those that begin with # are remarks."""
    reasons = {}
    with open(path) as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            name, tab, reason = line.partition("\t")
            if not tab or not reason.strip():
                raise SystemExit(f"{path}:{number}: a test without a reason: {line!r}")
            if name in reasons:
                raise SystemExit(f"{path}:{number}: {name!r} is there twice")
            reasons[name] = reason.strip()
    return reasons


class Results:
    def __init__(self, suite):
        self.suite = suite
        self.counts = {"passed": 0, "failed": 0, "left out": 0}
        self.needless = []

    def passed(self, _name):
        self.counts["passed"] += 1

    def failed(self, name, why):
        self.counts["failed"] += 1
        print(f"  failed: {name}: {str(why)[:400]}", flush=True)

    def left_out(self, name, _reason, passes=False):
        self.counts["left out"] += 1
        if passes:
            self.needless.append(name)

    def end(self):
        """Prints the figures. What a suite exits with: 1 if a test failed, or none passed."""
        if self.needless:
            print(f"  left out, but they pass: {'; '.join(self.needless)}")
        print(f"{self.suite}: " + ", ".join(f"{count} {what}" for what, count in self.counts.items()), flush=True)
        return 1 if self.counts["failed"] or not self.counts["passed"] else 0
