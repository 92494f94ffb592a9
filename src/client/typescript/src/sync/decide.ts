import type { Gone } from "../errors.js";
import type { Policy } from "./types.js";

/** A local change. `atMs`: this machine's clock; null: of unknown age. `offsetMs`: log time minus that clock when it was made, if known. */
export interface LocalChange {
  op: "set" | "delete" | "add";
  atMs: number | null;
  offsetMs: number | null;
}

/** What the cluster has. `equal`: the local change would make the same of it, byte for byte. */
export type RemoteState =
  | { found: true; revision: number; version: number; modifiedAtMs: number; equal: boolean }
  | { found: false; gone: Gone | null };

/** Two clocks: log time minus the local one, how far that may be wrong, and log time now. In milliseconds. */
export interface ClockState {
  offsetMs: number;
  errorMs: number;
  nowMs: number;
}

/** What was last agreed upon: the revision, or that the key was absent at an index. */
export type BaseState = { revision: number } | { absentAt: number } | null;

export interface DecideInput {
  policy: Policy;
  deletes: "by_time" | "win" | "lose";
  base: BaseState;
  local: LocalChange;
  remote: RemoteState;
  clock: ClockState;
}

/**
 * - `push`: send the local change, guarded by the state that was seen
 * - `take`: the cluster's state stands; the local change has lost
 * - `same`: both are equal; there is nothing to send
 * - `ask`: the application decides
 */
export interface Decision {
  decision: "push" | "take" | "same" | "ask";
  /** Both sides changed the key, in different ways. */
  conflict: boolean;
  /** The two times are closer than the clocks can tell. They are compared all the same, exactly. */
  ambiguous: boolean;
  /** The local time was beyond log time now, and was taken as now. */
  clamped: boolean;
}

const CLEAR: Omit<Decision, "decision"> = { conflict: false, ambiguous: false, clamped: false };

/**
 * Decides about a key that was changed here. A change of one side only is never a conflict, whatever the clocks say: what it changed it
 * knew. The order of two changes is total, so that every synchronizer comes to the same end.
 */
export function decide(input: DecideInput): Decision {
  const { base, local, remote } = input;
  if (isSame(local, remote)) return { decision: "same", ...CLEAR };
  if (isUnchanged(base, remote)) return { decision: "push", ...CLEAR };
  // Sums do not depend on the order.
  if (local.op === "add" && remote.found) return { decision: "push", ...CLEAR };
  // Evicting and expiring is no one's wish.
  if (!remote.found && (remote.gone === null || remote.gone.cause === "evict" || remote.gone.cause === "expire")) {
    return { decision: "push", ...CLEAR };
  }
  return compare(input);
}

function isSame(local: LocalChange, remote: RemoteState): boolean {
  if (local.op === "add") return false;
  if (local.op === "delete") return !remote.found;
  return remote.found && remote.equal;
}

function isUnchanged(base: BaseState, remote: RemoteState): boolean {
  if (base === null) return false;
  if ("revision" in base) return remote.found && remote.revision === base.revision;
  return !remote.found && (remote.gone === null || remote.gone.revision <= base.absentAt);
}

/** Both sides changed it. */
function compare({ policy, deletes, local, remote, clock }: DecideInput): Decision {
  const remoteAt = remote.found ? remote.modifiedAtMs : (remote.gone as Gone).at_ms;
  const shifted = local.atMs === null ? null : local.atMs + (local.offsetMs ?? clock.offsetMs);
  const clamped = shifted !== null && shifted > clock.nowMs;
  const localAt = shifted === null ? null : Math.min(shifted, clock.nowMs);
  const ambiguous = localAt !== null && Math.abs(localAt - remoteAt) <= clock.errorMs;
  const told = { conflict: true, ambiguous, clamped };
  if (policy === "custom") return { decision: "ask", ...told };
  const won = (localWins: boolean): Decision => ({ decision: localWins ? "push" : "take", ...told });
  const localKind = local.op === "delete" ? 0 : 1;
  const remoteKind = remote.found ? 1 : 0;
  if (localKind !== remoteKind && deletes !== "by_time") return won((localKind === 0) === (deletes === "win"));
  // A value of unknown age never wins by time.
  if (localAt === null) return won(false);
  if (localAt !== remoteAt) return won(localAt > remoteAt === (policy === "newest"));
  if (localKind !== remoteKind) return won(localKind > remoteKind);
  // Of two changes with one time the one with more versions wins, and a local change has none yet.
  return won(false);
}
