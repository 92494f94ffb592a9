import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";

const SOURCES = new URL("../../../src/", import.meta.url).pathname;

/** All files that an entry point brings along, and the packages they name. */
function closure(entry: string): { files: Set<string>; packages: Set<string> } {
  const files = new Set<string>();
  const packages = new Set<string>();
  const visit = (file: string) => {
    if (files.has(file)) return;
    files.add(file);
    const text = readFileSync(join(SOURCES, file), "utf8");
    for (const [, name] of text.matchAll(/^(?:import|export)\b[^;"]*?from\s+"([^"]+)"/gm)) {
      if (name === undefined) continue;
      if (name.startsWith(".")) visit(normalize(join(dirname(file), name.replace(/\.js$/, ".ts"))));
      else packages.add(name);
    }
  };
  visit(entry);
  return { files, packages };
}

test("a browser's bundle meets no module of Node, and nothing needs another package", () => {
  for (const entry of ["index.ts", "near/index.ts", "sync/index.ts", "keyv/index.ts"]) {
    assert.deepEqual([...closure(entry).packages], [], entry);
  }
  assert.deepEqual([...closure("sync/file.ts").packages].sort(), ["node:fs/promises", "node:path"]);
});

test("every file of the package is used, and every export has its file", () => {
  const manifest = JSON.parse(readFileSync(join(SOURCES, "../package.json"), "utf8")) as {
    exports: Record<string, { default?: string } | string>;
    dependencies?: unknown;
  };
  assert.equal(manifest.dependencies, undefined);
  const entries = Object.values(manifest.exports).flatMap((target) => (typeof target === "object" && target.default !== undefined ? [target.default] : []));
  const used = new Set(entries.flatMap((entry) => [...closure(entry.replace("./dist/", "").replace(/\.js$/, ".ts")).files]));
  const all = readdirSync(SOURCES, { recursive: true }).map(String).filter((name) => name.endsWith(".ts"));
  assert.deepEqual([...used].sort(), all.sort());
});
