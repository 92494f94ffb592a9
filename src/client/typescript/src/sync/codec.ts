import { decodeUtf8, encodeUtf8, fromBase64, toBase64 } from "../values.js";

/** A value as it is stored in the cluster. */
export interface Encoded {
  /** Text, or bytes that may be no text. */
  body: string | Uint8Array;
  contentType: string | null;
}

/** Turns values of the local caches into what the cluster stores, and back. Equal values must give equal bytes. */
export interface Codec {
  encode(value: unknown): Encoded;
  /** @throws if it is none that `encode` can have made */
  decode(body: Uint8Array, contentType: string | null): unknown;
}

/** Text as text, bytes as bytes, everything else as JSON. */
export const jsonCodec: Codec = {
  encode(value) {
    if (typeof value === "string") return { body: value, contentType: "text/plain" };
    if (value instanceof Uint8Array) return { body: value, contentType: "application/octet-stream" };
    const body = JSON.stringify(value) as string | undefined;
    if (body === undefined) throw new TypeError("JSON cannot express this value");
    return { body, contentType: "application/json" };
  },
  decode(body, contentType) {
    if (contentType === "application/json") return JSON.parse(decodeUtf8(body)) as unknown;
    if (contentType === "application/octet-stream") return body;
    return decodeUtf8(body);
  },
};

/** A 64-bit hash (two 32-bit FNV-1a-like halves, mixed) of a value and its type: equal values have equal ones. */
export function hashOf({ body, contentType }: Encoded): string {
  const bytes = typeof body === "string" ? encodeUtf8(body) : body;
  let one = 0x811c9dc5;
  let two = 0x9e3779b9;
  const type = contentType ?? "";
  for (let at = 0; at < type.length; at++) {
    one = Math.imul(one ^ type.charCodeAt(at), 0x01000193);
    two = Math.imul(two ^ type.charCodeAt(at), 0x85ebca6b);
  }
  one = Math.imul(one ^ 0xff, 0x01000193);
  for (const byte of bytes) {
    one = Math.imul(one ^ byte, 0x01000193);
    two = Math.imul(two ^ byte, 0x85ebca6b) ^ (two >>> 13);
  }
  two ^= two >>> 16;
  return `${(one >>> 0).toString(16)}.${(two >>> 0).toString(16)}.${bytes.length}`;
}

/** A value in a line of JSON. */
export interface StoredValue {
  text?: string;
  base64?: string;
  type?: string;
}

export function toStored({ body, contentType }: Encoded): StoredValue {
  const type = contentType === null ? {} : { type: contentType };
  return typeof body === "string" ? { text: body, ...type } : { base64: toBase64(body), ...type };
}

export function fromStored({ text, base64, type }: StoredValue): Encoded {
  return { body: text ?? fromBase64(base64 ?? ""), contentType: type ?? null };
}

/** Whether two values are equal, byte for byte, and of one type. */
export function sameValue(one: Encoded, other: Encoded): boolean {
  if ((one.contentType ?? null) !== (other.contentType ?? null)) return false;
  if (typeof one.body === "string" && typeof other.body === "string") return one.body === other.body;
  const left = typeof one.body === "string" ? encodeUtf8(one.body) : one.body;
  const right = typeof other.body === "string" ? encodeUtf8(other.body) : other.body;
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}
