import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decide, type Policy } from "../../src/sync/index.js";
import type { Gone } from "../../src/index.js";

interface Case {
  name: string;
  policy: Policy;
  deletes: "by_time" | "win" | "lose";
  base: { revision: number } | { absent_at: number } | null;
  local: { op: "set" | "delete" | "add"; value?: string; content_type?: string | null; at_ms: number | null; offset_ms: number | null };
  remote:
    | { found: true; revision: number; version: number; modified_at_ms: number; value: string; content_type: string | null }
    | { found: false; gone: Gone | null };
  clock: { offset_ms: number; error_ms: number; now_ms: number };
  expect: { decision: string; conflict: boolean; ambiguous: boolean; clamped: boolean };
}

/** The vectors are shared with other implementations, so they are outside of this package. */
const FILE = new URL("../../../../../../tests/vectors/cache_sync.json", import.meta.url);

test("the shared vectors of how conflicts are decided", () => {
  const { cases } = JSON.parse(readFileSync(FILE, "utf8")) as { cases: Case[] };
  assert.ok(cases.length > 90);
  for (const { name, policy, deletes, base, local, remote, clock, expect } of cases) {
    const equal = remote.found && local.value === remote.value && (local.content_type ?? null) === remote.content_type;
    const decision = decide({
      policy,
      deletes,
      base: base === null || "revision" in base ? base : { absentAt: base.absent_at },
      local: { op: local.op, atMs: local.at_ms, offsetMs: local.offset_ms },
      remote: remote.found
        ? { found: true, revision: remote.revision, version: remote.version, modifiedAtMs: remote.modified_at_ms, equal }
        : { found: false, gone: remote.gone },
      clock: { offsetMs: clock.offset_ms, errorMs: clock.error_ms, nowMs: clock.now_ms },
    });
    assert.deepEqual(decision, expect, name);
  }
});

test("whoever decides comes to the same end: the order of two changes is total", () => {
  // Two synchronizers that changed a key at these times, in either order of arrival.
  for (const policy of ["newest", "oldest"] as const) {
    for (const first of [1, 2, 3]) {
      for (const second of [1, 2, 3]) {
        const winner = (arrived: number, late: number) => {
          const { decision } = decide({
            policy,
            deletes: "by_time",
            base: null,
            local: { op: "set", atMs: late, offsetMs: 0 },
            remote: { found: true, revision: 5, version: 1, modifiedAtMs: arrived, equal: false },
            clock: { offsetMs: 0, errorMs: 0, nowMs: 10 },
          });
          return decision === "push" ? late : arrived;
        };
        assert.equal(winner(first, second), winner(second, first));
      }
    }
  }
});
