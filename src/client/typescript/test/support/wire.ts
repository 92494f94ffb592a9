// What the fake cluster says and is told, in JSON.

export interface Gone {
  cause: "delete" | "expire" | "evict" | "clear";
  revision: number;
  at_ms: number;
}

export type Json = Record<string, unknown>;

/** What a test has a request meet. `after`: it is carried out, and then its answer is lost. */
export type Fault =
  | { kind: "refused" | "before" | "after" | "half" | "hang" }
  | { kind: "answer"; status: number; body?: unknown; headers?: Record<string, string> };

export interface Seen {
  method: string;
  path: string;
  url: string;
  headers: Headers;
  body: string;
}

/** A request that is refused. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly more: Json = {},
  ) {
    super(code);
  }
}

export function conditions(seen: Seen, query: URLSearchParams): Json {
  const match = seen.headers.get("if-match");
  const none = seen.headers.get("if-none-match");
  const list = (text: string) => text.split(",").map((tag) => Number(tag.trim().replaceAll('"', "")));
  const op: Json = {};
  if (match === "*") op["if_present"] = true;
  else if (match !== null) op["if_revisions"] = list(match);
  if (none === "*") op["if_absent"] = true;
  else if (none !== null) op["if_none"] = list(none);
  if (query.has("if_absent_since")) op["if_absent_since"] = query.get("if_absent_since");
  return op;
}

/** The index of a condition: a number, or a text that may name its history. */
export function absentSince({ if_absent_since }: Json, current: string): number | undefined {
  if (typeof if_absent_since !== "string") return if_absent_since as number | undefined;
  const [digits, history] = if_absent_since.split("@");
  if (history !== undefined && !current.startsWith(history)) throw new Refused(409, "other_history");
  return Number(digits);
}

export function wireValue(value: Buffer): Json {
  const text = value.toString();
  return Buffer.from(text).equals(value) ? { value: text } : { value_base64: value.toString("base64") };
}

export function unwire(entry: Json): Buffer {
  return typeof entry["value_base64"] === "string" ? Buffer.from(entry["value_base64"], "base64") : Buffer.from(String(entry["value"]));
}

export function stringify(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) => (typeof each === "bigint" ? `\u0000big:${each}` : each)).replace(/"\\u0000big:(-?\d+)"/g, "$1");
}

export function parseBig(text: string): unknown {
  return JSON.parse(text.replace(/"(by|initial)":(-?\d{16,})/g, '"$1":"$2"'));
}

/** Numbers of the error table that tests ask for. */
export function problemBody(error: Refused): string {
  const effect = ["outcome_unknown", "outcome_forgotten", "fatal"].includes(error.code) ? "unknown" : "none";
  return JSON.stringify({ type: `urn:lockstep:error:${error.code}`, title: error.code, status: error.status, detail: error.code, code: error.code, effect, ...error.more });
}

export function problem(error: Refused, headers: Record<string, string>): Response {
  return new Response(problemBody(error), { status: error.status, headers: { ...headers, "content-type": "application/problem+json" } });
}

/** An answer with a problem of the error table. */
export function refusal(status: number, code: string, more: Json = {}, headers: Record<string, string> = {}): Fault {
  return { kind: "answer", status, body: JSON.parse(problemBody(new Refused(status, code, more))), headers };
}
