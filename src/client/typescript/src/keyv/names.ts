import { encodeUtf8, utf8Length } from "../values.js";

/** Longer keys are replaced by a hash. Nodes allow 4,096 bytes; short keys take less memory in all places that hold them. */
const KEY_BYTES_MAX = 400;
const HASHED = /^[A-Za-z0-9_-]{43}$/;

/** How keys of Keyv are named in the cluster. */
export class Names {
  constructor(private readonly prefix: string) {}

  /** The name of a key, and whether that is a hash: of one that is too long, or that the cluster does not allow. */
  async of(key: string, namespace: string | undefined): Promise<{ name: string; hashed: boolean }> {
    const name = this.prefix + key;
    const allowed = name !== "" && name !== "." && name !== ".." && !/[\u0000-\u001f\u007f-\u009f]/.test(name) && name.isWellFormed();
    if (allowed && utf8Length(name) <= KEY_BYTES_MAX) return { name, hashed: false };
    const digest = await crypto.subtle.digest("SHA-256", encodeUtf8(key) as BufferSource);
    const hash = btoa(String.fromCharCode(...new Uint8Array(digest)));
    const safe = hash.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
    return { name: `${this.hashPrefix(namespace)}${safe}`, hashed: true };
  }

  /** The key that a name stands for; undefined if the name is a hash, or another adapter's. */
  keyOf(name: string): string | undefined {
    return name.startsWith(this.prefix) ? name.slice(this.prefix.length) : undefined;
  }

  /** Names of a namespace begin so. */
  plainPrefix(namespace: string | undefined): string {
    return namespace === undefined || namespace === "" ? this.prefix : `${this.prefix}${namespace}:`;
  }

  hashPrefix(namespace: string | undefined): string {
    return `${this.prefix}${namespace ?? ""}~`;
  }

  /** Whether a name that begins with the prefix of hashes is one: another namespace's may begin so too. */
  isHash(name: string, namespace: string | undefined): boolean {
    return HASHED.test(name.slice(this.hashPrefix(namespace).length));
  }
}
