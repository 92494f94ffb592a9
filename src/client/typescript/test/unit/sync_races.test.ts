import assert from "node:assert/strict";
import { test } from "node:test";
import { OutcomeUnknown } from "../../src/index.js";
import { settle } from "../support/clock.js";
import { World } from "../support/sync.js";

const TEXT = { contentType: "text/plain" };

test("what was heard of a key with a local change is not forgotten by a crash", async () => {
  const world = new World();
  world.cluster.put("deleted", "1", TEXT);
  const site = await world.connected();
  world.cluster.remove("deleted");
  await settle();
  // One change is sent, and its answer is lost; another waits.
  await site.sync.set("sent", "mine");
  world.cluster.fault = ({ path }) => (path === "/v1/batch" ? { kind: "after" } : undefined);
  await assert.rejects(world.run(site.sync.sync()), OutcomeUnknown);
  await site.sync.delete("deleted");
  await world.clock.advance(100);
  // Both are changed by others, which is only noted; then a change that is taken over moves the place on.
  world.cluster.remove("sent");
  world.cluster.put("deleted", "2", TEXT);
  world.cluster.put("other", "1", TEXT);
  await settle();
  assert.equal(site.sync.getDetails().place, world.cluster.index);
  world.cluster.fault = () => undefined;
  await world.run(site.sync.close());
  const next = await world.connected({}, site);
  assert.deepEqual(world.remote, { deleted: "2", other: "1" });
  assert.deepEqual(next.cache.toJSON(), world.remote);
  assert.equal(next.sync.getStatus().pending, 0);
  await world.run(next.sync.close());
});
