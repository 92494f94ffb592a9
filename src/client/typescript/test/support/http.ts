import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { FakeCluster } from "./fake.js";

/** Faults of a connection: before anything is carried out, after, and in the middle of the answer. */
export type SocketFault = "before" | "after" | "half" | undefined;

/** A node on a real port, in front of a fake cluster. */
export class HttpNode {
  private constructor(
    readonly server: Server,
    readonly url: string,
  ) {}

  static async start(cluster: FakeCluster, fault: (request: IncomingMessage) => SocketFault = () => undefined): Promise<HttpNode> {
    const server = createServer((request, response) => void answer(cluster, request, response, fault(request)));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new HttpNode(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

async function answer(cluster: FakeCluster, request: IncomingMessage, response: ServerResponse, fault: SocketFault): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  if (fault === "before") return void request.socket.resetAndDestroy();
  const body = Buffer.concat(parts);
  const ended = new AbortController();
  response.on("close", () => ended.abort(new Error("closed")));
  const init: RequestInit = { method: request.method ?? "GET", headers: request.headers as Record<string, string>, signal: ended.signal };
  if (body.length > 0) init.body = request.headers["content-type"] === "application/json" ? body.toString() : new Uint8Array(body);
  const answer = await cluster.fetch(`http://${request.headers.host ?? "x"}${request.url ?? "/"}`, init);
  if (fault === "after") return void request.socket.resetAndDestroy();
  const headers = Object.fromEntries(answer.headers);
  if (headers["content-type"] !== "text/event-stream") {
    const whole = Buffer.from(await answer.arrayBuffer());
    response.writeHead(answer.status, answer.status === 204 ? headers : { ...headers, "content-length": String(whole.length) });
    if (fault === "half") {
      response.write(whole.subarray(0, whole.length >> 1), () => request.socket.resetAndDestroy());
      return;
    }
    response.end(whole);
    return;
  }
  response.writeHead(answer.status, headers);
  try {
    for await (const part of answer.body as ReadableStream<Uint8Array>) response.write(part);
    response.end();
  } catch {
    request.socket.resetAndDestroy();
  }
}
