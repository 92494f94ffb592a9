/** What can be stored: bytes, text, or what {@link json} made. */
export type Value = Uint8Array | string | Json;

/** A value that is stored as JSON, with `Content-Type: application/json`. */
export class Json {
  constructor(readonly text: string) {}
}

/**
 * Has a value stored as JSON: `client.put("user:1", json({ name: "Ada" }))`.
 * @throws TypeError if JSON cannot express it.
 */
export function json(value: unknown): Json {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new TypeError("JSON cannot express this value");
  return new Json(text);
}

const utf8 = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });

/** Text as UTF-8. */
export function encodeUtf8(text: string): Uint8Array {
  return utf8.encode(text);
}

/** UTF-8 as text; what is no UTF-8 becomes U+FFFD. */
export function decodeUtf8(bytes: Uint8Array): string {
  return lenient.decode(bytes);
}

/** UTF-8 as text, or undefined if it is none. */
export function decodeStrict(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}

/** The number of bytes of a text in UTF-8. */
export function utf8Length(text: string): number {
  let length = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    // Each half of a surrogate pair counts two, so that a pair is four.
    length += unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 1 : 2;
  }
  return length;
}

/** Bytes in base64 (RFC 4648, padded). */
export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  // In parts: all at once would have too many arguments.
  for (let at = 0; at < bytes.length; at += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(binary);
}

/** Bytes from base64. */
export function fromBase64(text: string): Uint8Array {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/** A value and its content type, as it is sent. */
export interface Encoded {
  /** Text, or bytes that may be no text. */
  body: string | Uint8Array;
  contentType: string | undefined;
}

/** How a value is sent, unless a content type is given with it. */
export function encodeValue(value: Value, contentType?: string): Encoded {
  if (value instanceof Json) return { body: value.text, contentType: contentType ?? "application/json" };
  // Of JavaScript, which knows no types: what is neither would be stored as "[object Object]".
  if (typeof value !== "string" && !(value instanceof Uint8Array)) {
    throw new TypeError("a value is text or a Uint8Array; for everything else there is json(value)");
  }
  return { body: value, contentType };
}

/** 128 random bits as text. Works also where `crypto.randomUUID` does not: in pages without HTTPS. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}
