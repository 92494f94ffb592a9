import type { Stored } from "./fake.js";
import { type Gone, type Json, Refused } from "./wire.js";

/** What pages need of their cluster. */
export interface Paged {
  readonly entries: ReadonlyMap<string, Stored>;
  readonly gones: ReadonlyMap<string, Gone>;
  readonly clears: readonly { prefix: string; gone: Gone }[];
  readonly history: { id: string };
  readonly index: number;
  readonly floor: number;
  /** Once its values have so many bytes, a page ends; what is left of one log entry has no values. */
  readonly pageBytes: number;
  live(key: string): Stored | undefined;
  wire(entry: Stored, values?: boolean): Json;
}

/** `GET /v1/keys`. */
export function keysPage(cluster: Paged, query: URLSearchParams): { json: unknown } {
  const after = query.get("after");
  const limit = Number(query.get("limit") ?? 100);
  const values = query.get("values") === "true";
  const names = [...cluster.entries.keys()].filter((each) => each.startsWith(query.get("prefix") ?? "")).sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
  const rest = names.filter((each) => after === null || Buffer.compare(Buffer.from(each), Buffer.from(after)) > 0);
  const page: Json[] = [];
  let bytes = 0;
  let last: string | null = null;
  for (const each of rest) {
    if (page.length >= limit || (values && bytes >= cluster.pageBytes)) break;
    const entry = cluster.live(each);
    if (entry === undefined) continue;
    bytes += entry.value.length;
    last = each;
    page.push(values ? { key: each, ...cluster.wire(entry) } : { key: each, revision: entry.revision, bytes: entry.value.length, ttl_ms: null });
  }
  return { json: { [values ? "entries" : "keys"]: page, next: last !== null && last !== rest.at(-1) ? last : null, index: cluster.index } };
}

/** `GET /v1/changes`. */
export function changesPage(cluster: Paged, query: URLSearchParams): Json {
  const [digits, history] = (query.get("since") ?? "0").split("@");
  if (history !== undefined && !cluster.history.id.startsWith(history)) throw new Refused(409, "other_history");
  const since = Number(digits);
  const prefix = query.get("prefix") ?? "";
  const limit = Number(query.get("limit") ?? 1000);
  if (since < cluster.floor) return { changes: [], next: since, more: false, complete: false, index: cluster.index };
  const values = query.get("values") === "true";
  const all: { at: number; change: Json; entry?: Stored }[] = [];
  for (const [key, entry] of cluster.entries) if (key.startsWith(prefix) && entry.revision > since) all.push({ at: entry.revision, change: { key, found: true, bytes: entry.value.length }, entry });
  for (const [key, gone] of cluster.gones) if (key.startsWith(prefix) && gone.revision > since) all.push({ at: gone.revision, change: { key, found: false, gone } });
  for (const { prefix: cleared, gone } of cluster.clears) if (gone.revision > since) all.push({ at: gone.revision, change: { prefix: cleared, gone } });
  all.sort((one, other) => one.at - other.at);
  const page: typeof all = [];
  let bytes = 0;
  for (const one of all) {
    // A page ends between two log entries.
    const isFull = page.length >= limit || (values && bytes >= cluster.pageBytes);
    if (isFull && one.at !== page.at(-1)?.at) break;
    if (one.entry !== undefined) Object.assign(one.change, cluster.wire(one.entry, values && bytes < cluster.pageBytes));
    bytes += one.entry?.value.length ?? 0;
    page.push(one);
  }
  const more = page.length < all.length;
  return { changes: page.map(({ change }) => change), next: more ? page.at(-1)?.at : cluster.index, more, complete: true, index: cluster.index };
}
