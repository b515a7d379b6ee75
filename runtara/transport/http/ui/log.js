// What a program has written to one stream, in the order of its bytes, as text without orders to a terminal.

import { bytesOf, plain } from "./text.js";

const KEPT_CHARS = 1_000_000;

export class Log {
  constructor(stream) {
    this.stream = stream;
    this.text = "";
    this.next = 0;
    this.dropped = false;
    this.changed = () => {};
    this.decoder = new TextDecoder();
  }

  /** Take in a piece that was told. What is known already is skipped; where some is missing, older bytes were dropped. */
  hear({ offset, data }) {
    const bytes = bytesOf(data);
    if (offset + bytes.length <= this.next) return;
    if (offset > this.next) this.dropped = true;
    const fresh = bytes.subarray(Math.max(0, this.next - offset));
    this.next = offset + bytes.length;
    const added = plain(this.decoder.decode(fresh, { stream: true })).replace(/\r\n?/g, "\n");
    this.text += added;
    if (this.text.length <= KEPT_CHARS) { this.changed(added); return; }
    this.text = this.text.slice(-KEPT_CHARS / 2);
    this.dropped = true;
    this.changed(null);
  }
}
