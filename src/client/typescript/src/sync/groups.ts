import type { Group, SyncOptions } from "./types.js";

/** A group with all its rules. */
export interface Rules extends Group {
  prefixes: readonly string[];
  conflict: NonNullable<Group["conflict"]>;
  deletes: NonNullable<Group["deletes"]>;
  direction: NonNullable<Group["direction"]>;
  priority: number;
  mode: NonNullable<Group["mode"]>;
  absence: NonNullable<Group["absence"]>;
  onEvict: NonNullable<Group["onEvict"]>;
}

/** Which rules apply to a key. */
export class Groups {
  readonly all: readonly Rules[];
  /** What to ask the cluster for: prefixes that cover each other are one. */
  readonly prefixes: readonly string[];

  /** @throws TypeError: a group that makes no sense */
  constructor(options: SyncOptions) {
    const groups = options.groups ?? [{ name: "all", prefix: "" }];
    this.all = groups.map((group) => {
      const conflict = group.conflict ?? options.conflict ?? "newest";
      const resolve = group.resolve ?? options.resolve;
      if (conflict === "custom" && resolve === undefined) throw new TypeError(`group ${group.name}: "custom" needs resolve`);
      const prefixes = typeof group.prefix === "string" ? [group.prefix] : group.prefix;
      if (prefixes.length === 0) throw new TypeError(`group ${group.name} has no prefix`);
      return {
        ...group,
        prefixes,
        conflict,
        deletes: group.deletes ?? options.deletes ?? "by_time",
        direction: group.direction ?? "both",
        priority: group.priority ?? 0,
        mode: group.mode ?? "mirror",
        absence: group.absence ?? options.absence ?? "ignore",
        onEvict: group.onEvict ?? options.onEvict ?? "drop",
        ...(resolve === undefined ? {} : { resolve }),
      };
    });
    const prefixes = [...new Set(this.all.flatMap((group) => group.prefixes))];
    const wide = prefixes.filter((prefix) => !prefixes.some((other) => other !== prefix && prefix.startsWith(other)));
    // A watch takes sixteen prefixes; of more, everything is watched, and what does not belong is left out here.
    this.prefixes = wide.length > 16 ? [""] : wide;
  }

  /** The first group that fits; undefined: the key is not synchronized. */
  of(key: string): Rules | undefined {
    return this.all.find((group) => group.prefixes.some((prefix) => key.startsWith(prefix)));
  }
}
