import { type Json, Refused, type Seen } from "./wire.js";

/** What sessions and locks need of their cluster. */
export interface Host {
  entry(work: (index: number) => void): number;
  tell(event: Json): void;
  now(): number;
  index(): number;
}

/** Sessions and locks of the fake cluster. */
export class FakeSessions {
  readonly sessions = new Map<number, { id: number; name: string; ttl_ms: number; created_at_ms: number; expires_at_ms: number }>();
  readonly locks = new Map<string, { name: string; session: number; token: number; since_ms: number }>();

  constructor(private readonly host: Host) {}

  /** Ends those whose time is up. */
  expire(): void {
    for (const session of [...this.sessions.values()]) if (session.expires_at_ms <= this.host.now()) this.end(session.id, "expired");
  }

  end(id: number, why: "closed" | "expired"): string[] {
    const session = this.sessions.get(id);
    if (session === undefined) throw new Refused(404, "not_found");
    const released = [...this.locks.values()].filter((lock) => lock.session === id);
    this.host.entry(() => {
      this.sessions.delete(id);
      this.host.tell({ cause: "session_end", id, name: session.name, why });
      for (const lock of released) {
        this.locks.delete(lock.name);
        this.host.tell({ cause: "unlock", name: lock.name, session: id, token: lock.token });
      }
    });
    return released.map((lock) => lock.name);
  }

  route(seen: Seen, parts: string[], query: URLSearchParams, body: () => Json): { status?: number; json?: unknown } {
    const name = parts[1] ?? "";
    const prefix = query.get("prefix") ?? "";
    switch (`${seen.method} ${parts[0]}`) {
      case "POST sessions": {
        if (parts[2] === "renew") {
          const session = this.sessions.get(Number(name));
          if (session === undefined) throw new Refused(404, "not_found");
          session.expires_at_ms = this.host.now() + session.ttl_ms;
          return { json: session };
        }
        const ttl_ms = Number(body()["ttl_ms"]);
        const session = { id: 0, name: String(body()["name"]), ttl_ms, created_at_ms: this.host.now(), expires_at_ms: this.host.now() + ttl_ms };
        this.host.entry((index) => {
          session.id = index;
          this.sessions.set(session.id, session);
          this.host.tell({ cause: "session", id: session.id, name: session.name, ttl_ms });
        });
        return { status: 201, json: session };
      }
      case "DELETE sessions":
        return { json: { released: this.end(Number(name), "closed") } };
      case "GET sessions":
        return { json: { sessions: [...this.sessions.values()].filter((session) => session.name.startsWith(prefix)), index: this.host.index() } };
      case "POST locks": {
        const session = Number(body()["session"]);
        if (!this.sessions.has(session)) throw new Refused(404, "not_found");
        const held = this.locks.get(name);
        if (held !== undefined && held.session !== session) {
          const holder = { ...held, session_name: this.sessions.get(held.session)?.name };
          throw new Refused(409, "locked", { holder });
        }
        if (held !== undefined) return { json: { ...held, acquired: false } };
        const lock = { name, session, token: 0, since_ms: this.host.now() };
        this.host.entry((index) => {
          lock.token = index;
          this.locks.set(name, lock);
          this.host.tell({ cause: "lock", name, session, token: index });
        });
        return { json: { ...lock, acquired: true } };
      }
      case "DELETE locks": {
        const held = this.locks.get(name);
        if (held === undefined || held.session !== Number(query.get("session"))) throw new Refused(404, "not_found");
        this.host.entry(() => {
          this.locks.delete(name);
          this.host.tell({ cause: "unlock", name, session: held.session, token: held.token });
        });
        return { status: 204 };
      }
      case "GET locks": {
        if (parts[1] === undefined) return { json: { locks: [...this.locks.values()].filter((lock) => lock.name.startsWith(prefix)) } };
        const held = this.locks.get(name);
        if (held === undefined) throw new Refused(404, "not_found");
        return { json: { ...held, session_name: this.sessions.get(held.session)?.name } };
      }
      default:
        throw new Refused(404, "no_route");
    }
  }
}
