import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createServer } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "../../src/index.js";

/** A real cluster of three processes, started with `lockstep up`. LOCKSTEP_BIN names the program. */
export class RealCluster {
  private constructor(
    private readonly up: ChildProcess,
    private readonly folder: string,
    readonly urls: string[],
    private readonly ended: Promise<unknown>,
  ) {}

  /** `backup`: the new cluster's contents; `port`: that of the first node. */
  static async start({ backup, port }: { backup?: string; port?: number } = {}): Promise<RealCluster> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await RealCluster.startAt(port ?? (await freePort()), backup);
      } catch (error) {
        // Somebody else may have taken a port meanwhile.
        if (attempt === 5) throw error;
      }
    }
  }

  private static async startAt(port: number, backup: string | undefined): Promise<RealCluster> {
    const program = process.env["LOCKSTEP_BIN"];
    if (program === undefined) throw new Error("LOCKSTEP_BIN: which program?");
    const folder = mkdtempSync(join(tmpdir(), "lockstep-typescript-"));
    const arguments_ = ["up", "--nodes", "3", "--port", String(port), "--data-dir", folder];
    arguments_.push(...(backup === undefined ? ["--capacity-entries", "200000"] : ["--restore", backup]));
    const up = spawn(program, arguments_, { stdio: ["ignore", "pipe", "pipe"] });
    const ended = new Promise((resolve) => up.once("exit", resolve));
    let told = "";
    up.stderr.on("data", (part: Buffer) => (told += part.toString()));
    try {
      await new Promise<void>((resolve, reject) => {
        up.once("exit", () => reject(new Error(`lockstep up ended: ${told}`)));
        up.stdout.on("data", (part: Buffer) => {
          told += part.toString();
          if (told.includes("cluster ready")) resolve();
        });
      });
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
    const urls = [0, 1, 2].map((at) => `http://127.0.0.1:${port + at}`);
    return new RealCluster(up, folder, urls, ended);
  }

  client(): Client {
    return new Client({ urls: this.urls, origin: "test" });
  }

  /** The position of the node that leads. */
  async leader(): Promise<number> {
    const status = await this.client().status();
    return this.urls.indexOf(status.leader?.http ?? "");
  }

  /** Kills the process of a node at once. */
  kill(at: number): void {
    const processes = execFileSync("ps", ["-A", "-o", "pid=,ppid=,args="], { encoding: "utf8" });
    const port = new URL(this.urls[at] as string).port;
    for (const line of processes.split("\n")) {
      const [, pid, parent, args] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
      if (Number(parent) === this.up.pid && (args?.includes(`${this.folder}/n${at + 1}`) || args?.includes(`:${port} `))) {
        process.kill(Number(pid), "SIGKILL");
        return;
      }
    }
    throw new Error(`there is no process of node ${at + 1}`);
  }

  /** Starts the nodes again that were killed. */
  revive(): void {
    this.up.kill("SIGHUP");
  }

  async stop(): Promise<void> {
    this.up.kill("SIGTERM");
    await this.ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A port that is free now, as are those of the other nodes, and those between them. Below the ports that systems give away by themselves. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 12_000 + 10 * Math.floor(Math.random() * 1_800);
    const all = [0, 1, 2].flatMap((at) => [port + at, port + 1_000 + at]);
    const free = await Promise.all(all.map(isFree));
    if (free.every(Boolean)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

/** Waits for something that is there in the end. */
export async function until(what: string, attempt: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await attempt())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
