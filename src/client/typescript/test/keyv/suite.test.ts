// The suite of Keyv's own storage adapters, against a real cluster.
import keyvTestSuite, { keyvIteratorTests } from "@keyv/test-suite";
import { Keyv } from "keyv";
import * as test from "vitest";
import { KeyvLockstep } from "../../src/keyv/index.js";
import { RealCluster } from "../support/cluster.js";

const cluster = await RealCluster.start();
test.afterAll(() => cluster.stop());

const store = () => new KeyvLockstep({ urls: cluster.urls, timeoutMs: 10_000, clearEverything: true });

keyvTestSuite(test, Keyv, store);
keyvIteratorTests(test, Keyv, store);
