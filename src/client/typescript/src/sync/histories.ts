import type { Lineage } from "../client.js";
import type { LocalCaches } from "./local.js";
import type { State } from "./state.js";
import { SyncError } from "./types.js";

/**
 * Compares the cluster's lineage with what is known from before, and goes over to its newest history: what was agreed upon up to the
 * fork stays so. Other values that nobody has changed here never were, and are dropped; local changes lose their base, and become
 * conflicts if the cluster has something else.
 * @throws SyncError: another cluster, a history that the cluster has left, or a node that has left its cluster
 */
export async function adopt(state: State, local: LocalCaches, lineage: Lineage): Promise<void> {
  const { meta } = state.journal;
  if (meta.clusterId !== undefined && meta.clusterId !== lineage.cluster_id) {
    throw new SyncError("other_cluster", `the nodes belong to the cluster ${lineage.cluster_id}, and the journal to ${meta.clusterId}`);
  }
  const newest = lineage.histories.at(-1);
  if (newest === undefined) throw new SyncError("other_history", "the node has no history");
  if (newest.kind === "detached" && state.options.allowDetached !== true) {
    throw new SyncError("detached", "the node has left its cluster, and goes on alone");
  }
  const known = meta.histories.at(-1);
  if (known === newest.id) return;
  const ids = lineage.histories.map(({ id }) => id);
  if (known !== undefined && !ids.includes(known)) {
    const older = meta.histories.includes(newest.id);
    throw new SyncError(
      older ? "older_history" : "other_history",
      older ? "the nodes are in a history that the cluster has left" : "the nodes' history does not come from the one known from before",
    );
  }
  await state.locked(async () => {
    if (known !== undefined) {
      // It is not the last one. Of several forks since, the lowest counts.
      const forks = lineage.histories.slice(ids.indexOf(known) + 1).map(({ fork_index }) => fork_index);
      await drop(state, local, Math.min(...forks));
    }
    state.heardOf = 0;
    state.journal.meta = { clusterId: lineage.cluster_id, histories: ids };
    state.walksWanted++;
    state.notes.clear();
    await state.journal.write(state.journal.keys.keys(), { meta: true });
  });
}

async function drop(state: State, local: LocalCaches, fork: number): Promise<void> {
  for (const [key, record] of state.journal.keys) {
    const { base } = record;
    if (base === undefined || (base.revision ?? base.at) <= fork) continue;
    const clean = record.intent === undefined && record.inFlight === undefined;
    if (clean && base.hash !== null && state.groups.of(key)?.direction !== "up") {
      await local.apply(key, null, { everywhere: false });
      state.tell({ key, cause: "delete", origin: "remote", revision: null, value: undefined });
    }
    delete record.base;
  }
}
