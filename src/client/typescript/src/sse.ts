/** A server-sent event. */
export interface ServerSentEvent {
  id: string | undefined;
  data: string;
}

/** The longest line: a change of 6 MiB, the keys that are gone with it, and what JSON adds to them in the worst case. */
const LINE_LENGTH_MAX = 72 * 1024 * 1024;

/**
 * Reads server-sent events from a stream of bytes, cut anywhere.
 * @throws Error if a line is too long, and what reading throws.
 */
export async function* serverSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerSentEvent, void, void> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  let id: string | undefined;
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      // An event without its empty line at the end is none: it was cut off.
      if (done) return;
      const text = decoder.decode(value, { stream: true });
      if (!text.includes("\n")) {
        rest += text;
        if (rest.length > LINE_LENGTH_MAX) throw new Error("an event has a line that is too long");
        continue;
      }
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (let line of lines) {
        if (line.endsWith("\r")) line = line.slice(0, -1);
        if (line === "") {
          if (data.length > 0) yield { id, data: data.join("\n") };
          data = [];
          continue;
        }
        const colon = line.indexOf(":");
        if (colon === 0) continue;
        const field = colon < 0 ? line : line.slice(0, colon);
        const content = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
        if (field === "data") data.push(content);
        if (field === "id") id = content;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
