import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Client,
  type ClientOptions,
  Garbled,
  json,
  LockstepError,
  OutcomeUnknown,
  PreconditionFailed,
  splitOps,
  Unauthorized,
  Unreachable,
} from "../../src/index.js";
import { FakeClock } from "../support/clock.js";
import { FakeCluster, refusal } from "../support/fake.js";
import { HttpNode } from "../support/http.js";

const NODES = "http://n1,http://n2,http://n3";

function setUp(more: Partial<ClientOptions> = {}): { cluster: FakeCluster; client: Client; clock: FakeClock } {
  const cluster = new FakeCluster();
  const clock = new FakeClock();
  cluster.now = clock.logTime;
  return { cluster, clock, client: new Client({ urls: NODES, fetch: cluster.fetch, clock, ...more }) };
}

test("values are kept as text, bytes or JSON, with their type, revision and origin", async () => {
  const { client, cluster } = setUp({ origin: "app-1" });
  const put = await client.put("a/b c", "ada", { contentType: "text/plain" });
  assert.equal(put.created, true);
  assert.equal(put.revision, cluster.index);
  const text = await client.get("a/b c");
  assert.deepEqual([text?.text(), text?.contentType, text?.revision, text?.origin, text?.version], ["ada", "text/plain", put.revision, "app-1", 1]);
  const bytes = new Uint8Array([0, 255, 128]);
  await client.put("bytes", bytes);
  assert.deepEqual((await client.get("bytes"))?.bytes(), bytes);
  await client.put("json", json({ name: "Ada" }));
  assert.deepEqual((await client.get("json"))?.json(), { name: "Ada" });
  assert.equal((await client.get("json"))?.contentType, "application/json");
  assert.equal(await client.get("nothing"), null);
});

test("what is no value is refused before it is sent", async () => {
  const { cluster, client } = setUp();
  for (const wrong of [{ a: 1 }, [1, 2], null, undefined, 7] as unknown as string[]) {
    await assert.rejects(client.put("k", wrong), TypeError);
    await assert.rejects(client.batch([{ op: "put", key: "k", value: wrong }]), TypeError);
  }
  assert.equal(cluster.seen.length, 0);
});

test("puts know conditions, TTLs and the previous value", async () => {
  const { client, clock } = setUp();
  const first = await client.put("k", "1", { ttlMs: 1000, sliding: true });
  const entry = await client.get("k");
  assert.deepEqual([entry?.ttlMs, entry?.slidingMs], [1000, 1000]);
  const second = await client.put("k", "2", { ifRevision: first.revision, previous: true });
  assert.equal(second.previous?.text(), "1");
  assert.equal(second.previous?.revision, first.revision);
  await assert.rejects(client.put("k", "3", { ifRevision: [first.revision, 1] }), (error: unknown) => {
    assert.ok(error instanceof PreconditionFailed);
    assert.equal(error.revision, second.revision);
    assert.equal(error.effect, "none");
    return true;
  });
  await assert.rejects(client.put("k", "3", { ifAbsent: true }), PreconditionFailed);
  await assert.rejects(client.put("k", "3", { ifAbsent: true, ifPresent: true }), TypeError);
  const removed = await client.delete("k", { previous: true });
  assert.deepEqual([removed.found, removed.previous?.text()], [true, "2"]);
  assert.equal((await client.delete("k")).found, false);
  await assert.rejects(client.put("k", "4", { ifAbsentSince: first.revision }), (error: unknown) => error instanceof PreconditionFailed && error.gone?.cause === "delete");
  const read = await client.read("k");
  assert.deepEqual([read.entry, read.gone?.cause, read.complete], [null, "delete", true]);
  await client.put("t", "x", { ttlMs: 10 });
  clock.now += 11;
  assert.equal((await client.read("t")).gone?.cause, "expire");
});

test("counters have 64 bits", async () => {
  const { client } = setUp();
  assert.equal((await client.incr("n", 9007199254740993n)).value, 9007199254740993n);
  assert.equal((await client.incr("n")).value, 9007199254740994n);
  const batch = await client.batch([{ op: "incr", key: "n", by: 1 }, { op: "put", key: "v", value: 'a"value":123}' }]);
  assert.deepEqual(batch.results[0], { op: "incr", value: 9007199254740995n, created: false });
  assert.equal((await client.get("v"))?.text(), 'a"value":123}');
  await assert.rejects(client.incr("v"), (error: unknown) => error instanceof LockstepError && error.code === "not_a_number");
});

test("expire and persist change the TTL", async () => {
  const { client } = setUp();
  await client.put("k", "1");
  await client.expire("k", 500);
  assert.equal((await client.get("k"))?.ttlMs, 500);
  await client.persist("k");
  assert.equal((await client.get("k"))?.ttlMs, null);
  await assert.rejects(client.persist("none"), (error: unknown) => error instanceof LockstepError && error.code === "not_found");
});

test("many keys are read page by page", async () => {
  const { client, cluster } = setUp();
  const big = "x".repeat(3 * 1024 * 1024);
  for (const key of ["a", "b", "c", "d"]) cluster.put(key, big);
  const found = await client.getMany(["a", "none", "b", "c", "d"]);
  assert.deepEqual(found.map(({ key, entry }) => [key, entry?.text().length]), [["a", big.length], ["none", undefined], ["b", big.length], ["c", big.length], ["d", big.length]]);
  assert.equal(cluster.seen.filter(({ path }) => path.startsWith("/v1/get")).length, 2);
});

test("keys and entries go on from page to page", async () => {
  const { client, cluster } = setUp();
  for (let at = 0; at < 25; at++) cluster.put(`p:${String(at).padStart(2, "0")}`, String(at));
  cluster.put("q", "");
  const keys: string[] = [];
  for await (const { key } of client.keys({ prefix: "p:", pageSize: 10 })) keys.push(key);
  assert.equal(keys.length, 25);
  const values: string[] = [];
  for await (const entry of client.entries({ prefix: "p:", pageSize: 10 })) values.push(entry.text());
  assert.equal(values.length, 25);
  assert.equal((await client.clear({ prefix: "p:" })).removed, 25);
  assert.equal((await client.clear({ all: true })).removed, 1);
});

test("a batch of independent operations tells what was refused and why", async () => {
  const { client, cluster } = setUp();
  cluster.put("there", "1");
  cluster.put("gone", "1");
  const removed = cluster.remove("gone");
  const { results } = await client.batch(
    [
      { op: "put", key: "new", value: "1", ifAbsent: true },
      { op: "put", key: "there", value: "2", ifAbsent: true, previous: true },
      { op: "put", key: "gone", value: "2", ifAbsentSince: removed - 1 },
      { op: "delete", key: "new2", ifRevision: 3 },
      { op: "get", key: "there" },
    ],
    { mode: "each" },
  );
  const [first, second, third, fourth, fifth] = results;
  assert.deepEqual(first, { op: "put", created: true, previous: null });
  assert.ok(second?.op === "put" && second.refused?.entry?.text() === "1" && second.refused.hasValue);
  assert.ok(third?.op === "put" && third.refused?.gone?.revision === removed && third.refused.entry === null);
  assert.ok(fourth?.op === "delete" && fourth.refused?.complete === true && fourth.refused.gone === null);
  assert.ok(fifth?.op === "get" && fifth.entry?.text() === "1");
  await assert.rejects(client.batch([{ op: "put", key: "x", value: "" }, { op: "delete", key: "there", ifRevision: 1 }]), (error: unknown) => error instanceof PreconditionFailed && error.problem?.op === 1);
  assert.equal(await client.get("x"), null);
});

test("operations are cut into batches by number and by size", () => {
  const put = (key: string, bytes: number) => ({ op: "put", key, value: new Uint8Array(bytes) }) as const;
  assert.deepEqual(splitOps(Array.from({ length: 2500 }, (_, at) => put(String(at), 1))).map((batch) => batch.length), [1024, 1024, 452]);
  const large = splitOps(Array.from({ length: 10 }, (_, at) => put(String(at), 900_000)));
  assert.ok(large.every((batch) => batch.length === 1 || batch.length === 2));
  assert.equal(large.flat().length, 10);
  // A control character takes six bytes in JSON.
  const escaped = splitOps(Array.from({ length: 4 }, (_, at) => ({ op: "put", key: String(at), value: "\u0001".repeat(400_000) }) as const));
  assert.deepEqual(escaped.map((batch) => batch.length), [1, 1, 1, 1]);
  assert.deepEqual(splitOps([]), []);
});

test("changes are paged, and a clear has its prefix", async () => {
  const { client, cluster } = setUp();
  const since = cluster.index;
  for (let at = 0; at < 5; at++) cluster.put(`k${at}`, String(at));
  cluster.remove("k0");
  cluster.clear("k1");
  const page = await client.changes(since, { limit: 3, values: true });
  assert.deepEqual(page.changes.map((change) => (change.kind === "entry" ? change.entry.text() : change.kind)), ["2", "3", "4"]);
  assert.equal(page.more, true);
  const rest = await client.changes({ index: page.next, history: page.history });
  assert.deepEqual(rest.changes.map((change) => change.kind), ["gone", "clear"]);
  assert.equal(rest.more, false);
  cluster.forget();
  assert.equal((await client.changes(since)).complete, false);
});

test("a change whose value had no room is told without it, and an empty value is one", async () => {
  const { client, cluster } = setUp();
  cluster.pageBytes = 1;
  const since = cluster.index;
  cluster.put("empty", "");
  await client.batch([
    { op: "put", key: "a", value: "1" },
    { op: "put", key: "b", value: "2" },
  ]);
  const { changes, more } = await client.changes(since, { values: true });
  assert.deepEqual(changes.map((change) => change.kind === "entry" && [change.key, change.hasValue, change.entry.text()]), [["empty", true, ""], ["a", true, "1"], ["b", false, ""]]);
  assert.equal(more, false);
  const [without] = (await client.changes(since)).changes;
  assert.equal(without?.kind === "entry" && without.hasValue, false);
});

test("a write goes on at the leader that a refusal names", async () => {
  const { client, cluster, clock } = setUp();
  cluster.fault = ({ url }) => (url === "http://n1" ? refusal(503, "unavailable", { leader: { id: 3, http: "http://n3" } }, { "retry-after": "1" }) : undefined);
  const begun = clock.now;
  await clock.drive(client.put("k", "1"));
  assert.deepEqual(cluster.seen.map(({ url }) => url), ["http://n1", "http://n3"]);
  assert.ok(clock.now - begun < 1000, "another node need not wait for the pause of the first");
  await client.get("k");
  assert.equal(cluster.seen.at(-1)?.url, "http://n3");
});

test("a node that asks for a pause is left alone for so long", async () => {
  const { client, cluster, clock } = setUp({ urls: "http://n1" });
  let times = 0;
  cluster.fault = () => (++times <= 2 ? refusal(429, "rate_limited", { retry_after_ms: 1700 }) : undefined);
  const begun = clock.now;
  await clock.drive(client.put("k", "1"));
  assert.ok(clock.now - begun >= 3400, String(clock.now - begun));
  assert.equal(cluster.seen.length, 3);
  times = 0;
  await assert.rejects(clock.drive(client.put("k", "1", { timeoutMs: 1000 })), (error: unknown) => error instanceof LockstepError && error.code === "rate_limited" && error.effect === "none");
});

test("a write whose answer was lost is sent again with its idempotency key, and carried out once", async () => {
  for (const kind of ["after", "half"] as const) {
    const { client, cluster, clock } = setUp();
    let times = 0;
    cluster.fault = () => (++times <= 2 ? { kind } : undefined);
    const { value } = await clock.drive(client.incr("n", 5));
    assert.equal(value, 5n);
    assert.equal(cluster.entries.get("n")?.version, 1);
    assert.equal(new Set(cluster.seen.map(({ headers }) => headers.get("idempotency-key"))).size, 1);
    assert.notEqual(cluster.seen[0]?.headers.get("idempotency-key"), null);
  }
});

test("a write without an answer is an outcome that is unknown, whatever comes after it", async () => {
  const { client, cluster, clock } = setUp();
  let times = 0;
  cluster.fault = () => (++times === 1 ? { kind: "after" } : { kind: "refused" });
  await assert.rejects(clock.drive(client.put("k", "1", { idempotencyKey: "mine" })), (error: unknown) => {
    assert.ok(error instanceof OutcomeUnknown);
    assert.deepEqual([error.code, error.effect, error.idempotencyKey], ["outcome_unknown", "unknown", "mine"]);
    return true;
  });
  assert.ok(clock.now <= 1000 + 10_000);
  times = -1000;
  cluster.fault = () => undefined;
  assert.equal((await client.put("k", "1", { idempotencyKey: "mine" })).replayed, true);
});

test("a 504 is unknown, a refused precondition after it is final", async () => {
  const { client, cluster, clock } = setUp();
  let times = 0;
  cluster.fault = () => (++times === 1 ? refusal(504, "outcome_unknown") : undefined);
  cluster.put("k", "1");
  await assert.rejects(clock.drive(client.put("k", "2", { ifAbsent: true })), PreconditionFailed);
  assert.equal(cluster.seen.length, 2);
});

test("a read without an answer is unreachable, not unknown", async () => {
  const { client, cluster, clock } = setUp();
  cluster.fault = () => ({ kind: "before" });
  await assert.rejects(clock.drive(client.get("k")), (error: unknown) => error instanceof Unreachable && error.effect === "none");
  assert.ok(clock.now > 9000 && clock.now <= 11_000, "it was tried until time was up");
});

test("where no node listens a request ends soon", async () => {
  const { client, cluster, clock } = setUp();
  cluster.fault = () => ({ kind: "refused" });
  await assert.rejects(clock.drive(client.put("k", "1")), (error: unknown) => error instanceof Unreachable && error.effect === "none");
  assert.ok(clock.now < 1000 + 3500);
  assert.equal(new Set(cluster.seen.map(({ url }) => url)).size, 3);
});

test("a node that hangs does not use up the whole time", async () => {
  const { client, cluster, clock } = setUp();
  cluster.fault = ({ url }) => (url === "http://n1" ? { kind: "hang" } : undefined);
  cluster.put("k", "1");
  assert.equal((await clock.drive(client.get("k")))?.text(), "1");
  assert.ok(clock.now < 1000 + 4000);
});

test("redirects are not followed, and what a proxy says is told", async () => {
  const { client, cluster } = setUp();
  cluster.fault = () => ({ kind: "answer", status: 302, headers: { location: "http://evil/" } });
  await assert.rejects(client.put("k", "1"), Garbled);
  assert.equal(cluster.seen.length, 1);
  cluster.fault = () => ({ kind: "answer", status: 413, body: "<html>too much</html>" });
  await assert.rejects(client.put("k", "1"), /too much/);
});

test("a token that was replaced is asked for again, once", async () => {
  let token = "old";
  let asked = 0;
  const { client, cluster } = setUp({ token: () => (asked++, Promise.resolve(token)) });
  cluster.token = "old";
  await client.put("k", "1");
  await client.put("k", "2");
  assert.equal(asked, 1);
  cluster.token = token = "new";
  await client.put("k", "3");
  assert.equal(asked, 2);
  cluster.token = "unknown to us";
  await assert.rejects(client.put("k", "4"), Unauthorized);
  assert.equal(asked, 3);
});

test("an aborted call ends with the signal's reason", async () => {
  const { client, cluster, clock } = setUp();
  cluster.fault = () => ({ kind: "hang" });
  const controller = new AbortController();
  const call = client.get("k", { signal: controller.signal });
  controller.abort(new Error("enough"));
  await assert.rejects(clock.drive(call), /enough/);
});

test("what every request says", async () => {
  const { client, cluster } = setUp({ origin: "app-1", expectHistory: "12345678" });
  await assert.rejects(client.get("k"), (error: unknown) => error instanceof LockstepError && error.code === "other_history");
  const { headers } = cluster.seen[0] as { headers: Headers };
  assert.equal(headers.get("lockstep-origin"), "app-1");
  assert.equal(headers.get("lockstep-consistency"), "linearizable");
  assert.match(headers.get("user-agent") ?? "", /^lockstep-client\//);
  assert.throws(() => new Client({ urls: NODES, origin: 'a"b' }), TypeError);
  assert.throws(() => new Client({ urls: "ftp://x" }), TypeError);
  assert.throws(() => new Client({ urls: [] }), TypeError);
});

test("reads take a consistency and a place", async () => {
  const { client, cluster } = setUp();
  await client.get("k", { consistency: "stale", minIndex: { index: 7, history: "abcdefgh" } });
  assert.equal(cluster.seen[0]?.path, "/v1/kv/k?consistency=stale&min_index=7%40abcdefgh");
});

test("over real sockets: a reset before and after the work, half an answer, and a node that is down", async () => {
  const cluster = new FakeCluster();
  let turn = 0;
  const faults = ["before", "after", "half", undefined] as const;
  const node = await HttpNode.start(cluster, (request) => (request.method === "POST" ? faults[turn++] : undefined));
  const down = await HttpNode.start(cluster);
  await down.stop();
  const client = new Client({ urls: [down.url, node.url] });
  try {
    assert.equal((await client.incr("n", 3)).value, 3n);
    assert.equal(turn, 4);
    assert.equal((await client.get("n"))?.text(), "3");
    assert.equal(await client.get("none"), null);
    const alone = new Client({ urls: down.url, unreachableMs: 50 });
    await assert.rejects(alone.put("k", "1"), (error: unknown) => error instanceof Unreachable && error.effect === "none");
  } finally {
    await node.stop();
  }
});
