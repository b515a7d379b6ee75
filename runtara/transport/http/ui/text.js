// Bytes, instants and spans as people read them. Pure functions.

const decoder = new TextDecoder("utf-8", { fatal: true });
const CONTROL = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;

/** Bytes of a base64 text. */
export function bytesOf(base64) {
  const text = atob(base64 || "");
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Base64 of a text, as UTF-8. */
export function base64Of(text) {
  const bytes = new TextEncoder().encode(text);
  let binary = "";
  for (let i = 0; i < bytes.length; i += 0x8000) binary += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(binary);
}

/** What bytes are, for a viewer: `{kind: "empty" | "json" | "text" | "binary", text}`. */
export function readable(base64) {
  const bytes = bytesOf(base64);
  if (!bytes.length) return { kind: "empty", text: "", size: 0 };
  let text;
  try {
    text = decoder.decode(bytes);
  } catch {
    return { kind: "binary", text: hexdump(bytes), size: bytes.length };
  }
  try {
    return { kind: "json", text: JSON.stringify(JSON.parse(text), null, 2), size: bytes.length };
  } catch {
    return { kind: "text", text, size: bytes.length };
  }
}

/** The first bytes in the manner of `hexdump -C`. */
export function hexdump(bytes, most = 4096) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, most); at += 16) {
    const row = Array.from(bytes.subarray(at, at + 16));
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    const shown = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex}  ${shown}`);
  }
  if (bytes.length > most) lines.push(`… ${size(bytes.length - most)} more`);
  return lines.join("\n");
}

/** Text without colours and other orders to a terminal. */
export const plain = (text) => text.replace(CONTROL, "");

export const clockTime = (at) => new Date(at).toLocaleTimeString(undefined, { hour12: false });

/** An instant with date and milliseconds, by the clock of whoever reads. */
export function instant(at) {
  if (at === null || at === undefined) return "–";
  const date = new Date(at);
  const two = (number, width = 2) => String(number).padStart(width, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `
    + `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${two(date.getMilliseconds(), 3)}`;
}

/** How long ago, or how far ahead: "3 min ago", "in 2 h". */
export function relative(at, now = Date.now()) {
  if (at === null || at === undefined) return "–";
  const span = now - at;
  if (Math.abs(span) < 1000) return "now";
  return span > 0 ? `${coarse(span)} ago` : `in ${coarse(-span)}`;
}

/** A span with two units at most: "820 ms", "4.2 s", "3 min 5 s", "2 d 4 h". */
export function span(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms < 10 && !Number.isInteger(ms)) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const units = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1000]];
  const first = units.findIndex(([, length]) => ms >= length);
  const [name, length] = units[first];
  const rest = units[first + 1];
  const count = rest ? Math.floor((ms % length) / rest[1]) : 0;
  return `${Math.floor(ms / length)} ${name}` + (count ? ` ${count} ${rest[0]}` : "");
}

function coarse(ms) {
  if (ms < 60_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** A number of bytes: "12 B", "3.4 KiB". */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes, unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit++; }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export const number = (value) => Number(value).toLocaleString("en");

/** A word of the wire as people write it: "recovery-budget-spent" → "recovery budget spent". */
export const words = (wire) => (wire || "").replaceAll("-", " ");

/** The program of an instance as people call it. */
export function programName(program) {
  if (!program) return "registers by itself";
  const image = /^image:([0-9a-f]{8})[0-9a-f]*@(\d+)$/.exec(program);
  return image ? `image ${image[1]} v${image[2]}` : program;
}
