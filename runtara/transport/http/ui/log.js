// What a program writes, as it comes: read once from near the end, then told live, in the order of its bytes.

import { get, path } from "./api.js";
import { bytesOf, plain } from "./text.js";
import { complain } from "./toast.js";

const READ_BYTES = 262_144;
const KEPT_CHARS = 1_000_000;

/** One stream of one instance: bytes in order, as text without orders to a terminal. */
export class Log {
  constructor(instanceId, stream) {
    this.instanceId = instanceId;
    this.stream = stream;
    this.text = "";
    this.next = null;
    this.node = "";
    this.dropped = false;
    this.early = [];
    this.changed = () => {};
    this.decoder = new TextDecoder();
    this.reading = null;
  }

  /** Read what there is; once, however often it is called. */
  read() {
    this.reading ??= this.#readAll().catch((error) => { this.reading = null; complain(error); });
    return this.reading;
  }

  /** Take in a piece that was told. One that leaves a gap has what is missing read first. */
  hear({ offset, data }) {
    if (this.next === null) { this.early.push({ offset, data }); return; }
    if (offset > this.next) { this.early.push({ offset, data }); this.reading = null; this.read(); return; }
    const bytes = bytesOf(data);
    if (offset + bytes.length <= this.next) return;
    this.#add(bytes.subarray(this.next - offset), offset + bytes.length);
  }

  async #readAll() {
    for (let offset = this.next ?? -READ_BYTES, more = true; more; offset = this.next) {
      const page = await get(path("instances", this.instanceId, "log"), { stream: this.stream, offset, limit: READ_BYTES, node: this.node });
      const bytes = bytesOf(page.data);
      this.node = page.node || "";
      if (this.next === null) this.dropped = page.offset > 0;
      else if (page.offset > this.next) this.dropped = true;
      this.#add(bytes, page.offset + bytes.length);
      more = bytes.length === READ_BYTES;
    }
    const early = this.early;
    this.early = [];
    for (const piece of early) if (piece.offset <= this.next) this.hear(piece);
  }

  #add(bytes, next) {
    this.next = next;
    if (!bytes.length) { this.changed(""); return; }
    const added = plain(this.decoder.decode(bytes, { stream: true })).replace(/\r\n?/g, "\n");
    this.text += added;
    if (this.text.length > KEPT_CHARS) { this.text = this.text.slice(-KEPT_CHARS / 2); this.dropped = true; this.changed(null); }
    else this.changed(added);
  }
}
