// How many hits a second a near cache has on one core: `npm run bench`.
import { Client } from "../src/index.js";
import { NearCache, type Want } from "../src/near/index.js";
import { FakeCluster } from "./support/fake.js";

const KEYS = 1000;
const cluster = new FakeCluster();
for (let at = 0; at < KEYS; at++) cluster.put(`user:${at}`, `value ${at}`);
const near = new NearCache(new Client({ urls: "http://n1", fetch: cluster.fetch }));
await near.start();
const keys = Array.from({ length: KEYS }, (_, at) => `user:${at}`);
for (const key of keys) await near.get(key);

const bound: Want = { maxStaleMs: 3_600_000 };
cluster.bookmark();
for (const [name, run] of [
  [
    "getNow, bounded",
    (rounds: number) => {
      for (let round = 0; round < rounds; round++) for (const key of keys) if (near.getNow(key, bound) == null) throw new Error("a miss");
    },
  ],
  [
    "await get, bounded",
    async (rounds: number) => {
      for (let round = 0; round < rounds; round++) for (const key of keys) if ((await near.get(key, bound)) === null) throw new Error("a miss");
    },
  ],
] as [string, (rounds: number) => unknown][]) {
  await run(500);
  const begun = performance.now();
  await run(5_000);
  const seconds = (performance.now() - begun) / 1000;
  console.log(`${name}: ${((5_000 * KEYS) / seconds / 1e6).toFixed(1)} million hits a second`);
}
await near.close();
