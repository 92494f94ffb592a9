/** `http://host:port` without a slash at its end. */
function baseUrl(url: string): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new TypeError(`${url}: expected http://host:port or https://host:port`);
  }
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    throw new TypeError(`${url}: expected http://host:port or https://host:port`);
  }
  return url.replace(/\/+$/, "");
}

/** The nodes that a client knows: which leads, which asked for a pause, and whose turn it is. */
export class Nodes {
  readonly urls: readonly string[];
  private next = 0;
  private leaderUrl: string | undefined;
  /** Until when a node asked to be left alone, on the monotonic clock. */
  private readonly pausedUntil = new Map<string, number>();

  /** @throws TypeError if there is no URL, or a malformed one. */
  constructor(urls: string | readonly string[]) {
    this.urls = (typeof urls === "string" ? urls.split(",").map((url) => url.trim()) : urls).map(baseUrl);
    if (this.urls.length === 0) throw new TypeError("no URL was given");
  }

  /** The leader's URL, if it is known. */
  get leader(): string | undefined {
    return this.leaderUrl;
  }

  /** The node to ask next, and when (0: now). A node that asked for a pause is asked only if all did. */
  choose(now: number, leaderFirst: boolean): { url: string; at: number } {
    const until = (url: string) => this.pausedUntil.get(url) ?? 0;
    if (leaderFirst && this.leaderUrl !== undefined && until(this.leaderUrl) <= now) return { url: this.leaderUrl, at: 0 };
    let best: { url: string; at: number } | undefined;
    for (let step = 0; step < this.urls.length; step++) {
      const url = this.urls[(this.next + step) % this.urls.length] as string;
      const at = until(url);
      if (at <= now) return { url, at: 0 };
      if (best === undefined || at < best.at) best = { url, at };
    }
    return best as { url: string; at: number };
  }

  /** The node asked for a pause of so many milliseconds. */
  holdOff(url: string, now: number, ms: number): void {
    this.pausedUntil.set(url, now + ms);
  }

  /** The node answered. */
  answered(url: string): void {
    this.pausedUntil.delete(url);
  }

  /** The node failed, or is of no use now: another one is asked next. */
  failed(url: string): void {
    if (this.leaderUrl === url) this.leaderUrl = undefined;
    if (this.urls[this.next % this.urls.length] === url) this.next++;
  }

  /** `from` said that this node leads; an empty URL or undefined: nobody does. */
  learn(from: string, leader: string | undefined): void {
    if (leader === undefined || leader === "") {
      this.leaderUrl = undefined;
      return;
    }
    // What a client encrypts for one node it does not send to another as it is.
    if (from.startsWith("https:") && !leader.startsWith("https:")) return;
    try {
      this.leaderUrl = baseUrl(leader);
    } catch {
      this.leaderUrl = undefined;
    }
  }
}
