/**
 * Carries out the calls of cases (`tests/vectors/client_behaviours.json`): reads a case in a line, and writes what became of its calls in
 * a line.
 */
import { createInterface } from "node:readline";
import { Client, type ClientOptions, LockstepError, Locked, type Op, PreconditionFailed } from "../../src/index.js";

type Json = Record<string, unknown>;
interface Told {
  urls: string[];
  timeout_ms: number;
  options: { origin?: string; expect_history?: string; token?: string };
  calls: Json[];
}

function failed(error: unknown): Json {
  if (!(error instanceof LockstepError)) throw error;
  return {
    error: error.code,
    effect: error.effect,
    ...(error instanceof PreconditionFailed ? { revision: error.revision } : {}),
    ...(error instanceof Locked ? { holder: error.holder?.session_name } : {}),
  };
}

/** Operations as the cases write them: like those of the HTTP API. */
function operations(call: Json): Op[] {
  return (call["ops"] as Json[]).map(({ if_revision, ...op }) => ({ ...op, ...(if_revision === undefined ? {} : { ifRevision: if_revision }) }) as unknown as Op);
}

async function carryOut(client: Client, call: Json): Promise<unknown> {
  const key = String(call["key"]);
  switch (call["op"]) {
    case "put": {
      const base64 = call["value_base64"] as string | undefined;
      const value = base64 === undefined ? String(call["value"]) : new Uint8Array(Buffer.from(base64, "base64"));
      const { revision, created } = await client.put(key, value, {
        contentType: call["content_type"] as string | undefined,
        ...(call["if_revision"] === undefined ? {} : { ifRevision: call["if_revision"] as number }),
        ...(call["if_absent"] === true ? { ifAbsent: true } : {}),
      });
      return { revision, created };
    }
    case "get": {
      const entry = await client.get(key);
      if (entry === null) return null;
      const bytes = Buffer.from(entry.bytes());
      const text = bytes.toString("utf8");
      const isText = Buffer.from(text, "utf8").equals(bytes);
      return { ...(isText ? { value: text } : { value_base64: bytes.toString("base64") }), revision: entry.revision };
    }
    case "delete":
      return { found: (await client.delete(key)).found };
    case "incr": {
      const { value, revision } = await client.incr(key, BigInt(call["by"] as string | number));
      return { value: String(value), revision };
    }
    case "batch_each": {
      const { revision, results } = await client.batch(operations(call), { mode: "each" });
      return { revision, results: results.map((result) => ("refused" in result && result.refused !== undefined ? { ok: false, code: result.refused.code } : { ok: true })) };
    }
    case "batch":
      return { revision: (await client.batch(operations(call))).revision };
    case "get_many": {
      const entries = await client.getMany(call["keys"] as string[]);
      return { values: entries.map(({ entry }) => entry?.text() ?? null) };
    }
    case "lock": {
      const session = { id: call["session"] as number } as Parameters<typeof client.locks.tryAcquire>[1];
      return { token: (await client.locks.tryAcquire(String(call["name"]), session)).token };
    }
    case "watch":
      return await watch(client, call);
    default:
      throw new Error(`${String(call["op"])} is no call`);
  }
}

async function watch(client: Client, call: Json): Promise<Json> {
  const stop = new AbortController();
  const messages: Json[] = [];
  const prefix = call["prefix"] as string | undefined;
  try {
    for await (const { type, index } of client.watch({ ...(prefix === undefined ? {} : { prefix }), signal: stop.signal })) {
      messages.push({ type, index });
      if (messages.length === call["messages"]) stop.abort();
    }
    return { messages };
  } catch (error) {
    return { ...failed(error), messages };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { urls, timeout_ms, options, calls } = JSON.parse(line) as Told;
  const { origin, expect_history, token } = options;
  const made: ClientOptions = { urls, timeoutMs: timeout_ms };
  const client = new Client({
    ...made,
    ...(origin === undefined ? {} : { origin }),
    ...(expect_history === undefined ? {} : { expectHistory: expect_history }),
    ...(token === undefined ? {} : { token }),
  });
  const outcomes: unknown[] = [];
  for (const call of calls) {
    try {
      outcomes.push(await carryOut(client, call));
    } catch (error) {
      outcomes.push(failed(error));
    }
  }
  process.stdout.write(`${JSON.stringify(outcomes)}\n`);
}
