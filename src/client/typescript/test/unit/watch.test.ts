import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, Locked, OtherCluster, type WatchMessage } from "../../src/index.js";
import { serverSentEvents } from "../../src/sse.js";
import { FakeClock, settle } from "../support/clock.js";
import { FakeCluster } from "../support/fake.js";
import { HttpNode } from "../support/http.js";

function setUp(): { cluster: FakeCluster; client: Client; clock: FakeClock } {
  const cluster = new FakeCluster();
  const clock = new FakeClock();
  cluster.now = clock.logTime;
  return { cluster, clock, client: new Client({ urls: "http://n1,http://n2", fetch: cluster.fetch, clock }) };
}

/** The messages of a watch, as they come. */
function collect(watch: AsyncIterable<WatchMessage>): { messages: WatchMessage[]; end: Promise<void> } {
  const messages: WatchMessage[] = [];
  const end = (async () => {
    for await (const message of watch) messages.push(message);
  })();
  return { messages, end };
}

const words = (messages: WatchMessage[]) =>
  messages.map((message) => (message.type === "change" ? message.events.map((event) => `${event.cause} ${"key" in event ? event.key : ""}`).join() : message.type === "resync" ? `resync ${message.why}` : message.type));

test("a stream that is cut anywhere goes on from its place, at the next node, and nothing is missed or doubled", async () => {
  const { cluster, client, clock } = setUp();
  const stop = new AbortController();
  const { messages, end } = collect(client.watch({ prefix: ["a", "b"], signal: stop.signal }));
  await settle();
  cluster.put("a1", "1");
  cluster.put("c", "not watched");
  await settle();
  cluster.cut();
  cluster.put("b1", "2");
  await clock.advance(1000);
  cluster.cut("stopping");
  cluster.remove("a1");
  await clock.advance(1000);
  stop.abort();
  await end;
  assert.deepEqual(words(messages), ["subscribed", "put a1", "subscribed", "put b1", "subscribed", "delete a1"]);
  assert.ok(new Set(cluster.seen.map(({ url }) => url)).size === 2);
});

test("a node that falls silent is left", async () => {
  const { cluster, client, clock } = setUp();
  const stop = new AbortController();
  const { messages, end } = collect(client.watch({ signal: stop.signal }));
  await clock.advance(14_000);
  cluster.bookmark();
  await clock.advance(14_000);
  assert.deepEqual(words(messages), ["subscribed", "bookmark"]);
  await clock.advance(2_000);
  assert.deepEqual(words(messages), ["subscribed", "bookmark", "subscribed"]);
  stop.abort();
  await end;
});

test("what is not kept any more, and another history, are told as resync", async () => {
  const { cluster, client, clock } = setUp();
  const stop = new AbortController();
  const { messages, end } = collect(client.watch({ signal: stop.signal }));
  await settle();
  cluster.put("a", "1");
  await settle();
  cluster.cut();
  cluster.put("b", "1");
  cluster.forget();
  await clock.advance(1000);
  assert.deepEqual(words(messages).slice(2), ["resync gap", "subscribed"]);
  cluster.fork();
  await clock.advance(1000);
  assert.ok(words(messages).slice(4).includes("resync history"));
  stop.abort();
  await end;
});

test("another cluster is an error", async () => {
  const { cluster, client, clock } = setUp();
  const { end } = collect(client.watch());
  await settle();
  cluster.clusterId = "another";
  cluster.cut();
  await assert.rejects(clock.drive(end), OtherCluster);
});

test("events are read from bytes that are cut anywhere", async () => {
  const text = 'event: x\nid: 1@a\ndata: {"a":"é"}\n\n: comment\ndata: b\r\ndata: c\r\n\r\ndata: cut off';
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size < 9; size++) {
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
        controller.close();
      },
    });
    const events: string[] = [];
    for await (const { data } of serverSentEvents(stream)) events.push(data);
    assert.deepEqual(events, ['{"a":"é"}', "b\nc"], `in pieces of ${size}`);
  }
});

test("over a real socket a watch survives a reset", async () => {
  const cluster = new FakeCluster();
  const node = await HttpNode.start(cluster);
  const client = new Client(node.url);
  try {
    const seen: string[] = [];
    for await (const message of client.watch({ prefix: "k" })) {
      seen.push(...words([message]));
      if (message.type === "subscribed" && seen.length === 1) cluster.put("k1", "1");
      if (seen.length === 2) {
        cluster.cut();
        cluster.put("k2", "2");
      }
      if (seen.length === 4) break;
    }
    assert.deepEqual(seen, ["subscribed", "put k1", "subscribed", "put k2"]);
  } finally {
    await node.stop();
  }
});

test("a lock is waited for, and handed over when its holder's session ends", async () => {
  const { cluster, client, clock } = setUp();
  const one = await client.sessions.open("one", 10_000);
  const two = await client.sessions.open("two", 10_000);
  const held = await client.locks.acquire("l", one);
  assert.equal((await client.locks.tryAcquire("l", one)).token, held.token);
  await assert.rejects(client.locks.acquire("l", two, { waitMs: 0 }), (error: unknown) => error instanceof Locked && error.holder?.session === one.id);
  const waiting = client.locks.acquire("l", two);
  await clock.advance(500);
  const before = cluster.seen.length;
  await clock.advance(5000);
  assert.ok(cluster.seen.length - before <= 1, "it waits without asking again and again");
  assert.deepEqual(await one.close(), ["l"]);
  const lock = await clock.drive(waiting);
  assert.ok(lock.token > held.token);
  assert.equal((await client.locks.holder("l"))?.session, two.id);
  assert.equal(await lock.release(), true);
  assert.equal(await lock.release(), false);
  assert.equal(await client.locks.holder("l"), null);
  await client.locks.acquire("l", two);
  const three = await client.sessions.open("three", 100_000);
  await assert.rejects(clock.drive(client.locks.acquire("l", three, { waitMs: 300 })), Locked);
});

test("a session is kept alive, and its signal tells when it may have ended", async () => {
  const { cluster, client, clock } = setUp();
  const session = (await client.sessions.open("s", 3_000)).keepAlive();
  await clock.advance(30_000);
  cluster.expireSessions();
  assert.equal(session.isAlive, true);
  assert.equal((await client.sessions.list("s")).length, 1);
  cluster.fault = () => ({ kind: "refused" });
  await clock.advance(10_000);
  assert.equal(session.signal.aborted, true);
  cluster.fault = () => undefined;
  const other = (await client.sessions.open("t", 3_000)).keepAlive();
  cluster.sessions.clear();
  await clock.advance(1_500);
  assert.equal(other.signal.aborted, true);
});
