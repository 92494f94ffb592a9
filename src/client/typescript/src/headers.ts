import { Entry } from "./entry.js";
import { Garbled } from "./errors.js";
import type { Answer } from "./transport.js";
import { fromBase64 } from "./values.js";

/** A header that is a whole number; undefined if it is missing or none. */
export function integer(headers: Headers, name: string): number | undefined {
  const text = headers.get(name);
  return text !== null && /^\d{1,16}$/.test(text) ? Number(text) : undefined;
}

/** The revision in an entity tag, weak or not. */
export function revisionOf(tag: string | null): number | undefined {
  const digits = /^(?:W\/)?"(\d{1,16})"$/.exec(tag ?? "")?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** A structured-field dictionary (RFC 9651) of integers, strings, byte sequences and booleans; what is malformed is left out. */
export function dictionary(text: string | null): Map<string, number | string | boolean | Uint8Array> {
  const members = new Map<string, number | string | boolean | Uint8Array>();
  const pattern = /\s*([a-z*][a-z0-9_.*-]*)(?:=(?:(-?\d{1,15})|"((?:[^"\\]|\\["\\])*)"|:([A-Za-z0-9+/=]*):|\?([01])))?[^,]*(?:,|$)/gy;
  for (const [, name, digits, quoted, base64, truth] of (text ?? "").matchAll(pattern)) {
    if (name === undefined) continue;
    if (digits !== undefined) members.set(name, Number(digits));
    else if (quoted !== undefined) members.set(name, quoted.replace(/\\(.)/g, "$1"));
    else if (base64 !== undefined) members.set(name, fromBase64(base64));
    else members.set(name, truth !== "0");
  }
  return members;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

/** The entry in an answer of `/v1/kv/{key}`. @throws Garbled if the answer has no revision. */
export function entryIn(key: string, answer: Answer, revision: number | undefined): Entry {
  if (revision === undefined) {
    throw new Garbled(`${answer.url}: an entry without a revision`, { code: "garbled", effect: "none", url: answer.url });
  }
  const more = dictionary(answer.headers.get("lockstep-entry"));
  const origin = more.get("origin");
  return new Entry(key, answer.bytes, {
    revision,
    contentType: answer.headers.get("content-type"),
    version: numberOf(more.get("version")),
    createdAtMs: numberOf(more.get("created_at_ms")),
    modifiedAtMs: numberOf(more.get("modified_at_ms")),
    ttlMs: integer(answer.headers, "lockstep-ttl-ms") ?? null,
    slidingMs: numberOf(more.get("sliding_ms")) ?? null,
    origin: typeof origin === "string" ? origin : null,
  });
}
